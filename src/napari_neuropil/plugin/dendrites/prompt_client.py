"""The worker that answers prompts, as an object that sends requests and emits events.

It is `neuropil prompts` in a process of its own: the window loads no network, waits for nothing,
and outlives a crash of the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from qtpy.QtCore import QCoreApplication, QObject, QProcess, QProcessEnvironment, QTimer, Signal  # type: ignore[attr-defined]

from napari_neuropil.errors import NeuropilError
from napari_neuropil.plugin import worker
from napari_neuropil.workflows.prompting.messages import (
    Event,
    Problem,
    Quit,
    Ready,
    Request,
    decode_event,
    encode,
)

_TAIL_CHARACTERS: Final = 4000
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
        self._command = [*worker.cli_command(), *arguments]
        self._line = b""
        self._tail = ""
        self._problem: dict[str, Any] | None = None
        self._ready = False
        self._stopping = False
        self._over = False
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

    @property
    def ready(self) -> bool:
        """Whether requests are answered."""
        return self._ready and self.running and not self._stopping

    def start(self) -> None:
        """Start the process; returns at once."""
        self._process.start(self._command[0], self._command[1:])

    def send(self, request: Request) -> None:
        """Send a request; one to a worker that has ended is dropped."""
        if self.running:
            self._process.write(encode(request))

    def stop(self) -> None:
        """Ask the worker to end, and kill it if it still lives after `worker.GRACE_MS`."""
        if self.running and not self._stopping:
            self.send(Quit())
            self._stopping = True
            self._killer.start(worker.GRACE_MS)

    def kill(self) -> None:
        """End the process now, without signals: the dock is closing."""
        self._stopping = self._over = True
        self._killer.stop()
        if self.running:
            self._process.blockSignals(True)
            self._process.kill()
            self._process.waitForFinished(1000)

    def _on_output(self) -> None:
        self._line += bytes(self._process.readAllStandardOutput().data())
        if b"\n" not in self._line:
            return
        *lines, self._line = self._line.split(b"\n")
        for line in lines:
            self._take_line(line)

    def _on_error_output(self) -> None:
        text = bytes(self._process.readAllStandardError().data()).decode("utf-8", "replace")
        self._tail = (self._tail + text)[-_TAIL_CHARACTERS:]

    def _take_line(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            event: Event = decode_event(line)
        except NeuropilError:
            # Some library wrote to standard output; it may explain how the process ends.
            text = line[:_TAIL_CHARACTERS].decode("utf-8", "replace")
            self._tail = (f"{self._tail}{text}\n")[-_TAIL_CHARACTERS:]
            return
        if isinstance(event, Ready):
            self._ready = True
        elif isinstance(event, Problem) and not self._ready:
            self._problem = event.model_dump(include={"type", "found", "expected", "cure"})
            return
        self.heard.emit(event)

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
            line, self._line = self._line, b""
            self._take_line(line)
        if self._stopping:
            self._end({})
            return
        self._end(self._problem or self._crash(code))

    def _crash(self, code: int) -> dict[str, Any]:
        # The last lines say what happened; a traceback as a whole would fill the dock.
        tail = "\n".join(self._tail.strip().splitlines()[-3:]) or "It said nothing before it ended."
        return {
            "type": "WorkerError",
            "found": f"The worker process ended with code {code}.\n{tail}",
            "expected": "a worker that goes on",
            "cure": _CURE,
        }

    def _end(self, facts: dict[str, Any]) -> None:
        self._killer.stop()
        if not self._over:
            self._over = True
            self.ended.emit(facts)
