"""Small islands go, pinholes are filled; what may be meant stays."""

from __future__ import annotations

import numpy as np

from napari_neuropil.prompts.islands import without_islands


def _disc_with(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros((40, 40), np.bool_)
    mask[10:30, 10:30] = True  # 400 pixels
    for y0, x0, y1, x1 in boxes:
        mask[y0:y1, x0:x1] ^= True
    return mask


def test_islands_below_a_tenth_go() -> None:
    small, large = (0, 0, 6, 6), (33, 0, 39, 7)  # 36 and 42 pixels
    np.testing.assert_array_equal(without_islands(_disc_with(small, large)), _disc_with(large))


def test_an_island_that_was_pointed_at_stays() -> None:
    small = (0, 0, 6, 6)
    points = np.array([[2.6, 3.0], [39.0, 39.0]], np.float32)  # the second lies in no piece
    np.testing.assert_array_equal(without_islands(_disc_with(small), points), _disc_with(small))


def test_pieces_that_touch_at_a_corner_are_one() -> None:
    corner = (30, 30, 32, 32)
    np.testing.assert_array_equal(without_islands(_disc_with(corner)), _disc_with(corner))


def test_pinholes_are_filled_and_larger_holes_are_not() -> None:
    pinhole, hole = (12, 12, 14, 15), (20, 20, 24, 24)  # 6 and 16 pixels of 378
    np.testing.assert_array_equal(without_islands(_disc_with(pinhole, hole)), _disc_with(hole))


def test_what_reaches_the_rim_is_no_hole() -> None:
    mask = np.ones((40, 40), np.bool_)
    mask[0, 0] = mask[39, 5] = False
    np.testing.assert_array_equal(without_islands(mask), mask)
    empty = np.zeros((4, 4), np.bool_)
    assert not without_islands(empty).any()
