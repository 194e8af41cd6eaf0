"""SAM's checkpoints: layouts, sizes told from tensors, and files that must be refused."""

from __future__ import annotations

import importlib.util
import os
import pickle
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from napari_neuropil.errors import CheckpointError, MissingExtraError
from napari_neuropil.networks._segment_anything import import_sam_parts
from napari_neuropil.networks.promptable import PromptTensors
from napari_neuropil.networks.sam_checkpoint import load_sam
from napari_neuropil.networks.sam_spec import SamSpec, save_sam
from napari_neuropil.networks.vit_sam import VitSam, VitSize, build_vit_sam, read_vit_size

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("segment_anything") is None, reason="segment_anything is not installed"
)

_TINY = VitSize(
    width=32,
    depth=3,
    heads=2,
    mlp=48,
    patch=16,
    grid=8,
    window=3,
    global_blocks=(1,),
    channels=32,
    mask_channels=8,
    decoder_depth=2,
    decoder_mlp=64,
    mask_count=3,
    score_width=32,
    score_depth=3,
)


@pytest.fixture(scope="module")
def tiny() -> VitSam:
    """A SAM of the published make, two thousand times smaller, with random values."""
    network = build_vit_sam(_TINY)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.copy_(0.2 * torch.randn(tensor.shape, generator=generator))
    return network.eval()


def _prefixed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"sam.{name}": tensor for name, tensor in state.items()}


_DECODER = {"out_conv.weight": torch.ones(3, 2, 1, 1)}
_LAYOUTS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "plain": lambda state: state,
    "export": lambda state: {"model_state": state, "decoder_state": _DECODER},
    "training": lambda state: {
        "model_state": _prefixed(state),
        "decoder_state": _DECODER,
        "optimizer_state": {"step": 3, "param_groups": [{"lr": 1e-5}]},
        "best_metric": 0.2,
        "timestamp": "today",
    },
    "training without a decoder": lambda state: {"model_state": _prefixed(state), "epoch": 4},
    "prefixed": _prefixed,
}


@pytest.mark.parametrize("layout", _LAYOUTS)
def test_every_layout_loads(tmp_path: Path, tiny: VitSam, layout: str) -> None:
    path = tmp_path / "checkpoint"  # micro_sam's downloads have no ending
    torch.save(_LAYOUTS[layout](tiny.state_dict()), path)
    loaded = load_sam(path)
    assert isinstance(loaded.network, VitSam)
    assert not loaded.network.training
    assert loaded.kind == "vit of width 32"
    assert loaded.network.input_side == 128
    assert loaded.spec is None
    own = loaded.network.state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in tiny.state_dict().items())
    with_decoder = layout in ("export", "training")
    assert list(loaded.instance_decoder) == (["out_conv.weight"] if with_decoder else [])
    assert loaded.network.fingerprint() == tiny.fingerprint()


@pytest.mark.parametrize("prefix", ["", "sam."])
def test_safetensors_load(tmp_path: Path, tiny: VitSam, prefix: str) -> None:
    path = tmp_path / "own.safetensors"
    save_file({f"{prefix}{name}": t.half() for name, t in tiny.state_dict().items()}, path)
    own = load_sam(path).network.state_dict()
    for name, tensor in tiny.state_dict().items():
        assert own[name].dtype == torch.float32
        torch.testing.assert_close(own[name], tensor, atol=1e-3, rtol=1e-3)


def test_a_tuned_one_is_saved_and_comes_back(tmp_path: Path, tiny: VitSam) -> None:
    path = tmp_path / "tuned.safetensors"
    written = save_sam(path, tiny, SamSpec(network=tiny.kind, licence="ours", steps=7), half=False)
    loaded = load_sam(path)
    assert loaded.spec == written
    assert written.input_side == 128
    assert written.mean == (123.675, 116.28, 103.53)
    assert loaded.network.fingerprint() == tiny.fingerprint()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="sha256 differs"):
        load_sam(path)


@pytest.mark.parametrize(
    ("kind", "width", "depth", "heads", "last"),
    [("vit_b", 768, 12, 12, 11), ("vit_l", 1024, 24, 16, 23), ("vit_h", 1280, 32, 16, 31)],
)
def test_sizes_are_told_from_shapes(
    kind: str, width: int, depth: int, heads: int, last: int
) -> None:
    import_sam_parts()
    with torch.device("meta"):  # shapes without memory
        sam = sys.modules["segment_anything"].sam_model_registry[kind]()
    size = read_vit_size(sam.state_dict())
    assert (size.kind, size.width, size.depth, size.heads) == (kind, width, depth, heads)
    step = depth // 4
    assert size.global_blocks == (step - 1, 2 * step - 1, 3 * step - 1, last)
    assert (size.patch, size.grid, size.window, size.channels) == (16, 64, 14, 256)
    if kind == "vit_b":
        own = build_vit_sam(size).state_dict()
        assert {n: t.shape for n, t in own.items()} == {
            n: t.shape for n, t in sam.state_dict().items()
        }


