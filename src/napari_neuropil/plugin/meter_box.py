"""The live meter: what the work has cost so far, and its table as CSV."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_neuropil.plugin.task_panel import format_duration
from napari_neuropil.proofreading.meter import Meter

if TYPE_CHECKING:
    from qtpy.QtGui import QShowEvent

    from napari_neuropil.plugin.proofread_controller import ProofreadController
    from napari_neuropil.proofreading import ProofreadingSession
    from napari_neuropil.proofreading.meter import MeterReading

_DELAY_MS: Final = 400


class MeterBox(QWidget):
    """Shows a `MeterReading`, read anew after each answer and edit while it is in view.

    Parameters
    ----------
    controller : ProofreadController
        Its session is measured.
    parent : QWidget, optional
        The owner.
    """

    def __init__(self, controller: ProofreadController, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._session: ProofreadingSession | None = None
        self._reading = False
        self.labels = {name: QLabel("–") for name in ("decisions", "pace", "edits", "worked")}
        self.export_button = QPushButton("Save CSV ...")
        self.export_button.setToolTip("One line for each answer and edit, with its time and cost.")
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setVerticalSpacing(3)
        for title, name in (
            ("Decisions", "decisions"),
            ("Per decision", "pace"),
            ("Edits", "edits"),
            ("Worked", "worked"),
        ):
            self.labels[name].setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            form.addRow(title, self.labels[name])
        self.labels["worked"].setToolTip("Pauses of more than two minutes do not count.")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        heading = QHBoxLayout()
        heading.addWidget(QLabel("<b>This project so far</b>"), 1)
        heading.addWidget(self.export_button)
        layout.addLayout(heading)
        layout.addLayout(form)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_DELAY_MS)
        self._timer.timeout.connect(self._read)
        self.export_button.clicked.connect(self._on_export_clicked)
        controller.session_changed.connect(self._on_session_changed)
        controller.edited.connect(self._timer.start)
        self._on_session_changed()

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802
        """Read only while somebody looks."""
        super().showEvent(event)
        self._read()

    def _on_session_changed(self) -> None:
        if self._session is not None:
            self._session.decided.disconnect(self._on_decided)
        self._session = session = self._controller.session
        self._reading = False
        self.export_button.setEnabled(session is not None)
        for label in self.labels.values():
            label.setText("–")
        if session is not None:
            session.decided.connect(self._on_decided)
            self._read()

    def _on_decided(self, _decision: object) -> None:
        self._timer.start()

    def _read(self) -> None:
        session = self._session
        if session is None or not self.isVisible():
            return
        if self._reading:
            self._timer.start()
            return
        self._reading = True
        # Costs the length of the log: a second for 10^5 edits, so beside the window.
        self._controller.in_background(
            lambda: (session, Meter(session).read()), self._on_read, self._on_failed
        )

    def _on_failed(self, _error: object) -> None:
        self._reading = False

    def _on_read(self, result: tuple[ProofreadingSession, MeterReading]) -> None:
        session, reading = result
        if session is not self._session:
            return
        self._reading = False
        for name, text in reading_texts(reading).items():
            self.labels[name].setText(text)

    def _on_export_clicked(self) -> None:
        session = self._session
        if session is None:
            return
        path, _ = QFileDialog.getSaveFileName(
            self, "Save the meter", f"{Path(session.path).stem}_meter.csv", "CSV (*.csv)"
        )
        if path:
            self.export_csv(Path(path))

    def export_csv(self, path: Path) -> None:
        """Write answers and edits as CSV, beside the window.

        Parameters
        ----------
        path : Path
            Replaced if it exists.
        """
        session = self._session
        if session is not None:
            self._controller.in_background(
                lambda: Meter(session).export(path),
                lambda written: self._controller.message.emit(f"Saved {written}.", False),
            )


def reading_texts(reading: MeterReading) -> dict[str, str]:
    """Return the lines of the meter.

    Parameters
    ----------
    reading : MeterReading
        What the work has cost.
    """
    hourly = reading.decisions_per_hour
    pace = "–"
    if reading.seconds_median is not None and reading.seconds_mean is not None:
        pace = f"{reading.seconds_median:.1f} s median · {reading.seconds_mean:.1f} s mean"
    rate = "" if hourly is None else f" · {hourly:,.0f} per hour"
    return {
        "decisions": f"{reading.decisions:,}{rate}",
        "pace": pace,
        "edits": f"{reading.edits:,} · {reading.edits_per_um3:.3g} per µm³",
        "worked": format_duration(reading.working_seconds) if reading.working_seconds else "–",
    }
