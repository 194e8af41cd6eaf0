"""One command of the worker process as a line in a panel: how far it is, and Cancel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QWidget

from napari_neuropil.plugin.worker import WorkerProcess, error_text

if TYPE_CHECKING:
    from napari_neuropil.plugin.proofread_controller import ProofreadController

_STEPS: Final = 1000
_BAR_HEIGHT: Final = 8


class JobRow(QWidget):
    """Runs one command at a time; there only while it runs.

    Errors, notices and "Cancelled." go to the dock's message line. A job of a project that is
    closed ends with it, without a word.

    Parameters
    ----------
    controller : ProofreadController
        Its message line, and whether a project is open.
    parent : QWidget, optional
        The owner.

    Signals
    -------
    busy_changed : no argument
        Read `busy`.
    finished : dict
        The command's event ``done``.
    stopped : no argument
        It ended otherwise: an error, Cancel, or nobody wants it any more.
    """

    busy_changed = Signal()
    finished = Signal(dict)
    stopped = Signal()

    def __init__(self, controller: ProofreadController, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._worker: WorkerProcess | None = None
        self._notices: list[str] = []
        self.stage = QLabel()
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setMaximumHeight(_BAR_HEIGHT)
        self.cancel_button = QPushButton("Cancel")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.stage)
        layout.addWidget(self.bar, 1)
        layout.addWidget(self.cancel_button)
        self.cancel_button.clicked.connect(self._on_cancel_clicked)
        controller.session_changed.connect(self.drop)
        self.setVisible(False)

    @property
    def busy(self) -> bool:
        """Whether a command runs."""
        return self._worker is not None

    def run(self, words: Sequence[str], title: str) -> None:
        """Start a command; one that runs already is dropped.

        Parameters
        ----------
        words : sequence of str
            After ``neuropil``, ``--json`` among them.
        title : str
            Shown until the command says what it does.
        """
        self.drop()
        self._notices = []
        worker = WorkerProcess(words, self)
        worker.progressed.connect(self._on_progressed)
        worker.noticed.connect(self._notices.append)
        worker.finished.connect(self._on_finished)
        worker.failed.connect(self._on_failed)
        worker.cancelled.connect(self._on_cancelled)
        self._worker = worker
        self.stage.setText(title)
        self.bar.setRange(0, 0)
        self.cancel_button.setEnabled(True)
        self.setVisible(True)
        worker.start()
        self.busy_changed.emit()

    def drop(self) -> None:
        """End the command now, silently: nobody wants its result any more."""
        if self._worker is not None:
            self._worker.kill()
            self._end()
            self.stopped.emit()

    def _on_cancel_clicked(self) -> None:
        if self._worker is not None:
            self.stage.setText("Cancelling ...")
            self.cancel_button.setEnabled(False)
            self._worker.cancel()

    def _on_progressed(self, event: dict[str, Any]) -> None:
        done, total = float(event.get("done") or 0), float(event.get("total") or 0)
        self.bar.setRange(0, _STEPS if total else 0)
        if total:
            self.bar.setValue(round(_STEPS * done / total))
        stage = str(event.get("stage", "")).capitalize()
        if self.cancel_button.isEnabled():
            self.stage.setText(f"{stage} {done:g} of {total:g}" if total else stage)

    def _on_finished(self, result: dict[str, Any]) -> None:
        if self._notices:
            self._controller.message.emit("\n".join(self._notices), False)
        self._end()
        self.finished.emit(result)

    def _on_failed(self, error: dict[str, Any]) -> None:
        self._controller.message.emit(error_text(error), True)
        self._end()
        self.stopped.emit()

    def _on_cancelled(self) -> None:
        self._controller.message.emit("Cancelled.", False)
        self._end()
        self.stopped.emit()

    def _end(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.deleteLater()
        self.setVisible(False)
        self.busy_changed.emit()
