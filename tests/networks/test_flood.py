"""Flooded prompts: by hand, with points and masks, and the compact SAM that begins from them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from napari_neuropil.networks.checkpoint import CheckpointSpec, save_checkpoint
from napari_neuropil.networks.compact_sam import CompactSam
from napari_neuropil.networks.flood import flood_box
from napari_neuropil.networks.flood_guess import FloodGuess
from napari_neuropil.networks.mnet_encoder import BORDER, MNetEncoder
from napari_neuropil.networks.promptable import PromptTensors
from napari_neuropil.networks.sam_checkpoint import load_sam

needs_sam = pytest.mark.skipif(
    importlib.util.find_spec("segment_anything") is None, reason="segment_anything is not installed"
)

_TRUNK = {"widths": (4, 4, 8, 8, 8), "affinity_channels": 4}
_NONE = np.zeros((0, 2), np.float32), np.zeros(0, np.bool_)


def _two_cells() -> NDArray[np.float32]:
    """Return a wall around two cells and between them, at column 20."""
    heights = np.zeros((32, 48), np.float32)
    heights[[4, 24], 6:42] = heights[4:25, 6] = heights[4:25, 41] = heights[4:25, 20] = 1
    return heights


def test_the_middle_of_the_box_is_flooded_up_to_the_wall() -> None:
    box = (4, 20, 25, 42)
    found = flood_box(_two_cells(), box, *_NONE)
    wanted = np.zeros((21, 22), np.bool_)
    wanted[1:-1, 1:-1] = True  # walls go to either side
    assert (found & wanted).sum() == wanted.sum()
    assert (found ^ wanted).sum() <= 2 * (21 + 22)


def test_points_and_masks_say_which_cell() -> None:
    box = (4, 6, 25, 42)
    signs = np.array([True, False])
    points = np.array([[14, 12], [14, 30]], np.float32)
    found = flood_box(_two_cells(), box, points, signs)
    assert found[10, 6]
    assert not found[10, 24]
    other = flood_box(_two_cells(), box, points[::-1], signs)
    assert other[10, 24]
    assert not other[10, 6]
    mask = np.zeros((32, 48), np.bool_)
    mask[8:20, 9:18] = True
    kept = flood_box(_two_cells(), box, points[1:], signs[1:], mask)
    assert kept[10, 6]
    assert not kept[10, 24]


def test_guesses_of_prompts() -> None:
    guess = FloodGuess(8)
    border = torch.from_numpy(_two_cells())[None, None]
    points = torch.tensor([[[14.0, 12.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    signs = torch.tensor([[1.0, -1.0], [-1.0, -1.0]])  # -1: no point
    found = guess(border, PromptTensors(points=points, positive=signs), 2)
    assert found.shape == (2, 1, 16, 24)
    assert found[0, 0, 7, 6] == 4
    assert found[0, 0, 0, 0] == found[0, 0, 15, 23] == -4
    assert (found[1] == 0).all()  # nothing is known
    boxes = PromptTensors(boxes=torch.tensor([[3.6, 19.7, 25.0, 42.0]]))
    assert guess(border, boxes, 1)[0, 0, 7, 15] == 4
    outside = PromptTensors(boxes=torch.tensor([[50.0, 60.0, 70.0, 80.0]]))
    assert (guess(border, outside, 1) == 0).all()
    masks = torch.full((1, 1, 16, 24), -5.0)
    masks[..., 5:9, 5:9] = 5
    by_mask = guess(border, PromptTensors(masks=masks), 1)
    assert by_mask[0, 0, 7, 6] == 4
    assert by_mask[0, 0, 0, 0] == -4


def _on_trunk(side: int = 96) -> CompactSam:
    torch.manual_seed(0)
    return CompactSam(input_side=side, width=32, trunk=_TRUNK, detail=(16, 8)).eval()


@needs_sam
def test_it_begins_from_the_flood_and_trains_no_trunk() -> None:
    network = _on_trunk()
    section = 255 * torch.rand((1, 1, 70, 90), generator=torch.Generator().manual_seed(1))
    features = network.encode(section)
    assert {n: tuple(t.shape[1:]) for n, t in features.items()} == {
        "image": (32, 12, 12),
        "middle": (16, 24, 24),
        "fine": (8, 48, 48),
        BORDER: (1, 96, 96),
    }
    features[BORDER] = torch.zeros(1, 1, 96, 96)
    features[BORDER][..., :32, :48] = torch.from_numpy(_two_cells())
    prompts = PromptTensors(boxes=torch.tensor([[4.0, 20.0, 25.0, 42.0]]))
    logits, _ = network.decode(features, prompts, multimask=False)
    assert network.flooded is not None
    guess = network.flooded(features[BORDER], prompts, 1)
    sure = guess.abs() == 4
    assert torch.equal((logits > 0)[sure], (guess > 0)[sure])
    network.train()
    torch.autograd.backward(network.encode(section)["image"].sum())
    learned = {n for n, p in network.named_parameters() if p.requires_grad}
    assert not [n for n in learned if "trunk" in n]
    assert {n for n, p in network.named_parameters() if p.grad is not None} <= learned


def test_sections_are_seen_alone() -> None:
    torch.manual_seed(0)
    encoder = MNetEncoder(_TRUNK, 32, 16, 8).eval()
    sections = torch.rand(2, 1, 64, 32)
    together = encoder(sections)
    alone = encoder(sections[1:])
    for name, tensor in together.items():
        torch.testing.assert_close(tensor[1:], alone[name], atol=1e-4, rtol=1e-4)
    affinities, foreground = encoder.trunk(sections[1:, :, None])
    inside = torch.minimum(affinities[:, 1:3].amin(1), foreground[:, 0])[:, 0]
    torch.testing.assert_close(torch.sigmoid(-alone[BORDER][:, 0]), inside, atol=1e-5, rtol=1e-4)


@needs_sam
def test_what_training_writes_is_read(tmp_path: Path) -> None:
    network = _on_trunk()
    arguments = {"input_side": 96, "width": 32, "trunk": _TRUNK, "detail": (16, 8)}
    spec = CheckpointSpec(
        network="compact-sam",
        arguments=arguments,
        offsets=(),
        voxel_sizes=((29.0, 6.0, 6.0),),
        tile_shape=(1, 96, 96),
    )
    save_checkpoint(tmp_path / "a.safetensors", network.state_dict(), spec, half=False)
    loaded = load_sam(tmp_path / "a.safetensors").network
    assert isinstance(loaded, CompactSam)
    assert (loaded.mean, loaded.std) == ((0.0,), (255.0,))
    section = torch.full((1, 1, 64, 64), 99.0)
    section[..., 20:40, 20:40] = 180
    for name, tensor in network.encode(section).items():
        torch.testing.assert_close(loaded.encode(section)[name], tensor)
