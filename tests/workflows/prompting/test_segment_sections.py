"""Windows of segments: the same as of the whole section, and nothing else is read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_neuropil.workflows.prompting.segment_sections import CoarseSection, FineSection


class _Stored:
    """An array that notes how many voxels were read."""

    def __init__(self, voxels: NDArray[np.uint64]) -> None:
        self._voxels, self.shape, self.read = voxels, voxels.shape, 0

    def __getitem__(self, key: Any) -> NDArray[np.uint64]:
        part: NDArray[np.uint64] = self._voxels[key]
        self.read += part.size
        return part


@pytest.mark.parametrize("factors", [(1, 1), (2, 2), (3, 4)])
@pytest.mark.parametrize(
    "window", [np.s_[0:4, 0:5], np.s_[2:5, 1:3], np.s_[:, :], np.s_[1:99, 3:99]]
)
def test_windows_hold_the_middles(factors: tuple[int, int], window: tuple[slice, slice]) -> None:
    fy, fx = factors
    voxels = np.arange(3 * 20 * 31, dtype=np.uint64).reshape(3, 20, 31)
    section = CoarseSection(FineSection(_Stored(voxels), 1), factors)
    whole = voxels[1, fy // 2 :: fy, fx // 2 :: fx][: 20 // fy, : 31 // fx]
    assert section.shape == whole.shape
    np.testing.assert_array_equal(section[window], whole[window])


def test_only_the_window_is_read() -> None:
    stored = _Stored(np.zeros((5, 400, 400), np.uint64))
    section = CoarseSection(FineSection(stored, 4), (2, 2))
    assert stored.read == 0
    assert section[10:20, 30:35].shape == (10, 5)
    assert stored.read == 20 * 10
