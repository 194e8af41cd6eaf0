"""A child process that does the heavy work, and the signals it turns its words into.

The window runs `python -m napari_neuropil.cli ... --json`, one JSON object a line: plan, progress,
notice, done, error. So torch never loads in the window's process, a crash of the work leaves the
window alone, and Cancel needs no cooperation: interrupt, and after `GRACE_MS` kill. Killing is
safe, since the project folder keeps finished blocks and a resume goes on from them.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, Final

from qtpy.QtCore import QCoreApplication, QObject, QProcess, QProcessEnvironment, QTimer, Signal  # type: ignore[attr-defined]

GRACE_MS: Final = 1500
_TAIL_CHARACTERS: Final = 4000


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
        self._command = [*cli_command(), *arguments]
        self._line = b""
        self._tail = ""
        self._result: dict[str, Any] | None = None
        self._error: dict[str, Any] | None = None
        self._cancelling = False
        self._ended = False
        self._process = QProcess(self)
        environment = QProcessEnvironment.systemEnvironment()
        environment.insert("PYTHONUNBUFFERED", "1")
        environment.insert("PYTHONIOENCODING", "utf-8")
        self._process.setProcessEnvironment(environment)
        self._process.readyReadStandardOutput.connect(self._on_output)
        self._process.readyReadStandardError.connect(self._on_error_output)
        self._process.finished.connect(self._on_process_finished)
        self._process.errorOccurred.connect(self._on_process_error)
        self._killer = QTimer(self)
        self._killer.setSingleShot(True)
        self._killer.timeout.connect(self._process.kill)
        application = QCoreApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self.kill)

    @property
    def running(self) -> bool:
        """Whether the process is starting or alive."""
        return self._process.state() != QProcess.ProcessState.NotRunning

    def start(self) -> None:
        """Start the process; returns at once."""
        self._process.start(self._command[0], self._command[1:])

    def cancel(self) -> None:
        """Ask the process to stop, and kill it if it still lives after `GRACE_MS`."""
        if not self.running or self._cancelling:
            return
        self._cancelling = True
        pid = int(self._process.processId())
        if sys.platform == "win32" or pid == 0:
            self._process.terminate()
        else:
            os.kill(pid, signal.SIGINT)
        self._killer.start(GRACE_MS)

    def kill(self) -> None:
        """End the process now, without signals: the window is closing."""
        if self.running:
            self._cancelling = True
            self._process.blockSignals(True)
            self._process.kill()
            self._process.waitForFinished(1000)

    def _on_output(self) -> None:
        self._line += bytes(self._process.readAllStandardOutput().data())
        *lines, self._line = self._line.split(b"\n")
        for line in lines:
            self._take_line(line)

    def _on_error_output(self) -> None:
        text = bytes(self._process.readAllStandardError().data()).decode("utf-8", "replace")
        self._tail = (self._tail + text)[-_TAIL_CHARACTERS:]

    def _take_line(self, line: bytes) -> None:
        """Turn one line into a signal; a line that is not an event is kept for the error text."""
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            self._tail = (self._tail + line.decode("utf-8", "replace") + "\n")[-_TAIL_CHARACTERS:]
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

    def _on_process_error(self, error: Any) -> None:
        # A crash also comes as `finished`; only a process that never began needs words here.
        if error == QProcess.ProcessError.FailedToStart:
            self._end(
                {
                    "type": "WorkerError",
                    "found": f"The worker process could not be started: {self._command[0]}.",
                    "expected": "a Python with napari-neuropil installed",
                    "cure": "install napari-neuropil in the environment that runs napari.",
                }
            )

    def _on_process_finished(self, code: int, _status: Any) -> None:
        self._on_error_output()
        self._on_output()
        if self._line:
            self._take_line(self._line)
            self._line = b""
        if code == 0 and self._error is None:
            self._end(None)
            return
        self._end(self._error or self._crash(code))

    def _crash(self, code: int) -> dict[str, Any]:
        tail = self._tail.strip() or "It said nothing before it ended."
        return {
            "type": "WorkerError",
            "found": f"The worker process ended with code {code}.\n{tail}",
            "expected": "a result",
            "cure": "try a smaller crop or another device; if it stays, report the text above.",
        }

    def _end(self, error: dict[str, Any] | None) -> None:
        """Emit the one closing signal."""
        self._killer.stop()
        if self._ended:
            return
        self._ended = True
        if self._cancelling and (error is not None or self._result is None):
            self.cancelled.emit()
        elif error is not None:
            self.failed.emit(error)
        else:
            self.finished.emit(self._result or {})


def error_text(error: dict[str, Any]) -> str:
    """Return an error event as the message of a `NeuropilError`."""
    parts = [str(error.get("found", "")) or str(error.get("type", "Error"))]
    if error.get("expected"):
        parts.append(f"Expected: {error['expected']}")
    if error.get("cure"):
        parts.append(f"Cure: {error['cure']}")
    return "\n".join(parts)
