"""Candidates against a plain search, means by hand, joining in any order."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_neuropil.errors import VolumeFormatError
from napari_neuropil.geometry import Roi
from napari_neuropil.segmentation.mean_embedding import (
    Candidates,
    find_candidates,
    focal_means,
    join,
    join_pairs,
    merge_candidates,
    window_roi,
)
from napari_neuropil.segmentation.pair_distances import pair_distances


def plain_search(
    segments: np.ndarray, affinities: np.ndarray
) -> dict[tuple[int, int], tuple[Any, ...]]:
    """Return (places, best mean affinity, centroid) of each pair, face by face."""
    faces: dict[tuple[int, int], list[tuple[np.ndarray, np.ndarray, float]]] = {}
    for at in product(*(range(n) for n in segments.shape)):
        for axis in range(3):
            before = list(at)
            before[axis] -= 1
            if before[axis] < 0:
                continue
            a, b = int(segments[at]), int(segments[tuple(before)])
            if a and b and a != b:
                value = float(affinities[(axis, *at)])
                key = (min(a, b), max(a, b))
                faces.setdefault(key, []).append((np.array(at), np.array(before), value))
    result = {}
    for key, mine in faces.items():
        groups: list[list[int]] = []
        for i, face in enumerate(mine):
            near = [
                g
                for g in groups
                if any(np.abs(u - v).max() <= 1 for j in g for u in face[:2] for v in mine[j][:2])
            ]
            groups = [g for g in groups if g not in near] + [[i, *(j for g in near for j in g)]]
        means = [np.mean([mine[i][2] for i in g]) for g in groups]
        best = groups[int(np.argmax(means))]
        centre = np.mean([(mine[i][0] + mine[i][1]) / 2 for i in best], axis=0)
        result[key] = (len(groups), max(means), centre)
    return result


@given(st.integers(0, 2**31), st.sampled_from([(3, 6, 7), (1, 5, 9), (4, 1, 8)]))
def test_candidates_match_a_plain_search(seed: int, shape: tuple[int, int, int]) -> None:
    random = np.random.default_rng(seed)
    segments = random.choice(np.array([0, 0, 3, 5, 9], np.uint64), shape)
    affinities = random.random((3, *shape)).astype(np.float32)
    expected = plain_search(segments, affinities)
    found = find_candidates(segments, affinities, minimum_places=1, minimum_affinity=0)
    assert {tuple(p) for p in found.pairs.tolist()} == expected.keys()
    for pair, location, score, places in zip(
        found.pairs.tolist(), found.location, found.score, found.places, strict=True
    ):
        count, best, centre = expected[tuple(pair)]
        assert places == count
        assert score == pytest.approx(best, rel=1e-5)
        np.testing.assert_allclose(location, centre, rtol=1e-5)
    kept = find_candidates(segments, affinities)
    assert {tuple(p) for p in kept.pairs.tolist()} == {
        key for key, (count, best, _) in expected.items() if count >= 2 and best > 0.25
    }


@given(st.integers(0, 2**31), st.integers(1, 5))
def test_no_pair_is_lost_between_blocks(seed: int, cut: int) -> None:
    random = np.random.default_rng(seed)
    segments = random.choice(np.array([0, 3, 5, 9], np.uint64), (2, 6, 5))
    affinities = random.random((3, *segments.shape)).astype(np.float32)
    whole = find_candidates(segments, affinities, minimum_places=1, minimum_affinity=0)
    parts = [
        find_candidates(
            segments[:, :cut], affinities[:, :, :cut], minimum_places=1, minimum_affinity=0
        ),
        find_candidates(
            segments[:, cut - 1 :],
            affinities[:, :, cut - 1 :],
            origin=(0, cut - 1, 0),
            first=(0, 1, 0),
            minimum_places=1,
            minimum_affinity=0,
        ),
    ]
    merged = merge_candidates(parts, minimum_places=1, minimum_affinity=0)
    np.testing.assert_array_equal(merged.pairs, whole.pairs)
    assert (merged.places >= whole.places).all()


def test_nothing_touches() -> None:
    segments = np.zeros((2, 3, 3), np.uint64)
    segments[0, 0, 0] = 4
    assert len(find_candidates(segments, np.ones((3, 2, 3, 3), np.float32))) == 0
    assert len(merge_candidates([Candidates.none(), Candidates.none()])) == 0
    assert len(merge_candidates([])) == 0


def test_8_bits_say_the_same() -> None:
    random = np.random.default_rng(6)
    segments = random.choice(np.array([0, 3, 5, 2**40], np.uint64), (3, 9, 8))
    stored = random.integers(0, 256, (3, 3, 9, 8)).astype(np.uint8)
    found = find_candidates(segments, stored, minimum_places=1, minimum_affinity=0.4)
    expected = find_candidates(
        segments, (stored / 255).astype(np.float32), minimum_places=1, minimum_affinity=0.4
    )
    assert 0 < len(found) == len(expected)
    np.testing.assert_array_equal(found.pairs, expected.pairs)
    np.testing.assert_allclose(found.score, expected.score, rtol=1e-6)


def test_places_do_not_run_together_around_the_ends_of_rows() -> None:
    # The last voxel of a row and the first of the next are neighbours in memory only.
    segments = np.zeros((2, 2, 6), np.uint64)
    segments[0, 0, 4:] = [1, 2]
    segments[0, 1, :2] = [2, 1]
    affinities = np.ones((3, 2, 2, 6), np.float32)
    assert find_candidates(segments, affinities).places.tolist() == [2]
    segments[1, 0, 2:4] = [1, 2]  # touches both, across corners
    assert find_candidates(segments, affinities, minimum_places=1).places.tolist() == [1]
    ends = np.zeros((2, 1, 6), np.uint64)
    ends[0, 0, 4:] = ends[1, 0, :2] = [1, 2]
    assert find_candidates(ends, np.ones((3, 2, 1, 6), np.float32)).places.tolist() == [2]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_affinity_is_refused(value: float) -> None:
    segments = np.array([[[1, 2, 2]]], np.uint64)
    affinities = np.full((3, 1, 1, 3), 0.5, np.float32)
    affinities[2, 0, 0, 2] = value  # between voxels of one segment: never looked at
    assert len(find_candidates(segments, affinities, minimum_places=1)) == 1
    affinities[2, 0, 0, 1] = value
    with pytest.raises(VolumeFormatError, match="not numbers"):
        find_candidates(segments, affinities)
    doubles: Any = np.ones((3, 1, 1, 3))
    with pytest.raises(VolumeFormatError, match="type float64"):
        find_candidates(segments, doubles)


def test_affinities_of_another_volume_are_refused() -> None:
    with pytest.raises(VolumeFormatError, match="affinities of shape"):
        find_candidates(np.zeros((2, 3, 3), np.uint64), np.ones((3, 2, 3, 4), np.float32))


def test_the_window_stays_in_the_patch() -> None:
    patch = Roi((10, 0, 100), (30, 128, 228))
    assert window_roi(np.array([20, 64, 160], "f4"), (5, 32, 32), patch).shape == (5, 32, 32)
    corner = window_roi(np.array([10, 0, 227], "f4"), (5, 32, 32), patch)
    assert corner == Roi((10, 0, 196), (15, 32, 228))
    thin = window_roi(np.array([11, 5, 105], "f4"), (5, 32, 32), Roi((10, 0, 100), (12, 20, 300)))
    assert thin == Roi((10, 0, 100), (12, 20, 132))


def test_means_by_hand() -> None:
    segments = np.array([[[1, 1, 2, 0, 9]]], np.uint64)
    embeddings = np.array([[[[0, 2, 5, 7, 1]]], [[[1, 1, 3, 7, 1]]]], np.float32)
    means, counts = focal_means(
        embeddings, segments, np.array([1, 2, 9], np.uint64), Roi((0, 0, 0), (1, 1, 4))
    )
    assert means[:2].tolist() == [[1, 1], [5, 3]]
    assert np.isnan(means[2]).all()
    assert counts.tolist() == [2, 1, 0]
    distances = pair_distances(
        embeddings,
        segments,
        Roi((4, 0, 0), (5, 1, 5)),
        np.array([[1, 2], [1, 7]], np.uint64),
        np.array([[4, 0, 1], [4, 0, 1]], np.float32),
        (5, 32, 32),
    )
    assert distances[0] == 4 + 2
    assert np.isnan(distances[1])


@given(st.integers(0, 2**31))
def test_joining_does_not_depend_on_the_order(seed: int) -> None:
    random = np.random.default_rng(seed)
    lookup = np.array([0, 1, 1, 3, 4, 5, 6], np.uint64)
    ids = np.array([1, 3, 4, 5, 6], np.uint64)
    pairs = random.choice(ids, (5, 2))
    distances = random.choice(np.array([0.5, 1.5, 2.0, np.nan], np.float32), 5)
    once = join(lookup, pairs, distances, threshold=1.5)
    order = random.permutation(5)
    np.testing.assert_array_equal(
        once, join(lookup, pairs[order][:, ::-1], distances[order], threshold=1.5)
    )
    for (a, b), distance in zip(pairs.tolist(), distances, strict=True):
        if distance < 1.5:
            assert once[lookup == a][0] == once[lookup == b][0]
    assert (once <= lookup).all(), "a group has the name of its smallest segment"


def test_chains_become_one() -> None:
    lookup = np.arange(6, dtype=np.uint64)
    pairs = np.array([[4, 5], [2, 3], [3, 4]], np.uint64)
    assert join_pairs(lookup, pairs).tolist() == [0, 1, 2, 2, 2, 2]
    assert join_pairs(lookup, pairs[:0]).tolist() == lookup.tolist()
