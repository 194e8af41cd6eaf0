"""Contacts around fragments, as they are now: those of the segmentation, and those of edits.

The graph of the segmentation stays as it is, with an index from fragments to contacts built once
(counting, no sorting: a second for 10^7 contacts). Contacts of replaced fragments are left out;
contacts of pieces and of forced merges are added; decided ones are marked.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from napari_neuropil.proofreading.state import ProofreadingState
from napari_neuropil.segmentation.rag import Rag

_FEW: Final = 2000
"""Contacts whose decisions are looked up one by one; for more, all decisions are sorted first."""


@dataclass(frozen=True, eq=False)
class Contacts:
    """Some contacts, one row each.

    Parameters
    ----------
    a, b : NDArray[np.uint64]
        (n,) fragments, a < b.
    affinity, score : NDArray[np.float32]
        (n,) in [0, 1].
    area : NDArray[np.int64]
        (n,) voxel pairs.
    centroid : NDArray[np.float32]
        (n, 3) voxels, (z, y, x).
    decision : NDArray[np.int8]
        (n,) 1 where an edit joined them, -1 where one cut them apart, 0 where open.
    distance : NDArray[np.float32]
        (n,) of the mean embeddings on both sides; NaN where unknown.
    """

    a: NDArray[np.uint64]
    b: NDArray[np.uint64]
    affinity: NDArray[np.float32]
    score: NDArray[np.float32]
    area: NDArray[np.int64]
    centroid: NDArray[np.float32]
    decision: NDArray[np.int8]
    distance: NDArray[np.float32]

    def __len__(self) -> int:
        """Return the number of contacts."""
        return len(self.a)

    @classmethod
    def undecided(cls, rag: Rag) -> Contacts:
        """Return the contacts of a graph that no edit has looked at."""
        count = len(rag)
        return cls(
            rag.contacts[:, 0],
            rag.contacts[:, 1],
            rag.affinity,
            rag.score,
            rag.area,
            rag.centroid,
            np.zeros(count, np.int8),
            np.full(count, np.nan, np.float32),
        )

    def __getitem__(self, rows: Any) -> Contacts:
        """Return some rows, by indices or a mask."""
        return Contacts(*(getattr(self, f.name)[rows] for f in fields(self)))


class ContactGraph:
    """The contacts of a session.

    Parameters
    ----------
    rag : Rag
        Of the segmentation.
    state : ProofreadingState
        Its links, replaced fragments and decisions are live.
    distance : NDArray[np.float32], optional
        (C,) of the graph's contacts; may be replaced by newer ones at any time.
    """

    def __init__(
        self, rag: Rag, state: ProofreadingState, distance: NDArray[np.float32] | None = None
    ) -> None:
        self._rag = rag
        self._state = state
        self.distance = np.full(len(rag), np.nan, np.float32) if distance is None else distance
        self._decisions: tuple[int, NDArray[np.uint64], NDArray[np.int8]] | None = None

    @cached_property
    def _index(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """For each fragment where its contacts begin, and the rows of all contacts in turn."""
        ends = self._rag.contacts.astype(np.int64).T.reshape(-1)
        rows = np.tile(np.arange(len(self._rag), dtype=np.int32), 2)
        size = int(ends.max(initial=0)) + 1
        # Transposing a sparse matrix is a counting sort, five times as fast as argsort here.
        by_row = sparse.csr_matrix(
            (rows, ends, np.arange(len(ends) + 1)), shape=(len(ends), size)
        ).tocsc()
        return by_row.indptr.astype(np.int64), by_row.data

    def contacts_of(self, fragments: NDArray[np.uint64]) -> Contacts:
        """Return every contact with an end in `fragments`, each once."""
        inside = np.zeros(len(self._state.lookup), bool)
        inside[fragments.astype(np.intp)] = True
        return self._select(fragments, inside, both=None)

    def within(self, fragments: NDArray[np.uint64]) -> Contacts:
        """Return the contacts with both ends in `fragments`."""
        inside = np.zeros(len(self._state.lookup), bool)
        inside[fragments.astype(np.intp)] = True
        return self._select(fragments, inside, both=True)

    def leaving(self, fragments: NDArray[np.uint64]) -> Contacts:
        """Return the contacts with one end in `fragments` and one outside."""
        inside = np.zeros(len(self._state.lookup), bool)
        inside[fragments.astype(np.intp)] = True
        return self._select(fragments, inside, both=False)

    def all(self) -> Contacts:
        """Return all contacts; costs their number."""
        contacts = self._of_rag(slice(None))
        added = [self._of_link(link) for link in self._state.links]
        return self._without_replaced(join_contacts([contacts, *added]))

    def _select(
        self, fragments: NDArray[np.uint64], inside: NDArray[np.bool_], *, both: bool | None
    ) -> Contacts:
        begins, rows = self._index
        known = fragments[fragments < len(begins) - 1].astype(np.int64)
        found = np.unique(_ranges(rows, begins[known], begins[known + 1]))
        parts = [self._of_rag(found)]
        for link in self._state.links:
            mine = inside[link.contacts.astype(np.intp)].any(axis=1)
            if mine.any():
                parts.append(self._of_link(link)[mine])
        contacts = self._without_replaced(join_contacts(parts))
        if both is None:
            return contacts
        ends = inside[contacts.a.astype(np.intp)] & inside[contacts.b.astype(np.intp)]
        return contacts[ends if both else ~ends]

    def _without_replaced(self, contacts: Contacts) -> Contacts:
        replaced = self._state.replaced
        if not len(replaced):
            return contacts
        gone = np.isin(contacts.a, replaced) | np.isin(contacts.b, replaced)
        return contacts[~gone]

    def _of_rag(self, rows: Any) -> Contacts:
        return self._of_link(self._rag, rows, self.distance[rows])

    def _of_link(
        self, rag: Rag, rows: Any = slice(None), distance: NDArray[np.float32] | None = None
    ) -> Contacts:
        pairs = rag.contacts[rows]
        return Contacts(
            pairs[:, 0],
            pairs[:, 1],
            rag.affinity[rows],
            rag.score[rows],
            rag.area[rows],
            rag.centroid[rows],
            self._decision(pairs),
            np.full(len(pairs), np.nan, np.float32) if distance is None else distance,
        )

    def _decision(self, pairs: NDArray[np.uint64]) -> NDArray[np.int8]:
        if len(pairs) <= _FEW:
            decide = self._state.decision_of
            return np.array([decide(a, b) for a, b in pairs.tolist()], np.int8)
        keys, values = self._decided_keys()
        result = np.zeros(len(pairs), np.int8)
        if len(keys) and len(pairs):
            wanted = _key(pairs)
            at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
            hit = keys[at] == wanted
            result[hit] = values[at[hit]]
        return result

    def _decided_keys(self) -> tuple[NDArray[np.uint64], NDArray[np.int8]]:
        if self._decisions is None or self._decisions[0] != self._state.version:
            pairs, values = self._state.decided()
            keys = _key(pairs)
            order = np.argsort(keys)
            self._decisions = (self._state.version, keys[order], values[order])
        return self._decisions[1:]


def _key(pairs: NDArray[np.uint64]) -> NDArray[np.uint64]:
    # Fragment ids are consecutive from 1, so below 2^32 in any volume that fits a disk.
    keys: NDArray[np.uint64] = pairs[:, 0] << np.uint64(32) | pairs[:, 1]
    return keys


def _ranges(
    values: NDArray[np.int32], begins: NDArray[np.int64], ends: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Return the values of several ranges, one after the other."""
    lengths = ends - begins
    total = int(lengths.sum())
    if total == 0:
        return values[:0]
    steps = np.arange(total) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    found: NDArray[np.int32] = values[np.repeat(begins, lengths) + steps]
    return found


def join_contacts(parts: list[Contacts]) -> Contacts:
    """Put rows of contacts one after the other."""
    if len(parts) == 1:
        return parts[0]
    return Contacts(
        *(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Contacts))
    )
