"""What a mask tells a segmenter: its box, its inside, its pieces."""

from __future__ import annotations

import numpy as np
import pytest

from napari_neuropil.prompts.mask_prompts import (
    MaskPrompting,
    inner_points,
    mask_pieces,
    prompt_of_mask,
)
from napari_neuropil.prompts.packed_mask import PackedMask

SHAPE = (30, 40)


def packed(*boxes: tuple[int, int, int, int]) -> PackedMask:
    mask = np.zeros(SHAPE, np.bool_)
    for y0, x0, y1, x1 in boxes:
        mask[y0:y1, x0:x1] = True
    found = PackedMask.of(mask)
    assert found is not None
    return found


def test_pieces_hang_together_over_corners_and_come_largest_first() -> None:
    mask = packed((1, 1, 3, 3), (3, 3, 5, 5), (10, 10, 15, 15), (20, 5, 21, 6))
    assert [piece.area for piece in mask_pieces(mask)] == [25, 8, 1]
    assert [piece.area for piece in mask_pieces(mask, 5)] == [25, 8]
    assert [piece.area for piece in mask_pieces(mask, 100)] == [25]
    boxes = [piece.box for piece in mask_pieces(mask)]
    assert boxes == [(10, 10, 15, 15), (1, 1, 5, 5), (20, 5, 21, 6)]


def test_inner_points_are_the_middles_of_what_is_thick() -> None:
    # A thick square with a thin bar: the square first, the bar only if it is thick enough.
    mask = packed((2, 2, 11, 11), (6, 11, 9, 31))
    first = inner_points(mask)
    assert first.tolist() == [[6, 6]]
    assert first.dtype == np.float32
    more = inner_points(mask, 3)
    assert len(more) == 3
    assert (more[1:, 1] >= 11).all()
    thin = packed((2, 2, 15, 15), (8, 15, 9, 31))
    assert len(inner_points(thin, 3)) == 1


def test_the_border_of_a_section_is_an_edge() -> None:
    assert inner_points(packed((0, 0, 5, 9))).tolist() == [[2, 2]]
    assert inner_points(packed((0, 39, 1, 40))).tolist() == [[0, 39]]


def test_points_always_lie_inside() -> None:
    ring = np.zeros(SHAPE, np.bool_)
    ring[5:20, 5:20] = True
    ring[7:18, 7:18] = False
    mask = PackedMask.of(ring)
    assert mask is not None
    for y, x in inner_points(mask, 4).astype(int):
        assert ring[y, x]


def test_prompts_tell_what_is_wanted() -> None:
    mask = packed((4, 6, 14, 26))
    told = prompt_of_mask(mask, SHAPE, MaskPrompting(margin=0.5))
    assert told.box == (0, 0, 19, 36)
    assert told.positive.tolist() == [True]
    assert told.mask is not None
    assert told.mask.sum() == 200
    only_points = prompt_of_mask(mask, SHAPE, MaskPrompting(box=False, mask=False, points=2))
    assert only_points.box is None
    assert only_points.mask is None
    assert len(only_points.points) == 2
    # Nothing at all cannot be asked.
    nothing = prompt_of_mask(mask, SHAPE, MaskPrompting(box=False, mask=False, points=0))
    assert nothing.box == (4, 6, 14, 26)


@pytest.mark.parametrize("area", [1, 2])
def test_tiny_masks(area: int) -> None:
    mask = packed((0, 0, 1, area))
    assert prompt_of_mask(mask, SHAPE, MaskPrompting()).points.tolist() == [[0, 0]]
