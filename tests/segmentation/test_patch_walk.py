"""Orders of patches: a box is covered, neighbours overlap, places lie well inside."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from napari_neuropil.geometry import Roi
from napari_neuropil.segmentation.patch_walk import patches_around, patches_from_middle

PATCH, CORE = (4, 20, 20), (2, 12, 12)


def covered(patches: list[Roi], box: Roi, shape: tuple[int, int, int]) -> bool:
    seen = np.zeros(shape, bool)
    for patch in patches:
        seen[patch.slices] = True
    return bool(seen[box.slices].all())


@pytest.mark.parametrize(
    ("box", "shape"),
    [
        (Roi((0, 0, 0), (9, 61, 47)), (9, 61, 47)),
        (Roi((3, 20, 21), (5, 32, 33)), (9, 61, 47)),
        (Roi((0, 0, 40), (9, 1, 47)), (9, 61, 47)),
        (Roi((1, 5, 30), (8, 58, 46)), (9, 61, 47)),
        (Roi((0, 0, 0), (3, 70, 10)), (3, 70, 10)),
        (Roi((2, 3, 4), (3, 4, 5)), (4, 20, 20)),
    ],
)
def test_a_box_is_covered_from_its_middle(box: Roi, shape: tuple[int, int, int]) -> None:
    patches = patches_from_middle(box, shape, PATCH, CORE)
    assert len(patches) == len(set(patches))
    assert covered(patches, box, shape)
    for number, patch in enumerate(patches):
        assert patch.shape == tuple(min(p, n) for p, n in zip(PATCH, shape, strict=True))
        assert all(b <= n for b, n in zip(patch.stop, shape, strict=True))
        before = patches[:number]
        assert not before or any(patch.intersection(other) for other in before)
    middle = [(a + b) / 2 for a, b in zip(box.start, box.stop, strict=True)]
    away = [
        sum(abs((a + b) / 2 - m) for a, b, m in zip(p.start, p.stop, middle, strict=True))
        for p in patches
    ]
    assert away[0] <= min(away) + sum(CORE) / 2


def test_cores_cover_a_box_far_from_the_border() -> None:
    box = Roi((10, 50, 50), (15, 87, 90))
    patches = patches_from_middle(box, (30, 200, 200), PATCH, CORE)
    assert len(patches) == 3 * 4 * 4
    cores = [
        Roi(
            tuple(a + (p - c) // 2 for a, p, c in zip(q.start, PATCH, CORE, strict=True)),
            tuple(b - (p - c) // 2 for b, p, c in zip(q.stop, PATCH, CORE, strict=True)),
        )
        for q in patches
    ]
    assert covered(cores, box, (30, 200, 200))


def test_a_box_in_a_core_takes_one_patch_around_it() -> None:
    (patch,) = patches_from_middle(Roi((9, 30, 30), (11, 42, 42)), (30, 99, 99), PATCH, CORE)
    assert patch == Roi((8, 26, 26), (12, 46, 46))


def test_patches_around_places_are_shifted_inside_and_not_repeated() -> None:
    places = np.array(
        [[10, 50, 50], [10.4, 54, 46], [0, 0, 98], [10, 50, 60], [29, 99, 99]], np.float32
    )
    patches = list(patches_around(places, (30, 100, 100), PATCH))
    assert patches == [
        Roi((8, 40, 40), (12, 60, 60)),
        Roi((0, 0, 80), (4, 20, 100)),
        Roi((8, 40, 50), (12, 60, 70)),
        Roi((26, 80, 80), (30, 100, 100)),
    ]
    for place, patch in zip(places[[0, 2, 3, 4]], patches, strict=True):
        assert all(a <= v < b for a, v, b in zip(patch.start, place, patch.stop, strict=True))


def test_a_small_volume_is_one_patch() -> None:
    corners = np.array(list(product((0, 2), (0, 9), (0, 9))), np.float32)
    assert list(patches_around(corners, (3, 10, 10), PATCH)) == [Roi((0, 0, 0), (3, 10, 10))]
    assert list(patches_around([], (3, 10, 10), PATCH)) == []
