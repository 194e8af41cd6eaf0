"""Fragments as they are now: those on disk, with the pieces of split fragments laid over them.

The patch is sparse: a box of small labels for each split fragment, and for what was drawn over
background. Reading a box costs what the
splits inside it cost; the fragments on disk are never written.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.geometry import Roi
from napari_neuropil.proofreading.effects import FragmentSplit
from napari_neuropil.proofreading.state import ProofreadingState
from napari_neuropil.volumes import Volume

_Id = TypeVar("_Id", np.uint64, np.uint32)


class PiecedFragments:
    """A read-only (Z, Y, X) uint64 array of fragment and piece ids.

    Parameters
    ----------
    fragments : Volume
        As on disk.
    state : ProofreadingState
        Its splits are live.
    """

    def __init__(self, fragments: Volume, state: ProofreadingState) -> None:
        self._fragments = fragments
        self._state = state
        self.shape = fragments.shape
        self.ndim = 3
        self.dtype = np.dtype(np.uint64)
        self.chunks = getattr(fragments.array, "chunks", None)
        self._boxes: tuple[int, NDArray[np.int64]] | None = None

    def __getitem__(self, key: tuple[slice, slice, slice]) -> NDArray[np.uint64]:
        """Return the ids in a box of three slices."""
        roi, steps = _box(key, self.shape)
        if roi is None:
            lengths = [len(range(*s.indices(n))) for s, n in zip(key, self.shape, strict=True)]
            return np.zeros(lengths, np.uint64)
        ids = self.read(roi)
        return ids if steps == (1, 1, 1) else ids[tuple(slice(None, None, s) for s in steps)]

    def read(self, roi: Roi) -> NDArray[np.uint64]:
        """Return the ids in a box, (Z, Y, X) of `roi`; the caller's own copy."""
        ids: NDArray[np.uint64] = self._fragments.read(roi).astype(np.uint64, copy=False)
        for split in self._splits_in(roi):
            lay_pieces(ids, roi, split)
        return ids

    def _splits_in(self, roi: Roi) -> list[FragmentSplit]:
        """Return the splits whose boxes meet `roi`, in their order; thousands cost microseconds."""
        splits = self._state.splits
        if self._boxes is None or self._boxes[0] != self._state.version:
            boxes = np.array([(s.roi.start, s.roi.stop) for s in splits], np.int64)
            self._boxes = (self._state.version, boxes.reshape(-1, 2, 3))
        boxes = self._boxes[1]
        meets = (boxes[:, 0] < roi.stop).all(axis=1) & (boxes[:, 1] > roi.start).all(axis=1)
        return [splits[i] for i in np.flatnonzero(meets)]


def lay_pieces(ids: NDArray[_Id], roi: Roi, split: FragmentSplit) -> None:
    """Lay the pieces of a split over the ids of a box, in place.

    Parameters
    ----------
    ids : NDArray[np.uint64] or NDArray[np.uint32]
        (Z, Y, X) of `roi`.
    roi : Roi
        The box; need not meet the split's.
    split : FragmentSplit
        Its pieces.
    """
    shared = split.roi.intersection(roi)
    if shared is None:
        return
    labels = split.labels[shared.shifted([-v for v in split.start]).slices]
    view = ids[shared.shifted([-v for v in roi.start]).slices]
    inside = labels > 0
    view[inside] = labels[inside].astype(ids.dtype) + ids.dtype.type(split.first - 1)


def _box(
    key: tuple[slice, slice, slice], shape: tuple[int, int, int]
) -> tuple[Roi | None, tuple[int, int, int]]:
    """Return the box that three slices of positive step cover, and the steps."""
    ranges = [range(*s.indices(n)) for s, n in zip(key, shape, strict=True)]
    if not all(ranges):
        return None, (1, 1, 1)
    start, stop = [r[0] for r in ranges], [r[-1] + 1 for r in ranges]
    z, y, x = (r.step for r in ranges)
    return Roi((start[0], start[1], start[2]), (stop[0], stop[1], stop[2])), (z, y, x)
