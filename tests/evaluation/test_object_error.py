"""The object-level consistency error against cases by hand and a naive reference."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_neuropil.errors import VolumeFormatError
from napari_neuropil.evaluation import object_counts
from napari_neuropil.evaluation.object_counts import count_objects
from napari_neuropil.evaluation.object_error import object_consistency_error

Ids = NDArray[np.int64]


def row(*ids: int) -> Ids:
    return np.array([ids], np.int64)


def one_way(a: Ids, b: Ids) -> float:
    """E(a, b) as written in the paper, with dense masks."""
    objects, segments = np.unique(a[a > 0]), np.unique(b[b > 0])
    total = sum(np.count_nonzero(a == j) for j in objects)
    error = 0.0
    for j in objects:
        meets = [i for i in segments if np.any((a == j) & (b == i))]
        weight = sum(np.count_nonzero(b == i) for i in meets)
        reached = sum(
            np.count_nonzero(b == i)
            / weight
            * np.count_nonzero((a == j) & (b == i))
            / np.count_nonzero((a == j) | (b == i))
            for i in meets
        )
        error += np.count_nonzero(a == j) / total * (1 - reached)
    return error


@pytest.mark.parametrize(
    ("segments", "truth", "expected"),
    [
        (row(7, 7, 0, 5), row(1, 1, 0, 2), 0.0),
        (row(1, 1, 2, 2), row(1, 1, 1, 1), 0.5),
        (row(1, 1, 1, 1), row(1, 1, 2, 2), 0.5),
        # 4 + 6 against 6 + 4: 0.4 (1 - 4/6) + 0.6 (1 - 0.6 * 2/10 - 0.4 * 4/6)
        (row(1, 1, 1, 1, 1, 1, 2, 2, 2, 2), row(1, 1, 1, 1, 2, 2, 2, 2, 2, 2), 0.4 / 3 + 0.368),
        # A voxel in the background counts in the union alone: 2 of 3.
        (row(1, 1, 1, 0), row(4, 4, 0, 0), 1 / 3),
        (row(0, 0, 3, 3), row(1, 1, 0, 0), 1.0),
        (row(0, 0, 0, 0), row(1, 1, 0, 0), 1.0),
        (row(3, 0, 0, 0), row(0, 0, 0, 0), 1.0),
        (row(0, 0, 0, 0), row(0, 0, 0, 0), 0.0),
        # The better direction counts, so a missed object costs nothing.
        (row(1, 1, 0, 0), row(1, 1, 2, 2), 0.0),
    ],
)
def test_by_hand(segments: Ids, truth: Ids, expected: float) -> None:
    assert object_consistency_error(segments, truth) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_equal_to_the_naive_reference(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_counts, "_SLAB_VOXELS", 50)  # many slabs
    rng = np.random.default_rng(seed)
    a, b = (np.kron(rng.integers(0, 6, (3, 4, 4)), np.ones((1, 2, 3), int)) for _ in range(2))
    found = object_consistency_error(a, b)
    assert found == pytest.approx(min(one_way(a, b), one_way(b, a)), abs=1e-12)
    assert object_consistency_error(b, a) == pytest.approx(found, abs=1e-12)
    assert object_consistency_error(a, a) == 0


@pytest.mark.parametrize("seed", range(4))
def test_counts_equal_those_of_dense_masks(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_counts, "_SLAB_VOXELS", 30)
    rng = np.random.default_rng(seed)
    # Ids that no float64 holds, and without background on one side.
    segments = rng.integers(0, 4, (4, 5, 6)).astype(np.uint64) * np.uint64(2**60 + 1)
    truth = rng.integers(seed % 2, 4, (4, 5, 6)).astype(np.uint16)
    counts = count_objects(segments, truth)
    names = np.unique(truth[truth > 0])
    np.testing.assert_array_equal(counts.truth_ids, names)
    np.testing.assert_array_equal(counts.segment_ids, np.unique(segments[segments > 0]))
    assert counts.truth_voxels.tolist() == [np.count_nonzero(truth == n) for n in names]
    sizes = [np.count_nonzero(segments == n) for n in counts.segment_ids]
    assert counts.segment_voxels.tolist() == sizes
    found = {
        (int(counts.truth_ids[t]), int(counts.segment_ids[s])): int(n)
        for t, s, n in zip(counts.truth, counts.segment, counts.shared, strict=True)
    }
    expected = {
        (int(t), int(s)): int(np.count_nonzero((truth == t) & (segments == s)))
        for t in names
        for s in counts.segment_ids
        if np.any((truth == t) & (segments == s))
    }
    assert found == expected


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(VolumeFormatError, match="one shape"):
        object_consistency_error(np.zeros((2, 3), int), np.zeros((3, 2), int))
    with pytest.raises(VolumeFormatError, match="segments of type float64"):
        object_consistency_error(np.zeros((2, 3)), np.zeros((2, 3), int))
    with pytest.raises(VolumeFormatError, match="the id -1 in truth"):
        object_consistency_error(np.zeros((2, 3), int), np.full((2, 3), -1))


def test_masks_and_empty_volumes() -> None:
    mask = np.array([[True, False]])
    assert object_consistency_error(mask, mask) == 0
    assert object_consistency_error(np.zeros((0, 4), int), np.zeros((0, 4), int)) == 0
