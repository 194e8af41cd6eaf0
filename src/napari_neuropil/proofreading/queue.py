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

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from napari_neuropil.errors import EditRejectedError
from napari_neuropil.proofreading.answers import NO, YES, AnswerBook
from napari_neuropil.proofreading.candidate_table import Candidate, Candidates, parse_key
from napari_neuropil.proofreading.candidates import CandidateSettings
from napari_neuropil.proofreading.edits import Answer, Decision
from napari_neuropil.proofreading.live_candidates import LiveCandidates
from napari_neuropil.proofreading.open_candidates import CandidateFilter, Place
from napari_neuropil.proofreading.pairs import CandidateKind
from napari_neuropil.proofreading.trail import Trail

if TYPE_CHECKING:
    from napari_neuropil.proofreading.session import ProofreadingSession

_PLACE: Final = "queue"
_NOWHERE: Final[Place] = (-1, 0)
_SKIPPED: Final = 200
_AT_ONCE: Final = 100
"""Fragments whose candidates `next` finds anew itself, a few ms; more wait for `refresh`."""


@dataclass(frozen=True)
class QueueProgress:
    """Candidates answered other than by later, and these with the open ones that are shown."""

    answered: int
    total: int


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
        self._background = background
        self._clock = clock
        self._book = AnswerBook(session.decisions())
        self._trail = Trail()
        self._following: Place | None = None
        self._shown_at = self._clock()
        self._live = LiveCandidates(
            session, settings or CandidateSettings(), candidates, self._book.later
        )
        self._restore_place()
        self._live.changed.connect(self._on_live_changed)
        self._live.reloaded.connect(self._on_live_reloaded)

    def close(self) -> None:
        """Keep the place and leave the session's signals."""
        self.save_place()
        self._live.close()

    def rebuild(self, settings: CandidateSettings | None = None) -> None:
        """Find all anew, with other settings if given; seconds, beside the window's thread."""
        self._live.rebuild(settings)

    def refresh(self) -> None:
        """Find the candidates of segments that edits changed; also beside the window's thread."""
        self._live.refresh()

    # where the queue stands

    @property
    def current(self) -> Candidate | None:
        """The candidate that is shown."""
        stop = self._trail.current
        if stop is None:
            return None
        lookup, asked = self.session.lookup, stop.candidate
        return replace(asked, segment_a=int(lookup[asked.a]), segment_b=int(lookup[asked.b]))

    @property
    def following(self) -> Candidate | None:
        """The one that `next` would show, for loading what it needs; None if there is none."""
        with self._live.turn:
            place = self._peek()
            return None if place is None else self._live.open[place]

    @property
    def progress(self) -> QueueProgress:
        """How far the queue is."""
        return QueueProgress(self._book.count, self._book.count + self._live.open.count)

    @property
    def filter(self) -> CandidateFilter:
        """What is shown; set it to show something else."""
        return self._live.filter

    @filter.setter
    def filter(self, wanted: CandidateFilter) -> None:
        self._live.filter = wanted

    @property
    def settings(self) -> CandidateSettings:
        """What is looked for; `rebuild` changes it."""
        return self._live.settings

    @property
    def pending(self) -> int:
        """Segments changed by edits whose candidates `refresh` has not found yet."""
        return len(self._live.pending)

    def remaining_gain(self) -> float:
        """Return the stop line: by how much the rest is expected to change VI, bits.

        The sum of the expected gains of all candidates that are open and shown, at the
        probabilities that the answers so far suggest: an estimate, no bound. For split errors,
        before any answer, it was 0.7 to 1.7 times what all right answers bring, on four volumes.
        """
        return self._live.open.gain(self._book.shifts)

    @property
    def shifts(self) -> dict[CandidateKind, float]:
        """By how much the answers given have shifted the log-odds of each kind."""
        return dict(self._book.shifts)

    # moving

    def next(self) -> Candidate | None:
        """Show the next candidate: forward along what was shown, then the best that is open.

        After the last come those that were put off or passed over; None if nothing is open.
        """
        with self._live.turn:
            self._refresh_small()
            if not self._trail.forward(self._live.open.is_open):
                place = self._peek() or self._start_over()
                self._following = None
                if place is None:
                    self._trail.clear()
                else:
                    self._show(place)
                    self._peek()
            return self._arrive()

    def previous(self) -> Candidate | None:
        """Go back to what was shown before, answered or not; None at the beginning."""
        with self._live.turn:
            return self._arrive() if self._trail.back() else None

    def jump(self, key: str) -> Candidate | None:
        """Show a candidate by its key; None if it is not open."""
        kind, a, b = parse_key(key)
        with self._live.turn:
            place = self._live.open.find(kind, a, b)
            if place is None:
                return None
            self._show(place)
            return self._arrive()

    def candidates(self) -> Candidates:
        """Return all that is open and shown, ranked; costs their number."""
        with self._live.turn:
            return self._live.open.all()

    def sides(self, candidate: Candidate) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Return the fragments of both pieces, that of fragment a first, for showing them.

        For a merge error both are the sides that a yes would part; empty where the segment has
        changed so that the link is gone.
        """
        if candidate.kind == "split_error":
            lookup = self.session.lookup
            first, second = (int(lookup[f]) for f in (candidate.a, candidate.b))
            return self.session.members(first), self.session.members(second)
        return self._live.finder.sides(candidate)

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
            first, second = self._live.finder.seeds(candidate)
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

    def save_place(self) -> None:
        """Keep the place in the queue in the project: what is shown, and what was passed over."""
        current = self._trail.current
        skipped = [
            stop.candidate.key
            for stop in self._trail
            if self._live.open.is_open(stop.place) and stop.candidate.key not in self._book
        ]
        kept = {
            "current": None if current is None else current.candidate.key,
            "skipped": skipped[-_SKIPPED:],
        }
        self.session.remember(_PLACE, kept)

    # parts

    def _arrive(self) -> Candidate | None:
        self._shown_at = self._clock()
        self.changed.emit()
        return self.current

    def _show(self, place: Place) -> None:
        self._live.open.take(place)
        self._trail.add(self._live.open[place], place)

    def _peek(self) -> Place | None:
        if self._following is None or not self._live.open.is_open(self._following):
            self._following = self._live.open.best(self._book.shifts)
        return self._following

    def _start_over(self) -> Place | None:
        """Offer what was put off and what was passed over, once more."""
        for kind, a, b in self._live.aside:
            place = self._live.open.find(kind, a, b)
            if place is not None:
                self._live.open.give_back(place)
        self._live.aside.clear()
        for stop in self._trail:
            self._live.open.give_back(stop.place)
        self._trail.clear()
        return self._live.open.best(self._book.shifts)

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
        with self._live.turn:
            self._book.note(decision)
            if answer == "later":
                self._live.aside.add((candidate.kind, candidate.a, candidate.b))
            elif edit_id is None and (stop := self._trail.current) is not None:
                self._live.open.settle(stop.place)
                if answer == NO["merge_error"] and candidate.kind == "merge_error":
                    # The link holds: the next weakest of the segment may be asked.
                    self._live.touch([int(self.session.lookup[candidate.a])])
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
            self._trail.step_before()

    def _jump_if_key(self, key: str) -> bool:
        try:
            return self.jump(key) is not None
        except EditRejectedError:
            # From a damaged or newer project: a place in the queue is no reason to refuse it.
            return False

    def _refresh_small(self) -> None:
        pending = self._live.pending
        if pending and (not self._background or self._live.finder.cost(pending) <= _AT_ONCE):
            self._live.refresh()

    def _on_live_changed(self) -> None:
        self._following = None
        self.changed.emit()

    def _on_live_reloaded(self) -> None:
        self._trail.forget_all_but(_SKIPPED)
        for stop in self._trail:
            asked = stop.candidate
            stop.place = self._live.open.find(asked.kind, asked.a, asked.b) or _NOWHERE
            self._live.open.take(stop.place)
