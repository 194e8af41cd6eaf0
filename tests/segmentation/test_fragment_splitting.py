from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from napari_neuropil.errors import EditRejectedError, VolumeFormatError
from napari_neuropil.geometry import VoxelSize
from napari_neuropil.segmentation.fragment_splitting import (
    boundary_from_image,
    measure_pieces,
    split_fragment,
)
from napari_neuropil.segmentation.rag import Rag, build_rag

CUBES = VoxelSize(8.0, 8.0, 8.0)
SECTIONS = VoxelSize(30.0, 6.0, 6.0)


def seeds_at(shape: tuple[int, ...], *points: tuple[int, int, int]) -> NDArray[np.int32]:
    seeds = np.zeros(shape, np.int32)
    for value, point in enumerate(points, start=1):
        seeds[point] = value
    return seeds


def assert_whole(pieces: NDArray[Any], mask: NDArray[Any], seeds: NDArray[Any]) -> None:
    """Every voxel has a piece, seeds their own, and pieces hang together where the mask does."""
    assert pieces.dtype == np.uint8
    np.testing.assert_array_equal(pieces > 0, mask)
    np.testing.assert_array_equal(pieces[seeds > 0], seeds[seeds > 0])
    parts, _ = ndimage.label(mask)
    seeded = np.isin(parts, np.unique(parts[seeds > 0]))
    for value in np.unique(seeds[seeds > 0]):
        own, _ = ndimage.label(pieces == value)
        reached = np.isin(own, np.unique(own[seeds == value]))
        assert reached[(pieces == value) & seeded].all()


