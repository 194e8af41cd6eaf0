"""SAM-like networks as segmenters: places, sizes, readings, memory, and learning."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_neuropil.errors import SettingsError
from napari_neuropil.networks.compact_sam import CompactSam
from napari_neuropil.networks.promptable import PromptableNetwork, PromptTensors
from napari_neuropil.prompts import sam_segmenter
from napari_neuropil.prompts.prompt import Prompt
from napari_neuropil.prompts.sam_segmenter import SamSegmenter, _within_memory
from napari_neuropil.prompts.section_scaling import SectionScaling

needs_sam = pytest.mark.skipif(
    importlib.util.find_spec("segment_anything") is None, reason="segment_anything is not installed"
)


class DrawingNetwork(PromptableNetwork):
    """Draws boxes, a disc around the first point, or the mask it was given.

    Of three readings the discs have radii 3, 6 and 9; the second is said to be best.
    """

    def __init__(self, side: int, *, enlarges: bool, most: int = 1000) -> None:
        super().__init__()
        self.input_side, self.enlarges, self.most = side, enlarges, most
        self.mask_stride = self.prompt_stride = 2
        self.mean, self.std = (0.0,), (1.0,)
        self.image_encoder = nn.Identity()
        self.asked: list[tuple[int, bool]] = []

    def encode(self, sections: Tensor) -> dict[str, Tensor]:
        height, width = sections.shape[-2:]
        assert max(height, width) <= self.input_side
        self.seen = sections
        return {"image": sections.new_zeros(1, 1, self.input_side // 8, self.input_side // 8)}

    def decode(
        self,
        features: Mapping[str, Tensor],
        prompts: PromptTensors,
        *,
        multimask: bool,
        origin: tuple[int, int] = (0, 0),
    ) -> tuple[Tensor, Tensor]:
        assert origin == (0, 0)
        given = next(t for t in (prompts.boxes, prompts.points, prompts.masks) if t is not None)
        self.asked.append((len(given), multimask))
        if len(given) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        side = self.input_side // 2
        place = torch.arange(side) * 2 + 1.0  # middles of cells, in input pixels from the corner
        readings = 3 if multimask else 1
        if prompts.masks is not None:
            logits = prompts.masks.expand(-1, readings, -1, -1)
        elif prompts.boxes is not None:
            y0, x0, y1, x1 = (v[:, None, None, None] for v in prompts.boxes.unbind(1))
            y, x = place[:, None], place[None, :]
            inside = (y > y0) & (y < y1) & (x > x0) & (x < x1)
            logits = (20.0 * inside - 10).expand(-1, readings, -1, -1)
        else:
            assert prompts.points is not None
            y, x = (v[:, None, None, None] + 0.5 for v in prompts.points[:, 0].unbind(1))
            away = ((place[:, None] - y) ** 2 + (place[None, :] - x) ** 2).sqrt()
            radii = torch.tensor([3.0, 6.0, 9.0])[:readings, None, None]
            logits = radii - away
        scores = torch.tensor([0.2, 1.4, 0.6])[:readings].expand(len(given), -1)
        return logits, scores


def _mask(shape: tuple[int, int], box: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    mask = np.zeros(shape, np.bool_)
    mask[box[0] : box[2], box[1] : box[3]] = True
    return mask


def _overlap(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    return float((first & second).sum() / (first | second).sum())


def _section(shape: tuple[int, int]) -> NDArray[np.uint8]:
    section: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    return section


@pytest.mark.parametrize(
    ("shape", "enlarges"),
    [
        ((128, 128), True),
        ((128, 96), False),
        ((60, 100), False),
        ((50, 31), True),
        ((200, 333), True),
    ],
)
def test_masks_lie_where_the_prompt_is(shape: tuple[int, int], enlarges: bool) -> None:
    segmenter = SamSegmenter(DrawingNetwork(128, enlarges=enlarges), "drawing")
    embedding = segmenter.embed(_section(shape))
    y, x = shape[0] // 10, shape[1] // 5
    box = (y, x, y + shape[0] // 4, x + shape[1] // 2)  # wide, not high, and up left
    masks = _mask(shape, box)
    by_box, by_mask = segmenter.masks(embedding, [Prompt(box=box), Prompt(mask=masks)])
    assert _overlap(by_box.mask, masks) > 0.9
    assert _overlap(by_mask.mask, masks) > 0.9
    point = (box[0] + 2, box[3] - 3)
    (by_point,) = segmenter.masks(
        embedding,
        [Prompt(points=np.array([point], np.float32), positive=np.ones(1, np.bool_))],
    )
    middle = np.argwhere(by_point.mask).mean(axis=0)
    cut = by_point.mask[0].any() or by_point.mask[:, -1].any()
    assert cut or np.abs(middle - point).max() < 1
    assert by_point.mask[point]


def test_boxes_are_exact_where_nothing_is_scaled() -> None:
    segmenter = SamSegmenter(DrawingNetwork(64, enlarges=False), "drawing")
    embedding = segmenter.embed(_section((64, 48)))
    (found,) = segmenter.masks(embedding, [Prompt(box=(8, 12, 24, 44))])
    np.testing.assert_array_equal(found.mask, _mask((64, 48), (8, 12, 24, 44)))
    assert found.stability == 1


@pytest.mark.parametrize(
    ("shape", "enlarges", "size"),
    [
        ((100, 50), True, (128, 64)),
        ((100, 50), False, (100, 50)),
        ((256, 100), False, (128, 50)),
        ((1, 1), True, (128, 128)),
        ((1000, 1), False, (128, 1)),
    ],
)
def test_sizes(shape: tuple[int, int], enlarges: bool, size: tuple[int, int]) -> None:
    network = DrawingNetwork(128, enlarges=enlarges)
    section = _section(shape)
    section[0, 0] = 255
    if section.size > 1:
        section[-1, -1] = 0
        SamSegmenter(network, "drawing").embed(section)
        assert tuple(network.seen.shape) == (1, 1, *size)
        if size == shape:
            np.testing.assert_array_equal(network.seen[0, 0].numpy(), section)
    assert SectionScaling.to_side(shape, 128, enlarge=enlarges).size == size


def test_one_point_has_three_readings_and_the_best_is_taken() -> None:
    network = DrawingNetwork(64, enlarges=False)
    segmenter = SamSegmenter(network, "drawing")
    embedding = segmenter.embed(_section((64, 64)))
    one = Prompt(points=np.array([[31, 20]], np.float32), positive=np.ones(1, np.bool_))
    two = Prompt(points=np.array([[31, 20], [32, 20]], np.float32), positive=np.ones(2, np.bool_))
    (best,) = segmenter.masks(embedding, [one])
    (only,) = segmenter.masks(embedding, [two])
    segmenter.masks(embedding, [Prompt(box=(1, 1, 9, 9))])
    assert network.asked == [(1, True), (1, False), (1, False)]
    assert best.mask.sum() == pytest.approx(np.pi * 6**2, rel=0.1)
    assert only.mask.sum() == pytest.approx(np.pi * 3**2, rel=0.2)
    assert best.score == 1  # predicted scores may exceed it
    # Radius 5 within radius 7.
    assert best.stability == pytest.approx(25 / 49, abs=0.06)


def test_a_mask_becomes_logits_of_covered_cells() -> None:
    mask = np.zeros((6, 4), np.bool_)
    mask[0:3, 0:2] = True
    odds = SectionScaling((6, 4), (6, 4)).mask_logits(mask, (4, 4), 2)
    assert odds.shape == (4, 4)
    sure = np.log(0.999 / 0.001)
    np.testing.assert_allclose(odds[:, 0], [sure, 0, -sure, -sure], atol=1e-3)
    np.testing.assert_allclose(odds[:, 1:], -sure, atol=1e-3)


def test_passes_are_bounded_and_in_order() -> None:
    network = DrawingNetwork(64, enlarges=False)
    segmenter = SamSegmenter(network, "drawing", batch=3)
    embedding = segmenter.embed(_section((64, 64)))
    boxes = [(i, 2 * i, i + 10, 2 * i + 8) for i in range(0, 20, 2)]
    prompts = [Prompt(box=box) for box in boxes]
    prompts.insert(4, Prompt(points=np.array([[5, 5]], np.float32), positive=np.ones(1, np.bool_)))
    found = segmenter.masks(embedding, prompts)
    assert max(count for count, _ in network.asked) == 3
    del found[4]
    for box, answer in zip(boxes, found, strict=True):
        np.testing.assert_array_equal(answer.mask, _mask((64, 64), box))


def test_too_little_memory_is_met_with_smaller_passes() -> None:
    network = DrawingNetwork(64, enlarges=False, most=2)
    segmenter = SamSegmenter(network, "drawing", batch=8)
    embedding = segmenter.embed(_section((64, 64)))
    boxes = [(i, 2 * i, i + 10, 2 * i + 8) for i in range(0, 10, 2)]
    found = segmenter.masks(embedding, [Prompt(box=box) for box in boxes])
    for box, answer in zip(boxes, found, strict=True):
        np.testing.assert_array_equal(answer.mask, _mask((64, 64), box))
    network.most = 0
    with pytest.raises(SettingsError, match="Memory does not suffice for one prompt"):
        segmenter.masks(embedding, [Prompt(box=(1, 1, 9, 9))])


def test_all_ways_to_run_out_of_memory() -> None:
    assert _within_memory(lambda: 3) == 3
    assert _within_memory(lambda: torch.empty(1 << 52)) is None
    assert _within_memory(lambda: np.empty(1 << 52)) is None
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        _within_memory(lambda: torch.zeros(2, 3) @ torch.zeros(2, 3))


def test_a_section_without_tissue_is_not_embedded() -> None:
    network = DrawingNetwork(64, enlarges=False)
    segmenter = SamSegmenter(network, "drawing")
    embedding = segmenter.embed(np.zeros((64, 64), np.uint8))
    (found,) = segmenter.masks(embedding, [Prompt(box=(1, 1, 9, 9))])
    assert not found.mask.any()
    assert (found.score, found.stability) == (0, 0)
    assert not network.asked
    assert not hasattr(network, "seen")


def _discs(rng: np.random.Generator) -> tuple[NDArray[np.uint8], list[NDArray[np.bool_]]]:
    """Return bright ellipses on noise, 96 x 96, apart from each other."""
    y, x = np.mgrid[:96, :96]
    image = np.full((96, 96), 90.0)
    masks: list[NDArray[np.bool_]] = []
    for _ in range(8):
        radii = rng.uniform(7, 15, 2)
        middle = rng.uniform(14, 82, 2)
        mask = ((y - middle[0]) / radii[0]) ** 2 + ((x - middle[1]) / radii[1]) ** 2 < 1
        if not any((mask & other).any() for other in masks):
            masks.append(mask)
            image[mask] = 180
    return (image + rng.normal(0, 12, image.shape)).clip(0, 255).astype(np.uint8), masks


def _box(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(rows[0]), float(columns[0]), float(rows[-1] + 1), float(columns[-1] + 1)


def _small() -> CompactSam:
    torch.manual_seed(0)
    return CompactSam(input_side=96, width=32, encoder_widths=(16,) * 5, encoder_blocks=(1,) * 4)


@needs_sam
@pytest.mark.parametrize("box", [(8, 40, 24, 88), (60, 4, 92, 20)])
def test_an_untrained_compact_sam_answers_at_the_place_asked(
    box: tuple[int, int, int, int],
) -> None:
    segmenter = SamSegmenter(_small(), "compact")
    embedding = segmenter.embed(_section((96, 96)))
    (by_box,) = segmenter.masks(embedding, [Prompt(box=box)])
    assert _overlap(by_box.mask, _mask((96, 96), box)) > 0.7  # drawn in cells of 8 pixels
    point = np.array([[box[0] + 3, box[3] - 4]], np.float32)
    (by_point,) = segmenter.masks(embedding, [Prompt(points=point, positive=np.ones(1, np.bool_))])
    assert np.abs(np.argwhere(by_point.mask).mean(axis=0) - point[0]).max() < 4
    assert set(embedding.arrays) == {"image", "middle", "fine"}
    assert all(array.dtype == np.float16 for array in embedding.arrays.values())


@needs_sam
def test_what_a_window_cuts_is_asked_for_in_the_whole_section(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    network = CompactSam(
        input_side=512, width=32, encoder_widths=(16,) * 5, encoder_blocks=(1,) * 4
    )
    segmenter = SamSegmenter(network, "compact")
    embedding = segmenter.embed(_section((512, 480)))
    seen: list[tuple[tuple[int, ...], tuple[int, int]]] = []
    decode = network.decode

    def listen(features: Mapping[str, Tensor], *prompts: PromptTensors, **options: Any) -> Any:
        seen.append((tuple(features["fine"].shape[-2:]), options["origin"]))
        return decode(features, *prompts, **options)

    monkeypatch.setattr(network, "decode", listen)
    box = (400.0, 20.0, 440.0, 60.0)
    (small,) = segmenter.masks(embedding, [Prompt(box=box)])
    assert seen == [((128, 128), (256, 0))], "the untrained network answers with the box"
    assert small.mask.shape == (512, 480)
    assert _overlap(small.mask, _mask((512, 480), (400, 20, 440, 60))) > 0.7
    seen.clear()
    monkeypatch.setattr(sam_segmenter, "is_cut", lambda *_: True)
    (again,) = segmenter.masks(embedding, [Prompt(box=box)])
    assert [place for _, place in seen] == [(256, 0), (0, 0)]
    assert seen[1][0] == (256, 240)
    assert _overlap(again.mask, small.mask) > 0.9


@needs_sam
def test_a_compact_sam_learns_discs_in_seconds() -> None:
    network = _small().train()
    rng = np.random.default_rng(0)
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3)
    for step in range(45):
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1, (step + 1) / 10)
        image, masks = _discs(rng)
        wanted = torch.from_numpy(np.array(masks, np.float32))[:, None]
        wanted = torch.nn.functional.avg_pool2d(wanted, network.mask_stride)
        features = network.encode(torch.from_numpy(image.astype(np.float32))[None, None])
        boxes = torch.tensor([_box(mask) for mask in masks])
        logits, _ = network.decode(features, PromptTensors(boxes=boxes), multimask=False)
        found = logits.sigmoid()
        shared = (found * wanted).sum(dim=(1, 2, 3))
        dice = 2 * shared / (found.sum(dim=(1, 2, 3)) + wanted.sum(dim=(1, 2, 3)))
        optimiser.zero_grad()
        (1 - dice).mean().backward()
        optimiser.step()
    segmenter = SamSegmenter(network, "compact")
    held_out = np.random.default_rng(7)
    overlaps, fills = [], []
    for _ in range(4):
        image, masks = _discs(held_out)
        prompts = [Prompt(box=_box(mask)) for mask in masks]
        for mask, prompt, answer in zip(
            masks, prompts, segmenter.masks(segmenter.embed(image), prompts), strict=True
        ):
            overlaps.append(_overlap(answer.mask, mask))
            assert prompt.box is not None
            y0, x0, y1, x1 = prompt.box
            fills.append(mask.sum() / ((y1 - y0) * (x1 - x0)))
    assert np.mean(fills) == pytest.approx(np.pi / 4, abs=0.05)
    assert np.mean(overlaps) > np.mean(fills) + 0.05
