"""Examples that come again, and trunks that are filled from a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from napari_neuropil.errors import CheckpointError
from napari_neuropil.networks import pretrained_path
from napari_neuropil.networks.checkpoint import CheckpointSpec, load_spec, save_checkpoint
from napari_neuropil.networks.mnet import MNet
from napari_neuropil.training.repeated import Repeated
from napari_neuropil.training.trunk import fill_trunk, trunk_arguments


class _Counting:
    def __init__(self) -> None:
        self.drawn: list[int] = []

    def draw(self, step: int) -> str:
        self.drawn.append(step)
        return f"example {step}"


def test_examples_are_drawn_once() -> None:
    source = _Counting()
    repeated = Repeated(source, 3)
    assert [repeated.draw(step) for step in (7, 0, 1, 4, 3)] == [
        f"example {n}" for n in (1, 0, 1, 1, 0)
    ]
    assert source.drawn == [1, 0]
    with pytest.raises(ValueError, match="at least one"):
        Repeated(source, 0)


def test_trunks(tmp_path: Path) -> None:
    arguments = trunk_arguments("segneuron")
    assert arguments == load_spec(pretrained_path("segneuron")).arguments
    small: dict[str, Any] = {"widths": [4] * 5, "affinity_channels": 3}
    spec = CheckpointSpec(
        network="segneuron",
        arguments=small,
        offsets=(),
        voxel_sizes=((1, 1, 1),),
        tile_shape=(8, 32, 32),
    )
    source = MNet(**small)
    save_checkpoint(tmp_path / "a.safetensors", source.state_dict(), spec, half=False)
    assert trunk_arguments(str(tmp_path / "a.safetensors")) == small
    network = MNet(**small)
    fill_trunk(network, str(tmp_path / "a.safetensors"))
    for name, tensor in source.state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor)
    other = spec.model_copy(update={"network": "agq"})
    save_checkpoint(tmp_path / "b.safetensors", source.state_dict(), other)
    with pytest.raises(CheckpointError, match="checkpoint of 'agq'"):
        trunk_arguments(str(tmp_path / "b.safetensors"))
    with pytest.raises(CheckpointError, match="not a checkpoint of this MNet"):
        fill_trunk(MNet([8] * 5, 3), str(tmp_path / "a.safetensors"))
