"""In which order contacts would join segments, nearest embeddings first: for "merge all below".

One pass over the contacts, nearest first, says for every threshold at once how many merges lie
below it and which contacts they go through. So a line can be dragged over a histogram, and what is
then merged is exactly what was counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from napari_neuropil.geometry import Roi
    from napari_neuropil.proofreading.edits import Decision
    from napari_neuropil.proofreading.graph import Contacts


@dataclass(frozen=True, eq=False)
class MergeOrder:
    """Contacts between two segments whose distance is known, nearest first.

    Parameters
    ----------
    contacts : Contacts
        (n,) in ascending order of `distance`, equal ones in the order of the graph.
    ends : NDArray[np.uint64]
        (n, 2) segments on both sides.
    joins : NDArray[np.bool_]
        (n,) joins two groups that no nearer contact has joined.
    apart : NDArray[np.bool_]
        (n,) would bring together two segments that somebody kept apart.
    done : NDArray[np.bool_]
        (n,) left out, since a side is marked done.
    unknown : int
        Further contacts between segments, whose distance is not known.
    """

    contacts: Contacts
    ends: NDArray[np.uint64]
    joins: NDArray[np.bool_]
    apart: NDArray[np.bool_]
    done: NDArray[np.bool_]
    unknown: int

    def __len__(self) -> int:
        """Return the number of contacts."""
        return len(self.ends)

    def below(self, distance: float) -> int:
        """Return how many contacts lie below a distance: these are the first ones."""
        # As numbers of the same width: 1.7 as a float32 is a little more than 1.7.
        return int(np.searchsorted(self.contacts.distance, np.float32(distance), side="left"))

    def merges_below(self, distance: float) -> int:
        """Return how many merges a threshold would make: the segments that would go."""
        return int(np.count_nonzero(self.joins[: self.below(distance)]))


def merge_order(
    lookup: NDArray[np.uint64],
    contacts: Contacts,
    kept_apart: NDArray[np.uint64],
    *,
    roi: Roi | None = None,
    done: NDArray[np.uint64] | None = None,
) -> MergeOrder:
    """Put contacts in the order in which a rising threshold would merge through them.

    As in a mutex watershed, what was kept apart stays apart also where a chain of other contacts
    would join it: the contact that closes the chain, its farthest, is left out.

    Parameters
    ----------
    lookup : NDArray[np.uint64]
        (F + 1,) segment of each fragment.
    contacts : Contacts
        Any; those inside one segment are passed over.
    kept_apart : NDArray[np.uint64]
        (k, 2) fragments; their segments must not be joined.
    roi : Roi, optional
        Only contacts whose centroid lies in this box, voxels.
    done : NDArray[np.uint64], optional
        Segments to leave out.

    Returns
    -------
    MergeOrder
    """
    first, second = lookup[contacts.a.astype(np.intp)], lookup[contacts.b.astype(np.intp)]
    wanted: NDArray[np.bool_] = np.asarray((first != second) & (first > 0) & (second > 0))
    if roi is not None:
        place = contacts.centroid
        inside = (place >= np.array(roi.start)) & (place < np.array(roi.stop))
        wanted &= inside.all(axis=1)
    known = wanted & np.isfinite(contacts.distance)
    rows = np.flatnonzero(known)
    rows = rows[np.argsort(contacts.distance[rows], kind="stable")]
    ends = np.stack((first[rows], second[rows]), axis=1)
    protected = np.zeros(0, np.uint64) if done is None else done
    left_out: NDArray[np.bool_] = np.asarray(np.isin(ends, protected).any(axis=1))
    joins, apart = _join(ends, left_out, lookup[kept_apart.astype(np.intp)])
    return MergeOrder(
        contacts[rows], ends, joins, apart, left_out, int(np.count_nonzero(wanted & ~known))
    )


def kept_apart_by_answers(decisions: Iterable[Decision]) -> NDArray[np.uint64]:
    """Return the pairs of fragments (k, 2) whose last answer in the queue was "apart"."""
    last = {(min(d.a, d.b), max(d.a, d.b)): d.answer for d in decisions if d.kind == "split_error"}
    pairs = [pair for pair, answer in last.items() if answer == "apart"]
    return np.array(pairs, np.uint64).reshape(-1, 2)


def _join(
    ends: NDArray[np.uint64], left_out: NDArray[np.bool_], enemies: NDArray[np.uint64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Join ends row by row; return which rows joined, and which the enemies forbade.

    Some four microseconds a row. The forbidden pairs of a group follow it, the fewer into the more.
    """
    ids, compact = np.unique(ends, return_inverse=True)
    pairs = compact.reshape(-1, 2).tolist()
    parent = list(range(len(ids)))
    hostile: dict[int, set[int]] = {}
    there = enemies[np.isin(enemies, ids).all(axis=1) & (enemies[:, 0] != enemies[:, 1])]
    for a, b in np.searchsorted(ids, there).tolist():
        hostile.setdefault(a, set()).add(b)
        hostile.setdefault(b, set()).add(a)
    joins, apart = np.zeros(len(pairs), bool), np.zeros(len(pairs), bool)
    for row in np.flatnonzero(~left_out).tolist():
        a, b = (_root(parent, end) for end in pairs[row])
        if a == b:
            continue
        if b in hostile.get(a, ()):
            apart[row] = True
            continue
        joins[row] = True
        if len(hostile.get(a, ())) < len(hostile.get(b, ())):
            a, b = b, a
        parent[b] = a
        for enemy in hostile.pop(b, ()):
            hostile[enemy].remove(b)
            hostile[enemy].add(a)
            hostile.setdefault(a, set()).add(enemy)
    return joins, apart


def _root(parent: list[int], node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node
