"""Targets of AGQ: the sparse resize against torch's, patches by hand, the draw of voxels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

from napari_neuropil.training.agq.patches import (
    choose_voxels,
    extended_affinities,
    make_agq_patch,
)
from napari_neuropil.training.soft_labels import (
    FREE,
    SoftLabels,
    linear_places,
    resize_labels,
    resize_sections,
)

_OFFSETS = ((-1, 0, 0), (0, -1, 0), (0, 0, -1))


def _dense(masks: SoftLabels, label: int) -> NDArray[np.float64]:
    return np.where(masks.objects == label, masks.weights.astype(np.float64), 0).sum(axis=0)


def _torch_resize(array: NDArray[np.float64], shape: tuple[int, int, int]) -> NDArray[np.float64]:
    wanted = functional.interpolate(
        torch.from_numpy(array)[None, None], shape, mode="trilinear", align_corners=False
    )
    return wanted[0, 0].numpy()


@pytest.mark.parametrize(("height", "width"), [(7, 8), (33, 17), (1, 2), (2, 5), (13, 1)])
def test_sparse_masks_are_the_resized_masks(height: int, width: int) -> None:
    rng = np.random.default_rng(height)
    objects = rng.integers(-1, 4, (3, height, width))
    rows, columns = (linear_places(n, (n + 1) // 2) for n in (height, width))
    masks = resize_labels(objects, 3, rows, columns)
    shape = (3, (height + 1) // 2, (width + 1) // 2)
    np.testing.assert_allclose(masks.weights.sum(axis=0), 1, atol=1e-6)
    for label in (FREE, 0, 1, 2, 3):
        wanted = _torch_resize((objects == label).astype(float), shape)
        found = _dense(masks, label)
        np.testing.assert_allclose(found, wanted.ravel(), atol=1e-6)
        if label > 0:
            assert masks.areas()[label - 1] == pytest.approx(wanted.sum(), abs=1e-4)
    values = rng.random((2, 3, height, width), dtype=np.float32)
    small = resize_sections(values, rows, columns)
    for channel in range(2):
        wanted = _torch_resize(values[channel].astype(float), shape)
        np.testing.assert_allclose(small[channel], wanted, atol=1e-6)


def test_a_row_by_hand() -> None:
    # Samples of 4 voxels in 2: places 0.5 and 2.5. The border takes voxels 1 and 2.
    labels = np.array([[[5, 5, 9, 9]]], np.uint32)
    patch = make_agq_patch(np.zeros((1, 1, 4), np.float32), labels, offsets=_OFFSETS)
    assert patch.masks.count == 2
    assert _dense(patch.masks, 1).tolist() == [0.5, 0]
    assert _dense(patch.masks, 0).tolist() == [0.5, 0.5]
    assert _dense(patch.masks, 2).tolist() == [0, 0.5]
    # Voxels 0 and 3 are left: no pair along x but the one that leaves; z and y leave everywhere.
    assert patch.affinities[:, 0, 0].tolist() == [[0.5, 0.5], [0.5, 0.5], [0.5, 0]]
    assert patch.compared.tolist() == [0, 1]
    assert patch.affinities.dtype == patch.masks.weights.dtype == np.float32


def test_parts_of_an_id_are_objects_and_small_ones_are_free() -> None:
    labels = np.zeros((1, 6, 12), np.uint32)
    labels[0, :, :2] = labels[0, :, 10:] = 7
    labels[0, 2, 5] = 7
    image = np.zeros(labels.shape, np.float32)
    every = make_agq_patch(image, labels, offsets=_OFFSETS)
    assert every.masks.count == 3
    large = make_agq_patch(image, labels, offsets=_OFFSETS, smallest=2)
    assert large.masks.count == 2
    # The small part is neither an object nor background, and is never compared.
    assert (large.masks.objects == FREE).any()
    np.testing.assert_array_equal(large.masks.objects == 0, every.masks.objects == 0)
    np.testing.assert_array_equal(_dense(large.masks, FREE), _dense(every.masks, 3))
    assert set(every.compared) - set(large.compared) == set(np.flatnonzero(_dense(every.masks, 3)))


def test_pairs_that_leave_the_patch_count_as_connected() -> None:
    labels = np.array([[[1, 1, 2]], [[1, 0, 2]]], np.uint32)
    found = extended_affinities(labels, _OFFSETS)
    assert found[0].tolist() == [[[1, 1, 1]], [[1, 0, 1]]]
    assert found[1].tolist() == [[[1, 1, 1]], [[1, 0, 1]]]
    assert found[2].tolist() == [[[1, 1, 0]], [[1, 0, 0]]]


@pytest.mark.parametrize("fill", [0, 3])
def test_patches_of_one_object_or_none(fill: int) -> None:
    labels = np.full((2, 4, 5), fill, np.uint32)
    patch = make_agq_patch(np.zeros(labels.shape, np.float32), labels, offsets=_OFFSETS)
    assert patch.masks.count == (fill > 0)
    assert patch.masks.areas().sum() == pytest.approx(12 if fill else 0)
    assert len(patch.compared) == (12 if fill else 0)
    assert (patch.affinities == (fill > 0)).all()


def _two_objects() -> SoftLabels:
    # 20 voxels of object 1, 2000 of object 2, 1000 of background.
    objects = np.repeat([1, 2, 0], [20, 2000, 1000])
    return SoftLabels(np.tile(objects, (4, 1)), np.full((4, 3020), 0.25, np.float32), 2)


@pytest.mark.parametrize(("evenness", "expected"), [(0.0, 0.01), (0.6, 0.137), (1.0, 0.5)])
def test_the_draw_prefers_small_objects(evenness: float, expected: float) -> None:
    # First draws only, or the small object would run out.
    rng = np.random.default_rng(3)
    drawn = [int(choose_voxels(_two_objects(), 1, evenness, rng)[0]) for _ in range(1500)]
    assert max(drawn) < 2020
    assert np.mean(np.array(drawn) < 20) == pytest.approx(expected, abs=0.04)


def test_the_draw_has_no_repeats_and_stays_in_objects() -> None:
    masks = _two_objects()
    some = choose_voxels(masks, 500, 0.6, np.random.default_rng(0))
    assert len(set(some.tolist())) == 500
    assert (np.diff(some) > 0).all()
    assert some.max() < 2020
    everything = choose_voxels(masks, 5000, 0.6, np.random.default_rng(0))
    np.testing.assert_array_equal(everything, np.arange(2020))


def test_the_draw_follows_from_the_image_alone() -> None:
    rng = np.random.default_rng(1)
    image = rng.random((2, 20, 20), dtype=np.float32)
    labels = np.repeat(rng.integers(1, 4, (2, 2, 20)), 10, axis=1).astype(np.uint32)
    first, again = (
        make_agq_patch(image, labels, offsets=_OFFSETS, compared=20).compared for _ in range(2)
    )
    np.testing.assert_array_equal(first, again)
    turned = np.asfortranarray(image)  # other memory, same values
    found = make_agq_patch(turned, labels, offsets=_OFFSETS, compared=20).compared
    np.testing.assert_array_equal(first, found)
    other = make_agq_patch(image + 0.01, labels, offsets=_OFFSETS, compared=20).compared
    assert (first != other).any()
