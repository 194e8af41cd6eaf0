"""Segments without voxels of their own: an array that reads ``lookup[fragments]``.

A merge changes the lookup, never the fragments, so showing the result costs the look-up of the
voxels on screen (about 10 ms for a section of 1024 x 1024), whatever the volume's size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.segmentation.lookup import apply_lookup
from napari_neuropil.volumes import Volume


class SegmentArray:
    """Read-only (Z, Y, X) uint64 array of segment ids, looked up when indexed.

    Parameters
    ----------
    fragments : Volume
        Fragment ids.
    lookup : callable
        Returns the segment of each fragment, (F + 1,) uint64; asked at every reading, so that
        edits show at once, also where they made the lookup longer.
    """

    def __init__(self, fragments: Volume, lookup: Callable[[], NDArray[np.uint64]]) -> None:
        self.fragments = fragments
        self._lookup = lookup
        self.shape = fragments.shape
        self.ndim = len(self.shape)
        self.dtype = np.dtype(np.uint64)
        self.chunks = getattr(fragments.array, "chunks", None)

    def __getitem__(self, key: Any) -> NDArray[np.uint64]:
        """Return segments of the indexed voxels."""
        fragments = np.asarray(self.fragments.array[key])
        return apply_lookup(self._lookup(), fragments)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the whole volume; costs its memory."""
        whole = self[:, :, :]
        return whole if dtype is None else whole.astype(dtype)

    def __len__(self) -> int:
        """Return the number of sections."""
        return self.shape[0]
