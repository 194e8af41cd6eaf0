"""The command line as a child process, and the signals its events become.

The window runs `python -m napari_neuropil.cli ... --json`, one JSON object a line: plan, progress,
notice, done, error. Cancel needs no cooperation: interrupt, and after a time of grace kill. Killing
is safe, since the project folder keeps finished blocks and a resume goes on from them.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_neuropil.plugin.line_process import LineProcess


def cli_command() -> list[str]:
    """Return the program and first arguments of the command line (tests replace it)."""
    return [sys.executable, "-m", "napari_neuropil.cli"]


class WorkerProcess(QObject):
    """One run of the command line in its own process.

    Signals
    -------
    planned, progressed, finished : dict
        The event's fields. `finished` comes once, after the process has ended with success.
    noticed : str
        A message that is not an error.
    failed : dict
        `type`, `found`, `expected`, `cure`; comes once, after the process has ended.
    cancelled : no argument
        The process has ended because `cancel` was called.
    """

    planned = Signal(dict)
    progressed = Signal(dict)
    noticed = Signal(str)
    finished = Signal(dict)
    failed = Signal(dict)
    cancelled = Signal()

    def __init__(self, arguments: Sequence[str], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._result: dict[str, Any] | None = None
        self._error: dict[str, Any] | None = None
        self._cancelling = False
        self._process = LineProcess([*cli_command(), *arguments], self)
        self._process.heard.connect(self._take_line)
        self._process.ended.connect(self._on_ended)

    @property
    def running(self) -> bool:
        """Whether the process is starting or alive."""
        return self._process.running

    def start(self) -> None:
        """Start the process; returns at once."""
        self._process.start()

    def cancel(self) -> None:
        """Ask the process to stop, and kill it if it still lives a little later."""
        if not self.running or self._cancelling:
            return
        self._cancelling = True
        pid = self._process.pid
        if sys.platform == "win32" or pid == 0:
            self._process.terminate()
        else:
            os.kill(pid, signal.SIGINT)
        self._process.kill_soon()

    def kill(self) -> None:
        """End the process now, without signals: the window is closing."""
        self._process.kill()

    def _take_line(self, line: bytes) -> None:
        """Turn one line into a signal; a line that is not an event is kept for the error text."""
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            self._process.remember(line)
            return
        kind = event.pop("event", None)
        if kind == "plan":
            self.planned.emit(event)
        elif kind == "progress":
            self.progressed.emit(event)
        elif kind == "notice":
            self.noticed.emit(str(event.get("message", "")))
        elif kind in ("done", None):
            # `info --json` writes one plain object: that is its result.
            self._result = event
        elif kind == "error":
            self._error = event

    def _on_ended(self, code: int | None) -> None:
        """Emit the one closing signal."""
        good = code == 0 and self._error is None
        if self._cancelling and not (good and self._result is not None):
            self.cancelled.emit()
        elif good:
            self.finished.emit(self._result or {})
        else:
            self.failed.emit(
                self._error
                or self._process.failure(
                    code,
                    "a result",
                    "try a smaller crop or another device; if it stays, report the text above.",
                )
            )


def error_text(error: dict[str, Any]) -> str:
    """Return an error event as the message of a `NeuropilError`."""
    parts = [str(error.get("found", "")) or str(error.get("type", "Error"))]
    if error.get("expected"):
        parts.append(f"Expected: {error['expected']}")
    if error.get("cure"):
        parts.append(f"Cure: {error['cure']}")
    return "\n".join(parts)
