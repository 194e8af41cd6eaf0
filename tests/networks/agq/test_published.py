"""The published layout of AGQ: names, shapes, and the dict around the state."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_neuropil.errors import CheckpointError
from napari_neuropil.networks import load_checkpoint, load_published
from napari_neuropil.networks.agq import AGQ
from napari_neuropil.networks.agq.output import AgqOutput
from napari_neuropil.networks.checkpoint import CheckpointSpec, save_checkpoint
from napari_neuropil.networks.registry import NEAREST_OFFSETS
from napari_neuropil.workflows.convert import convert_checkpoint

Shapes = Iterator[tuple[str, tuple[int, ...]]]


def _norm(name: str, channels: int, *, running: bool = False) -> Shapes:
    yield f"{name}.weight", (channels,)
    yield f"{name}.bias", (channels,)
    if running:
        yield f"{name}.running_mean", (channels,)
        yield f"{name}.running_var", (channels,)
        yield f"{name}.num_batches_tracked", ()


def _normed(name: str, out: int, into: int, kernel: tuple[int, ...] = (1, 3, 3)) -> Shapes:
    yield f"{name}.0.weight", (out, into, *kernel)
    yield from _norm(f"{name}.1", out)


def _linear(name: str, out: int, into: int) -> Shapes:
    yield f"{name}.weight", (out, into)
    yield f"{name}.bias", (out,)


def _backbone() -> Shapes:
    channels = (32, 64, 96, 128, 160)
    yield from _normed("conv_in", 32, 1, (1, 5, 5))
    for i, (into, out) in enumerate(zip((32, *channels), channels, strict=False)):
        kernel = (3, 3, 3) if i > 2 else (1, 3, 3)
        yield from _normed(f"down_layers.{i}.1", out, into, kernel)
        yield from _normed(f"down_layers.{i}.2.conv.0", out, out)
        yield from _normed(f"down_layers.{i}.2.conv.1", out, out)
        yield from _normed(f"fusion_block.pre_convs.{i}", 64, out)
    for i in range(4):
        kernel = (3, 3, 3) if i > 1 else (1, 3, 3)
        yield from _normed(f"up_layers.{i}.0", channels[i], channels[i + 1], kernel)
        yield from _normed(f"up_layers.{i}.1.conv.0", channels[i], channels[i])
        yield from _normed(f"up_layers.{i}.1.conv.1", channels[i], channels[i])
    yield from _normed("fusion_block.post_convs.0", 64, 64)


def _decoder() -> Shapes:
    yield "inst_decoder.rpn.learned_masks_embed.weight", (100, 64)
    for name in ("rpn", "predictors.0", "predictors.1"):
        linear = "mask_kernel" if name == "rpn" else "fc_kernel"
        yield from _linear(f"inst_decoder.{name}.{linear}", 64, 64)
        yield from _norm(f"inst_decoder.{name}.norm_logits", 1, running=True)
        yield from _norm(f"inst_decoder.{name}.norm_kernel", 64, running=True)
    for i in range(2):
        name = f"inst_decoder.kernel_interactors.{i}"
        yield from _norm(f"{name}.ln_1", 64)
        yield from _norm(f"{name}.ln_2", 64)
        yield from _linear(f"{name}.attn.c_attn", 192, 64)
        yield from _linear(f"{name}.attn.c_proj", 64, 64)
        yield from _linear(f"{name}.mlp.c_fc", 256, 64)
        yield from _linear(f"{name}.mlp.c_proj", 64, 256)
        name = f"inst_decoder.kernel_updators.{i}"
        for part in ("dynamic_layer", "input_layer"):
            yield from _linear(f"{name}.{part}", 128, 64)
        for part in ("input_gate", "update_gate", "fc_layer"):
            yield from _linear(f"{name}.{part}", 64, 64)
        for part in ("norm_in", "norm_out", "input_norm_in", "input_norm_out", "fc_norm"):
            yield from _norm(f"{name}.{part}", 64)
    for i in range(3):
        yield f"inst_decoder.bg_convs.{i}.0.weight", (1, 64, 1, 3, 3)
        yield from _norm(f"inst_decoder.bg_convs.{i}.1", 1, running=True)


def _branches() -> Shapes:
    for i in range(4):
        into = 67 if i == 0 else 64
        yield f"inst_decoder.rpn.inst_convs.{i}.0.weight", (64, into, 1, 3, 3)
        yield from _norm(f"inst_decoder.rpn.inst_convs.{i}.1", 64, running=True)
        yield f"mask_branch.mask_convs.{i}.0.weight", (64, into, 1, 3, 3)
        yield f"affinity_branch.mask_convs.{i}.0.weight", (64, into, 3, 3, 3)
    for name, out in (("mask", 64), ("affinity", 3)):
        yield f"{name}_branch.projection.weight", (out, 64, 1, 1, 1)
        yield f"{name}_branch.projection.bias", (out,)


def test_published_names_and_size() -> None:
    network = AGQ()
    wanted = dict([*_backbone(), *_decoder(), *_branches()])
    assert len(wanted) == 257
    assert {name: tuple(t.shape) for name, t in network.state_dict().items()} == wanted
    assert sum(p.numel() for p in network.parameters()) == 4_743_919


def _published(path: Path, **others: Any) -> AGQ:
    """Save a network as its authors do, and return it."""
    torch.manual_seed(2)
    network = AGQ().eval()
    optimiser = torch.optim.Adam(network.parameters(), 1e-4)
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 10)
    content = {
        "iteration": 200_000,
        "state_dict": network.state_dict(),
        "optimizer": optimiser.state_dict(),
        "lr_scheduler": schedule.state_dict(),
        **others,
    }
    torch.save(content, path)
    return network


def _schedule() -> dict[str, Any]:
    """Return a schedule's state as classes keep it that compute with numpy."""
    return {
        "base_lrs": [np.float64(1e-4), np.float32(1e-4)],
        "last_epoch": np.int64(200_000),
        "table": np.linspace(0, 1, 5),
        "warm": np.bool_(True),
        "half": math.nan,
        "method": "linear",
        "verbose": False,
        "optimizer": None,
    }


