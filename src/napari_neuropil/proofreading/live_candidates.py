"""Candidates that follow the session: what edits touch is dropped at once and found anew.

Dropping is instant. Finding anew costs the contacts of the segments touched, so it is a step of its
own, `refresh`, that may run beside the window's thread; what yet another edit touches meanwhile is
left for the next call.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from napari_neuropil.proofreading.bottlenecks import measure_bottlenecks
from napari_neuropil.proofreading.candidate_table import Candidates
from napari_neuropil.proofreading.candidates import CandidateSettings, find_candidates
from napari_neuropil.proofreading.edits import Delta
from napari_neuropil.proofreading.fragment_evidence import query_measurements
from napari_neuropil.proofreading.local_candidates import LocalFinder
from napari_neuropil.proofreading.open_candidates import Asked, CandidateFilter, OpenCandidates

if TYPE_CHECKING:
    from napari_neuropil.proofreading.session import ProofreadingSession


class LiveCandidates:
    """The open candidates of a session, kept current.

    Parameters
    ----------
    session : ProofreadingSession
        Open.
    settings : CandidateSettings
        What to look for.
    candidates : Candidates, optional
        Found on the session as it is now; else they are found here.
    aside : iterable of (kind, a, b)
        Candidates put off.

    Attributes
    ----------
    open : OpenCandidates
        What can be asked; hold `turn` while using it.
    finder : LocalFinder
        Knows the sides of a candidate.
    turn : threading.RLock
        Held while the candidates change.
    aside : set of (kind, a, b)
        Candidates put off: they count as shown when they are found anew.
    """

    changed: ClassVar[Signal] = Signal()
    reloaded: ClassVar[Signal] = Signal()
    """All candidates were found anew: places among the open ones have changed."""

    def __init__(
        self,
        session: ProofreadingSession,
        settings: CandidateSettings,
        candidates: Candidates | None,
        aside: Iterable[Asked] = (),
    ) -> None:
        self._session = session
        self.settings = settings
        self.turn = threading.RLock()
        self.open = OpenCandidates()
        self.aside: set[Asked] = set(aside)
        self._filter = CandidateFilter()
        self._pending: dict[int, int] = {}
        self._stamp = 0
        session.edited.connect(self._on_session_edited)
        session.annotated.connect(self._on_session_annotated)
        known = self._measure_fragments() if candidates is None else {}
        self.finder = LocalFinder(session, settings, known)
        if candidates is None:
            candidates = find_candidates(session, settings, measurements=known)
        self._load(candidates)

    def close(self) -> None:
        """Leave the session's signals."""
        self._session.edited.disconnect(self._on_session_edited, missing_ok=True)
        self._session.annotated.disconnect(self._on_session_annotated, missing_ok=True)

    @property
    def filter(self) -> CandidateFilter:
        """What is shown; setting it costs the number of candidates."""
        return self._filter

    @filter.setter
    def filter(self, wanted: CandidateFilter) -> None:
        with self.turn:
            self._filter = wanted
            self.open.filter(wanted, self._done())
        self.changed.emit()

    @property
    def pending(self) -> list[int]:
        """Segments that edits changed and `refresh` has not looked at yet."""
        return list(self._pending)

    def rebuild(self, settings: CandidateSettings | None = None) -> None:
        """Find all candidates anew; may run beside the window's thread.

        Parameters
        ----------
        settings : CandidateSettings, optional
            What to look for from now on.
        """
        with self.turn:
            began = self._stamp
            if settings is not None:
                self.settings = settings
        known = self._measure_fragments()
        with self.turn:
            self.finder = LocalFinder(self._session, self.settings, known)
        found = find_candidates(self._session, self.settings, measurements=known)
        with self.turn:
            changed = [s for s, stamp in self._pending.items() if stamp > began]
            self._load(found)
            self.touch(changed)
            self.reloaded.emit()
        self.changed.emit()

    def _measure_fragments(self) -> dict[str, NDArray[Any]]:
        count = self.settings.bottlenecks
        shapes = {"bottleneck": measure_bottlenecks(self._session, count)} if count else {}
        return {**query_measurements(self._session), **shapes}

    def refresh(self) -> None:
        """Find the candidates of segments that edits changed; may run beside the window's thread.

        Costs the contacts of these segments.
        """
        with self.turn:
            pending = dict(self._pending)
        if not pending:
            return
        found = self.finder.find(np.array(sorted(pending), np.uint64))
        with self.turn:
            for segment, stamp in pending.items():
                if self._pending.get(segment) == stamp:
                    del self._pending[segment]
            touched = np.array(sorted(self._pending), np.uint64)
            keep = np.asarray(~np.isin(found.segments, touched).any(axis=1))
            self.open.add(found if keep.all() else found.take(keep), self.aside)
        self.changed.emit()

    def touch(self, segments: Iterable[int]) -> None:
        """Drop the candidates of some segments, to be found anew."""
        touched = list(segments)
        with self.turn:
            self._stamp += 1
            self.open.drop_segments(np.array(touched, np.uint64))
            self._pending.update(dict.fromkeys(touched, self._stamp))

    # parts

    def _load(self, candidates: Candidates) -> None:
        self.open.load(candidates, self.aside)
        self.open.filter(self._filter, self._done())
        self.finder.reset(candidates.measures)
        self._pending.clear()

    def _done(self) -> NDArray[np.uint64]:
        done = [s for s, note in self._session.annotations().items() if note.status == "done"]
        return np.array(sorted(done), np.uint64)

    def _on_session_edited(self, delta: Delta) -> None:
        self.touch(delta.segments)
        self.changed.emit()

    def _on_session_annotated(self, segment: int) -> None:
        with self.turn:
            self.open.show_segments(np.array([segment], np.uint64), self._done())
        self.changed.emit()
