"""Candidates as data: one of them as an object, many of them as columns."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, overload

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import EditRejectedError
from napari_neuropil.proofreading.pairs import CandidateKind, SegmentMeasures

_COLUMNS: Final = (
    "merge", "fragments", "segments", "position", "probability", "change", "loss", "smaller",
)  # fmt: skip


@dataclass(frozen=True)
class Candidate:
    """One place worth a look.

    Parameters
    ----------
    key : str
        Stable name, such as ``split_error:12:40``.
    kind : str
        "split_error": are both segments one? "merge_error": is the segment two?
    a, b : int
        Fragments of the contact to look at.
    segment_a, segment_b : int
        Their segments, equal for a merge error.
    position : tuple of int
        (z, y, x), voxels of the fragments' grid.
    probability : float
        That it is an error.
    change : float
        By how much VI is expected to fall by asking if it is, bits.
    loss : float
        By how much VI is expected to rise by asking if it is none: people err now and then.
    parts : Mapping[str, float]
        What each scorer added to the log-odds.
    """

    key: str
    kind: CandidateKind
    a: int
    b: int
    segment_a: int
    segment_b: int
    position: tuple[int, int, int]
    probability: float
    change: float
    loss: float
    parts: Mapping[str, float] = field(default_factory=dict)

    @property
    def gain(self) -> float:
        """Expected fall of VI by asking, bits."""
        return self.probability * self.change - (1.0 - self.probability) * self.loss


@dataclass(frozen=True)
class Candidates(Sequence[Candidate]):
    """Candidates as columns, highest expected gain first; a row becomes an object when asked for.

    Parameters
    ----------
    merge : NDArray[np.bool_]
        (n,) of kind "merge_error".
    fragments, segments : NDArray[np.uint64]
        (n, 2).
    position : NDArray[np.float32]
        (n, 3) voxels.
    probability, change, loss : NDArray[np.float32]
        (n,) of an error; fall of VI by asking if it is one, rise if it is none, bits.
    smaller : NDArray[np.float32]
        (n,) voxels of the smaller piece.
    parts : Mapping[str, NDArray[np.float32]]
        (n,) what each scorer added to the log-odds.
    measures : SegmentMeasures, optional
        Of all segments, where the table is of all; spares measuring them again after an edit.
    """

    merge: NDArray[np.bool_]
    fragments: NDArray[np.uint64]
    segments: NDArray[np.uint64]
    position: NDArray[np.float32]
    probability: NDArray[np.float32]
    change: NDArray[np.float32]
    loss: NDArray[np.float32]
    smaller: NDArray[np.float32]
    parts: Mapping[str, NDArray[np.float32]]
    measures: SegmentMeasures | None = None

    def __len__(self) -> int:
        """Return the number of candidates."""
        return len(self.merge)

    @property
    def gain(self) -> NDArray[np.float32]:
        """(n,) expected fall of VI, bits."""
        return self.probability * self.change - (1.0 - self.probability) * self.loss

    @overload
    def __getitem__(self, row: int) -> Candidate: ...
    @overload
    def __getitem__(self, row: slice) -> Candidates: ...
    def __getitem__(self, row: int | slice) -> Candidate | Candidates:
        """Return one candidate, or some rows."""
        if isinstance(row, slice):
            return self.take(np.arange(len(self))[row])
        row = range(len(self))[row]
        kind: CandidateKind = "merge_error" if self.merge[row] else "split_error"
        a, b = (int(f) for f in self.fragments[row])
        z, y, x = (max(0, round(float(p))) for p in self.position[row])
        return Candidate(
            key=candidate_key(kind, a, b),
            kind=kind,
            a=a,
            b=b,
            segment_a=int(self.segments[row, 0]),
            segment_b=int(self.segments[row, 1]),
            position=(z, y, x),
            probability=float(self.probability[row]),
            change=float(self.change[row]),
            loss=float(self.loss[row]),
            parts={name: float(values[row]) for name, values in self.parts.items()},
        )

    def __iter__(self) -> Iterator[Candidate]:
        """Give the candidates in turn."""
        return (self[row] for row in range(len(self)))

    def take(self, rows: NDArray[Any]) -> Candidates:
        """Return some rows, by mask or index."""
        columns = {name: getattr(self, name)[rows] for name in _COLUMNS}
        return Candidates(**columns, parts={k: v[rows] for k, v in self.parts.items()})

    def among(self, asked: Collection[tuple[CandidateKind, int, int]]) -> NDArray[np.bool_]:
        """Return (n,) which candidates are among some, given by kind and fragments."""
        wanted: dict[bool, list[int]] = {False: [], True: []}
        for kind, a, b in asked:
            wanted[kind == "merge_error"].append(min(a, b) << 32 | max(a, b))
        hit = np.zeros(len(self), bool)
        if asked:
            low, high = self.fragments.min(axis=1), self.fragments.max(axis=1)
            keys = low << np.uint64(32) | high
            for merge, values in wanted.items():
                hit |= (self.merge == merge) & np.isin(keys, np.array(values, np.uint64))
        return hit

    def find(self, kind: CandidateKind, a: int, b: int) -> int | None:
        """Return the row of a candidate, None if it is not here."""
        pair = np.sort(np.array([a, b], np.uint64))
        hit = (self.fragments.min(axis=1) == pair[0]) & (self.fragments.max(axis=1) == pair[1])
        rows = np.flatnonzero(hit & (self.merge == (kind == "merge_error")))
        return int(rows[0]) if len(rows) else None


def candidate_key(kind: CandidateKind, a: int, b: int) -> str:
    """Return the stable name of a candidate."""
    return f"{kind}:{min(a, b)}:{max(a, b)}"


def parse_key(key: str) -> tuple[CandidateKind, int, int]:
    """Return kind and fragments of a candidate by its key.

    Raises
    ------
    EditRejectedError
        If it is no key.
    """
    kind, _, pair = key.partition(":")
    a, _, b = pair.partition(":")
    if kind not in ("split_error", "merge_error") or not (a.isdecimal() and b.isdecimal()):
        raise EditRejectedError(f"{key!r} is no candidate's key.", "such as split_error:12:40", "")
    return ("split_error" if kind == "split_error" else "merge_error"), int(a), int(b)


def join_candidates(parts: Sequence[Candidates]) -> Candidates:
    """Put candidates together, highest expected gain first."""
    if not parts:
        none = np.zeros(0, np.float32)
        ids = np.zeros((0, 2), np.uint64)
        place = np.zeros((0, 3), np.float32)
        return Candidates(none.astype(bool), ids, ids, place, none, none, none, none, {})
    scorers = dict.fromkeys(name for part in parts for name in part.parts)
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS}
    votes = {
        name: np.concatenate(
            [part.parts.get(name, np.zeros(len(part), np.float32)) for part in parts]
        )
        for name in scorers
    }
    whole = Candidates(**columns, parts=votes)  # type: ignore[arg-type]
    return whole.take(np.argsort(-whole.gain, kind="stable"))
