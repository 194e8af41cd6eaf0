"""Packed masks and sparse objects equal the dense arrays they stand for."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_neuropil.errors import VolumeFormatError
from napari_neuropil.geometry import Roi
from napari_neuropil.prompts.packed_mask import (
    PackedMask,
    mask_holds,
    mask_overlap,
    mask_without,
    masks_united,
    overlap_area,
)
from napari_neuropil.prompts.sparse_object import SparseObject

SHAPE = (5, 19, 23)
Mask = NDArray[np.bool_]


def random_mask(seed: int, share: float = 0.05) -> Mask:
    """A few pixels, so that boxes differ."""
    return np.random.default_rng(seed).random(SHAPE[1:]) < share


def pack(mask: Mask) -> PackedMask:
    packed = PackedMask.of(mask)
    assert packed is not None
    return packed


def dense(thing: SparseObject) -> Mask:
    return np.stack([thing.section(z) for z in range(SHAPE[0])])


def some_object() -> tuple[SparseObject, Mask]:
    volume = np.zeros(SHAPE, np.bool_)
    thing = SparseObject(SHAPE)
    for z in (3, 0, 4):
        volume[z] = random_mask(z)
        thing = thing.with_section(z, volume[z])
    return thing, volume


@pytest.mark.parametrize("seed", range(8))
def test_masks_know_what_dense_masks_know(seed: int) -> None:
    a, b, c = (random_mask(seed + 10 * n, 0.01 + 0.1 * n) for n in range(3))
    a[0, 0] = b[-1, -1] = c[3, 3] = True
    one, other, third = pack(a), pack(b), pack(c)
    for mask, packed in ((a, one), (b, other)):
        np.testing.assert_array_equal(packed.onto(SHAPE[1:]), mask)
        assert packed.area == mask.sum()
        y0, x0, y1, x1 = packed.box
        np.testing.assert_array_equal(packed.crop(), mask[y0:y1, x0:x1])
    assert overlap_area(one, third) == (a & c).sum()
    assert mask_overlap(other, third) == (b & c).sum() / (b | c).sum()
    union = masks_united([one, other, third])
    assert union is not None
    np.testing.assert_array_equal(union.onto(SHAPE[1:]), a | b | c)
    rest = mask_without(third, [one, other])
    assert rest is not None
    np.testing.assert_array_equal(rest.onto(SHAPE[1:]), c & ~a & ~b)
    assert mask_without(one, [one]) is None
    assert [mask_holds(one, (y, x)) for y, x in ((0, 0), (18, 22))] == [a[0, 0], a[18, 22]]


def test_an_empty_mask_is_none() -> None:
    assert PackedMask.of(np.zeros((4, 5), np.bool_)) is None
    assert masks_united([]) is None


@pytest.mark.parametrize("by", [(0, 0), (3, -5), (-40, 0), (18, 22), (-7, 9)])
def test_moved_masks_lose_what_leaves_the_section(by: tuple[int, int]) -> None:
    mask = random_mask(1, 0.2)
    expected = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        if 0 <= y + by[0] < SHAPE[1] and 0 <= x + by[1] < SHAPE[2]:
            expected[y + by[0], x + by[1]] = True
    moved = pack(mask).moved(by, SHAPE[1:])
    found = moved.onto(SHAPE[1:]) if moved is not None else np.zeros_like(mask)
    np.testing.assert_array_equal(found, expected)


def test_sections_are_set_replaced_and_taken_out() -> None:
    thing, volume = some_object()
    np.testing.assert_array_equal(dense(thing), volume)
    assert list(thing.sections) == [0, 3, 4]
    assert thing.voxels == volume.sum()
    changed = thing.with_section(3, np.zeros(SHAPE[1:], np.bool_)).with_section(0, volume[4])
    assert list(changed.sections) == [0, 4]
    np.testing.assert_array_equal(changed.section(0), volume[4])
    np.testing.assert_array_equal(dense(thing), volume)  # the first one has not changed


def test_extent_is_the_smallest_box() -> None:
    thing, volume = some_object()
    rows = [np.flatnonzero(volume.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    start, stop = [int(r[0]) for r in rows], [int(r[-1]) + 1 for r in rows]
    assert thing.extent == Roi((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
    assert SparseObject(SHAPE).extent is None
    assert SparseObject(SHAPE).voxels == 0


def test_union() -> None:
    thing, volume = some_object()
    other = SparseObject(SHAPE).with_section(3, random_mask(7)).with_section(1, random_mask(8))
    np.testing.assert_array_equal(dense(thing.united(other)), volume | dense(other))
    with pytest.raises(VolumeFormatError, match="one volume"):
        thing.united(SparseObject((5, 19, 24)))


@pytest.mark.parametrize("roi", ["0:5,0:19,0:23", "2:4,5:11,7:20", "1:3,0:2,0:2"])
def test_label_boxes_are_cut_from_the_volume(roi: str) -> None:
    thing, volume = some_object()
    box = Roi.parse(roi, SHAPE)
    np.testing.assert_array_equal(thing.label_box(box, 7), 7 * volume[box.slices])
    labels = np.full(box.shape, 3, np.uint16)
    thing.paint(labels, box, 9)
    np.testing.assert_array_equal(labels, np.where(volume[box.slices], 9, 3))


def test_of_labels_takes_one_id_out_of_a_box() -> None:
    labels = np.zeros((2, 4, 5), np.uint64)
    labels[0, 1:3, 2] = 6
    labels[1, 3, 4] = 7
    thing = SparseObject.of_labels(labels, 6, shape=SHAPE, start=(3, 10, 11))
    assert list(thing.sections) == [3]
    assert np.argwhere(thing.section(3)).tolist() == [[11, 13], [12, 13]]
    with pytest.raises(VolumeFormatError, match="a place in the volume"):
        SparseObject.of_labels(labels, 7, shape=SHAPE, start=(3, 16, 11))


def test_arrays_survive_a_file_without_pickle() -> None:
    thing, volume = some_object()
    file = io.BytesIO()
    np.savez(file, **thing.as_arrays())
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        np.testing.assert_array_equal(dense(SparseObject.of_arrays(arrays)), volume)
    empty = SparseObject.of_arrays(SparseObject(SHAPE).as_arrays())
    assert empty.voxels == 0
    assert empty.shape == SHAPE


def test_forged_arrays_are_refused() -> None:
    good = some_object()[0].as_arrays()
    forged = {
        "without": {k: v for k, v in good.items() if k != "boxes"},
        "whole numbers": good | {"z": good["z"].astype(float)},
        "bytes, once": good | {"bits": good["bits"][:-1]},
        "a place in the volume": good | {"boxes": good["boxes"] + 10},
        "bytes of masks": good | {"bits": np.append(good["bits"], np.uint8(0))},
    }
    forged["once"] = good | {"z": np.array([0, 0, 4])}
    # Claims 4 TiB; must be refused before anything of the kind is allocated.
    huge = np.array([[0, 0, 2**21, 2**21]] * 3)
    forged["0 bytes|bytes of mask"] = good | {
        "shape": np.array([5, 2**21, 2**21]),
        "boxes": huge,
    }
    for reason, arrays in forged.items():
        with pytest.raises(VolumeFormatError, match=reason):
            SparseObject.of_arrays(arrays)


def test_masks_that_do_not_fit_are_refused() -> None:
    thing = SparseObject(SHAPE)
    with pytest.raises(VolumeFormatError, match="a mask of shape"):
        thing.with_section(0, np.ones((19, 24), np.bool_))
    with pytest.raises(VolumeFormatError, match="section 5"):
        thing.with_section(5, np.ones(SHAPE[1:], np.bool_))
