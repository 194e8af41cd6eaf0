"""How many voxels each truth object shares with each segment, and how many either has in all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import VolumeFormatError
from napari_neuropil.evaluation.contingency import count_pairs

_SLAB_VOXELS: Final = 1 << 22


@dataclass(frozen=True, eq=False, slots=True)
class ObjectCounts:
    """A sparse table of objects against segments; 0 is no object and no segment.

    Parameters
    ----------
    truth_ids, segment_ids : NDArray[np.uint64]
        (T,) and (S,), ascending.
    truth_voxels, segment_voxels : NDArray[np.int64]
        (T,) and (S,), voxels of each in the whole volume.
    truth, segment : NDArray[np.intp]
        (P,) rows of `truth_ids` and `segment_ids`: the pairs that share a voxel.
    shared : NDArray[np.int64]
        (P,) voxels of each pair, at least 1.
    """

    truth_ids: NDArray[np.uint64]
    segment_ids: NDArray[np.uint64]
    truth_voxels: NDArray[np.int64]
    segment_voxels: NDArray[np.int64]
    truth: NDArray[np.intp]
    segment: NDArray[np.intp]
    shared: NDArray[np.int64]

    def union(self) -> NDArray[np.int64]:
        """Return the voxels in either of each pair, (P,)."""
        sides = self.truth_voxels[self.truth] + self.segment_voxels[self.segment]
        union: NDArray[np.int64] = sides - self.shared
        return union


def count_objects(segments: NDArray[Any], truth: NDArray[Any]) -> ObjectCounts:
    """Count the voxels of two label images or volumes; the memory of a slab.

    Parameters
    ----------
    segments, truth : NDArray
        (Y, X) or (Z, Y, X), whole numbers >= 0, of one shape.

    Raises
    ------
    VolumeFormatError
        If shapes differ, or the arrays are not whole numbers >= 0.
    """
    if segments.shape != truth.shape or segments.ndim not in (2, 3):
        raise VolumeFormatError(
            f"segments of shape {segments.shape} and truth of shape {truth.shape}",
            "one shape, (Y, X) or (Z, Y, X)",
            "crop both to the same box",
        )
    for name, array in (("segments", segments), ("truth", truth)):
        if array.dtype.kind not in "iub":
            raise VolumeFormatError(
                f"{name} of type {array.dtype}", "whole numbers: one id per object"
            )
        if array.dtype.kind == "i" and array.size and int(array.min()) < 0:
            raise VolumeFormatError(f"the id {int(array.min())} in {name}", "ids of 0 and above")
    step = max(1, _SLAB_VOXELS // max(1, segments[:1].size))
    parts: list[tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.int64]]] = []
    for start in range(0, len(segments), step):
        here, there = segments[start : start + step], truth[start : start + step]
        parts.append(count_pairs(there, here))
        # That leaves out voxels without a segment, this those with one.
        outside = np.where(here == 0, there, 0)
        ids, first, counts = count_pairs(np.zeros_like(outside, np.uint8), outside)
        parts.append((first, ids, counts))
    if not parts:
        none = np.zeros(0, np.uint64)
        return _table(none, none, none.astype(np.int64))
    ids, names, numbers = (np.concatenate([part[i] for part in parts]) for i in range(3))
    return _table(ids.astype(np.uint64), names.astype(np.uint64), numbers.astype(np.int64))


def _table(
    truth: NDArray[np.uint64], segments: NDArray[np.uint64], counts: NDArray[np.int64]
) -> ObjectCounts:
    truth_ids, rows = np.unique(truth, return_inverse=True)
    segment_ids, columns = np.unique(segments, return_inverse=True)
    keys, where = np.unique(rows * max(1, len(segment_ids)) + columns, return_inverse=True)
    shared = np.bincount(where, counts, len(keys)).astype(np.int64)
    rows, columns = np.divmod(keys, max(1, len(segment_ids)))
    of_truth = np.bincount(rows, shared, len(truth_ids)).astype(np.int64)
    of_segment = np.bincount(columns, shared, len(segment_ids)).astype(np.int64)
    # Background went along so that totals are whole; from here on it is nobody.
    no_truth, no_segment = truth_ids[:1] == 0, segment_ids[:1] == 0
    skip, jump = int(no_truth.any()), int(no_segment.any())
    kept = (rows >= skip) & (columns >= jump)
    return ObjectCounts(
        truth_ids[skip:],
        segment_ids[jump:],
        of_truth[skip:],
        of_segment[jump:],
        rows[kept] - skip,
        columns[kept] - jump,
        shared[kept],
    )
