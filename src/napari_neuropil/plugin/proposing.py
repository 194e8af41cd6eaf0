"""Work out a proposal beside the window: a quick one first where that helps, then the exact one.

Only the latest wish counts: an answer to an older one is dropped. While a thread reads the session,
`busy` is true and the controller makes no edit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_neuropil.plugin.background import BackgroundCall
from napari_neuropil.plugin.proposal_text import proposal_text

if TYPE_CHECKING:
    from napari_neuropil.plugin.edit_modes import EditMode, Wish
    from napari_neuropil.proofreading import ProofreadingSession, Proposal


class Proposing(QObject):
    """The one place where proposals are worked out.

    Signals
    -------
    proposed : Proposal, str, bool
        For the latest wish: the proposal, it in words, and True once it is exact.
    refused : dict
        Facts of an error, of the latest wish.
    rested : no argument
        No thread reads the session any more.
    """

    proposed = Signal(object, str, bool)
    refused = Signal(dict)
    rested = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._running: BackgroundCall | None = None
        self._asked: tuple[ProofreadingSession, EditMode, Wish] | None = None
        self._current: tuple[ProofreadingSession, EditMode, Wish] | None = None
        self._quick = False

    @property
    def busy(self) -> bool:
        """Whether a thread reads the session."""
        return self._running is not None

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for an answer."""
        return self._current is not None or self._asked is not None

    def ask(self, session: ProofreadingSession, mode: EditMode, wish: Wish) -> None:
        """Work out the proposal of a wish; an earlier wish is forgotten."""
        self._asked = (session, mode, wish)
        self._current = None
        if self._running is None:
            self._next()

    def stop(self) -> None:
        """Forget the wish; what a thread still finds is dropped."""
        self._asked = None
        self._current = None

    def _next(self) -> None:
        if self._asked is None:
            return
        self._current, self._asked = self._asked, None
        self._start(quick=self._current[1].slow)

    def _start(self, *, quick: bool) -> None:
        if self._current is None:
            return
        session, mode, wish = self._current
        self._quick = quick
        self._running = BackgroundCall(lambda: _propose(session, mode, wish, quick), self)
        self._running.returned.connect(self._on_returned)
        self._running.failed.connect(self._on_failed)
        self._running.start()

    def _on_returned(self, answer: tuple[Proposal, str]) -> None:
        self._end_running()
        if self._current is not None:
            quick = self._quick
            if quick:
                self._start(quick=False)
            else:
                self._current = None
            self.proposed.emit(*answer, not quick)
        self._rest_or_go_on()

    def _on_failed(self, error: dict[str, Any]) -> None:
        self._end_running()
        wanted, self._current = self._current, None
        if wanted is not None:
            self.refused.emit(error)
        self._rest_or_go_on()

    def _end_running(self) -> None:
        job, self._running = self._running, None
        if job is not None:
            job.deleteLater()

    def _rest_or_go_on(self) -> None:
        if self._running is None:
            self._next()
        if self._running is None:
            self.rested.emit()


def _propose(
    session: ProofreadingSession, mode: EditMode, wish: Wish, quick: bool
) -> tuple[Proposal, str]:
    proposal = mode.propose(session, wish, quick)
    return proposal, proposal_text(session, proposal)