@pytest.mark.parametrize("multimask", [False, True])
def test_answers_equal_those_of_the_package(tiny: VitSam, multimask: bool) -> None:
    reference = import_sam_parts().Sam(tiny.image_encoder, tiny.prompt_encoder, tiny.mask_decoder)
    grey = torch.randint(0, 256, (96, 128), generator=torch.Generator().manual_seed(2)).float()
    asked = {"image": grey.expand(3, -1, -1), "original_size": (96, 128)}
    # The package takes x first.
    points = torch.tensor([[[70.0, 20.0]], [[5.0, 90.0]]])
    signs = torch.ones(2, 1)
    boxes = torch.tensor([[10.0, 30.0, 60.0, 50.0], [0.0, 4.0, 128.0, 90.0]])
    masks = torch.randn((2, 1, 32, 32), generator=torch.Generator().manual_seed(4))
    asked |= {"point_coords": points, "point_labels": signs, "boxes": boxes, "mask_inputs": masks}
    wanted = reference([asked], multimask_output=multimask)[0]
    prompts = PromptTensors(
        points=torch.tensor([[[20.0, 70.0]], [[90.0, 5.0]]]),
        positive=signs,
        boxes=torch.tensor([[30.0, 10.0, 50.0, 60.0], [4.0, 0.0, 90.0, 128.0]]),
        masks=masks,
    )
    with torch.inference_mode():
        features = tiny.encode(grey[None, None])
        logits, scores = tiny.decode(features, prompts, multimask=multimask)
    torch.testing.assert_close(logits, wanted["low_res_logits"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(scores, wanted["iou_predictions"], atol=1e-4, rtol=1e-4)
    assert tiny.mask_grid(features) == (32, 32)
    assert tiny.mask_stride == 4


class _Hostile:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


class _Evaluated(_Hostile):
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, (f"__import__('os').system({self.command!r})",)


@pytest.mark.parametrize("kind", ["torch", "pickle", "legacy"])
@pytest.mark.parametrize("make", [_Hostile, _Evaluated])
def test_hostile_pickles_run_nothing(
    tmp_path: Path, tiny: VitSam, kind: str, make: type[_Hostile]
) -> None:
    marker, path = tmp_path / "ran", tmp_path / "hostile.pt"
    content = {"model_state": _prefixed(tiny.state_dict()), "init": make(f"touch {marker}")}
    if kind == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "torch")
    with pytest.raises(CheckpointError, match=r"not opened|cannot be read") as caught:
        load_sam(path)
    assert not marker.exists()
    if kind == "torch":
        assert any(name in str(caught.value) for name in ("posix.system", "nt.system", "eval"))


def test_settings_of_a_training_are_left_out_and_never_made(
    tmp_path: Path, tiny: VitSam, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training files describe their loaders as objects of torch_em."""
    package = ModuleType("torch_em.fake_of_a_test")
    made: list[str] = []

    class Loader:
        def __init__(self, shape: int) -> None:
            self.shape = shape

        def __setstate__(self, state: object) -> None:
            made.append("state")

        def __reduce__(self) -> tuple[object, tuple[int], dict[str, int]]:
            return Loader, (self.shape,), {"shape": self.shape}

    Loader.__module__, Loader.__qualname__ = package.__name__, "Loader"
    package.Loader = Loader  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch_em", ModuleType("torch_em"))
    monkeypatch.setitem(sys.modules, package.__name__, package)
    path = tmp_path / "best.pt"
    init = {"loader": Loader(3), "folder": tmp_path, "transform": partial(int, base=2)}
    torch.save({"model_state": _prefixed(tiny.state_dict()), "init": init}, path)
    monkeypatch.delitem(sys.modules, package.__name__)
    monkeypatch.delitem(sys.modules, "torch_em")
    made.clear()
    own = load_sam(path).network.state_dict()
    assert all(torch.equal(own[name], t) for name, t in tiny.state_dict().items())
    assert not made
    assert "torch_em" not in sys.modules


def test_wrong_files_are_named(tmp_path: Path, tiny: VitSam) -> None:
    path = tmp_path / "file.pt"
    with pytest.raises(CheckpointError, match="No checkpoint at"):
        load_sam(path)
    state = tiny.state_dict()
    name = "mask_decoder.iou_token.weight"
    torch.save({n: t for n, t in state.items() if n != name}, path)
    with pytest.raises(CheckpointError, match=rf"1 tensors missing, for example {name}"):
        load_sam(path)
    torch.save({**state, name: torch.zeros(1, 5)}, path)
    with pytest.raises(CheckpointError, match=r"iou_token.weight \(1, 5\) instead of \(1, 32\)"):
        load_sam(path)
    torch.save({n: t for n, t in state.items() if "pos_embed" not in n}, path)
    with pytest.raises(CheckpointError, match="pos_embed"):
        load_sam(path)
    torch.save({"encoder.weight": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match=r"not a SAM checkpoint.*but encoder\.weight"):
        load_sam(path)
    torch.save({"model": {"sam_mask_decoder.iou_token.weight": torch.zeros(3)}}, path)
    with pytest.raises(CheckpointError, match="SAM 2"):
        load_sam(path)
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="but is a list"):
        load_sam(path)
    torch.save(state, path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(CheckpointError):
        load_sam(path)
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"no tensors")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_sam(bad)


def test_vit_t_needs_its_package(tmp_path: Path, tiny: VitSam) -> None:
    if importlib.util.find_spec("mobile_sam") is not None:
        pytest.skip("mobile_sam is installed")
    state = {n: t for n, t in tiny.state_dict().items() if "image_encoder" not in n}
    state["image_encoder.patch_embed.seq.0.c.weight"] = torch.zeros(32, 3, 3, 3)
    torch.save(state, tmp_path / "vit_t.pt")
    with pytest.raises(MissingExtraError, match="MobileSAM"):
        load_sam(tmp_path / "vit_t.pt")
