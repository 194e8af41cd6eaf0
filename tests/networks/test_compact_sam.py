"""The compact SAM: shapes, the first guess, places in its frame, files."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from napari_neuropil.errors import CheckpointError
from napari_neuropil.networks.checkpoint import CheckpointSpec, save_checkpoint
from napari_neuropil.networks.compact_sam import CompactSam
from napari_neuropil.networks.prompt_maps import draw_prompts
from napari_neuropil.networks.promptable import PromptTensors
from napari_neuropil.networks.sam_checkpoint import load_sam
from napari_neuropil.networks.sam_spec import SamSpec, save_sam

needs_sam = pytest.mark.skipif(
    importlib.util.find_spec("segment_anything") is None, reason="segment_anything is not installed"
)

_SMALL = {"width": 32, "encoder_widths": (16, 16, 32, 32, 32), "encoder_blocks": (1, 1, 1, 1)}


def _small(side: int = 128, seed: int = 0) -> CompactSam:
    torch.manual_seed(seed)
    return CompactSam(input_side=side, **_SMALL).eval()


def _stir(network: CompactSam) -> None:
    """Give the decoder something to say, so that equal answers mean something."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            if "hypernetworks" in name:
                tensor.copy_(0.5 * torch.randn(tensor.shape, generator=generator))


def _grey(shape: tuple[int, int]) -> Tensor:
    return 255 * torch.rand((1, 1, *shape), generator=torch.Generator().manual_seed(2))


def test_maps_by_hand() -> None:
    maps = draw_prompts(
        PromptTensors(
            boxes=torch.tensor([[4.0, 8.0, 16.0, 18.0]]),
            points=torch.tensor([[[3.5, 19.5], [11.5, 3.5], [0.0, 0.0]]]),
            positive=torch.tensor([[1.0, 0.0, -1.0]]),  # -1: no point
        ),
        (2, 3),
        8,
        1,
    )
    assert maps.shape == (1, 3, 2, 3)
    wanted = torch.tensor([[0, 0.5, 0.125], [0, 1, 0.25]])
    torch.testing.assert_close(maps[0, 0], wanted)
    assert maps[0, 1, 0, 2] == 1  # in the middle of its cell
    assert maps[0, 1, 1, 2].item() == pytest.approx(torch.tensor(-0.5).exp().item())
    assert maps[0, 2].argmax() == 3
    assert maps[0, 2].max() == 1


@needs_sam
def test_shapes_of_sections_that_are_not_square() -> None:
    network = _small()
    features = network.encode(_grey((70, 100)))  # padded to 96 x 128
    assert {k: tuple(v.shape[1:]) for k, v in features.items()} == {
        "image": (32, 12, 16),
        "middle": (32, 24, 32),
        "fine": (8, 48, 64),
    }
    assert network.mask_grid(features) == (48, 64)
    boxes = torch.tensor([[8.0, 8.0, 40.0, 64.0]] * 2)
    masks = torch.zeros(2, 1, 48, 64)
    points, signs = torch.rand(2, 3, 2) * 60, torch.tensor([[1.0, 0.0, -1.0]] * 2)
    for prompts in (
        PromptTensors(boxes=boxes),
        PromptTensors(boxes=boxes, masks=masks),
        PromptTensors(points=points, positive=signs),
        PromptTensors(points=points, positive=signs, boxes=boxes, masks=masks),
        PromptTensors(masks=masks),
    ):
        for multimask, count in ((False, 1), (True, 3)):
            logits, scores = network.decode(features, prompts, multimask=multimask)
            assert logits.shape == (2, count, 48, 64)
            assert scores.shape == (2, count)


@needs_sam
def test_before_training_it_fills_the_box() -> None:
    network = _small()
    features = network.encode(_grey((96, 128)))
    logits, _ = network.decode(
        features, PromptTensors(boxes=torch.tensor([[16.0, 40.0, 48.0, 112.0]])), multimask=False
    )
    wanted = torch.zeros(48, 64, dtype=torch.bool)
    wanted[8:24, 20:56] = True  # each logit covers two pixels
    found = logits[0, 0] > 0
    assert (found & wanted).sum() / (found | wanted).sum() > 0.85


@needs_sam
def test_a_mask_as_prompt_is_where_it_begins() -> None:
    network = _small()
    features = network.encode(_grey((128, 128)))
    masks = torch.full((1, 1, 64, 64), -7.0)
    masks[..., 10:30, 40:60] = 7
    logits, _ = network.decode(features, PromptTensors(masks=masks), multimask=False)
    assert torch.equal(logits > 0, masks > 0)


