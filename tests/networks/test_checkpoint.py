"""Checkpoints: published layouts, our own, and files that must be refused."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest
import torch

from napari_neuropil.errors import CheckpointError, OutputError
from napari_neuropil.networks import load_checkpoint, load_published, pretrained_path
from napari_neuropil.networks.checkpoint import CheckpointSpec, save_checkpoint
from napari_neuropil.networks.mnet import MNet
from napari_neuropil.workflows.convert import convert_checkpoint

_SPEC = CheckpointSpec(
    network="segneuron",
    arguments={"widths": [8, 8, 8, 8, 8], "affinity_channels": 3},
    offsets=((-1, 0, 0), (0, -1, 0), (0, 0, -1)),
    voxel_sizes=((30.0, 12.0, 12.0),),
    tile_shape=(8, 32, 32),
)


@pytest.fixture(scope="module")
def published_state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return MNet().state_dict()


@pytest.mark.parametrize("key", ["model_weights", "model_state_dict", "state_dict", "model", None])
@pytest.mark.parametrize("prefix", ["module.", ""])
def test_published_layouts_load(
    tmp_path: Path, published_state: dict[str, torch.Tensor], key: str | None, prefix: str
) -> None:
    if key != "model_weights" and prefix:
        pytest.skip("one layout with the prefix is enough")
    state = {prefix + name: t for name, t in published_state.items()}
    path = tmp_path / "SegNeuronModel.ckpt"
    torch.save({"current_iter": 5, "valid_result": 0.1, key: state} if key else state, path)
    network = load_published("segneuron", path)
    assert not network.training
    loaded = network.state_dict()
    assert len(loaded) == 462
    assert all(torch.equal(loaded[name], t) for name, t in published_state.items())


def test_forward_survives_conversion(
    tmp_path: Path, published_state: dict[str, torch.Tensor]
) -> None:
    source = tmp_path / "published.ckpt"
    torch.save({"model_weights": {f"module.{k}": v for k, v in published_state.items()}}, source)
    out = convert_checkpoint("segneuron", source, tmp_path / "own.safetensors")
    network, spec = load_checkpoint(out, "segneuron")
    assert spec.tile_shape == (20, 128, 128)
    x = torch.rand(1, 1, 4, 16, 16)
    with torch.inference_mode():
        found, wanted = network(x), load_published("segneuron", source)(x)
    assert torch.equal(found[0], wanted[0])
    with pytest.raises(OutputError, match="exists"):
        convert_checkpoint("segneuron", source, out)


class _Hostile:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


@pytest.mark.parametrize("kind", ["torch", "pickle", "legacy"])
def test_hostile_pickle_runs_nothing(tmp_path: Path, kind: str) -> None:
    marker, path = tmp_path / "ran", tmp_path / "hostile.ckpt"
    content = {"model_weights": _Hostile(f"touch {marker}")}
    if kind == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "torch")
    with pytest.raises(CheckpointError, match=r"not opened|cannot be read"):
        load_published("segneuron", path)
    assert not marker.exists()


def test_wrong_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="No checkpoint at"):
        load_published("segneuron", tmp_path / "absent.ckpt")
    other = tmp_path / "other.ckpt"
    torch.save({"state_dict": {"encoder.weight": torch.zeros(3)}}, other)
    with pytest.raises(CheckpointError, match=r"462 tensors missing.*1 tensors unknown"):
        load_published("segneuron", other)
    truncated = tmp_path / "truncated.ckpt"
    truncated.write_bytes(other.read_bytes()[:200])
    with pytest.raises(CheckpointError):
        load_published("segneuron", truncated)
    numbers = tmp_path / "numbers.ckpt"
    torch.save({"step": 3}, numbers)
    with pytest.raises(CheckpointError, match="holds no state dict"):
        load_published("segneuron", numbers)
    with pytest.raises(CheckpointError, match="There is no network"):
        load_published("unet", other)


def test_own_checkpoint_round_trip(tmp_path: Path) -> None:
    torch.manual_seed(3)
    network = MNet((8, 8, 8, 8, 8))
    path = tmp_path / "own.safetensors"
    save_checkpoint(path, network.state_dict(), _SPEC)
    loaded, spec = load_checkpoint(path)
    assert spec.offsets == _SPEC.offsets
    assert len(spec.sha256) == 64
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor, atol=1e-3, rtol=1e-3)
    with pytest.raises(CheckpointError, match="checkpoint of 'segneuron'"):
        load_checkpoint(path, "agq")


def test_damaged_own_checkpoints_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    save_checkpoint(path, MNet((8, 8, 8, 8, 8)).state_dict(), _SPEC)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="sha256 differs"):
        load_checkpoint(path)
    spec = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps({**spec, "sha256": "", "arguments": {"a": 1}}))
    with pytest.raises(CheckpointError, match="do not build"):
        load_checkpoint(path)
    path.with_suffix(".json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(path)
    path.with_suffix(".json").unlink()
    with pytest.raises(CheckpointError, match="has no spec"):
        load_checkpoint(path)


def test_shipped_weights_are_small_and_described() -> None:
    path = pretrained_path("segneuron")
    assert path.stat().st_size < 15e6
    _, spec = load_checkpoint(path, "segneuron")
    assert spec.training_data
    assert spec.licence
    assert spec.metrics
