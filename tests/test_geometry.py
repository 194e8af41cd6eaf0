"""Boxes and voxel sizes by hand, and the errors that bad ones give."""

from __future__ import annotations

import pickle

import pytest

from napari_neuropil.errors import NeuropilError, SettingsError
from napari_neuropil.geometry import Roi, VoxelSize, factors_between


@pytest.mark.parametrize("text", ["29,6,6", "29 x 6 x 6 nm", " 29.0, 6,6 "])
def test_voxel_size_is_read(text: str) -> None:
    assert VoxelSize.parse(text) == VoxelSize(29, 6, 6)


@pytest.mark.parametrize("text", ["", "29,6", "29,6,6,6", "a,b,c", "29,6,0", "29,-6,6", "nan,6,6"])
def test_bad_voxel_sizes_are_named(text: str) -> None:
    with pytest.raises(SettingsError, match="Voxel size"):
        VoxelSize.parse(text)


def test_voxel_size_measures() -> None:
    size = VoxelSize(40, 10, 10)
    assert size.anisotropy == 4
    assert size.volume_um3 == pytest.approx(4e-6)
    assert size.scaled((1, 2, 2)) == VoxelSize(40, 20, 20)
    assert str(size) == "40 x 10 x 10 nm"


def test_factors_are_nearest_in_the_logarithm() -> None:
    assert factors_between(VoxelSize(29, 6, 6), VoxelSize(29, 12, 12)) == (1, 2, 2)
    assert factors_between(VoxelSize(29, 9, 8), VoxelSize(29, 12, 12)) == (1, 1, 2)
    assert factors_between(VoxelSize(29, 40, 3), VoxelSize(29, 12, 12)) == (1, 1, 4)


def test_roi_is_read_with_open_bounds() -> None:
    roi = Roi.parse("2:5,:,3:", (10, 20, 30))
    assert roi == Roi((2, 0, 3), (5, 20, 30))
    assert roi.shape == (3, 20, 27)
    assert roi.size == 3 * 20 * 27
    assert Roi.parse(str(roi), (10, 20, 30)) == roi


@pytest.mark.parametrize("text", ["1:2", "a:b,:,:", "5:2,:,:", "0:11,:,:", "-1:2,:,:", "1:2:3,:,:"])
def test_bad_rois_are_named(text: str) -> None:
    with pytest.raises(SettingsError, match="Roi"):
        Roi.parse(text, (10, 20, 30))


def test_roi_arithmetic() -> None:
    a, b = Roi((0, 0, 0), (4, 4, 4)), Roi((2, 3, 1), (6, 6, 6))
    assert a.intersection(b) == Roi((2, 3, 1), (4, 4, 4))
    assert a.intersection(Roi((4, 0, 0), (5, 4, 4))) is None
    assert b.grown((3, 1, 1), (7, 7, 7)) == Roi((0, 2, 0), (7, 7, 7))
    assert a.shifted((1, 2, 3)) == Roi((1, 2, 3), (5, 6, 7))


def test_errors_cross_process_borders_whole() -> None:
    error = SettingsError("found", "wanted", "cure")
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, NeuropilError)
    assert (again.found, again.expected, again.cure) == ("found", "wanted", "cure")
    assert str(again) == "found\nExpected: wanted\nCure: cure"
