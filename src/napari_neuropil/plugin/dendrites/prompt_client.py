"""The worker that answers prompts, as an object that sends requests and emits events.

It is `neuropil prompts` in a process of its own, which lives until it is told to stop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_neuropil.errors import NeuropilError
from napari_neuropil.plugin import worker
from napari_neuropil.plugin.line_process import LineProcess
from napari_neuropil.workflows.prompting.messages import (
    Event,
    Problem,
    Quit,
    Ready,
    Request,
    decode_event,
    encode,
)

_CURE: Final = (
    "press Start again: boxes and masks are still here. If it stays, choose a smaller segmenter, "
    "or report the text above."
)


class PromptClient(QObject):
    """One run of the worker.

    Parameters
    ----------
    arguments : sequence of str
        The words after `neuropil`.
    parent : QObject, optional
        The owner.

    Signals
    -------
    heard : Event
        Everything the worker says.
    ended : dict
        Once, after the process has ended: facts of the error, empty if it was told to stop.
    """

    heard = Signal(object)
    ended = Signal(dict)

    def __init__(self, arguments: Sequence[str], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._problem: dict[str, Any] | None = None
        self._ready = False
        self._stopping = False
        self._process = LineProcess([*worker.cli_command(), *arguments], self)
        self._process.heard.connect(self._take_line)
        self._process.ended.connect(self._on_ended)

    @property
    def running(self) -> bool:
        """Whether the process is starting or alive."""
        return self._process.running

    @property
    def ready(self) -> bool:
        """Whether requests are answered."""
        return self._ready and self.running and not self._stopping

    def start(self) -> None:
        """Start the process; returns at once."""
        self._process.start()

    def send(self, request: Request) -> None:
        """Send a request; one to a worker that has ended is dropped."""
        self._process.write(encode(request))

    def stop(self) -> None:
        """Ask the worker to end, and kill it if it still lives a little later."""
        if self.running and not self._stopping:
            self.send(Quit())
            self._stopping = True
            self._process.kill_soon()

    def kill(self) -> None:
        """End the process now, without signals: the dock is closing."""
        self._stopping = True
        self._process.kill()

    def _take_line(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            event: Event = decode_event(line)
        except NeuropilError:
            self._process.remember(line)
            return
        if isinstance(event, Ready):
            self._ready = True
        elif isinstance(event, Problem) and not self._ready:
            self._problem = event.model_dump(include={"type", "found", "expected", "cure"})
            return
        self.heard.emit(event)

    def _on_ended(self, code: int | None) -> None:
        if self._stopping:
            self.ended.emit({})
            return
        self.ended.emit(
            self._problem or self._process.failure(code, "a worker that goes on", _CURE)
        )
