"""Blocks of any array, read so that a lazy one works out its chunks once and not once a block."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.geometry import Roi

_HELD: Final = 2**29
"""Bytes that are held of a lazy array."""


class BlockReader:
    """Reads an array block by block.

    A dask array forgets a chunk as soon as it is read. A stack of files has whole sections as
    chunks, so each would be opened for each block of it: 64 times for sections of 2048 x 2048. So
    what is read is a block up to the borders of its chunks, and kept until a block lies outside.

    Parameters
    ----------
    array : array_like
        (z, y, x).
    held : int
        Bytes that may be kept; a block alone may be more.
    """

    def __init__(self, array: Any, held: int = _HELD) -> None:
        self._array = array
        self._most = held // np.dtype(array.dtype).itemsize
        self._edges = _chunk_edges(array)
        self._box: Roi | None = None
        self._voxels: NDArray[Any] = np.empty((0, 0, 0))

    def read(self, block: Roi) -> NDArray[Any]:
        """Return the voxels of a block; quickest with x as the fastest axis, then y."""
        box = self._box
        if box is None or not _inside(block, box):
            box = self._around(block)
            # Let go of what is kept before the next is there.
            self._box, self._voxels = None, np.empty((0, 0, 0))
            self._voxels = np.asarray(self._array[box.slices])
            self._box = box
        z, y, x = box.start
        return np.asarray(self._voxels[block.shifted((-z, -y, -x)).slices])

    def _around(self, block: Roi) -> Roi:
        """Return the block with as much of its chunks as may be kept; z stays."""
        if self._edges is None:
            return block
        (z0, y0, x0), (z1, y1, x1) = block.start, block.stop
        depth = z1 - z0
        low, high = _snapped(x0, x1, self._edges[2])
        if depth * (y1 - y0) * (high - low) > self._most:
            low, high = x0, x1
        top, bottom = _snapped(y0, y1, self._edges[1])
        rows = self._most // (depth * (high - low))
        if bottom - top > rows:
            # Blocks come from the top.
            whole = rows // (y1 - y0) * (y1 - y0)
            top, bottom = y0, min(bottom, y0 + max(whole, y1 - y0))
        return Roi((z0, top, low), (z1, bottom, high))


def _inside(block: Roi, box: Roi) -> bool:
    low = all(a >= b for a, b in zip(block.start, box.start, strict=True))
    return low and all(a <= b for a, b in zip(block.stop, box.stop, strict=True))


def _chunk_edges(array: Any) -> list[NDArray[np.int64]] | None:
    """Return where chunks begin and end along each axis; None for what is no dask array."""
    chunks = getattr(array, "chunks", None)
    if not hasattr(array, "__dask_graph__") or chunks is None:
        return None
    return [np.cumsum((0, *sizes), dtype=np.int64) for sizes in chunks]


def _snapped(start: int, stop: int, edges: NDArray[np.int64]) -> tuple[int, int]:
    first = np.searchsorted(edges, start, side="right") - 1
    last = np.searchsorted(edges, stop, side="left")
    return int(edges[first]), int(edges[last])
