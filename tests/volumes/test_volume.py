"""The volume and its views."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_neuropil.errors import VolumeFormatError
from napari_neuropil.geometry import Roi, VoxelSize
from napari_neuropil.volumes import Volume, check_image, create_volume
from napari_neuropil.volumes.axes import AxesView, find_order


def test_read_returns_an_own_native_contiguous_copy() -> None:
    array = np.arange(60, dtype=">u2").reshape(3, 4, 5)
    volume = Volume(array, None)
    block = volume.read(Roi((1, 1, 1), (3, 3, 4)))
    assert block.dtype.isnative
    assert volume.dtype.isnative
    assert block.flags.c_contiguous
    assert not np.shares_memory(block, array)
    np.testing.assert_array_equal(block, array[1:3, 1:3, 1:4])


def test_read_of_a_native_array_is_a_copy() -> None:
    array = np.zeros((3, 4, 5), "u1")
    Volume(array, None).read(Roi.of_shape(array.shape))[...] = 1
    assert not array.any()


def test_a_roi_that_leaves_the_volume_is_refused() -> None:
    volume = Volume(np.zeros((3, 4, 5)), None)
    with pytest.raises(VolumeFormatError, match="leaves the volume"):
        volume.read(Roi((0, 0, 0), (3, 4, 6)))


def test_write_checks_shape_values_and_access(tmp_path: Path) -> None:
    volume = create_volume(tmp_path / "v.zarr", (3, 4, 5), "uint8", VoxelSize(8, 8, 8))
    roi = Roi((1, 0, 0), (2, 4, 5))
    volume.write(roi, np.full(roi.shape, 9, np.int64))
    assert volume.read(roi).tolist() == np.full(roi.shape, 9).tolist()
    with pytest.raises(VolumeFormatError, match="shape"):
        volume.write(roi, np.zeros((2, 2, 2), "u1"))
    with pytest.raises(VolumeFormatError, match="holds exactly"):
        volume.write(roi, np.full(roi.shape, 256))
    with pytest.raises(VolumeFormatError, match="can be written"):
        Volume(AxesView(np.zeros((3, 4, 5)), (0, 1, 2)), None).write(roi, np.zeros(roi.shape))


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.zeros((4, 5)), "shape"),
        (np.zeros((1, 4, 5, 6)), "shape"),
        (np.zeros((4, 0, 5)), "empty"),
        (np.zeros((4, 4, 5), complex), "complex"),
        (np.zeros((4, 4, 5), "S3"), "type"),
        (np.zeros((4, 4, 5), object), "object"),
        (np.zeros((4, 4, 5), "M8[s]"), "datetime"),
    ],
)
def test_arrays_that_are_no_volume_are_refused(array: Any, match: str) -> None:
    with pytest.raises(VolumeFormatError, match=match):
        Volume(array, None)


def test_check_image_refuses_masks() -> None:
    check_image(Volume(np.zeros((2, 2, 2), "f4"), None))
    check_image(Volume(np.zeros((2, 2, 2), "u1"), None))
    with pytest.raises(VolumeFormatError, match="bool"):
        check_image(Volume(np.zeros((2, 2, 2), bool), None))


def test_level_voxel_sizes_follow_the_voxel_size() -> None:
    fine, coarse = np.zeros((4, 8, 9)), np.zeros((4, 4, 5))
    volume = Volume(fine, None, levels=(fine, coarse))
    assert volume.level_voxel_sizes == (None, None)
    sized = volume.with_voxel_size(VoxelSize(30, 8, 8))
    assert sized.level_voxel_sizes == (VoxelSize(30, 8, 8), VoxelSize(30, 16, 16))
    assert sized.array is fine


INDEX = st.one_of(
    st.integers(-3, 2),
    st.builds(
        slice,
        st.none() | st.integers(-4, 4),
        st.none() | st.integers(-4, 4),
        st.none() | st.integers(1, 2),
    ),
)


@settings(max_examples=60, deadline=None)
@given(
    index=st.one_of(INDEX, st.lists(INDEX, max_size=3).map(tuple), st.just((..., 0)), st.just(...)),
    order=st.permutations([1, 3, 4]),
)
def test_a_view_indexes_as_numpy_does(index: Any, order: list[int]) -> None:
    source = np.arange(60, dtype=">i4").reshape(1, 3, 1, 4, 5)
    expected = source[0, :, 0].transpose([[1, 3, 4].index(axis) for axis in order])
    view = AxesView(source, (order[0], order[1], order[2]))
    assert view.shape == expected.shape
    np.testing.assert_array_equal(view[index], expected[index])
    assert np.asarray(view[index]).dtype.isnative


def test_a_view_gives_one_section_its_axis() -> None:
    plane = np.arange(12).reshape(3, 4)
    view = AxesView(plane, (None, 0, 1))
    assert (view.shape, view.ndim, view.size, len(view)) == ((1, 3, 4), 3, 12, 1)
    np.testing.assert_array_equal(np.asarray(view), plane[None])
    np.testing.assert_array_equal(view[0, 1:], plane[1:])
    assert view[1:].shape == (0, 3, 4)


@pytest.mark.parametrize("index", [(0, 0, 0, 0), 3, (0, -5), (slice(None, None, -1),)])
def test_a_view_refuses_bad_indices(index: Any) -> None:
    with pytest.raises(IndexError):
        AxesView(np.zeros((1, 3, 4, 5)), (1, 2, 3))[index]


def test_axes_are_found_by_name_then_by_position() -> None:
    assert find_order((5, 4, 3), ["x", "y", "z"], "v") == (2, 1, 0)
    assert find_order((1, 1, 3, 4, 5), list("tczyx"), "v") == (2, 3, 4)
    assert find_order((3, 4, 5, 1), None, "v") == (0, 1, 2)
    assert find_order((1, 3, 4, 5), ["dim_0", "dim_1", "dim_2", "dim_3"], "v") == (1, 2, 3)


@pytest.mark.parametrize(
    ("shape", "names", "match"),
    [
        ((2, 1, 3, 4, 5), "tczyx", "t=2, c=1, z=3"),
        ((1, 3, 3, 4, 5), "tczyx", "t=1, c=3"),
        ((4, 5), "yx", "y=4, x=5"),
        ((4, 5), None, r"shape \(4, 5\)"),
        ((2, 3, 4, 5), None, r"shape \(2, 3, 4, 5\)"),
        ((64, 64, 3), None, "RGB"),
    ],
)
def test_other_axes_are_refused_by_name(
    shape: tuple[int, ...], names: str | None, match: str
) -> None:
    with pytest.raises(VolumeFormatError, match=match):
        find_order(shape, list(names) if names else None, "v")
