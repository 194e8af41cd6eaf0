"""Features of a window are those of the whole section, there."""

from __future__ import annotations

import numpy as np
import pytest

from napari_neuropil.networks.feature_window import cut_features


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
def test_features_are_those_of_the_window(stride: int) -> None:
    shape = (100, 70)  # padded to 128 x 96
    rows, columns = np.meshgrid(np.arange(128), np.arange(96), indexing="ij")
    whole = np.stack([rows, columns])[:, ::stride, ::stride].astype(np.float16)
    found = cut_features({"f": whole}, (slice(32, 100), slice(0, 64)), shape)["f"]
    assert found.shape == (2, 96 // stride, 64 // stride)
    np.testing.assert_array_equal(found[0, :, 0], np.arange(32, 128, stride))
    np.testing.assert_array_equal(found[1, 0], np.arange(0, 64, stride))
