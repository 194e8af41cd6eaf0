"""Pairs of segments that meet: contacts of fragments, pooled over each pair of segments.

A neuron in two segments usually shows in many contacts of fragments, one weak, one strong; a
person decides on the two segments. So affinities are averaged by area, areas are added, and the
contact that attracts most is where to look. Everything sorts once and sums runs: O(C log C) for C
contacts, about a second for ten million.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

CandidateKind = Literal["split_error", "merge_error"]
"""Two segments that may be one; one segment that may be two."""


class ContactArrays(Protocol):
    """Contacts as `ContactGraph` gives them, one row each."""

    @property
    def a(self) -> NDArray[np.uint64]: ...  # noqa: D102
    @property
    def b(self) -> NDArray[np.uint64]: ...  # noqa: D102
    @property
    def affinity(self) -> NDArray[np.float32]: ...  # noqa: D102
    @property
    def score(self) -> NDArray[np.float32]: ...  # noqa: D102
    @property
    def area(self) -> NDArray[np.int64]: ...  # noqa: D102
    @property
    def centroid(self) -> NDArray[np.float32]: ...  # noqa: D102
    @property
    def decision(self) -> NDArray[np.int8]: ...  # noqa: D102
    @property
    def distance(self) -> NDArray[np.float32]: ...  # noqa: D102


@dataclass(frozen=True)
class Pairs:
    """Pieces that meet, one row each: what scorers see. Column 0 is the piece of fragment a.

    Parameters
    ----------
    kind : str
        "split_error": the pieces are segments; "merge_error": the two sides of one segment.
    fragments : NDArray[np.uint64]
        (n, 2) fragments of the contact to look at.
    segments : NDArray[np.uint64]
        (n, 2) their segments, equal for a merge error.
    position : NDArray[np.float32]
        (n, 3) centroid of that contact, voxels.
    affinity : NDArray[np.float64]
        (n,) mean over all contacts between the pieces, weighted by area.
    strongest : NDArray[np.float64]
        (n,) highest score of one of these contacts.
    area : NDArray[np.float64]
        (n,) voxel pairs between the pieces.
    size : NDArray[np.float64]
        (n, 2) voxels.
    surface : NDArray[np.float64]
        (n, 2) voxel pairs of each piece with all others.
    inside : NDArray[np.bool_]
        (n, 2) the piece touches no face of the volume.
    distance : NDArray[np.float64]
        (n,) of mean embeddings, mean over the contacts where it is known, weighted by area; NaN
        where none is.
    voxel_um3 : float
        Volume of a voxel, cubic micrometres.
    measurements : Mapping[str, NDArray]
        What else was measured on fragments, by name, (F + 1, ...); NaN: not yet.
    """

    kind: CandidateKind
    fragments: NDArray[np.uint64]
    segments: NDArray[np.uint64]
    position: NDArray[np.float32]
    affinity: NDArray[np.float64]
    strongest: NDArray[np.float64]
    area: NDArray[np.float64]
    size: NDArray[np.float64]
    surface: NDArray[np.float64]
    inside: NDArray[np.bool_]
    distance: NDArray[np.float64]
    voxel_um3: float = 1e-6
    measurements: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.fragments)

    def take(self, rows: NDArray[Any]) -> Pairs:
        """Return some rows, by mask or index."""
        fields = {
            name: value[rows] if isinstance(value, np.ndarray) else value
            for name, value in self.__dict__.items()
        }
        return Pairs(**fields)

    @property
    def smaller(self) -> NDArray[np.intp]:
        """(n,) column of the piece with fewer voxels."""
        column: NDArray[np.intp] = np.argmin(self.size, axis=1)
        return column


@dataclass(frozen=True)
class SegmentMeasures:
    """What is known of each segment; rows in ascending order of the ids.

    Parameters
    ----------
    ids : NDArray[np.uint64]
        (S,) segments.
    size : NDArray[np.float64]
        (S,) voxels.
    surface : NDArray[np.float64]
        (S,) voxel pairs with other segments.
    inside : NDArray[np.bool_]
        (S,) touches no face of the volume.
    """

    ids: NDArray[np.uint64]
    size: NDArray[np.float64]
    surface: NDArray[np.float64]
    inside: NDArray[np.bool_]

    def rows(self, segments: NDArray[np.uint64]) -> NDArray[np.intp]:
        """Return the row of each segment; all must be known."""
        if len(self.ids) and int(self.ids[-1]) < 4 * len(self.ids) + 1024:
            table = np.zeros(int(self.ids[-1]) + 1, np.int32)
            table[self.ids.astype(np.int64)] = np.arange(len(self.ids), dtype=np.int32)
            return table[segments.astype(np.int64)].astype(np.intp)
        return np.searchsorted(self.ids, segments)

    def take(self, rows: NDArray[Any]) -> SegmentMeasures:
        """Return some rows, in ascending order of the ids."""
        return SegmentMeasures(
            self.ids[rows], self.size[rows], self.surface[rows], self.inside[rows]
        )


def measure_segments(
    lookup: NDArray[np.uint64],
    contacts: ContactArrays,
    size: NDArray[Any],
    outer: NDArray[np.bool_],
    fragments: NDArray[np.uint64] | None = None,
) -> SegmentMeasures:
    """Add up what is known of fragments over their segments.

    Parameters
    ----------
    lookup : NDArray[np.uint64]
        (F + 1,) segment of each fragment, 0 for none.
    contacts : ContactArrays
        All contacts of the fragments.
    size : NDArray
        (F + 1,) voxels of each fragment.
    outer : NDArray[np.bool_]
        (F + 1,) the fragment touches a face of the volume.
    fragments : NDArray[np.uint64], optional
        All fragments of the segments wanted; by default all there are.

    Returns
    -------
    SegmentMeasures
    """
    if fragments is None:
        fragments = np.flatnonzero(lookup).astype(np.uint64)
    at = fragments.astype(np.int64)
    ids, row = np.unique(lookup[at], return_inverse=True)
    count = len(ids)
    measures = SegmentMeasures(
        ids,
        np.bincount(row, size[at], count).astype(np.float64),
        np.zeros(count),
        np.bincount(row, outer[at], count) == 0,
    )
    ends = lookup[contacts.a.astype(np.int64)], lookup[contacts.b.astype(np.int64)]
    between = ends[0] != ends[1]
    for end in ends:
        there = end[between]
        # Contacts of a part of the segments reach into others.
        known = np.isin(there, ids) if len(fragments) + 1 < len(lookup) else there > 0
        rows = measures.rows(there[known])
        measures.surface[...] += np.bincount(rows, contacts.area[between][known], count)
    return measures


def pool_contacts(
    lookup: NDArray[np.uint64], contacts: ContactArrays, measures: SegmentMeasures
) -> Pairs:
    """Pool the contacts between each two segments.

    Parameters
    ----------
    lookup : NDArray[np.uint64]
        (F + 1,) segment of each fragment.
    contacts : ContactArrays
        Contacts; of each pair of segments that is met, all.
    measures : SegmentMeasures
        Of every segment that is met.

    Returns
    -------
    Pairs
        Of kind "split_error". Pairs with a contact that was decided (kept apart) are left out.
    """
    first, second = lookup[contacts.a.astype(np.int64)], lookup[contacts.b.astype(np.int64)]
    rows = np.flatnonzero((first != second) & (first > 0) & (second > 0))
    ends = np.stack((measures.rows(first[rows]), measures.rows(second[rows])))
    swapped = ends[0] > ends[1]
    key = ends.min(axis=0) * len(measures.ids) + ends.max(axis=0)
    order = np.argsort(key)
    key, rows, swapped = key[order], rows[order], swapped[order]
    begins = np.flatnonzero(np.diff(key, prepend=-1))
    pair = pool_runs(contacts, rows, begins)
    best, flipped = rows[pair.best], swapped[pair.best]
    fragments = np.stack((contacts.a[best], contacts.b[best]), axis=1)
    fragments[flipped] = fragments[flipped][:, ::-1]
    both = np.stack(np.divmod(key[begins], max(len(measures.ids), 1)), axis=1)
    pairs = Pairs(
        kind="split_error",
        fragments=fragments,
        segments=measures.ids[both],
        position=contacts.centroid[best],
        affinity=pair.affinity,
        strongest=pair.strongest,
        area=pair.area,
        size=measures.size[both],
        surface=measures.surface[both],
        inside=measures.inside[both],
        distance=pair.distance,
    )
    return pairs if pair.open.all() else pairs.take(pair.open)


@dataclass(frozen=True)
class PooledRuns:
    """Sums over runs: mean affinity, highest score, area, whether none was decided, distance.

    `best` is the place, among the rows given, of the contact that attracts most.
    """

    affinity: NDArray[np.float64]
    strongest: NDArray[np.float64]
    area: NDArray[np.float64]
    open: NDArray[np.bool_]
    best: NDArray[np.intp]
    distance: NDArray[np.float64]


def pool_runs(
    contacts: ContactArrays, rows: NDArray[np.intp], begins: NDArray[np.intp]
) -> PooledRuns:
    """Pool runs of contacts.

    Parameters
    ----------
    contacts : ContactArrays
        All contacts.
    rows : NDArray[np.intp]
        (R,) contacts, run after run.
    begins : NDArray[np.intp]
        (n,) where each run begins, ascending, the first at 0; no run is empty.

    Returns
    -------
    PooledRuns
    """
    if len(begins) == 0:
        nothing = np.zeros(0)
        return PooledRuns(
            nothing, nothing, nothing, np.zeros(0, bool), np.zeros(0, np.intp), nothing
        )
    areas = contacts.area[rows].astype(np.float64)
    pull = areas * contacts.affinity[rows]
    area = np.add.reduceat(areas, begins)
    total = np.add.reduceat(pull, begins)
    most = np.maximum.reduceat(pull, begins)
    lengths = np.diff(begins, append=len(rows))
    reached = np.flatnonzero(pull == np.repeat(most, lengths))
    # Of equal ones the first: assigning backwards leaves it.
    best = np.zeros(len(begins), np.intp)
    best[np.repeat(np.arange(len(begins)), lengths)[reached[::-1]]] = reached[::-1]
    decided = np.maximum.reduceat(np.abs(contacts.decision[rows]), begins)
    apart = contacts.distance[rows].astype(np.float64)
    known = np.where(np.isnan(apart), 0.0, areas)
    weight = np.add.reduceat(known, begins)
    distance = np.add.reduceat(known * np.nan_to_num(apart), begins)
    return PooledRuns(
        total / area,
        np.maximum.reduceat(contacts.score[rows], begins).astype(np.float64),
        area,
        decided == 0,
        best,
        np.divide(distance, weight, out=np.full(len(begins), np.nan), where=weight > 0),
    )
