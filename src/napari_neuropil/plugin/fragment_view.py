"""Arrays that napari draws from fragments: a number for each fragment, looked up when indexed.

Segments, the selection and the two sides of a proposal are all tables over the same fragments. They
share one cache of the blocks read last (the section on screen), so an edit is drawn without reading
the disk, and an overlay costs a look-up instead of a second decompression.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_neuropil.errors import VolumeFormatError
from napari_neuropil.segmentation.lookup import apply_lookup

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_neuropil.proofreading.edits import FragmentSplit
    from napari_neuropil.volumes import Volume

CACHE_BYTES: Final = 192 * 2**20
"""Some twenty sections of 1024 x 1024 ids."""

_Slices = tuple[slice, slice, slice]


class FragmentCache:
    """Fragment ids, read through a cache of the boxes asked for last.

    Parameters
    ----------
    fragments : Volume
        (Z, Y, X) ids; read by slices of step 1.
    limit : int
        Bytes kept; a box larger than this is read each time.
    """

    def __init__(self, fragments: Volume, limit: int = CACHE_BYTES) -> None:
        self._array = fragments.array
        self._limit = limit
        self._boxes: OrderedDict[tuple[int, ...], NDArray[Any]] = OrderedDict()
        self._bytes = 0
        # napari may slice on a thread of its own.
        self._lock = threading.Lock()
        self.shape = fragments.shape

    def read(self, key: _Slices) -> NDArray[Any]:
        """Return the ids of a box; not to be written to."""
        name = tuple(n for part in key for n in (int(part.start), int(part.stop)))
        with self._lock:
            block = self._boxes.get(name)
            if block is not None:
                self._boxes.move_to_end(name)
                return block
        block = np.asarray(self._array[key])
        if block.nbytes > self._limit:
            return block
        with self._lock:
            if name not in self._boxes:
                self._boxes[name] = block
                self._bytes += block.nbytes
            while self._bytes > self._limit:
                self._bytes -= self._boxes.popitem(last=False)[1].nbytes
        return block

    def forget(self) -> None:
        """Read everything anew: the fragments themselves have changed."""
        with self._lock:
            self._boxes.clear()
            self._bytes = 0


class FragmentView:
    """Read-only (Z, Y, X) array: the entry of each voxel's fragment in a table.

    Parameters
    ----------
    cache : FragmentCache
        The fragments.
    table : callable
        Returns the table, (n + 1,), each time something is read; so an edited one shows at once.
    dtype : dtype_like
        Of the table.
    """

    def __init__(self, cache: FragmentCache, table: Callable[[], NDArray[Any]], dtype: Any) -> None:
        self._cache = cache
        self._table = table
        self._pieces: tuple[FragmentSplit, ...] = ()
        self.shape = cache.shape
        self.dtype = np.dtype(dtype)

    def __setitem__(self, key: Any, value: Any) -> None:
        """Refuse: what is shown follows from the edits."""
        raise VolumeFormatError(
            "Segments of a project cannot be painted.",
            "an edit: merge, split, detach, isolate, assign, delete or draw",
            "use the Proofread dock, or duplicate the layer and paint on the copy.",
        )

    def lay_over(self, pieces: Sequence[FragmentSplit]) -> None:
        """Draw pieces that are proposed, not made, over the fragments they would replace."""
        self._pieces = tuple(pieces)

    def __getitem__(self, key: _Slices) -> NDArray[Any]:
        """Return the entries of a box of slices with step 1."""
        ids = self._cache.read(key)
        if self._pieces:
            ids = self._with_pieces(ids, key)
        table = self._table()
        if table.dtype == np.uint64:
            return apply_lookup(table, ids)
        return np.take(table, ids.view(np.int64), mode="clip")

    def _with_pieces(self, ids: NDArray[Any], key: _Slices) -> NDArray[Any]:
        ids = ids.copy()
        for piece in self._pieces:
            start = piece.start
            boxes = [
                (max(k.start, s), min(k.stop, s + n))
                for k, s, n in zip(key, start, piece.labels.shape, strict=True)
            ]
            if any(high <= low for low, high in boxes):
                continue
            inner = tuple(slice(a - s, b - s) for (a, b), s in zip(boxes, start, strict=True))
            outer = tuple(
                slice(a - k.start, b - k.start) for (a, b), k in zip(boxes, key, strict=True)
            )
            labels = piece.labels[inner]
            inside = labels > 0
            ids[outer][inside] = labels[inside].astype(np.uint64) + np.uint64(piece.first - 1)
        return ids
