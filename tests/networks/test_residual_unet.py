"""The residual U-Net: tensor names, the forward pass written anew, and published layouts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from napari_neuropil.errors import CheckpointError
from napari_neuropil.networks import load_checkpoint, load_published
from napari_neuropil.networks.registry import METRIC_OFFSETS
from napari_neuropil.networks.residual_unet import ResidualUNet, bilinear_kernel
from napari_neuropil.segmentation.metric_offsets import OFFSETS
from napari_neuropil.workflows.convert import convert_checkpoint

State = dict[str, Tensor]


def _network(widths: tuple[int, ...], dimensions: int = 24) -> ResidualUNet:
    """Return a network in which every tensor but the fixed kernels is random."""
    torch.manual_seed(sum(widths))
    network = ResidualUNet(widths, dimensions).eval()
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            if tensor.dim() == 1:
                tensor.copy_(torch.rand_like(tensor) + 0.2 * name.endswith("weight"))
    return network


def _norm_relu(x: Tensor, state: State, name: str) -> Tensor:
    mean = x.mean((2, 3, 4), keepdim=True)
    variance = (x - mean).square().mean((2, 3, 4), keepdim=True)
    scale, shift = (state[f"{name}.{p}"].view(-1, 1, 1, 1) for p in ("weight", "bias"))
    return ((x - mean) / (variance + 1e-5).sqrt() * scale + shift).clamp(min=0)


def _unit(x: Tensor, state: State, name: str) -> Tensor:
    x = _norm_relu(x, state, f"{name}.norm_act.norm")
    return functional.conv3d(x, state[f"{name}.conv.weight"], padding=1)


def _block(x: Tensor, state: State, name: str) -> Tensor:
    x = _unit(x, state, f"{name}.pre")
    x = x + _unit(_unit(x, state, f"{name}.res.conv1"), state, f"{name}.res.conv2")
    return _unit(x, state, f"{name}.post")


def _head(x: Tensor, state: State, name: str) -> Tensor:
    bias = state.get(f"{name}.conv.bias")
    return functional.conv3d(x, state[f"{name}.conv.weight"], bias, padding=(0, 2, 2))


def _written_anew(state: State, image: Tensor) -> tuple[Tensor, Tensor]:
    levels = 1 + sum(name.endswith(".1.pre.conv.weight") for name in state)
    x = _block(_head(image, state, "in.conv"), state, "core.iconv")
    skips = [x]
    for i in range(levels - 1):
        b, c, z, h, w = x.shape
        x = x.view(b, c, z, h // 2, 2, w // 2, 2).amax((4, 6))
        x = _block(x, state, f"core.dconvs.{i}.1")
        skips.append(x)
    skips.pop()
    for i in range(levels - 1):
        up = f"core.uconvs.{i}.up.up"
        x = functional.conv_transpose3d(
            x, state[f"{up}.0.weight"], stride=(1, 2, 2), padding=(0, 1, 1), groups=x.shape[1]
        )
        x = functional.conv3d(x, state[f"{up}.1.weight"]) + skips.pop()
        x = _block(x, state, f"core.uconvs.{i}.conv")
    x = _norm_relu(x, state, "core.final.norm")
    embeddings = _head(x, state, "out.embedding.0") * state["out.embedding.1.scale"]
    return embeddings, 1 / (1 + torch.exp(-_head(x, state, "out.boundary")))


def test_published_names_and_size() -> None:
    network = ResidualUNet()
    state = network.state_dict()
    assert len(state) == 124
    assert sum(p.numel() for p in network.parameters()) == 10_662_394
    for name, shape in {
        "in.conv.conv.weight": (16, 1, 1, 5, 5),
        "core.iconv.pre.norm_act.norm.bias": (16,),
        "core.dconvs.3.1.res.conv2.conv.weight": (256, 256, 3, 3, 3),
        "core.uconvs.0.up.up.0.weight": (256, 1, 1, 4, 4),
        "core.uconvs.0.up.up.1.weight": (128, 256, 1, 1, 1),
        "core.final.norm.weight": (16,),
        "out.embedding.0.conv.bias": (24,),
        "out.embedding.1.scale": (1,),
        "out.boundary.conv.weight": (1, 16, 1, 5, 5),
    }.items():
        assert state[name].shape == shape
    assert state["out.embedding.1.scale"].item() == pytest.approx(0.1)
    assert "core.uconvs.0.up.up.0.weight" not in dict(network.named_parameters())


@pytest.mark.parametrize(
    ("widths", "shape"),
    [
        ((4, 6, 8), (2, 1, 3, 16, 12)),
        ((3, 5), (1, 1, 1, 8, 10)),
        ((2, 2, 4, 4, 8), (1, 1, 2, 32, 32)),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_the_forward_pass_written_anew(
    widths: tuple[int, ...], shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    network = _network(widths, 5).to(dtype)
    image = torch.rand(shape, dtype=dtype)
    with torch.inference_mode():
        found, wanted = network(image), _written_anew(network.state_dict(), image)
    assert found[0].shape == (shape[0], 5, *shape[2:])
    assert found[1].shape == shape
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_kernels_of_a_checkpoint_count() -> None:
    network = _network((4, 6, 8), 5)
    state = network.state_dict()
    state["core.uconvs.0.up.up.0.weight"] = torch.rand(8, 1, 1, 4, 4)
    state["core.uconvs.1.up.up.0.weight"] = torch.rand(6, 1, 1, 4, 4)
    image = torch.rand(1, 1, 2, 16, 16)
    with torch.inference_mode():
        before = network(image)[0]
        network.load_state_dict(state)
        found, wanted = network(image)[0], _written_anew(state, image)[0]
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
        assert not torch.allclose(found, before, atol=1e-2)


def test_upsampling_by_hand() -> None:
    line = torch.tensor([1.0, 5.0]).expand(1, 1, 1, 2, 2)
    up = functional.conv_transpose3d(line, bilinear_kernel(1), stride=(1, 2, 2), padding=(0, 1, 1))
    # Outside counts as zero: the first is 3/4 of 1, in both axes.
    wanted = torch.tensor([0.75, 2.0, 4.0, 3.75])
    torch.testing.assert_close(up[0, 0, 0, 0], 0.75 * wanted)
    torch.testing.assert_close(up[0, 0, 0, 1], wanted)


def test_odd_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="divisible by 4"):
        _network((2, 2, 2))(torch.rand(1, 1, 2, 16, 18))
    with pytest.raises(ValueError, match="no U-Net"):
        ResidualUNet((4,))


def test_offsets_are_those_of_the_segmentation() -> None:
    assert METRIC_OFFSETS == OFFSETS
    assert len(set(OFFSETS)) == 12


def _old_norm(state: State) -> State:
    renamed = {k.replace("norm_act", "norm_relu"): t for k, t in state.items()}
    for name in [k for k in renamed if k.endswith("norm.weight")]:
        stem = name.removesuffix("weight")
        renamed[stem + "running_mean"] = torch.rand(len(renamed[name]))
        renamed[stem + "running_var"] = torch.rand(len(renamed[name]))
        renamed[stem + "num_batches_tracked"] = torch.tensor(7)
    return renamed


_LAYOUTS: dict[str, Callable[[State], State]] = {
    "as it is": lambda state: state,
    "data parallel": lambda state: {f"module.{k}": t for k, t in state.items()},
    "wrapped twice": lambda state: {f"module.model.{k}": t for k, t in state.items()},
    "batch norm": _old_norm,
    "no kernels": lambda state: {k: t for k, t in state.items() if "up.up.0" not in k},
    "mask": lambda state: {k.replace("out.boundary", "out.mask"): t for k, t in state.items()},
}


@pytest.mark.parametrize("layout", _LAYOUTS)
def test_published_layouts_load(tmp_path: Path, layout: str) -> None:
    network = _network((4, 6, 8))
    path = tmp_path / "model.chkpt"
    torch.save({"iter": 3, "state_dict": _LAYOUTS[layout](network.state_dict())}, path)
    loaded = load_published("voxel-embeddings", path)
    assert not loaded.training
    image = torch.rand(1, 1, 2, 16, 16)
    with torch.inference_mode():
        for found, wanted in zip(loaded(image), network(image), strict=True):
            assert torch.equal(found, wanted)


def test_published_width_loads_and_converts(tmp_path: Path) -> None:
    network = ResidualUNet()
    path = tmp_path / "published.chkpt"
    torch.save(network.state_dict(), path)
    own = convert_checkpoint("voxel-embeddings", path, tmp_path / "own.safetensors")
    loaded, spec = load_checkpoint(own, "voxel-embeddings")
    assert spec.arguments == {"widths": [16, 32, 64, 128, 256], "dimensions": 24}
    assert spec.offsets == OFFSETS
    assert spec.tile_shape == (20, 128, 128)
    assert len(loaded.state_dict()) == 124


def test_other_checkpoints_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.chkpt"
    state = _network((4, 6, 8)).state_dict()
    del state["core.final.norm.bias"]
    torch.save(state, path)
    with pytest.raises(CheckpointError, match=r"1 tensors missing.*core.final.norm.bias"):
        load_published("voxel-embeddings", path)
    torch.save({"encoder.weight": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="124 tensors missing"):
        load_published("voxel-embeddings", path)
    two = {**_network((4, 6, 8)).state_dict(), "out.myelin.conv.weight": torch.zeros(1, 4, 1, 5, 5)}
    torch.save(two, path)
    with pytest.raises(CheckpointError, match=r"1 tensors unknown.*out.myelin"):
        load_published("voxel-embeddings", path)
