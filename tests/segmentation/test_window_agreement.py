"""What overlapping windows agree on: by hand, and whatever the order."""

from __future__ import annotations

import numpy as np
import pytest

from napari_neuropil.geometry import Roi
from napari_neuropil.segmentation.window_agreement import (
    WindowLabels,
    agreement,
    contact_agreement,
)


def _window(start: int, line: list[int]) -> WindowLabels:
    labels = np.array(line, np.uint8).reshape(1, 1, -1)
    return WindowLabels(Roi((0, 0, start), (1, 1, start + len(line))), labels)


def test_by_hand() -> None:
    # Shared are places 4 to 7: 1 1 2 0 against 9 9 9 4.
    first = _window(0, [7, 7, 7, 7, 1, 1, 2, 0])
    second = _window(4, [9, 9, 9, 4, 5, 5, 5, 5])
    table = agreement(first, second)
    assert table[1, 9] == pytest.approx(2 / 3)
    assert table[2, 9] == pytest.approx(1 / 3)
    assert np.count_nonzero(table) == 2, "nothing agrees with the background"
    np.testing.assert_array_equal(agreement(second, first), table.T)


def test_windows_apart() -> None:
    assert not agreement(_window(0, [1, 1]), _window(2, [1, 1])).any()


def test_contacts_across_blocks() -> None:
    # Blocks 0 (places 0 to 5) and 1 (6 to 9); windows reach two places further.
    windows = {0: _window(0, [1, 1, 1, 1, 2, 2, 2, 2]), 1: _window(4, [8, 8, 8, 8, 3, 3])}
    block_of = np.array([-1, 0, 0, 1, 1])
    label_of = np.array([0, 1, 2, 8, 3], np.uint8)
    contacts = np.array([[1, 2], [2, 3], [2, 4], [3, 4]], np.uint64)
    found = contact_agreement(contacts, block_of, label_of, windows.__getitem__)
    np.testing.assert_array_equal(found, np.array([np.nan, 1, 0, np.nan], np.float32))


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_blocks_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape, count = (3, 8, 30), 4
    windows = [
        WindowLabels(
            Roi((0, 0, 6 * b), (3, 8, 6 * b + 12)), rng.integers(0, 4, (3, 8, 12)).astype(np.uint8)
        )
        for b in range(count)
    ]
    assert windows[-1].roi.stop == shape
    fragments = 20
    block_of = rng.integers(0, count, fragments + 1)
    label_of = rng.integers(0, 4, fragments + 1).astype(np.uint8)
    ends = np.array([(a, b) for a in range(1, 20) for b in range(a + 1, 21)], np.uint64)
    found = contact_agreement(ends, block_of, label_of, windows.__getitem__)
    order = rng.permutation(count)
    turned = contact_agreement(
        ends, np.argsort(order)[block_of], label_of, lambda b: windows[order[b]]
    )
    np.testing.assert_array_equal(found, turned)
    np.testing.assert_array_equal(np.isnan(found), block_of[ends[:, 0]] == block_of[ends[:, 1]])
    for (a, b), value in zip(ends, found, strict=True):
        one, other = block_of[a], block_of[b]
        if one != other:
            assert value == agreement(windows[one], windows[other])[label_of[a], label_of[b]]
