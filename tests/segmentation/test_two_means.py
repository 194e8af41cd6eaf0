"""Two groups of embeddings: by hand, against all partitions, and the voxels that stand for them."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from napari_neuropil.errors import VolumeFormatError
from napari_neuropil.geometry import VoxelSize
from napari_neuropil.segmentation.two_means import depth_inside, seed_voxel, two_means

SIZE = VoxelSize(30, 10, 10)


def test_two_groups_by_hand() -> None:
    vectors = np.array([[0, 0, 0, 2], [0.5, 1.5, 1, 3]], np.float32)
    groups = two_means(vectors)
    np.testing.assert_allclose(groups.means, [[0, 1], [2, 3]], atol=1e-6)
    assert groups.second.tolist() == [False, False, False, True]
    assert groups.distance == pytest.approx(4)
    assert groups.spread == pytest.approx(0.25)
    assert groups.separation == pytest.approx(16)
    assert groups.two_objects


def test_weights_move_means_and_name_the_first_group() -> None:
    vectors = np.array([[0, 1, 5]], np.float32)
    groups = two_means(vectors, np.array([3.0, 1.0, 100.0]))
    np.testing.assert_allclose(groups.means, [[5], [0.25]], atol=1e-5)
    assert groups.second.tolist() == [True, True, False]
    # 3 voxels are 0.25 away, 1 is 0.75 away, 100 are on their mean.
    assert groups.spread == pytest.approx(1.5 / 104, rel=1e-4)


@pytest.mark.parametrize(("gap", "two"), [(1.4, False), (1.6, True)])
def test_two_objects_from_a_distance_of_one_and_a_half(gap: float, two: bool) -> None:
    rng = np.random.default_rng(1)
    vectors = rng.normal(0, 0.02, (6, 200)).astype(np.float32)
    vectors[:, 80:] += gap / 6
    groups = two_means(vectors)
    assert groups.two_objects is two
    assert groups.distance == pytest.approx(gap, abs=0.05)
    assert groups.second.tolist() == [True] * 80 + [False] * 120


def test_one_cloud_is_one_object() -> None:
    vectors = np.random.default_rng(0).normal(0, 0.05, (24, 3000)).astype(np.float32)
    groups = two_means(vectors)
    assert not groups.two_objects
    assert groups.separation < 1


@pytest.mark.parametrize("seed", range(6))
def test_no_partition_nearby_is_better(seed: int) -> None:
    """Against all 2^8 ways: the best one, or at least one that no single move betters."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(0, 1, (3, 9)).astype(np.float32)
    vectors[:, 5:] += 2
    weights = rng.uniform(0.5, 2, 9)

    def cost(second: np.ndarray) -> float:
        total = 0.0
        for side in (second, ~second):
            if side.any():
                mean = np.average(vectors[:, side], axis=1, weights=weights[side])
                total += (
                    weights[side] * ((vectors[:, side] - mean[:, None]) ** 2).sum(axis=0)
                ).sum()
        return total

    found = cost(two_means(vectors, weights).second)
    every = min(cost(np.array([*way, 0], bool)) for way in product((0, 1), repeat=8))
    assert found <= every * 1.05 + 1e-6


def test_equal_vectors_make_no_groups() -> None:
    for count in (1, 5):
        groups = two_means(np.full((4, count), 2.5, np.float32))
        assert (groups.distance, groups.spread, groups.separation) == (0, 0, 0)
        assert not groups.second.any()
        assert not groups.two_objects
        np.testing.assert_allclose(groups.means, 2.5)


def test_the_same_input_gives_the_same_groups_in_any_order() -> None:
    rng = np.random.default_rng(2)
    vectors = rng.normal(0, 1, (5, 300)).astype(np.float32)
    order = rng.permutation(300)
    first, other = two_means(vectors), two_means(vectors[:, order])
    np.testing.assert_array_equal(first.second[order], other.second)


def test_bad_vectors_are_refused() -> None:
    with pytest.raises(VolumeFormatError, match="finite"):
        two_means(np.array([[0, np.nan]], np.float32))
    with pytest.raises(VolumeFormatError, match="no embeddings"):
        two_means(np.zeros((4, 0), np.float32))
    for weights in ([1.0, 0.0], [1.0]):
        with pytest.raises(VolumeFormatError, match="positive"):
            two_means(np.array([[0, 1]], np.float32), np.array(weights))


def test_a_seed_is_deep_inside_and_typical() -> None:
    side = np.zeros((1, 13, 30), bool)
    side[0, 4:9, 1:22] = True
    side[0, 1:12, 22:29] = True
    # The right end is the thickest part, but not typical.
    embeddings = np.zeros((2, 1, 13, 30), np.float32)
    embeddings[0, ..., 20:] = 1
    mean = np.zeros(2, np.float32)
    depth = depth_inside(side, SIZE)
    z, y, x = seed_voxel(depth, embeddings, mean)
    assert (z, y) == (0, 6)
    assert 3 <= x < 20
    embeddings[1, 0, 6, 7] = -0.1
    mean[1] = -0.1
    assert seed_voxel(depth, embeddings, mean) == (0, 6, 7), "of equal depths the nearest"
    assert seed_voxel(depth, np.zeros_like(embeddings), mean)[2] > 21, "all are typical"


def test_a_seed_lies_in_a_side_of_one_voxel() -> None:
    side = np.zeros((3, 3, 3), bool)
    side[2, 0, 1] = True
    depth = depth_inside(side, SIZE)
    embeddings, mean = np.zeros((1, 3, 3, 3), np.float32), np.ones(1, np.float32)
    assert seed_voxel(depth, embeddings, mean) == (2, 0, 1)


def test_depths_in_nm() -> None:
    mask = np.ones((3, 3, 5), bool)
    assert np.isinf(depth_inside(mask, SIZE)).all()
    mask[:, :, 0] = False
    np.testing.assert_allclose(depth_inside(mask, SIZE)[1, 1], [0, 10, 20, 30, 40])
    mask[:] = True
    mask[0] = False
    np.testing.assert_allclose(depth_inside(mask, SIZE)[:, 1, 1], [0, 30, 60])
