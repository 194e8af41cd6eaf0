"""Background given to the nearest fragment: by a naive search, and no further than asked."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_neuropil.geometry import VoxelSize
from napari_neuropil.segmentation.bridging import grow_fragments, reach_halo

SIZE = VoxelSize(30, 8, 8)


def seeds(seed: int) -> NDArray[np.uint64]:
    random = np.random.default_rng(seed)
    fragments = np.zeros((4, 9, 11), np.uint64)
    for i, place in enumerate(random.integers(0, fragments.size, 6), start=1):
        fragments.flat[place] = 2**40 + i
    return fragments


@pytest.mark.parametrize("reach", [0.0, 8.0, 20.0, 30.0, 500.0])
@pytest.mark.parametrize("seed", range(3))
def test_nearest_within_reach(seed: int, reach: float) -> None:
    fragments = seeds(seed)
    before = fragments.copy()
    grown = grow_fragments(fragments, reach, SIZE)
    np.testing.assert_array_equal(fragments, before)
    places = np.argwhere(fragments > 0)
    for voxel in np.argwhere(fragments == 0):
        away = np.linalg.norm((places - voxel) * np.array(tuple(SIZE)), axis=1)
        nearest = places[np.isclose(away, away.min())]
        ids = {int(fragments[tuple(p)]) for p in nearest} if away.min() <= reach + 1e-4 else {0}
        assert int(grown[tuple(voxel)]) in ids
    np.testing.assert_array_equal(grown[fragments > 0], fragments[fragments > 0])


def test_a_box_with_its_halo_knows_the_same_reach() -> None:
    assert reach_halo(32.0, SIZE) == (1, 4, 4)
    assert reach_halo(29.0, SIZE) == (0, 3, 3)


def test_nothing_to_do() -> None:
    for fragments in (np.zeros((2, 2, 2), np.uint64), np.full((2, 2, 2), 5, np.uint64)):
        np.testing.assert_array_equal(grow_fragments(fragments, 100.0, SIZE), fragments)
