"""Slivers given across, and the parts of two sides numbered."""

from __future__ import annotations

import numpy as np
import pytest

from napari_neuropil.segmentation.side_pieces import MOST_PIECES, number_pieces, without_slivers


def _row(*values: int) -> np.ndarray:
    return np.array([[values]], np.uint8)


def test_small_parts_of_the_minority_go_across_and_no_others() -> None:
    sides = _row(2, 2, 1, 2, 2, 2, 1, 1, 0, 1)
    given = without_slivers(sides, 1, 2)
    np.testing.assert_array_equal(given, _row(2, 2, 2, 2, 2, 2, 1, 1, 0, 2))
    assert (without_slivers(sides, 1, 1) == sides).all(), "nothing is that small"
    # The majority's small parts stay: nobody asked for more than was drawn.
    alone = without_slivers(_row(1, 2, 1, 1), 1, 1)
    np.testing.assert_array_equal(alone, _row(1, 2, 1, 1))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("end", [0, -1])
def test_a_part_that_may_go_on_beyond_the_box_is_kept(axis: int, end: int) -> None:
    sides = np.full((5, 5, 5), 2, np.uint8)
    sides[2, 2, 2] = 1
    at = [2, 2, 2]
    at[axis] = end
    sides[tuple(at)] = 1
    given = without_slivers(sides, 1, 10, [(axis, end)])
    assert given[tuple(at)] == 1
    assert given[2, 2, 2] == 2
    assert (without_slivers(sides, 1, 10, [(axis, -1 - end)]) == 2).all()


def test_parts_are_numbered_and_crumbs_count_with_the_largest_of_their_side() -> None:
    #              a  a  b  a' b' b' b' a''a''a''
    sides = _row(1, 1, 2, 1, 2, 2, 2, 1, 1, 1)
    labels, side = number_pieces(sides, 2)
    np.testing.assert_array_equal(labels, _row(1, 1, 2, 3, 2, 2, 2, 3, 3, 3))
    assert side.tolist() == [1, 2, 1]
    every, side = number_pieces(sides, 0)
    np.testing.assert_array_equal(every, _row(1, 1, 2, 3, 4, 4, 4, 5, 5, 5))
    assert side.tolist() == [1, 2, 1, 2, 1]


def test_no_more_pieces_than_a_byte_holds() -> None:
    sides = np.zeros((1, 40, 40), np.uint8)
    sides[0, ::2, ::2] = 1  # 400 parts of one voxel
    sides[0, 1::2, 1::2] = 2  # and 400 more
    sides[0, 39, 30:] = 2
    labels, side = number_pieces(sides, 0)
    assert len(side) == labels.max() <= MOST_PIECES
    for k in range(1, len(side) + 1):
        assert set(np.unique(sides[labels == k])) == {side[k - 1]}
    assert ((labels > 0) == (sides > 0)).all()


def test_nothing_gives_no_pieces() -> None:
    labels, side = number_pieces(np.zeros((2, 2, 2), np.uint8), 5)
    assert not labels.any()
    assert len(side) == 0