def dumbbell(hole: int) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Two chambers of unequal length in one mask; the wall between them at y = 14 has a hole."""
    mask = np.ones((9, 40, 15), bool)
    boundary = np.zeros(mask.shape, np.float32)
    boundary[:, 14] = 1.0
    boundary[4 - hole : 5 + hole, 14, 7 - hole : 8 + hole] = 0.0
    return mask, boundary


def test_cut_lies_in_the_membrane_also_with_a_hole_midway_between_the_seeds() -> None:
    mask, boundary = dumbbell(hole=1)
    seeds = seeds_at(mask.shape, (4, 4, 7), (4, 24, 7))
    pieces = split_fragment(mask, seeds, boundary=boundary, voxel_size=CUBES)
    assert_whole(pieces, mask, seeds)
    assert (pieces[:, :13] == 1).all()
    assert (pieces[:, 16:] == 2).all()


@pytest.mark.parametrize("thickness", [1, 12])
def test_shape_alone_cuts_at_the_neck(thickness: int) -> None:
    """Two discs or balls, one larger, joined by a short bridge; in one section, and in several."""
    z, y, x = np.indices((thickness, 30, 60))
    depth = ((z - thickness // 2) * 5.0) ** 2
    mask = (depth + (y - 15) ** 2 + (x - 14) ** 2 <= 12**2) | (
        depth + (y - 15) ** 2 + (x - 44) ** 2 <= 13**2
    )
    mask |= (abs(z - thickness // 2) < 1) & (abs(y - 15) < 2) & (abs(x - 28) < 6)
    middle = thickness // 2
    seeds = seeds_at(mask.shape, (middle, 15, 20), (middle, 15, 55))
    pieces = split_fragment(mask, seeds, boundary=None, voxel_size=SECTIONS)
    assert_whole(pieces, mask, seeds)
    assert (pieces[..., :26][mask[..., :26]] == 1).all()
    assert (pieces[..., 32:][mask[..., 32:]] == 2).all()


def test_voxel_size_decides_what_is_narrow() -> None:
    """A plate two sections thick is a wide place where sections are thick."""
    mask = np.ones((8, 8, 20), bool)
    mask[2:, :, 9:11] = False
    seeds = seeds_at(mask.shape, (4, 4, 2), (4, 4, 17))
    pieces = split_fragment(mask, seeds, boundary=None, voxel_size=SECTIONS)
    assert_whole(pieces, mask, seeds)
    assert (pieces[..., :9] == 1).all()
    assert (pieces[..., 11:] == 2).all()


def test_a_click_on_the_surface_gets_more_than_itself() -> None:
    """A watershed gives one voxel to a seed that does not lie in a hollow."""
    mask = np.ones((9, 9, 40), bool)
    seeds = seeds_at(mask.shape, (0, 0, 5), (4, 4, 33))
    boundary = np.random.default_rng(0).random(mask.shape, np.float32)
    pieces = split_fragment(mask, seeds, boundary=boundary, voxel_size=CUBES)
    assert_whole(pieces, mask, seeds)
    assert np.count_nonzero(pieces == 1) > mask.sum() / 5


def test_parts_without_a_seed_go_whole_to_the_nearest() -> None:
    mask = np.zeros((6, 10, 40), bool)
    mask[:, :, 8:20] = True
    mask[:, :, 0:3] = True
    mask[0, :, 25:40] = True
    seeds = seeds_at(mask.shape, (3, 5, 9), (3, 5, 18))
    pieces = split_fragment(mask, seeds, boundary=None, voxel_size=CUBES)
    assert_whole(pieces, mask, seeds)
    assert (pieces[:, :, 0:3] == 1).all()
    assert (pieces[0, :, 25:40] == 2).all()


def test_nearest_is_meant_in_nanometres() -> None:
    """The lone voxel is 2 sections (60 nm) from piece 1 and 8 pixels (48 nm) from piece 2."""
    mask = np.zeros((5, 3, 30), bool)
    mask[0, :, :16] = True
    mask[2, 1, 4] = True
    mask[2, :, 12:20] = True
    seeds = seeds_at(mask.shape, (0, 1, 4), (2, 1, 16))
    pieces = split_fragment(mask, seeds, boundary=None, voxel_size=SECTIONS)
    assert pieces[2, 1, 4] == 2
    pieces = split_fragment(mask, seeds, boundary=None, voxel_size=CUBES)
    assert pieces[2, 1, 4] == 1


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    shape=st.tuples(st.integers(1, 6), st.integers(2, 9), st.integers(2, 9)),
    kinds=st.integers(2, 5),
    known=st.booleans(),
)
def test_any_mask_is_cut_into_whole_pieces(
    seed: int, shape: tuple[int, int, int], kinds: int, known: bool
) -> None:
    random = np.random.default_rng(seed)
    mask = random.random(shape) < 0.7
    inside = np.flatnonzero(mask)
    if len(inside) < kinds:
        return
    seeds = np.zeros(shape, np.int32)
    places = random.choice(inside, kinds, replace=False)
    seeds.reshape(-1)[places] = np.arange(1, kinds + 1)
    boundary = random.random(shape, np.float32) if known else None
    pieces = split_fragment(mask, seeds, boundary=boundary, voxel_size=SECTIONS)
    assert_whole(pieces, mask, seeds)
    again = split_fragment(mask, seeds, boundary=boundary, voxel_size=SECTIONS)
    np.testing.assert_array_equal(pieces, again)


def test_boundary_of_nan_counts_inside_the_mask_only() -> None:
    mask, boundary = dumbbell(hole=0)
    mask[0] = False
    seeds = seeds_at(mask.shape, (4, 7, 7), (4, 37, 7))
    boundary[0] = np.nan
    assert_whole(split_fragment(mask, seeds, boundary=boundary, voxel_size=CUBES), mask, seeds)
    boundary[1, 0, 0] = np.nan
    with pytest.raises(VolumeFormatError, match="not a number"):
        split_fragment(mask, seeds, boundary=boundary, voxel_size=CUBES)


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ({}, "seeds for the pieces"),
        ({(0, 1, 1): 1}, "seeds for the pieces"),
        ({(0, 1, 1): 1, (0, 1, 2): 3}, "seeds for the pieces"),
        ({(0, 1, 1): 1, (0, 1, 2): -1}, "seeds for the pieces"),
        ({(0, 1, 1): 1, (0, 1, 3): 2}, "outside the fragment"),
    ],
)
def test_bad_seeds_are_refused(points: dict[tuple[int, int, int], int], words: str) -> None:
    mask = np.ones((2, 4, 4), bool)
    mask[..., 3] = False
    seeds = np.zeros(mask.shape, np.int32)
    for point, value in points.items():
        seeds[point] = value
    with pytest.raises(EditRejectedError, match=words):
        split_fragment(mask, seeds, boundary=None, voxel_size=CUBES)


def test_arrays_that_do_not_fit_are_refused() -> None:
    mask, seeds = np.ones((2, 4, 4), bool), seeds_at((2, 4, 4), (0, 0, 0), (1, 3, 3))
    wrong: list[tuple[Any, Any, Any]] = [
        (mask.astype(np.uint8), seeds, None),
        (mask[0], seeds[0], None),
        (mask, seeds[:1], None),
        (mask, seeds.astype(np.float32), None),
        (mask, seeds, np.zeros((2, 4, 5), np.float32)),
        (mask, seeds, np.full(mask.shape, 2.0, np.float32)),
    ]
    for bad_mask, bad_seeds, boundary in wrong:
        with pytest.raises(VolumeFormatError):
            split_fragment(bad_mask, bad_seeds, boundary=boundary, voxel_size=CUBES)


def test_boundary_of_an_image_is_high_on_dark_sheets_alone() -> None:
    image = np.full((12, 40, 40), 200, np.uint8)
    image[:, 20:22] = 60
    image[:, :, 30:] += 40
    boundary = boundary_from_image(image, CUBES)
    assert boundary.dtype == np.float32
    assert boundary.min() >= 0
    assert boundary.max() <= 1
    assert boundary[:, 20:22].min() > 0.6
    assert boundary[:, :16].max() < 0.1
    assert boundary[:, 26:].max() < 0.1
    np.testing.assert_allclose(boundary_from_image(image * 0.5 + 7.0, CUBES), boundary, atol=1e-5)


def test_image_without_contrast_has_no_boundary_and_nan_is_refused() -> None:
    flat = np.full((3, 5, 5), 7.0, np.float32)
    assert not boundary_from_image(flat, CUBES).any()
    assert boundary_from_image(flat[:0], CUBES).shape == (0, 5, 5)
    flat[1, 1, 1] = np.nan
    with pytest.raises(VolumeFormatError, match="finite"):
        boundary_from_image(flat, CUBES)
    with pytest.raises(VolumeFormatError, match="shape"):
        boundary_from_image(flat[0], CUBES)


def rows(rag: Rag, keep: NDArray[np.bool_]) -> Rag:
    return Rag(*(getattr(rag, field.name)[keep] for field in fields(rag)))


def test_contacts_of_pieces_equal_those_of_the_whole_volume() -> None:
    random = np.random.default_rng(2)
    fragments = random.integers(0, 5, (4, 4, 4)).repeat(3, 0).repeat(3, 1).repeat(3, 2)
    fragments = fragments.astype(np.uint64)
    affinities = random.integers(0, 256, (3, *fragments.shape)).astype(np.uint8)
    inside = fragments[3:9, 3:9, 3:9]
    labels = np.where(inside == 2, 1 + (np.indices(inside.shape)[2] > 2), 0)
    inside[labels > 0] = 90 + labels[labels > 0]
    ids = np.array([91, 92], np.uint64)
    whole = build_rag(fragments, affinities)
    expected = rows(whole, np.isin(whole.contacts, ids).any(axis=1))
    box = (slice(2, 10),) * 3
    found = measure_pieces(fragments[box], ids, affinities[(slice(None), *box)], (2, 2, 2))
    assert len(found) > 3
    for field in fields(Rag):
        np.testing.assert_allclose(
            getattr(found, field.name), getattr(expected, field.name), rtol=1e-5
        )
    found.validate()


def test_without_affinities_contacts_are_undecided() -> None:
    fragments = np.array([[[1, 7, 8, 8, 0, 2, 3]]], np.uint64)
    found = measure_pieces(fragments, np.array([7, 8], np.uint64), None, (4, 5, 6))
    assert found.contacts.tolist() == [[1, 7], [7, 8]]
    assert found.score.tolist() == found.affinity.tolist() == [0.5, 0.5]
    np.testing.assert_allclose(found.centroid, [[4, 5, 6.5], [4, 5, 7.5]])