def test_published_layout_loads_and_converts(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint_200000.pth.tar"
    network = _published(path, lr_scheduler=_schedule())
    loaded = load_published("agq", path)
    assert isinstance(loaded, AGQ)
    assert not loaded.training
    image = 2 * torch.rand(1, 1, 2, 17, 17) - 1
    own = convert_checkpoint("agq", path, tmp_path / "own.safetensors")
    converted, spec = load_checkpoint(own, "agq")
    with torch.inference_mode():
        wanted: AgqOutput = network(image)
        for other in (loaded, converted):
            assert torch.equal(other(image).mask_logits, wanted.mask_logits)
    assert spec.tile_shape == (17, 257, 257)
    assert spec.voxel_sizes == ((30.0, 6.0, 6.0),)
    assert spec.offsets == NEAREST_OFFSETS


@pytest.mark.parametrize("new", [True, False])
def test_other_layouts_load(tmp_path: Path, *, new: bool) -> None:
    path = tmp_path / "model.pth"
    torch.manual_seed(2)
    state = AGQ().state_dict()
    wrapped = {f"module.{name}": tensor for name, tensor in state.items()}
    torch.save(wrapped, path, _use_new_zipfile_serialization=new)
    loaded = load_published("agq", path).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


class _Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("this must not be printed",)


@pytest.mark.parametrize("hostile", [_Runs(), np.array([_Runs()], object)])
def test_a_schedule_that_runs_code_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], hostile: object
) -> None:
    path = tmp_path / "checkpoint.pth.tar"
    torch.save({"state_dict": {"a": torch.zeros(1)}, "lr_scheduler": {"base": hostile}}, path)
    with pytest.raises(CheckpointError, match="not opened"):
        load_published("agq", path)
    assert capsys.readouterr().out == ""


def test_checkpoints_of_others_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    state = AGQ().state_dict()
    del state["conv_in.0.weight"]
    torch.save({"iteration": 1, "state_dict": state}, path)
    with pytest.raises(CheckpointError, match=r"1 tensors missing.*conv_in.0.weight"):
        load_published("agq", path)
    torch.save(AGQ(fused=32).state_dict(), path)
    with pytest.raises(CheckpointError, match="tensors misshapen"):
        load_published("agq", path)
    torch.save({"iteration": 1, "optimizer": {}}, path)
    with pytest.raises(CheckpointError, match="holds no state dict"):
        load_published("agq", path)


def test_narrow_networks_come_back(tmp_path: Path) -> None:
    arguments = {"channels": [8, 8, 16, 16, 24], "fused": 8, "learned_queries": 5}
    network = AGQ(**arguments)  # type: ignore[arg-type]
    spec = CheckpointSpec(
        network="agq", arguments=arguments, offsets=NEAREST_OFFSETS,
        voxel_sizes=((30.0, 6.0, 6.0),), tile_shape=(5, 33, 33),
    )  # fmt: skip
    path = tmp_path / "narrow.safetensors"
    save_checkpoint(path, network.state_dict(), spec)
    loaded, _ = load_checkpoint(path, "agq")
    assert loaded.state_dict().keys() == network.state_dict().keys()
    assert loaded.state_dict()["conv_in.0.weight"].shape == (8, 1, 1, 5, 5)
    path.with_suffix(".json").write_text(
        spec.model_copy(update={"arguments": {**arguments, "fused": 12}}).model_dump_json()
    )
    with pytest.raises(CheckpointError, match=r"do not build.*multiples of 8"):
        load_checkpoint(path)
