"""Columns of the segments table: measured once from the fragments, then kept current by edits.

No Qt. A row stays where it is when its segment changes or goes, so an edit costs the segments it
touched, and the table on screen does not jump.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_neuropil.project.fragment_table import FragmentTable
    from napari_neuropil.proofreading import ProofreadingSession

_SPARE: Final = 1024


class SegmentRows:
    """Segments with size and bounding box, one row each.

    Parameters
    ----------
    lookup : NDArray[np.uint64]
        (n + 1,) segment of each fragment.
    table : FragmentTable
        Sizes and boxes of the fragments; may have more rows than `lookup`.

    Attributes
    ----------
    ids : NDArray[np.uint64]
        (R,) segments; rows of segments that are gone stay.
    voxels : NDArray[np.int64]
        (R,) sizes; 0 where the segment is gone.
    start, stop : NDArray[np.int32]
        (R, 3) bounding boxes, voxels, half-open.
    """

    def __init__(self, lookup: NDArray[np.uint64], table: FragmentTable) -> None:
        count = min(len(lookup), len(table.size))
        size = table.size[:count]
        live = np.flatnonzero((lookup[:count] > 0) & (size > 0))
        order = live[np.argsort(lookup[live], kind="stable")]
        segment = lookup[order]
        rows = (
            np.flatnonzero(np.concatenate(([True], segment[1:] != segment[:-1])))
            if len(order)
            else np.zeros(0, np.int64)
        )
        self._count = self._sorted = len(rows)
        self._ids = segment[rows]
        if len(rows):
            self._voxels = np.add.reduceat(size[order], rows)
            self._start = np.minimum.reduceat(table.start[order], rows, axis=0)
            self._stop = np.maximum.reduceat(table.stop[order], rows, axis=0)
        else:
            self._voxels = np.zeros(0, np.int64)
            self._start = self._stop = np.zeros((0, 3), np.int32)
        self._added: dict[int, int] = {}

    def __len__(self) -> int:
        """Return the number of rows, those of segments that are gone included."""
        return self._count

    @property
    def ids(self) -> NDArray[np.uint64]:
        """(R,) segment of each row."""
        return self._ids[: self._count]

    @property
    def voxels(self) -> NDArray[np.int64]:
        """(R,) voxels."""
        return self._voxels[: self._count]

    @property
    def start(self) -> NDArray[np.int32]:
        """(R, 3) first voxels of the boxes."""
        return self._start[: self._count]

    @property
    def stop(self) -> NDArray[np.int32]:
        """(R, 3) ends of the boxes."""
        return self._stop[: self._count]

    def row_of(self, segment: int) -> int | None:
        """Return a segment's row."""
        row = self._added.get(segment)
        if row is not None:
            return row
        known = self._ids[: self._sorted]
        at = int(np.searchsorted(known, np.uint64(segment)))
        return at if at < len(known) and int(known[at]) == segment else None

    def update(self, session: ProofreadingSession, segments: Iterable[int]) -> list[int]:
        """Measure the segments that an edit touched.

        Returns
        -------
        list of int
            Rows that were not there before.
        """
        table, new = session.table, []
        for segment in segments:
            if segment == 0:
                continue
            members = session.members(segment).astype(np.intp)
            members = members[table.size[members] > 0]
            row = self.row_of(segment)
            if row is None:
                if not len(members):
                    continue
                row = self._append(segment)
                new.append(row)
            self._voxels[row] = int(table.size[members].sum())
            if len(members):
                self._start[row] = table.start[members].min(axis=0)
                self._stop[row] = table.stop[members].max(axis=0)
        return new

    def _append(self, segment: int) -> int:
        row = self._count
        if row == len(self._ids):
            spare = _SPARE + row // 8
            self._ids = np.concatenate([self._ids, np.zeros(spare, np.uint64)])
            self._voxels = np.concatenate([self._voxels, np.zeros(spare, np.int64)])
            boxes = np.zeros((spare, 3), np.int32)
            self._start = np.concatenate([self._start, boxes])
            self._stop = np.concatenate([self._stop, boxes])
        self._ids[row] = segment
        self._count += 1
        self._added[segment] = row
        return row
