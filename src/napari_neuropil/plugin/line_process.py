"""A child process that speaks in lines, as signals.

The window does its heavy work in such processes: it loads no network itself, waits for nothing, and
outlives a crash of the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from qtpy.QtCore import QCoreApplication, QObject, QProcess, QProcessEnvironment, QTimer, Signal  # type: ignore[attr-defined]

GRACE_MS: Final = 1500
_TAIL_CHARACTERS: Final = 4000
_LAST_LINES: Final = 8
"""Of an error: they say what happened; a traceback as a whole would fill a dock."""


class LineProcess(QObject):
    """One run of a program.

    Parameters
    ----------
    command : sequence of str
        Program and arguments.
    parent : QObject, optional
        The owner.

    Signals
    -------
    heard : bytes
        A line of standard output, without its end.
    ended : int or None
        Once, after the process has ended and every line was heard: its code, None if it could not
        be started.
    """

    heard = Signal(bytes)
    ended = Signal(object)

    def __init__(self, command: Sequence[str], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._command = list(command)
        self._line = b""
        self._tail = ""
        self._process = QProcess(self)
        environment = QProcessEnvironment.systemEnvironment()
        environment.insert("PYTHONUNBUFFERED", "1")
        environment.insert("PYTHONIOENCODING", "utf-8")
        if not environment.contains("OMP_WAIT_POLICY"):
            # Torch's threads spin while they wait, and the window wants the cores too: beside two
            # busy programs a crop took 28 s so, 40 s spinning; alone 18 s and 15 s.
            environment.insert("OMP_WAIT_POLICY", "PASSIVE")
        self._process.setProcessEnvironment(environment)
        self._process.readyReadStandardOutput.connect(self._on_output)
        self._process.readyReadStandardError.connect(self._on_error_output)
        self._process.finished.connect(self._on_finished)
        self._process.errorOccurred.connect(self._on_error)
        self._killer = QTimer(self)
        self._killer.setSingleShot(True)
        self._killer.timeout.connect(self._process.kill)
        application = QCoreApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self.kill)
        # A closed window deletes its docks before the program quits. `self` is gone by then, its
        # child is not; left alone, Qt kills it too, but says so on the terminal.
        self.destroyed.connect(partial(_end, self._process))

    @property
    def running(self) -> bool:
        """Whether the process is starting or alive."""
        return self._process.state() != QProcess.ProcessState.NotRunning

    @property
    def pid(self) -> int:
        """The number of the process; 0 where there is none."""
        return int(self._process.processId())

    def start(self) -> None:
        """Start the process; returns at once."""
        self._process.start(self._command[0], self._command[1:])

    def write(self, words: bytes) -> None:
        """Send words to its standard input; to a process that has ended they are dropped."""
        if self.running:
            self._process.write(words)

    def terminate(self) -> None:
        """Ask the process to end, in the way of the platform."""
        self._process.terminate()

    def kill_soon(self) -> None:
        """Kill the process if it still lives after `GRACE_MS`."""
        self._killer.start(GRACE_MS)

    def kill(self) -> None:
        """End the process now, without signals: its owner is closing."""
        self._killer.stop()
        _end(self._process)

    def remember(self, line: bytes) -> None:
        """Keep a line nobody understood: some library wrote it, and it may explain the end."""
        self._keep(line.decode("utf-8", "replace") + "\n")

    def failure(self, code: int | None, expected: str, cure: str) -> dict[str, str]:
        """Return the facts of an error: how the process ended, and its last words.

        Parameters
        ----------
        code : int or None
            As `ended` gave it.
        expected, cure : str
            Of the error, where the process had begun.
        """
        if code is None:
            return {
                "type": "WorkerError",
                "found": f"The worker process could not be started: {self._command[0]}.",
                "expected": "a Python with napari-neuropil installed",
                "cure": "install napari-neuropil in the environment that runs napari.",
            }
        tail = (
            "\n".join(self._tail.strip().splitlines()[-_LAST_LINES:])
            or "It said nothing before it ended."
        )
        return {
            "type": "WorkerError",
            "found": f"The worker process ended with code {code}.\n{tail}",
            "expected": expected,
            "cure": cure,
        }

    def _keep(self, text: str) -> None:
        self._tail = (self._tail + text)[-_TAIL_CHARACTERS:]

    def _on_output(self) -> None:
        self._line += bytes(self._process.readAllStandardOutput().data())
        if b"\n" not in self._line:
            return
        *lines, self._line = self._line.split(b"\n")
        for line in lines:
            self.heard.emit(line)

    def _on_error_output(self) -> None:
        self._keep(bytes(self._process.readAllStandardError().data()).decode("utf-8", "replace"))

    def _on_error(self, error: Any) -> None:
        # A crash also comes as `finished`; only a process that never began ends here.
        if error == QProcess.ProcessError.FailedToStart:
            self._killer.stop()
            self.ended.emit(None)

    def _on_finished(self, code: int, _status: Any) -> None:
        self._on_error_output()
        self._on_output()
        if self._line:
            line, self._line = self._line, b""
            self.heard.emit(line)
        self._killer.stop()
        self.ended.emit(code)


def _end(process: QProcess, _destroyed: object = None) -> None:
    """End a process now, without signals."""
    if process.state() != QProcess.ProcessState.NotRunning:
        process.blockSignals(True)
        process.kill()
        process.waitForFinished(1000)
