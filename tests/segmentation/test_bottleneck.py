from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_neuropil.errors import VolumeFormatError
from napari_neuropil.geometry import VoxelSize
from napari_neuropil.segmentation.bottleneck import MOST_VOXELS, find_bottleneck
from napari_neuropil.segmentation.fragment_splitting import split_fragment

CUBES = VoxelSize(8.0, 8.0, 8.0)


def ball(
    shape: tuple[int, int, int], centre: tuple[int, int, int], radius: float, size: VoxelSize
) -> NDArray[np.bool_]:
    z, y, x = ((g - c) * e for g, c, e in zip(np.indices(shape), centre, size, strict=True))
    return np.asarray(z**2 + y**2 + x**2 <= radius**2)


def dumbbell(neck: int = 3, size: VoxelSize = CUBES) -> NDArray[np.bool_]:
    """Balls of 130 and 100 nm, 260 nm apart at their centres, along x."""
    depth = round(300 / size.z)
    width = round(300 / size.y)
    shape = (depth, width, round(560 / size.x))
    middle = depth // 2, width // 2
    left, right = round(150 / size.x), round(430 / size.x)
    mask = ball(shape, (*middle, left), 130, size) | ball(shape, (*middle, right), 100, size)
    z, y, x = np.indices(shape)
    bar = ((z - middle[0]) * size.z) ** 2 + ((y - middle[1]) * size.y) ** 2 < (neck * size.y) ** 2
    mask |= bar & (x >= left) & (x <= right)
    return mask


@pytest.mark.parametrize("size", [CUBES, VoxelSize(30.0, 6.0, 6.0)])
def test_neck_between_two_balls(size: VoxelSize) -> None:
    mask = dumbbell(size=size)
    found = find_bottleneck(mask, size)
    assert found is not None
    assert 0.5 < found.score <= 1
    assert found.core_radius == pytest.approx(100, abs=15)
    assert found.neck_radius < 35
    assert found.narrowness == found.neck_radius / found.core_radius
    assert 275 < found.position[2] * size.x < 345
    larger, smaller = found.cores
    assert larger[2] * size.x == pytest.approx(150, abs=25)
    assert smaller[2] * size.x == pytest.approx(430, abs=25)
    assert all(mask[point] for point in (found.position, *found.cores))


def test_cores_are_seeds_that_split_at_the_neck() -> None:
    mask = dumbbell()
    found = find_bottleneck(mask, CUBES)
    assert found is not None
    seeds = np.zeros(mask.shape, np.int32)
    for value, core in enumerate(found.cores, start=1):
        seeds[core] = value
    pieces = split_fragment(mask, seeds, boundary=None, voxel_size=CUBES)
    ends = pieces[..., : 270 // 8], pieces[..., 350 // 8 :]
    assert (ends[0][ends[0] > 0] == 1).all()
    assert (ends[1][ends[1] > 0] == 2).all()


def test_narrower_necks_and_more_equal_parts_score_higher() -> None:
    scores = []
    for neck in (1, 3, 5, 7):
        found = find_bottleneck(dumbbell(neck), CUBES)
        assert found is not None
        scores.append(found.score)
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > scores[-1] + 0.1
    bump = ball((40, 40, 60), (20, 20, 18), 140, CUBES) | ball(
        (40, 40, 60), (20, 20, 48), 50, CUBES
    )
    bump[20, 20, 18:48] = True
    found = find_bottleneck(bump, CUBES)
    assert found is not None
    assert found.score < scores[0] - 0.2


def test_balls_tubes_and_specks_have_none() -> None:
    assert find_bottleneck(ball((40, 40, 40), (20, 20, 20), 140, CUBES), CUBES) is None
    z, y, _ = np.indices((24, 24, 90))
    assert find_bottleneck((z - 12) ** 2 + (y - 12) ** 2 <= 64, CUBES) is None
    assert find_bottleneck(np.ones((1, 1, 1), bool), CUBES) is None
    assert find_bottleneck(np.ones((3, 9, 9), bool), CUBES) is None


def test_pieces_that_do_not_touch_have_no_neck_between_them() -> None:
    mask = ball((40, 40, 80), (20, 20, 18), 110, CUBES)
    mask |= ball((40, 40, 80), (20, 20, 60), 110, CUBES)
    assert find_bottleneck(mask, CUBES) is None


def test_one_section_is_judged_in_its_plane() -> None:
    flat = dumbbell()[19:20]
    found = find_bottleneck(flat, VoxelSize(30.0, 8.0, 8.0))
    assert found is not None
    assert found.core_radius > 60
    assert found.position[0] == 0


def test_large_boxes_are_pooled_and_give_the_same_place() -> None:
    small = dumbbell()
    large = small.repeat(4, 0).repeat(4, 1).repeat(4, 2)
    assert large.size > MOST_VOXELS
    fine, coarse = (
        find_bottleneck(large, VoxelSize(2.0, 2.0, 2.0)),
        find_bottleneck(small, CUBES),
    )
    assert fine is not None
    assert coarse is not None
    assert fine.score == pytest.approx(coarse.score, abs=0.1)
    assert all(large[point] for point in (fine.position, *fine.cores))
    np.testing.assert_allclose(np.array(fine.cores) / 4, coarse.cores, atol=3)


def test_a_thin_fragment_that_pooling_erases_has_none() -> None:
    shape = (4, 1200, 1200)
    mask = np.zeros(shape, bool)
    mask[0, np.arange(1200), np.arange(1200)] = True
    assert mask.size > MOST_VOXELS
    assert find_bottleneck(mask, CUBES) is None


@pytest.mark.parametrize(
    "mask", [np.zeros((3, 3, 3), bool), np.ones((3, 3), bool), np.ones((3, 3, 3), np.uint8)]
)
def test_bad_masks_are_refused(mask: NDArray[np.bool_]) -> None:
    with pytest.raises(VolumeFormatError, match="mask"):
        find_bottleneck(mask, CUBES)
