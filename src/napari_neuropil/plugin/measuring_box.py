"""Measure the embedding distances of contacts: what is known, two buttons, progress and Cancel.

The network runs in the worker process, as everything does that needs torch. It saves every few
seconds, so what was measured before Cancel, or before a crash, is kept and taken in.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from qtpy.QtWidgets import (
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_neuropil.plugin.layers import crop_roi, view_centre
from napari_neuropil.plugin.task_panel import format_duration
from napari_neuropil.plugin.worker import WorkerProcess, error_text

if TYPE_CHECKING:
    from qtpy.QtGui import QShowEvent

    from napari_neuropil.geometry import Roi
    from napari_neuropil.plugin.project_controller import ProjectController

_STEPS: Final = 1000
_NO_IMAGE: Final = "The project names no image: import the labels again with --image."


def measure_words(project: Path, near: Roi | None = None) -> list[str]:
    """Return the words after `neuropil` that measure contacts: in a box, or all."""
    box = [] if near is None else ["--near", str(near)]
    return ["distances", str(project), *box, "--json"]


def view_box(controller: ProjectController) -> Roi | None:
    """Return the box around the middle of the view, voxels; None without a project.

    As large as a trial crop of the Segment dock: tens of patches, seconds to a minute of work.
    """
    layer = controller.segments_layer
    if layer is None:
        return None
    middle = view_centre(controller.viewer, layer)
    return crop_roi(layer.data.shape, middle, controller.voxel_size)


class MeasuringBox(QWidget):
    """How many distances are known, and the job that measures more.

    Parameters
    ----------
    controller : ProjectController
        Session and view.
    parent : QWidget, optional
        The owner.
    """

    def __init__(self, controller: ProjectController, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._job: WorkerProcess | None = None
        self._path: Path | None = None
        self._begun = 0.0
        self.state = QLabel()
        self.near_button = QPushButton("Measure around the view")
        self.all_button = QPushButton("Measure all")
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.setToolTip("Stop measuring; what was measured is kept.")
        self._build()
        self.near_button.clicked.connect(self._on_near_clicked)
        self.all_button.clicked.connect(self._on_all_clicked)
        self.cancel_button.clicked.connect(self._on_cancel_clicked)
        controller.session_changed.connect(self._on_session_changed)
        controller.distances_changed.connect(self._update)
        self._update()

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        self.state.setWordWrap(True)
        layout.addWidget(self.state)
        self.buttons = QWidget()
        grid = QGridLayout(self.buttons)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        grid.addWidget(self.near_button, 0, 0)
        grid.addWidget(self.all_button, 0, 1)
        layout.addWidget(self.buttons)
        self.progress = QWidget()
        row = QHBoxLayout(self.progress)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.bar, 1)
        row.addWidget(self.cancel_button)
        layout.addWidget(self.progress)

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802
        """Count only while somebody looks."""
        super().showEvent(event)
        self._update()

    # the job

    def measure(self, near: Roi | None = None) -> None:
        """Measure what nobody has measured yet, beside the window.

        Parameters
        ----------
        near : Roi, optional
            Only the contacts in this box, voxels; without it all.
        """
        path = self._controller.path
        if path is None or self._job is not None:
            return
        self._path, self._begun = path, time.monotonic()
        self._job = job = WorkerProcess(measure_words(path, near), self)
        job.progressed.connect(self._on_progressed)
        job.noticed.connect(lambda text: self._controller.message.emit(text, False))
        job.finished.connect(self._on_finished)
        job.failed.connect(self._on_failed)
        job.cancelled.connect(self._on_cancelled)
        self.bar.setRange(0, 0)
        self.cancel_button.setEnabled(True)
        job.start()
        self._update()
        self.state.setText("Loading the network ...")

    def _on_near_clicked(self) -> None:
        self.measure(view_box(self._controller))

    def _on_all_clicked(self) -> None:
        self.measure()

    def _on_cancel_clicked(self) -> None:
        if self._job is not None:
            self.cancel_button.setEnabled(False)
            self.state.setText("Cancelling ...")
            self._job.cancel()

    def _on_progressed(self, event: dict[str, Any]) -> None:
        if not self.cancel_button.isEnabled():
            return
        done, total = float(event.get("done") or 0), float(event.get("total") or 0)
        if total <= 0:
            return
        self.bar.setRange(0, _STEPS)
        self.bar.setValue(round(_STEPS * min(1.0, done / total)))
        left = (time.monotonic() - self._begun) * (total - done) / done if done else 0.0
        more = f" · about {format_duration(left)} left" if left > 1 else ""
        self.state.setText(f"Measuring contacts: {done:,.0f} of {total:,.0f}{more}")

    def _on_finished(self, result: dict[str, Any]) -> None:
        below, measured = int(result.get("below_threshold", 0)), int(result.get("measured", 0))
        self._end(f"{measured:,} contacts measured, {below:,} of them below 1.5.")

    def _on_failed(self, error: dict[str, Any]) -> None:
        self._end(error_text(error), error=True)

    def _on_cancelled(self) -> None:
        self._end("Cancelled; what was measured is kept.")

    def _end(self, message: str, *, error: bool = False) -> None:
        job, self._job = self._job, None
        if job is not None:
            job.deleteLater()
        # A job that was stopped because its project was closed has nobody to tell.
        if self._path is not None and self._path == self._controller.path:
            self._controller.message.emit(message, error)
            self._controller.reread_distances()
        self._update()

    def _on_session_changed(self) -> None:
        if self._job is not None and self._controller.path != self._path:
            self._path = None
            self._job.cancel()
        self._update()

    # what is shown

    def _update(self) -> None:
        session, busy = self._controller.session, self._job is not None
        self.buttons.setVisible(not busy)
        self.progress.setVisible(busy)
        why = "" if session is None or session.info.image_source else _NO_IMAGE
        for button, tip in (
            (self.near_button, "Contacts in a box around the middle of the view."),
            (self.all_button, "Every contact of the project. May take long; go on working."),
        ):
            button.setEnabled(session is not None and not why)
            button.setToolTip(
                why or f"{tip} Those measured before are kept, and Cancel keeps what it has."
            )
        if session is None or busy or not self.isVisible():
            return
        distance = session.graph.distance
        known = int(np.isfinite(distance).sum())
        self.state.setText(f"Distance known of {known:,} of {len(distance):,} contacts")
