"""Functions beside the window, one at a time; only the answer to the latest counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_neuropil.plugin.background import BackgroundCall


class LatestCall(QObject):
    """Asks again and again, while the user drags or types.

    What is asked while another call runs waits for it, and replaces what waited before.

    Signals
    -------
    answered : object
        What the latest function returned.
    failed : dict
        Facts of the error it ended with.
    """

    answered = Signal(object)
    failed = Signal(dict)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._running: BackgroundCall | None = None
        self._next: Callable[[], Any] | None = None
        self._forgotten = False

    @property
    def busy(self) -> bool:
        """Whether somebody waits for an answer."""
        return self._next is not None or (self._running is not None and not self._forgotten)

    def ask(self, function: Callable[[], Any]) -> None:
        """Call a function as soon as the one before has returned; an earlier wish is dropped."""
        self._next = function
        if self._running is None:
            self._begin()

    def forget(self) -> None:
        """Want nothing any more; what a thread still finds is dropped."""
        self._next = None
        self._forgotten = True

    def _begin(self) -> None:
        function, self._next = self._next, None
        if function is None:
            return
        self._forgotten = False
        self._running = BackgroundCall(function, self)
        self._running.returned.connect(self._on_returned)
        self._running.failed.connect(self._on_failed)
        self._running.start()

    def _on_returned(self, answer: object) -> None:
        if self._end():
            self.answered.emit(answer)

    def _on_failed(self, facts: dict[str, Any]) -> None:
        if self._end():
            self.failed.emit(facts)

    def _end(self) -> bool:
        """Go on with what waits; return whether the answer that came is the one wanted."""
        job, self._running = self._running, None
        if job is not None:
            job.deleteLater()
        wanted = self._next is None and not self._forgotten
        self._begin()
        return wanted
