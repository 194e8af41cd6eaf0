"""The queue of candidates: what next, and what was answered.

    queue = CandidateQueue(session)
    while (candidate := queue.next()) is not None:
        queue.accept(seconds=3.2)       # merge, or split; or reject, later, unsure

Answers are logged with their seconds; yes also makes the edit. Whatever edits change, by the queue
or elsewhere, the candidates of the segments touched are dropped at once and found anew, so the
queue never asks about segments that are gone. What answers have settled does not come back.

The answers also teach how far to believe the probabilities (`answers`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from napari_neuropil.errors import EditRejectedError
from napari_neuropil.proofreading.answers import NO, YES, AnswerBook
from napari_neuropil.proofreading.candidate_table import Candidate, Candidates, parse_key
from napari_neuropil.proofreading.candidates import CandidateSettings, find_candidates
from napari_neuropil.proofreading.edits import Answer, Decision, Delta
from napari_neuropil.proofreading.local_candidates import LocalFinder
from napari_neuropil.proofreading.open_candidates import CandidateFilter, OpenCandidates, Place
from napari_neuropil.proofreading.pairs import CandidateKind

if TYPE_CHECKING:
    from napari_neuropil.proofreading.session import ProofreadingSession

_PLACE: Final = "queue"
_NOWHERE: Final[Place] = (-1, 0)
_SKIPPED: Final = 200
_AT_ONCE: Final = 3000
"""Fragments whose candidates `next` finds anew itself, a few ms; more wait for `refresh`."""


@dataclass(frozen=True)
class QueueProgress:
    """How far the queue is.

    Parameters
    ----------
    answered : int
        Candidates answered other than by later.
    total : int
        These and the open ones that the filter shows.
    """

    answered: int
    total: int


@dataclass
class _Shown:
    """A candidate that was shown, and where it stands."""

    candidate: Candidate
    place: Place


class CandidateQueue:
    """Candidates of a session, one after the other.

    Parameters
    ----------
    session : ProofreadingSession
        Open; answers need one that may write.
    settings : CandidateSettings, optional
        What to look for.
    candidates : Candidates, optional
        Found before, by `find_candidates` on the session as it is now; else they are found here,
        which takes seconds on large graphs.
    background : bool
        Somebody calls `refresh` beside the window's thread after large edits; else `next` does all
        of it itself.
    """

    changed: ClassVar[Signal] = Signal()
    """The current candidate, the progress or the filter changed."""

    def __init__(
        self,
        session: ProofreadingSession,
        settings: CandidateSettings | None = None,
        candidates: Candidates | None = None,
        *,
        background: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.session = session
        self.settings = settings or CandidateSettings()
        self._background = background
        self._clock = clock
        self._turn = threading.RLock()
        self._open = OpenCandidates()
        self._finder = LocalFinder(session, self.settings)
        self._filter = CandidateFilter()
        self._pending: dict[int, int] = {}
        self._stamp = 0
        self._trail: list[_Shown] = []
        self._at = -1
        self._book = AnswerBook(session.decisions())
        self._aside: set[tuple[CandidateKind, int, int]] = set(self._book.later)
        self._following: Place | None = None
        self._shown_at = self._clock()
        self.load(find_candidates(session, self.settings) if candidates is None else candidates)
        self._restore_place()
        session.edited.connect(self._on_session_edited)
        session.annotated.connect(self._on_session_annotated)

    def close(self) -> None:
        """Keep the place and leave the session's signals."""
        self.save_place()
        self.session.edited.disconnect(self._on_session_edited, missing_ok=True)
        self.session.annotated.disconnect(self._on_session_annotated, missing_ok=True)

    def load(self, candidates: Candidates) -> None:
        """Put candidates found anew, on the session as it is now, in the place of the old ones."""
        with self._turn:
            self._open.load(candidates, self._aside)
            self._open.filter(self._filter, self._done())
            self._finder.reset(candidates.measures)
            self._pending.clear()
            self._following = None
            del self._trail[: max(0, min(self._at, len(self._trail) - _SKIPPED))]
            self._at = min(self._at, len(self._trail) - 1)
            for shown in self._trail:
                place = self._open.find(shown.candidate.kind, shown.candidate.a, shown.candidate.b)
                shown.place = _NOWHERE if place is None else place
                self._open.take(shown.place)
        self.changed.emit()

    # where the queue stands

    @property
    def current(self) -> Candidate | None:
        """The candidate that is shown."""
        return self._live(self._trail[self._at].candidate) if self._at >= 0 else None

    @property
    def following(self) -> Candidate | None:
        """The one that `next` would show, for loading what it needs; None if there is none."""
        with self._turn:
            place = self._peek()
            return None if place is None else self._open[place]

    @property
    def progress(self) -> QueueProgress:
        """How far the queue is."""
        return QueueProgress(self._book.count, self._book.count + self._open.count)

    @property
    def filter(self) -> CandidateFilter:
        """What is shown; set it to show something else."""
        return self._filter

    @filter.setter
    def filter(self, wanted: CandidateFilter) -> None:
        with self._turn:
            self._filter = wanted
            self._open.filter(wanted, self._done())
            self._following = None
        self.changed.emit()

    @property
    def pending(self) -> int:
        """Segments changed by edits whose candidates `refresh` has not found yet."""
        return len(self._pending)

    def remaining_gain(self) -> float:
        """Return the stop line: by how much the rest is expected to change VI at most, bits.

        Sums the expected gain of all candidates that are open and shown. Where several of them
        would join the same pieces each counts, so it errs on the high side.
        """
        return self._open.gain(self._book.shifts)

    @property
    def shifts(self) -> dict[CandidateKind, float]:
        """By how much the answers given have shifted the log-odds of each kind."""
        return dict(self._book.shifts)

    # moving

    def next(self) -> Candidate | None:
        """Show the next candidate: forward along what was shown, then the best that is open.

        After the last one come those that were put off or passed over.

        Returns
        -------
        Candidate or None
            None if nothing is open.
        """
        with self._turn:
            self._refresh_small()
            while self._at + 1 < len(self._trail):
                self._at += 1
                if self._open.is_open(self._trail[self._at].place):
                    return self._arrive()
            place = self._peek()
            if place is None:
                place = self._start_over()
            self._following = None
            if place is None:
                self._at = -1
                return self._arrive()
            self._show(place)
            self._peek()
            return self._arrive()

    def previous(self) -> Candidate | None:
        """Go back to what was shown before, answered or not; None at the beginning."""
        with self._turn:
            if self._at <= 0:
                return None
            self._at -= 1
            return self._arrive()

    def jump(self, key: str) -> Candidate | None:
        """Show a candidate by its key; None if it is not open."""
        kind, a, b = parse_key(key)
        with self._turn:
            place = self._open.find(kind, a, b)
            if place is None:
                return None
            self._show(place)
            return self._arrive()

    def candidates(self) -> Candidates:
        """Return all that is open and shown, ranked; costs their number."""
        with self._turn:
            return self._open.all()

    def sides(self, candidate: Candidate) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Return the fragments of both pieces, that of fragment a first, for showing them.

        For a merge error both are the sides that a yes would part; empty where the segment has
        changed so that the link is gone.
        """
        if candidate.kind == "split_error":
            lookup = self.session.lookup
            first, second = (int(lookup[f]) for f in (candidate.a, candidate.b))
            return self.session.members(first), self.session.members(second)
        return self._finder.sides(candidate)

    # answers

    def accept(self, seconds: float | None = None, *, force: bool = False) -> Decision:
        """Yes, it is an error: merge the two segments, or split the one, and log it.

        Parameters
        ----------
        seconds : float, optional
            From shown to answered; measured if not given.
        force : bool
            Also where a segment is done.

        Raises
        ------
        EditRejectedError
            If nothing is shown, or the edit is refused; then nothing is logged.
        OutputError
            If it cannot be written.
        """
        candidate = self._asked()
        seconds = self._seconds(seconds)
        if candidate.kind == "split_error":
            edit = self.session.merge(
                int(self.session.lookup[candidate.a]),
                int(self.session.lookup[candidate.b]),
                force=force,
                seconds=seconds,
            )
        else:
            first, second = self._finder.seeds(candidate)
            edit = self.session.split(first, second, force=force, seconds=seconds)
        return self._decide(candidate, YES[candidate.kind], seconds, edit.id)

    def reject(self, seconds: float | None = None) -> Decision:
        """No: the two segments stay apart, or the one stays one; it is not asked again."""
        candidate = self._asked()
        return self._decide(candidate, NO[candidate.kind], self._seconds(seconds))

    def later(self, seconds: float | None = None) -> Decision:
        """Put it off: it comes again after all others."""
        return self._decide(self._asked(), "later", self._seconds(seconds))

    def unsure(self, seconds: float | None = None) -> Decision:
        """Nobody can tell: it is not asked again."""
        return self._decide(self._asked(), "unsure", self._seconds(seconds))

    def answer(
        self, answer: Answer, seconds: float | None = None, *, force: bool = False
    ) -> Decision:
        """Answer by the word.

        Raises
        ------
        EditRejectedError
            If the word does not fit the kind: "split" for two segments, "apart" for one.
        """
        candidate = self._asked()
        if answer == "later":
            return self.later(seconds)
        if answer == "unsure":
            return self.unsure(seconds)
        if answer == YES[candidate.kind]:
            return self.accept(seconds, force=force)
        if answer == NO[candidate.kind]:
            return self.reject(seconds)
        raise EditRejectedError(
            f"The answer {answer!r} does not fit a possible {candidate.kind.replace('_', ' ')}.",
            f"{YES[candidate.kind]}, {NO[candidate.kind]}, later or unsure",
            "",
        )

    # keeping up with edits

    def refresh(self) -> None:
        """Find the candidates of segments that edits changed; may run beside the window's thread.

        Costs the contacts of these segments. What another edit changes meanwhile is left for the
        next call.
        """
        with self._turn:
            pending = dict(self._pending)
        if not pending:
            return
        found = self._finder.find(np.array(sorted(pending), np.uint64))
        with self._turn:
            stale = [s for s, stamp in pending.items() if self._pending.get(s) != stamp]
            for segment, stamp in pending.items():
                if self._pending.get(segment) == stamp:
                    del self._pending[segment]
            touched = np.array(sorted({*stale, *self._pending}), np.uint64)
            keep = np.asarray(~np.isin(found.segments, touched).any(axis=1))
            self._open.add(found if keep.all() else found.take(keep), self._aside)
            self._following = None
        self.changed.emit()

    def save_place(self) -> None:
        """Keep the place in the queue in the project: what is shown, and what was passed over."""
        skipped = [
            s.candidate.key
            for s in self._trail[-_SKIPPED:]
            if self._open.is_open(s.place) and s.candidate.key not in self._book
        ]
        current = self._trail[self._at].candidate.key if self._at >= 0 else None
        self.session.remember(_PLACE, {"current": current, "skipped": skipped})

    # parts

    def _arrive(self) -> Candidate | None:
        self._shown_at = self._clock()
        self.changed.emit()
        return self.current

    def _show(self, place: Place) -> None:
        self._open.take(place)
        del self._trail[self._at + 1 :]
        self._trail.append(_Shown(self._open[place], place))
        self._at = len(self._trail) - 1

    def _peek(self) -> Place | None:
        if self._following is None or not self._open.is_open(self._following):
            self._following = self._open.best(self._book.shifts)
        return self._following

    def _start_over(self) -> Place | None:
        """Offer what was put off and what was passed over, once more."""
        for kind, a, b in self._aside:
            place = self._open.find(kind, a, b)
            if place is not None:
                self._open.give_back(place)
        self._aside.clear()
        for shown in self._trail:
            self._open.give_back(shown.place)
        self._trail, self._at = [], -1
        return self._open.best(self._book.shifts)

    def _live(self, candidate: Candidate) -> Candidate:
        """Return a candidate with the segments as they are now."""
        lookup = self.session.lookup
        return replace(
            candidate,
            segment_a=int(lookup[candidate.a]),
            segment_b=int(lookup[candidate.b]),
        )

    def _asked(self) -> Candidate:
        candidate = self.current
        if candidate is None:
            raise EditRejectedError("No candidate is shown.", "one to answer", "press Next.")
        return candidate

    def _seconds(self, seconds: float | None) -> float:
        return self._clock() - self._shown_at if seconds is None else float(seconds)

    def _decide(
        self, candidate: Candidate, answer: Answer, seconds: float, edit_id: int | None = None
    ) -> Decision:
        decision = self.session.decide(
            Decision(
                key=candidate.key,
                kind=candidate.kind,
                answer=answer,
                seconds=seconds,
                a=candidate.a,
                b=candidate.b,
                score=candidate.probability,
                edit_id=edit_id,
            )
        )
        with self._turn:
            self._book.note(decision)
            if answer == "later":
                self._aside.add((candidate.kind, candidate.a, candidate.b))
            elif edit_id is None:
                self._open.settle(self._trail[self._at].place)
                if answer == NO["merge_error"] and candidate.kind == "merge_error":
                    # The link holds: the next weakest of the segment may be asked.
                    self._touch([int(self.session.lookup[candidate.a])])
            self._following = None
        self.changed.emit()
        return decision

    def _restore_place(self) -> None:
        kept = self.session.recall(_PLACE, None)
        if not isinstance(kept, dict):
            return
        current, skipped = kept.get("current"), kept.get("skipped")
        keys = [*(skipped if isinstance(skipped, list) else []), current]
        for key in dict.fromkeys(k for k in keys if isinstance(k, str) and k != current):
            self._jump_if_key(key)
        if isinstance(current, str) and self._jump_if_key(current):
            # The first call of `next` shows what was shown last.
            self._at -= 1

    def _jump_if_key(self, key: str) -> bool:
        try:
            return self.jump(key) is not None
        except EditRejectedError:
            # From a damaged or newer project: a place in the queue is no reason to refuse it.
            return False

    def _done(self) -> NDArray[np.uint64]:
        done = [s for s, note in self.session.annotations().items() if note.status == "done"]
        return np.array(sorted(done), np.uint64)

    def _touch(self, segments: Any) -> None:
        self._stamp += 1
        self._open.drop_segments(np.array(segments, np.uint64))
        self._pending.update(dict.fromkeys(segments, self._stamp))
        self._following = None

    def _refresh_small(self) -> None:
        if self._pending and (not self._background or self._finder.cost(self._pending) <= _AT_ONCE):
            self.refresh()

    def _on_session_edited(self, delta: Delta) -> None:
        with self._turn:
            self._touch(list(delta.segments))
        self.changed.emit()

    def _on_session_annotated(self, segment: int) -> None:
        with self._turn:
            self._open.show_segments(np.array([segment], np.uint64), self._done())
            self._following = None
        self.changed.emit()
