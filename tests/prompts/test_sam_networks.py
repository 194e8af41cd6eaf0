"""Fine-tuned files lie over a base: the right one, wherever it went, or a clear word."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from napari_neuropil.errors import CheckpointError
from napari_neuropil.networks.compact_sam import CompactSam
from napari_neuropil.networks.promptable import PromptableNetwork
from napari_neuropil.networks.sam_spec import SamSpec, save_sam
from napari_neuropil.networks.tuned_part import Parts, TunedSpec, learning_names, save_tuned
from napari_neuropil.prompts.sam_networks import OpenedNetwork, is_tuned, open_network
from napari_neuropil.prompts.segmenters import open_segmenter

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("segment_anything") is None, reason="segment_anything is not installed"
)

_ARGUMENTS: dict[str, Any] = {
    "width": 32, "encoder_widths": (16, 16, 32, 32, 32), "encoder_blocks": (1, 1, 1, 1)
}  # fmt: skip


def _save_base(path: Path, seed: int = 0) -> PromptableNetwork:
    torch.manual_seed(seed)
    network = CompactSam(input_side=64, **_ARGUMENTS)
    spec = SamSpec(network="compact-sam", arguments=_ARGUMENTS, pixel_sizes_nm=(6.0,))
    save_sam(path, network, spec, half=False)
    return network.eval()


def _tune(base: OpenedNetwork, path: Path, parts: Parts, by: float) -> dict[str, torch.Tensor]:
    """Write a tuned file that moves what learns, and return the whole network's state."""
    network = base.network
    spec = TunedSpec(base=network.fingerprint(), base_name=base.tuning_base, parts=parts)
    own = dict(network.named_parameters())
    with torch.no_grad():
        for name in learning_names(network, parts):
            own[name].add_(by)
    names = learning_names(network, parts)
    save_tuned(path, {name: own[name] for name in names}, spec)
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def _assert_same(network: PromptableNetwork, state: dict[str, torch.Tensor]) -> None:
    found = network.state_dict()
    assert [name for name in state if not torch.equal(state[name], found[name])] == []


def test_a_tuned_file_opens_with_its_base(tmp_path: Path) -> None:
    base, tuned = tmp_path / "base.safetensors", tmp_path / "tuned.safetensors"
    _save_base(base)
    state = _tune(open_network(base), tuned, "decoder", 0.5)
    assert is_tuned(tuned)
    assert not is_tuned(base)
    assert tuned.stat().st_size < base.stat().st_size
    opened = open_network(tuned)
    _assert_same(opened.network, state)
    assert (opened.name, opened.pixel_sizes_nm) == ("tuned", (6.0,))
    assert not opened.network.training
    segmenter = open_segmenter(tuned)
    assert segmenter.name == "tuned"
    assert segmenter.fingerprint == open_segmenter(base).fingerprint


def test_tuned_again(tmp_path: Path) -> None:
    base, first, second, third = (
        tmp_path / f"{name}.safetensors" for name in ("base", "first", "second", "third")
    )
    _save_base(base)
    _tune(open_network(base), first, "decoder", 0.5)
    state = _tune(open_network(first), second, "lora", 0.25)
    # All but the encoder is in the second file, and the encoder is the base's: no need of `first`.
    first.unlink()
    _assert_same(open_network(second).network, state)
    last = _tune(open_network(second), third, "decoder", 0.125)
    _assert_same(open_network(third).network, last)
    # The second changed the encoder, so the third lies over it.
    second.unlink()
    with pytest.raises(CheckpointError, match=r"tuned from cannot be opened.*No checkpoint"):
        open_network(third)


def test_files_that_moved_together(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    _save_base(old / "base.safetensors")
    state = _tune(open_network(old / "base.safetensors"), old / "t.safetensors", "decoder", 0.5)
    old.rename(new)
    _assert_same(open_network(new / "t.safetensors").network, state)


def test_another_base_is_refused(tmp_path: Path) -> None:
    base, tuned = tmp_path / "base.safetensors", tmp_path / "tuned.safetensors"
    _save_base(base)
    _tune(open_network(base), tuned, "decoder", 0.5)
    _save_base(base, seed=1)
    with pytest.raises(CheckpointError, match="another network now") as caught:
        open_segmenter(tuned)
    assert str(base) in caught.value.found
    assert "sha256" in caught.value.expected
    base.unlink()
    with pytest.raises(CheckpointError, match="No checkpoint") as caught:
        open_segmenter(tuned)
    assert "put it back" in caught.value.cure


def test_damage_and_circles(tmp_path: Path) -> None:
    base, tuned = tmp_path / "base.safetensors", tmp_path / "tuned.safetensors"
    _save_base(base)
    _tune(open_network(base), tuned, "decoder", 0.5)
    spec = json.loads(tuned.with_suffix(".json").read_text())
    tuned.with_suffix(".json").write_text(json.dumps({**spec, "base_name": str(tuned)}))
    with pytest.raises(CheckpointError, match="its own base"):
        open_network(tuned)
    tuned.with_suffix(".json").write_text(json.dumps({**spec, "parts": "everything"}))
    with pytest.raises(CheckpointError, match="tuned weights"):
        open_network(tuned)
    tuned.with_suffix(".json").write_text(json.dumps(spec))
    tuned.write_bytes(tuned.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match="sha256"):
        open_network(tuned)
