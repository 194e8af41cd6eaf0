"""Windows of encoded tiles: they hold their object, and little of others."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_neuropil.training.sam_crop import choose_crop, cut_parts

_SHAPE = (500, 470)


@given(st.integers(0, 2**32 - 1), st.integers(1, 400), st.integers(1, 400))
def test_a_window_holds_its_object(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    y, x = rng.integers(_SHAPE[0] - height + 1), rng.integers(_SHAPE[1] - width + 1)
    parts = np.zeros(_SHAPE, np.int64)
    parts[y : y + height, x : x + width] = 1
    crop = choose_crop(parts, 256, rng)
    assert (parts[crop] == 1).sum() == height * width
    for part, length, size in zip(crop, _SHAPE, (height, width), strict=True):
        assert part.start % 32 == 0
        assert part.stop == length or part.stop - part.start >= max(256, int(1.5 * size))
        assert part.stop - part.start <= max(256, 1.5 * size + 31)


def test_every_object_gets_its_window_and_every_place_in_it() -> None:
    parts = np.zeros((512, 512), np.int64)
    parts[10:20, 10:20], parts[300:310, 300:310] = 1, 2
    rng = np.random.default_rng(0)
    crops = [choose_crop(parts, 256, rng) for _ in range(2000)]
    starts = {(a.start, b.start) for a, b in crops}
    assert starts >= {(0, 0), (64, 64), (256, 256), (64, 256)}
    assert 800 < sum(start == (0, 0) for start in [(a.start, b.start) for a, b in crops]) < 1200


def test_remains_of_an_object_are_not_pointed_at() -> None:
    parts = np.zeros((64, 64), np.int64)
    parts[:, 28:34], parts[40:50, 40:50], parts[:10, 30:40] = 1, 2, 3
    found = cut_parts(parts, (slice(0, 64), slice(32, 64)))
    assert set(np.unique(found)) == {0, 2, 3}, "a third of 1 is inside, four fifths of 3"
    np.testing.assert_array_equal(found == 2, parts[:, 32:] == 2)
