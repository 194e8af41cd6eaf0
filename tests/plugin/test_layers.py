"""Lazy layer data, crops and places."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_neuropil.errors import VolumeFormatError
from napari_neuropil.geometry import Roi, VoxelSize
from napari_neuropil.plugin.layers import LayerArray, crop_roi, is_labels, layer_from_volume
from napari_neuropil.volumes import Volume


class Counting:
    """An array that answers slices only, and counts the voxels read."""

    def __init__(self, array: Any) -> None:
        self.array, self.shape, self.dtype, self.voxels = array, array.shape, array.dtype, 0

    def __getitem__(self, key: Any) -> Any:
        assert all(isinstance(k, slice) and k.step in (None, 1) for k in key)
        block = self.array[key]
        self.voxels += block.size
        return block


@pytest.mark.parametrize(
    "key",
    [
        3,
        -1,
        (slice(None), 4),
        (..., 5),
        (slice(1, 5, 2), slice(None, None, -1), 7),
        (2, slice(3, 9), slice(4, 4)),
        (np.int64(2), slice(-3, None)),
        ...,
        (np.array([4, 1]), 2),
        (slice(0, 2), slice(0, 3), slice(0, 4)),
    ],
)
def test_layer_array_indexes_like_numpy(image: Any, key: Any) -> None:
    np.testing.assert_array_equal(LayerArray(Counting(image))[key], image[key])


def test_layer_array_reads_only_what_is_asked(image: Any) -> None:
    counting = Counting(image)
    array = LayerArray(counting)
    assert (array.ndim, array.size, len(array)) == (3, image.size, 6)
    assert counting.voxels == 0
    array[2]
    assert counting.voxels == 20 * 24


def test_layer_array_is_native_and_read_only(image: Any) -> None:
    array = LayerArray(image.astype(">u2"))
    assert array[0].dtype == np.dtype("=u2") == array.dtype
    with pytest.raises(VolumeFormatError, match="cannot be painted"):
        array[0] = 1
    with pytest.raises(IndexError):
        array[6]


def test_crop_is_moved_into_the_volume() -> None:
    shape, thick = (100, 1000, 1000), VoxelSize(30, 8, 8)
    assert crop_roi(shape, (50, 500, 500), thick) == Roi((42, 372, 372), (58, 628, 628))
    assert crop_roi(shape, (-5, 2000, 0), thick) == Roi((0, 744, 0), (16, 1000, 256))
    assert crop_roi((4, 10, 300), (1, 1, 1), thick).shape == (4, 10, 256)
    assert crop_roi(shape, (50, 500, float("nan")), VoxelSize(8, 8, 8)).shape == (64, 128, 128)


@pytest.mark.parametrize(
    ("dtype", "name", "expected"),
    [
        ("uint8", "em", False),
        ("uint64", "em", True),
        ("uint32", "em", True),
        ("uint16", "ac4_labels", True),
        ("uint16", "segneuron_input", False),
        ("uint16", "seg", True),
        ("float32", "labels", False),
    ],
)
def test_labels_by_type_or_name(dtype: str, name: str, expected: bool) -> None:
    volume = Volume(np.zeros((2, 3, 4), dtype), None, name=name, source=f"/data/{name}.tif")
    assert is_labels(volume) is expected


def test_layer_has_its_place_and_source(image: Any) -> None:
    volume = Volume(image, VoxelSize(30, 8, 4), (60.0, 0.0, 4.0), name="em", source="em.tif")
    _, attributes, kind = layer_from_volume(volume)
    assert kind == "image"
    assert attributes["scale"] == (30, 8, 4)
    assert attributes["translate"] == (60, 0, 4)
    assert attributes["units"] == ("nm",) * 3
    assert attributes["metadata"]["neuropil"] == {"source": "em.tif", "voxel_size": (30, 8, 4)}
