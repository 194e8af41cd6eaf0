"""The candidates that are still open, in an order that edits and answers change a little each time.

Most candidates lie in one large table that is ranked once. An edit takes those of the segments it
touched away (an index from segments to rows says which) and adds a small table made anew. So the
next candidate is the best of a few heads, whatever the number of candidates.

The log-odds of each kind may be shifted, to follow the answers given: the order within a kind
stays, the kinds move against each other. The expected gain of all that is open is kept as a
histogram over log-odds, so that it is known at once for any shift.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.geometry import Roi
from napari_neuropil.proofreading.candidate_table import Candidate, Candidates, join_candidates
from napari_neuropil.proofreading.pairs import CandidateKind

_BINS: Final = 160
_STEP: Final = 0.1
_KINDS: Final[tuple[CandidateKind, ...]] = ("split_error", "merge_error")

Shifts = Mapping[CandidateKind, float]
Place = tuple[int, int]
"""Table and row of a candidate."""

Asked = tuple[CandidateKind, int, int]
"""Kind and fragments of a candidate."""


@dataclass(frozen=True)
class CandidateFilter:
    """Which candidates to show.

    Parameters
    ----------
    kind : str, optional
        Only this kind.
    scorer : str, optional
        Only where this scorer speaks for an error.
    smallest : int
        Voxels that the smaller piece must have.
    roi : Roi, optional
        Only inside this box, voxels of the fragments' grid.
    segment : int, optional
        Only candidates of this segment.
    hide_done : bool
        Leave out segments whose status is "done".
    """

    kind: CandidateKind | None = None
    scorer: str | None = None
    smallest: int = 0
    roi: Roi | None = None
    segment: int | None = None
    hide_done: bool = True

    def passes(self, candidates: Candidates, done: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return (n,) which candidates to show; `done` are the segments that are done."""
        shown = np.ones(len(candidates), bool)
        if self.kind is not None:
            shown &= candidates.merge == (self.kind == "merge_error")
        if self.scorer is not None:
            part = candidates.parts.get(self.scorer)
            shown &= np.zeros(len(candidates), bool) if part is None else part > 0
        if self.smallest:
            shown &= candidates.smaller >= self.smallest
        if self.roi is not None:
            at = np.rint(candidates.position)
            shown &= ((at >= self.roi.start) & (at < self.roi.stop)).all(axis=1)
        if self.segment is not None:
            shown &= (candidates.segments == np.uint64(self.segment)).any(axis=1)
        if self.hide_done and len(done):
            shown &= ~np.isin(candidates.segments, done).any(axis=1)
        return shown


