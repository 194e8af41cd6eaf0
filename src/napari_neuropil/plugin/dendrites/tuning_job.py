"""One fine-tuning in a process of its own: how far it is, its curve, and Stop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QLabel, QProgressBar, QVBoxLayout, QWidget

from napari_neuropil.plugin.curve_widget import CurveWidget
from napari_neuropil.plugin.dendrites.panel_parts import button, row, say, text_line
from napari_neuropil.plugin.dendrites.tuning_run import TuningRun
from napari_neuropil.plugin.worker import WorkerProcess

_STEPS: Final = 1000
_BAR_HEIGHT: Final = 8
_COLOURS: Final = ("#ffe14d", "#8b919b")
_NAMES: Final = ("held-out IoU", "loss")


class TuningJob(QWidget):
    """Runs a command of the command line; takes no room before the first.

    Parameters
    ----------
    parent : QWidget, optional
        The owner.

    Signals
    -------
    changed : no argument
        Read `running`.
    planned, finished, failed : dict
        The events ``plan``, ``done``, ``error``.
    noticed : str
        Something that is no error.
    stopped : no argument
        Somebody pressed Stop; what was saved stays.
    """

    changed = Signal()
    planned = Signal(dict)
    finished = Signal(dict)
    failed = Signal(dict)
    noticed = Signal(str)
    stopped = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._worker: WorkerProcess | None = None
        self.run = TuningRun()
        self.text = QLabel()
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setMaximumHeight(_BAR_HEIGHT)
        self.stop_button = button(
            "Stop", "Stop; the last saved state is kept, and Go on begins from it.", self.stop
        )
        self.curve = CurveWidget("step")
        self.curve_text = text_line()
        self._progress = QWidget()
        inside = QVBoxLayout(self._progress)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.setSpacing(4)
        inside.addLayout(row(self.text, self.stop_button, stretch=0))
        inside.addWidget(self.bar)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self._progress)
        layout.addWidget(self.curve_text)
        layout.addWidget(self.curve)
        self._show()

    @property
    def running(self) -> bool:
        """Whether a command runs."""
        return self._worker is not None

    def start(self, words: Sequence[str], title: str) -> None:
        """Start a command; nothing happens while one runs."""
        if self._worker is not None:
            return
        self.run = TuningRun()
        worker = WorkerProcess(words, self)
        worker.planned.connect(self.planned)
        worker.progressed.connect(self._on_progressed)
        worker.noticed.connect(self.noticed)
        worker.finished.connect(lambda event: self._end(self.finished, event))
        worker.failed.connect(lambda event: self._end(self.failed, event))
        worker.cancelled.connect(lambda: self._end(self.stopped))
        self._worker = worker
        self.stop_button.setEnabled(True)
        self.text.setText(title)
        self.bar.setRange(0, 0)
        self._show()
        worker.start()
        self.changed.emit()

    def stop(self) -> None:
        """Ask the command to end."""
        if self._worker is not None:
            self.stop_button.setEnabled(False)
            self.text.setText("Stopping ...")
            self._worker.cancel()

    def kill(self) -> None:
        """End the command now, without a word: the dock closes."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.kill()
            worker.deleteLater()

    def _on_progressed(self, event: dict[str, Any]) -> None:
        self.run = self.run.heard(event)
        if self.stop_button.isEnabled():
            self.text.setText(self.run.text)
        self.bar.setRange(0, _STEPS if self.run.total else 0)
        if self.run.total:
            self.bar.setValue(round(_STEPS * self.run.done / self.run.total))
        self._show()

    def _end(self, signal: Any, *facts: object) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.deleteLater()
        self._show()
        self.changed.emit()
        signal.emit(*facts)

    def _show(self) -> None:
        self._progress.setVisible(self.running)
        lines = [
            (name, colour, values)
            for name, colour, values in zip(_NAMES, _COLOURS, self.run.lines, strict=True)
            if values
        ]
        self.curve.show_lines(lines)
        self.curve.setVisible(bool(lines))
        say(self.curve_text, self.run.curve_text)