@needs_sam
def test_the_frame_does_not_matter_to_tokens_of_one_place() -> None:
    """A crop at its place in the frame gets the same position codes as the whole section."""
    network = _small()
    _stir(network)
    whole = network.encode(_grey((128, 128)))
    part = {
        name: tensor[..., n * 4 : n * 12, n * 2 : n * 10].contiguous()
        for (name, tensor), n in zip(whole.items(), (1, 2, 4), strict=True)
    }
    boxes = torch.tensor([[10.0, 20.0, 40.0, 50.0]])
    at_origin, _ = network.decode(part, PromptTensors(boxes=boxes), multimask=False)
    moved, _ = network.decode(part, PromptTensors(boxes=boxes), multimask=False, origin=(32, 16))
    assert not torch.allclose(at_origin, moved)
    # In a frame twice as large, with as many waves per pixel, everything lies as before.
    twice = CompactSam(input_side=256, **_SMALL).eval()
    state = dict(network.state_dict())
    code = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
    state[code] = 2 * state[code]
    twice.load_state_dict(state)
    shifted, _ = twice.decode(part, PromptTensors(boxes=boxes), multimask=False, origin=(96, 80))
    torch.testing.assert_close(shifted, moved, atol=2e-3, rtol=1e-3)


@needs_sam
def test_several_prompts_are_answered_like_single_ones() -> None:
    network = _small()
    _stir(network)
    features = network.encode(_grey((96, 96)))
    boxes = torch.tensor([[8.0, 8.0, 40.0, 64.0], [30.0, 2.0, 90.0, 33.0], [0.0, 0.0, 9.0, 9.0]])
    together, scores = network.decode(features, PromptTensors(boxes=boxes), multimask=True)
    for box, logits, score in zip(boxes, together, scores, strict=True):
        alone = network.decode(features, PromptTensors(boxes=box[None]), multimask=True)
        torch.testing.assert_close(alone[0][0], logits, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(alone[1][0], score, atol=1e-4, rtol=1e-4)


@needs_sam
def test_the_fingerprint_is_the_encoder() -> None:
    network, other = _small(), _small(seed=1)
    before = network.fingerprint()
    assert before == _small().fingerprint()
    assert before != other.fingerprint()
    with torch.no_grad():
        network.mask_decoder.iou_token.weight.add_(1)
    assert network.fingerprint() == before
    network.mean = (100.0,)
    assert network.fingerprint() != before
    network.mean = (128.0,)
    with torch.no_grad():
        network.image_encoder.fine.bias.add_(1)
    assert network.fingerprint() != before


@needs_sam
def test_the_default_is_small() -> None:
    with torch.device("meta"):
        network = CompactSam()
    count = sum(p.numel() for p in network.parameters())
    assert 3e6 < count < 4.5e6  # 8 MB as shipped


@needs_sam
def test_files(tmp_path: Path) -> None:
    network = _small()
    network.mean, network.std = (90.0,), (30.0,)
    path = tmp_path / "own.safetensors"
    spec = SamSpec(network="compact-sam", arguments=_SMALL, pixel_sizes_nm=(6.0, 12.0))
    written = save_sam(path, network, spec)
    assert (written.input_side, written.mean, written.std) == (128, (90.0,), (30.0,))
    loaded = load_sam(path)
    assert loaded.kind == "compact-sam"
    assert loaded.spec is not None
    assert loaded.spec.model_dump_json() == written.model_dump_json()
    assert (loaded.network.mean, loaded.network.std) == ((90.0,), (30.0,))
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(
            loaded.network.state_dict()[name], tensor, atol=2e-3, rtol=1e-3, msg=name
        )
    content = json.loads(path.with_suffix(".json").read_text())
    for change, message in (
        ({"arguments": {"width": 33}, "sha256": ""}, "do not build"),
        ({"arguments": {"depth": 3}}, "do not build"),
        ({"input_side": 100}, "do not build"),
        ({"network": "vit_b"}, "no spec of a compact-sam"),
        ({"input_side": "wide"}, "not the spec"),
        ({"sha256": "0"}, "sha256 differs"),
    ):
        path.with_suffix(".json").write_text(json.dumps({**content, **change}))
        with pytest.raises(CheckpointError, match=message):
            load_sam(path)
    path.with_suffix(".json").unlink()
    with pytest.raises(CheckpointError, match="no spec of a compact-sam"):
        load_sam(path)


@needs_sam
def test_what_training_writes_is_read(tmp_path: Path) -> None:
    network = _small()
    path = tmp_path / "trained.safetensors"
    spec = CheckpointSpec(
        network="compact-sam",
        arguments={"input_side": 128, **_SMALL},
        offsets=(),
        voxel_sizes=((29.0, 6.0, 6.0), (8.0, 8.0, 8.0)),
        tile_shape=(1, 128, 128),
        training_data=("a volume",),
    )
    save_checkpoint(path, network.state_dict(), spec)
    loaded = load_sam(path)
    assert loaded.spec is not None
    assert loaded.spec.pixel_sizes_nm == (6.0, 8.0)
    assert loaded.spec.training_data == ("a volume",)
    assert loaded.network.input_side == 128
