"""Which fragments a segment has: the lookup the other way round, kept current under edits.

All fragments sorted by segment once (a second for 10^7), then one small array for each segment
that an edit touched. A move costs the size of the segments it touches.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Members:
    """Fragments by segment.

    Parameters
    ----------
    lookup : NDArray[np.uint64]
        (n + 1,) segment of each fragment; read once.
    """

    def __init__(self, lookup: NDArray[np.uint64]) -> None:
        order = np.argsort(lookup, kind="stable")
        ordered = lookup[order]
        begins = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
        self._order = order.astype(np.uint64)
        self._segments = ordered[begins]
        self._ends = np.append(begins, len(lookup))
        self._touched: dict[int, NDArray[np.uint64]] = {}

    def of(self, segment: int) -> NDArray[np.uint64]:
        """Return a segment's fragments, ascending; empty if there is no such segment, or for 0."""
        if segment <= 0:
            return np.zeros(0, np.uint64)
        touched = self._touched.get(segment)
        if touched is not None:
            return touched
        at = int(np.searchsorted(self._segments, np.uint64(segment)))
        if at == len(self._segments) or int(self._segments[at]) != segment:
            return np.zeros(0, np.uint64)
        return self._order[self._ends[at] : self._ends[at + 1]]

    def segments(self) -> NDArray[np.uint64]:
        """Return the ids of all segments that have fragments, ascending."""
        base = self._segments[self._segments > 0]
        if not self._touched:
            return base
        gone = np.array([s for s, f in self._touched.items() if not len(f)], np.uint64)
        here = np.array([s for s, f in self._touched.items() if len(f)], np.uint64)
        result: NDArray[np.uint64] = np.setdiff1d(np.union1d(base, here), gone)
        return result

    def move(
        self,
        fragments: NDArray[np.uint64],
        before: NDArray[np.uint64],
        after: NDArray[np.uint64],
    ) -> None:
        """Move fragments from their segments `before` to those `after`; 0 is none."""
        for segment in np.unique(before).tolist():
            if segment:
                leaving = fragments[before == segment]
                members = self.of(segment)
                self._touched[segment] = (
                    members[:0] if len(leaving) == len(members) else _without(members, leaving)
                )
        for segment in np.unique(after).tolist():
            if segment:
                joined = np.concatenate((self.of(segment), fragments[after == segment]))
                joined.sort(kind="stable")
                self._touched[segment] = joined


def _without(members: NDArray[np.uint64], leaving: NDArray[np.uint64]) -> NDArray[np.uint64]:
    keep = np.ones(len(members), bool)
    keep[np.searchsorted(members, leaving)] = False
    return members[keep]
