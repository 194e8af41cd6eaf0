"""Grey values into [0, 1]; pooling and back."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_neuropil.errors import VolumeFormatError
from napari_neuropil.geometry import Roi
from napari_neuropil.inference.grey_values import GreyRange, find_grey_range
from napari_neuropil.inference.grids import pool_mean, pooled_shape, repeat_voxels, unpooled_roi
from napari_neuropil.volumes import Volume


def _volume(array: NDArray[np.generic]) -> Volume:
    return Volume(array=array, voxel_size=None, name="test", source="test")


def _range(array: NDArray[np.generic], **options: object) -> GreyRange:
    found, _ = find_grey_range(_volume(array), Roi.of_shape(array.shape), "auto", **options)  # type: ignore[arg-type]
    return found


def test_auto_takes_the_type_where_it_is_used() -> None:
    ramp = np.linspace(0, 200, 4 * 64 * 64).reshape(4, 64, 64)
    assert _range(ramp.astype(np.uint8)) == GreyRange(0, 255)
    assert _range(ramp.astype(np.uint8), invert=True) == GreyRange(255, 0)
    assert _range((ramp / 200).astype(np.float32)) == GreyRange(0, 1)
    twelve_bits = _range((ramp * 20).astype(np.uint16))
    assert 0 <= twelve_bits.low < 10
    assert 3980 < twelve_bits.high <= 4000


def test_applied_range_is_clipped_and_inverted() -> None:
    image = np.array([[[0, 50, 100, 300]]], np.uint16)
    np.testing.assert_allclose(GreyRange(0, 100).apply(image), [[[0, 0.5, 1, 1]]])
    np.testing.assert_allclose(GreyRange(100, 0).apply(image), [[[1, 0.5, 0, 0]]])


def test_nothing_to_see_is_refused() -> None:
    with pytest.raises(VolumeFormatError, match="looks constant: every sampled voxel is 7"):
        _range(np.full((4, 40, 40), 7, np.uint8))
    bad = np.random.default_rng(0).random((4, 40, 40), dtype=np.float32)
    bad[2, 20, 20] = np.nan
    with pytest.raises(VolumeFormatError, match="NaN"):
        _range(bad)
    with pytest.raises(VolumeFormatError, match="1 of 6400 voxels"):
        GreyRange(0, 1).apply(bad)


def test_pooling_and_back() -> None:
    image = np.arange(2 * 5 * 6, dtype=np.float32).reshape(2, 5, 6)
    pooled = pool_mean(image, (1, 2, 2))
    assert pooled.shape == pooled_shape(image.shape, (1, 2, 2)) == (2, 3, 3)
    assert pooled[0, 0, 0] == pytest.approx((0 + 1 + 6 + 7) / 4)
    assert pooled[0, 2, 0] == pytest.approx((24 + 25) / 2)  # the last row is filled up by its edge
    ids = np.arange(18, dtype=np.uint64).reshape(2, 3, 3)
    back = repeat_voxels(ids, (1, 2, 2), image.shape)
    assert back.shape == image.shape
    np.testing.assert_array_equal(back[:, ::2, ::2], ids)
    assert unpooled_roi(Roi((0, 1, 1), (2, 3, 3)), (1, 2, 2), image.shape) == Roi(
        (0, 2, 2), (2, 5, 6)
    )
