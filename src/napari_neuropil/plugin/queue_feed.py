"""The candidate queue of the open project: found beside the window, kept current, place saved."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined]

from napari_neuropil.plugin.worker import error_text
from napari_neuropil.proofreading.queue import CandidateQueue

if TYPE_CHECKING:
    from napari_neuropil.plugin.proofread_controller import ProofreadController
    from napari_neuropil.proofreading import Delta, ProofreadingSession

_SAVE_MS: Final = 400
_FIND_MS: Final = 150
_TRIES: Final = 3


class QueueFeed(QObject):
    """Owns the queue of the controller's session.

    Parameters
    ----------
    controller : ProofreadController
        Its session is looked through.

    Signals
    -------
    built : no argument
        `queue` is there.
    changed : no argument
        The queue, what it shows or `building` changed; comes on the window's thread.
    """

    built = Signal()
    changed = Signal()

    def __init__(self, controller: ProofreadController) -> None:
        super().__init__(controller)
        self._controller = controller
        self._session: ProofreadingSession | None = None
        self.queue: CandidateQueue | None = None
        self.building = False
        self._finding = False
        self._stale = False
        self._save_timer = self._timer(_SAVE_MS, self._save_place)
        self._find_timer = self._timer(_FIND_MS, self._find_changed)
        controller.session_changed.connect(self._on_session_changed)
        controller.edited.connect(self._on_edited)
        controller.distances_changed.connect(self._on_distances_changed)
        self._on_session_changed()

    def _timer(self, interval: int, call: Callable[[], None]) -> QTimer:
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.setInterval(interval)
        timer.timeout.connect(call)
        return timer

    def _on_session_changed(self) -> None:
        if self.queue is not None:
            self.queue.changed.disconnect(self._on_queue_changed)
            self.queue.close()
        self.queue = None
        self._session = self._controller.session
        self.building = self._finding = self._stale = False

    def build(self) -> None:
        """Find all candidates, beside the window; `built` says when they are there."""
        session = self._session
        if session is None or self.building or self.queue is not None:
            return
        self.building = True
        self._controller.in_background(
            lambda: (session, _build_queue(session)), self._on_built, self._on_build_failed
        )
        self.changed.emit()

    def _on_built(self, result: tuple[ProofreadingSession, CandidateQueue]) -> None:
        session, queue = result
        if session is not self._session:
            queue.close()
            return
        self.building = False
        self.queue = queue
        queue.changed.connect(self._on_queue_changed)
        self.built.emit()
        self.changed.emit()
        if self._stale:
            self._rank_anew()

    def _on_build_failed(self, error: dict[str, Any]) -> None:
        self.building = False
        self._controller.message.emit(error_text(error), True)
        self.changed.emit()

    def _on_queue_changed(self) -> None:
        # Comes from any thread; the signal brings it to the window's.
        self.changed.emit()

    def _on_edited(self, _delta: Delta) -> None:
        if self.queue is not None:
            self._find_timer.start()

    def _find_changed(self) -> None:
        """Find the candidates of segments that edits changed, where `next` would be too slow."""
        queue = self.queue
        if queue is None or self._finding or not queue.pending:
            return
        self._finding = True
        self._controller.in_background(queue.refresh, self._on_found, self._on_found)

    def _on_found(self, _result: Any) -> None:
        self._finding = False
        self._rank_anew()
        if self.queue is not None and self.queue.pending:
            self._find_timer.start()

    def _on_distances_changed(self) -> None:
        # What is being worked out may have read the old ones.
        self._stale = self.building or self.queue is not None
        self._rank_anew()

    def _rank_anew(self) -> None:
        """Find all candidates again: a scorer has new evidence."""
        queue = self.queue
        if queue is None or self._finding or not self._stale:
            return
        self._stale = False
        self._finding = True
        self._controller.in_background(queue.rebuild, self._on_found, self._on_found)

    def save_soon(self) -> None:
        """Keep the place in the project once the user rests: each save is a transaction."""
        self._save_timer.start()

    def _save_place(self) -> None:
        if self.queue is not None:
            self.queue.save_place()

    def prefetch(self) -> None:
        """Read the section of the candidate after this one, so that it is there at once."""
        following = None if self.queue is None else self.queue.following
        if following is None:
            return
        section = following.position[0]
        layers = (self._controller.segments_layer, self._controller.image_layer)
        arrays = [x.data for x in layers if x is not None and not getattr(x, "multiscale", False)]

        def read() -> None:
            for array in arrays:
                if section < array.shape[0]:
                    np.asarray(array[section])

        self._controller.in_background(read, _ignore, _ignore)


def _build_queue(session: ProofreadingSession) -> CandidateQueue:
    """Find the candidates; anew if an edit came between, since it may have been read half."""
    for _ in range(_TRIES):
        before = len(session.edits)
        queue = CandidateQueue(session, background=True)
        if len(session.edits) == before:
            break
        queue.close()
        time.sleep(0.2)
    return queue


def _ignore(_result: Any) -> None:
    """Take a result nobody needs."""