@dataclass
class _Table:
    """A ranked table and what became of its rows."""

    candidates: Candidates
    valid: NDArray[np.bool_]
    shown: NDArray[np.bool_]
    taken: NDArray[np.bool_]
    odds: NDArray[np.float32]
    bins: NDArray[np.intp]
    rows: list[NDArray[np.intp]] = field(default_factory=list)
    heads: list[int] = field(default_factory=list)
    order: NDArray[np.intp] | None = None
    ends: NDArray[np.uint64] | None = None

    @classmethod
    def of(cls, candidates: Candidates, shown: NDArray[np.bool_]) -> _Table:
        bounded = np.clip(candidates.probability.astype(np.float64), 1e-6, 1 - 1e-6)
        odds = np.log(bounded / (1 - bounded)).astype(np.float32)
        bins = np.clip(np.rint(odds / _STEP) + _BINS // 2, 0, _BINS - 1).astype(np.intp)
        count = len(candidates)
        table = cls(candidates, np.ones(count, bool), shown, np.zeros(count, bool), odds, bins)
        table.rank()
        return table

    def rank(self) -> None:
        """Line up the shown rows of each kind; they are in order already."""
        merge = self.candidates.merge
        self.rows = [np.flatnonzero(self.shown & (merge == (k == 1))) for k in range(2)]
        self.heads = [0, 0]

    def rows_of(self, segments: NDArray[np.uint64]) -> NDArray[np.intp]:
        """Return the rows that name one of some segments."""
        if len(self.candidates) < 64:
            return np.flatnonzero(np.isin(self.candidates.segments, segments).any(axis=1))
        if self.order is None or self.ends is None:
            ends = self.candidates.segments.reshape(-1)
            self.order = np.argsort(ends, kind="stable")
            self.ends = ends[self.order]
        low = np.searchsorted(self.ends, segments, "left")
        high = np.searchsorted(self.ends, segments, "right")
        places = [self.order[a:b] for a, b in zip(low, high, strict=True)]
        return np.unique(np.concatenate([np.zeros(0, np.intp), *places]) // 2)

    def gain(self, row: int) -> float:
        """Return the expected gain of a row, bits."""
        found = self.candidates
        chance = float(found.probability[row])
        return chance * float(found.change[row]) - (1.0 - chance) * float(found.loss[row])

    def head(self, kind: int) -> int | None:
        """Return the best row of a kind that is open and was not taken."""
        rows, at = self.rows[kind], self.heads[kind]
        while at < len(rows) and (self.taken[rows[at]] or not self.valid[rows[at]]):
            at += 1
        self.heads[kind] = at
        return int(rows[at]) if at < len(rows) else None


class OpenCandidates:
    """What can still be asked."""

    def __init__(self) -> None:
        self._tables: dict[int, _Table] = {}
        self._next_table = 1
        self._heaps: list[list[tuple[float, int]]] = [[], []]
        self._tables_of: dict[int, set[int]] = {}
        self._sums = np.zeros((2, 2, _BINS))  # change and loss; kind; log-odds
        self._count = 0
        self._filter = CandidateFilter()
        self._done: NDArray[np.uint64] = np.zeros(0, np.uint64)

    def load(self, candidates: Candidates, aside: Collection[Asked] = ()) -> None:
        """Put a ranked table in the place of all there were; those put `aside` count as taken."""
        self._tables = {0: self._table(candidates, aside)}
        self._tables[0].rows_of(np.zeros(0, np.uint64))  # makes the index
        self._tables_of = {}
        self._heaps = [[], []]
        self._recount()

    def add(self, candidates: Candidates, aside: Collection[Asked] = ()) -> None:
        """Add a few candidates, those of segments that were dropped."""
        if len(candidates) == 0:
            return
        number, self._next_table = self._next_table, self._next_table + 1
        table = self._tables[number] = self._table(candidates, aside)
        for segment in np.unique(candidates.segments).tolist():
            self._tables_of.setdefault(segment, set()).add(number)
        self._push(number)
        self._account(table, np.flatnonzero(table.shown), 1)

    def drop_segments(self, segments: NDArray[np.uint64]) -> None:
        """Take away every candidate of some segments."""
        for table, rows in self._places(segments):
            self._account(table, rows[table.valid[rows] & table.shown[rows]], -1)
            table.valid[rows] = False
        for segment in segments.tolist():
            for number in self._tables_of.pop(segment, ()):
                if number in self._tables and not self._tables[number].valid.any():
                    del self._tables[number]

    def settle(self, place: Place) -> None:
        """Take one candidate away: it was answered."""
        table, row = self._tables.get(place[0]), place[1]
        if table is not None and table.valid[row]:
            if table.shown[row]:
                self._account(table, np.array([row]), -1)
            table.valid[row] = False

    def take(self, place: Place) -> None:
        """Remember that a candidate was shown: `best` passes it over."""
        if place[0] in self._tables:
            self._tables[place[0]].taken[place[1]] = True

    def give_back(self, place: Place) -> None:
        """Let `best` find a candidate again."""
        table = self._tables.get(place[0])
        if table is not None:
            table.taken[place[1]] = False
            table.heads = [0, 0]
            if place[0]:
                self._push(place[0])

    def is_open(self, place: Place) -> bool:
        """Return whether a candidate still waits for an answer and passes the filter."""
        table = self._tables.get(place[0])
        return table is not None and bool(table.valid[place[1]] and table.shown[place[1]])

    def best(self, shifts: Shifts) -> Place | None:
        """Return the candidate of highest expected gain that was not taken."""
        places: list[Place] = []
        base = self._tables.get(0)
        for kind in range(2):
            row = None if base is None else base.head(kind)
            recent = self._best_recent(kind)
            places += [] if row is None else [(0, row)]
            places += [] if recent is None else [recent]
        return max(places, key=lambda place: self._gain(place, shifts), default=None)

    def __getitem__(self, place: Place) -> Candidate:
        """Return a candidate."""
        return self._tables[place[0]].candidates[place[1]]

    def find(self, kind: CandidateKind, a: int, b: int) -> Place | None:
        """Return the place of a candidate that is open."""
        for number, table in reversed(self._tables.items()):
            row = table.candidates.find(kind, a, b)
            if row is not None and table.valid[row]:
                return number, row
        return None

    @property
    def count(self) -> int:
        """Number of candidates that are open and shown."""
        return self._count

    def gain(self, shifts: Shifts) -> float:
        """Return the expected fall of VI if all that is open and shown were answered, bits."""
        odds = (np.arange(_BINS) - _BINS // 2) * _STEP
        shift = np.array([shifts.get(kind, 0.0) for kind in _KINDS])[:, None]
        chance = 1 / (1 + np.exp(-(odds + shift)))
        gain = self._sums[0] * chance - self._sums[1] * (1 - chance)
        return float(np.maximum(gain, 0.0).sum())

    def filter(self, wanted: CandidateFilter, done: NDArray[np.uint64]) -> None:
        """Show only some; costs the number of candidates."""
        self._filter, self._done = wanted, done
        self._heaps = [[], []]
        for number, table in self._tables.items():
            table.shown = wanted.passes(table.candidates, done)
            table.rank()
            if number:
                self._push(number)
        self._recount()

    def show_segments(self, segments: NDArray[np.uint64], done: NDArray[np.uint64]) -> None:
        """Look again at the candidates of some segments: their status changed."""
        self._done = done
        for table, rows in self._places(segments):
            open_ = rows[table.valid[rows]]
            self._account(table, open_[table.shown[open_]], -1)
            table.shown[rows] = self._filter.passes(table.candidates.take(rows), done)
            self._account(table, open_[table.shown[open_]], 1)
            table.rank()
        for segment in segments.tolist():
            for number in self._tables_of.get(segment, ()):
                if number in self._tables:
                    self._push(number)

    def all(self) -> Candidates:
        """Return all that is open and shown, ranked; costs their number."""
        return join_candidates(
            [t.candidates.take(t.valid & t.shown) for t in self._tables.values()]
        )

    # parts

    def _table(self, candidates: Candidates, aside: Collection[Asked]) -> _Table:
        table = _Table.of(candidates, self._filter.passes(candidates, self._done))
        table.taken |= candidates.among(aside)
        return table

    def _places(self, segments: NDArray[np.uint64]) -> list[tuple[_Table, NDArray[np.intp]]]:
        numbers = {0} if 0 in self._tables else set()
        for segment in segments.tolist():
            numbers |= self._tables_of.get(segment, set())
        tables = [self._tables[n] for n in sorted(numbers) if n in self._tables]
        return [(table, table.rows_of(segments)) for table in tables]

    def _push(self, number: int) -> None:
        # A heap for each kind holds the heads of the small tables, by gain without shifts.
        table = self._tables[number]
        for kind, heap in enumerate(self._heaps):
            row = table.head(kind)
            if row is not None:
                heapq.heappush(heap, (-table.gain(row), number))

    def _best_recent(self, kind: int) -> Place | None:
        heap = self._heaps[kind]
        while heap:
            promised, number = heap[0]
            table = self._tables.get(number)
            row = None if table is None else table.head(kind)
            if table is not None and row is not None and table.gain(row) == -promised:
                return number, row
            heapq.heappop(heap)
            if table is not None and row is not None:
                # Its head was taken meanwhile: line up again with the one behind it.
                heapq.heappush(heap, (-table.gain(row), number))
        return None

    def _gain(self, place: Place, shifts: Shifts) -> float:
        table, row = self._tables[place[0]], place[1]
        kind = _KINDS[int(table.candidates.merge[row])]
        odds = float(table.odds[row]) + shifts.get(kind, 0.0)
        chance = 1.0 / (1.0 + float(np.exp(-odds)))
        change, loss = table.candidates.change[row], table.candidates.loss[row]
        return chance * float(change) - (1.0 - chance) * float(loss)

    def _account(self, table: _Table, rows: NDArray[Any], sign: int) -> None:
        merge = table.candidates.merge[rows].astype(np.intp)
        place = merge, table.bins[rows]
        np.add.at(self._sums[0], place, sign * table.candidates.change[rows])
        np.add.at(self._sums[1], place, sign * table.candidates.loss[rows])
        self._count += sign * len(rows)

    def _recount(self) -> None:
        self._sums[...] = 0.0
        self._count = 0
        for table in self._tables.values():
            self._account(table, np.flatnonzero(table.valid & table.shown), 1)
