"""Examples for promptable networks: objects, boxes, chance; and how they lie in the input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from napari_neuropil.training.sam_loss import first_overlaps
from napari_neuropil.training.sam_patches import SamPatchSettings, choose_objects, make_sam_patch
from napari_neuropil.training.sam_view import view_patch

_CPU = torch.device("cpu")


def _labels() -> np.ndarray:
    labels = np.zeros((1, 20, 30), np.uint32)
    labels[0, 2:8, 3:9] = 7
    labels[0, 2:8, 20:25] = 7  # the same id elsewhere: another object
    labels[0, 12:18, 10:28] = 9
    labels[0, 19, 0:3] = 4
    return labels


def _image(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((1, 20, 30), dtype=np.float32)


def test_objects_are_connected_parts() -> None:
    patch = make_sam_patch(_image(), _labels(), settings=SamPatchSettings(smallest_part=4))
    assert patch.count == 3
    found = {tuple(box) for box in patch.boxes.tolist()}
    assert found == {(2, 3, 8, 9), (2, 20, 8, 25), (12, 10, 18, 28)}
    for number, (y0, x0, y1, x1) in enumerate(patch.boxes.astype(int), start=1):
        mask = np.zeros((20, 30), bool)
        mask[y0:y1, x0:x1] = True
        np.testing.assert_array_equal(patch.objects == number, mask)
    assert (
        make_sam_patch(_image(), _labels(), settings=SamPatchSettings(smallest_part=1)).count == 4
    )


def test_what_is_random_follows_from_the_image() -> None:
    settings = SamPatchSettings(objects=2, smallest_part=4, rounds=5)
    first, again = (make_sam_patch(_image(), _labels(), settings=settings) for _ in range(2))
    np.testing.assert_array_equal(first.objects, again.objects)
    np.testing.assert_array_equal(first.chance.positive, again.chance.positive)
    assert first.count == 2
    assert first.chance.positive.shape == first.chance.negative.shape == (5, 2)
    others = [make_sam_patch(_image(n), _labels(), settings=settings) for n in range(1, 40)]
    assert {p.chance.first_is_box for p in others} == {True, False}
    assert any(not np.array_equal(p.objects > 0, first.objects > 0) for p in others)


def test_large_objects_are_preferred() -> None:
    parts = np.zeros((40, 40), np.int64)
    parts[0:16, 0:16], parts[20, 20] = 1, 2  # 256 pixels and 1
    image = np.zeros((40, 40), np.float32)
    for preference, expected in ((0.0, 1 / 2), (0.25, 4 / 5)):
        settings = SamPatchSettings(objects=1, preference=preference)
        rng = np.random.default_rng(0)
        drawn = [choose_objects(image, parts, settings, rng).boxes[0, 0] for _ in range(600)]
        assert np.mean(np.array(drawn) == 0) == pytest.approx(expected, abs=0.06)


def test_long_sections_are_compared_on_a_coarser_grid() -> None:
    parts = np.zeros((100, 90), np.int64)
    parts[10:40, 20:60], parts[70, 70] = 1, 2
    settings = SamPatchSettings(finest=34)
    image = np.zeros((100, 90), np.float32)
    patch = choose_objects(image, parts, settings, np.random.default_rng(0))
    assert patch.step == 3
    assert patch.objects.shape == (33, 30)
    assert patch.count == 2
    np.testing.assert_array_equal(patch.objects > 0, parts[1:99:3, 1::3] > 0)
    parts[70, 70], parts[71, 71] = 0, 2  # in the middle of no cell
    patch = choose_objects(image, parts, settings, np.random.default_rng(0))
    assert patch.count == 1
    assert patch.boxes.tolist() == [[10, 20, 40, 60]]


def test_a_section_without_objects() -> None:
    patch = make_sam_patch(_image(), np.zeros((1, 20, 30), np.uint32), settings=SamPatchSettings())
    assert patch.count == 0
    assert patch.boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("side", "stride", "enlarges", "finest"),
    [(64, 1, False, 512), (96, 2, False, 512), (64, 2, True, 512), (256, 4, True, 30)],
)
def test_prompts_and_masks_meet_in_the_input(
    grey_oracle: Callable[..., Any], side: int, stride: int, enlarges: bool, finest: int
) -> None:
    """A network that answers with the grey value under the prompt finds every object."""
    image = np.zeros((48, 64), np.float32)
    parts = np.zeros((48, 64), np.int64)
    for number, (y, x) in enumerate(((2, 4), (4, 40), (28, 10), (26, 44)), start=1):
        image[y : y + 16, x : x + 12 + 2 * number] = 0.2 * number
        parts[y : y + 16, x : x + 12 + 2 * number] = number
    rng = np.random.default_rng(1)
    patch = choose_objects(image, parts, SamPatchSettings(finest=finest), rng)
    # Points in the middle: at a rim the oracle sees a mixture of two grey values.
    middle = replace(patch.chance, first=np.full(4, 0.52, np.float32))
    patch = replace(patch, chance=middle)
    view = view_patch(grey_oracle(side, stride, enlarges=enlarges), patch, _CPU)
    found = first_overlaps(view, patch)
    assert found.shape == (2, 4)
    # Bilinear rims cost up to half a cell on each side; a shift of one pixel costs 0.1 more.
    assert found.min() > (0.999 if stride == 1 else 0.85)
