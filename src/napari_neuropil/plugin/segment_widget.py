"""The Segment dock: choose, try on a crop, run on the volume, watch, cancel, resume.

The window only words a wish; `python -m napari_neuropil.cli segment ... --json` does the work in
its own process. A trial crop goes to a temporary folder; a volume's project stays where the
dock says, and can be resumed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qtpy.QtCore import QSize, QTimer
from qtpy.QtGui import QCloseEvent
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_neuropil.errors import NeuropilError
from napari_neuropil.geometry import Roi
from napari_neuropil.plugin.background import BackgroundCall
from napari_neuropil.plugin.layers import (
    METADATA_KEY,
    LayerArray,
    crop_roi,
    facts_of,
    finest_data,
    layer_from_segments,
    placement,
    source_of,
    view_centre,
)
from napari_neuropil.plugin.method_panel import MethodPanel
from napari_neuropil.plugin.project_places import (
    default_project,
    documents_folder,
    free_disk,
    project_state,
)
from napari_neuropil.plugin.segment_job import SegmentJob, SegmentWish
from napari_neuropil.plugin.source_panel import SourcePanel, row_label
from napari_neuropil.plugin.staging import temporary_folder, temporary_path
from napari_neuropil.plugin.task_panel import TaskPanel, question_text, result_text
from napari_neuropil.plugin.worker import WorkerProcess, error_text

if TYPE_CHECKING:
    from napari.layers import Layer  # type: ignore[import-untyped]

    from napari_neuropil.project import Project

_Show = Callable[["Project", Any, dict[str, Any]], None]
"""Receives an opened project, its segments, and what the worker said of them."""

_WIDTH: Final = 370
_HEIGHT: Final = 620
_FACTS_DELAY_MS: Final = 300


class SegmentWidget(QWidget):
    """Dock that segments neurons in an image layer.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The window it stands in.
    parent : QWidget, optional
        The owner.
    """

    def __init__(self, napari_viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = napari_viewer
        self._job: SegmentJob | None = None
        self._facts_worker: WorkerProcess | None = None
        self._opening: BackgroundCall | None = None
        self._notices: list[str] = []
        self._planned: dict[str, Any] | None = None
        self._confirmable: SegmentJob | None = None
        self._planned_layer: Layer | None = None
        self._result: dict[str, Any] = {}
        self._show_result: _Show | None = None
        self._suggested = ""
        self.source = SourcePanel(napari_viewer)
        self.method = MethodPanel()
        self.task = TaskPanel()
        self.project_edit = QLineEdit()
        self.project_edit.setToolTip("The project folder that Run on volume makes.")
        self.project_button = QPushButton("...")
        self.project_button.setToolTip("Choose where the project folder goes.")
        self.project_button.setMaximumWidth(32)
        self._build()
        self.setMinimumWidth(300)
        self.source.changed.connect(self._on_source_changed)
        self.method.changed.connect(self._on_edited)
        self.project_edit.textChanged.connect(self._on_edited)
        self.project_button.clicked.connect(self._on_project_clicked)
        self.task.try_clicked.connect(self._on_try_clicked)
        self.task.run_clicked.connect(self._on_run_clicked)
        self.task.resume_clicked.connect(self._on_resume_clicked)
        self.task.confirmed.connect(self._on_confirmed)
        self.task.declined.connect(self._on_declined)
        self.task.cancel_clicked.connect(self._on_cancel_clicked)
        self._on_source_changed()
        QTimer.singleShot(_FACTS_DELAY_MS, self._ask_for_facts)

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return a size that fits a laptop's screen."""
        return QSize(_WIDTH, _HEIGHT)

    def closeEvent(self, event: QCloseEvent | None) -> None:  # noqa: N802
        """End the worker with the dock."""
        self.stop()
        super().closeEvent(event)

    def stop(self) -> None:
        """End whatever runs, at once; a project keeps its finished blocks."""
        if self._job is not None:
            self._job.kill()
        if self._facts_worker is not None:
            self._facts_worker.kill()

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 8, 8, 8)
        layout.setSpacing(8)
        layout.addWidget(self.source)
        layout.addWidget(self.method)
        row = QHBoxLayout()
        row.setSpacing(4)
        row.addWidget(row_label("Project"))
        row.addWidget(self.project_edit, 1)
        row.addWidget(self.project_button)
        layout.addLayout(row)
        layout.addWidget(self.task)
        layout.addStretch(1)

    def _ask_for_facts(self) -> None:
        self._facts_worker = WorkerProcess(["info", "--json"], self)
        self._facts_worker.finished.connect(self.method.show_facts)
        self._facts_worker.start()

    def _on_source_changed(self) -> None:
        layer = self.source.layer
        current = self.project_edit.text()
        if current in ("", self._suggested):
            self._suggested = "" if layer is None else str(default_project(layer))
            self.project_edit.setText(self._suggested)
        self._on_edited()

    def _on_edited(self) -> None:
        """Take back an open question: it was asked for other settings."""
        if self._confirmable is not None:
            self._on_declined()
        self._update_ready()

    def _update_ready(self) -> None:
        reason = self.method.why_not_ready()
        if self.source.layer is None:
            reason = "Open a 3D image first."
        elif self.source.voxel_size is None:
            reason = "Type the voxel size first."
        self.task.set_ready(reason)
        self.task.set_resumable(project_state(self._project()) == "unfinished")

    def _project(self) -> Path:
        text = self.project_edit.text().strip()
        path = Path(text).expanduser() if text else documents_folder() / "volume"
        return path if path.suffix == ".neuropil" else path.with_name(f"{path.name}.neuropil")

    def _on_project_clicked(self) -> None:
        path, _ = QFileDialog.getSaveFileName(
            self,
            "Project folder",
            self.project_edit.text(),
            "Neuropil project (*.neuropil)",
            options=QFileDialog.Option.DontConfirmOverwrite,
        )
        if path:
            self.project_edit.setText(path)

    def _on_try_clicked(self) -> None:
        layer = self.source.layer
        if layer is None:
            return
        array = finest_data(layer)
        roi = crop_roi(array.shape, view_centre(self._viewer, layer), self.source.voxel_size)
        wish = self._wish(layer, temporary_path("crop.neuropil"), roi)
        if wish is not None:
            self._start(wish, lambda p, d, r: self._show_crop(p, d, r, layer, roi))

    def _on_run_clicked(self) -> None:
        self._plan(resume=False)

    def _on_resume_clicked(self) -> None:
        self._plan(resume=True)

    def _plan(self, *, resume: bool) -> None:
        """Ask the worker what the whole volume costs, then ask the user."""
        layer = self.source.layer
        if layer is None:
            return
        project = self._project()
        exists = project_state(project) != "absent"
        wish = self._wish(
            layer, project, None, resume=resume and exists, overwrite=exists and not resume
        )
        if wish is not None:
            self._planned_layer = layer
            job = SegmentJob(wish, dry_run=True, parent=self)
            job.planned.connect(self._on_planned)
            self._begin(job, "Estimating ...", None)

    def _wish(
        self,
        layer: Layer,
        project: Path,
        roi: Roi | None,
        *,
        resume: bool = False,
        overwrite: bool = False,
    ) -> SegmentWish | None:
        """Word the wish; None, with the reason shown, where the form cannot be used."""
        size = self.source.voxel_size
        try:
            options = self.method.options()
        except NeuropilError as error:
            self.task.show_message(str(error), error=True)
            return None
        if size is None:
            return None
        source = source_of(layer)
        return SegmentWish(
            image=source or str(project.with_suffix(".image.zarr")),
            project=project,
            voxel_size=size,
            roi=roi,
            array=None if source else finest_data(layer),
            options=options,
            resume=resume,
            overwrite=overwrite,
        )

    def _start(self, wish: SegmentWish, show_result: _Show) -> None:
        self._begin(SegmentJob(wish, parent=self), "Starting ...", show_result)

    def _begin(self, job: SegmentJob, stage: str, show_result: _Show | None) -> None:
        """Start a job; without `show_result` it only plans, and its plan becomes a question."""
        self._notices = []
        self._planned = None
        self._show_result = show_result
        self._job = job
        self.task.show_busy(stage)
        job.progressed.connect(self.task.show_progress)
        job.noticed.connect(self._on_noticed)
        job.finished.connect(self._on_job_finished)
        job.failed.connect(self._on_job_failed)
        job.cancelled.connect(self._on_job_cancelled)
        job.start()

    def _on_noticed(self, message: str) -> None:
        if message and message not in self._notices:
            self._notices.append(message)
            self.task.show_message("\n".join(self._notices))

    def _on_planned(self, plan: dict[str, Any]) -> None:
        self._planned = plan

    def _on_job_finished(self, result: dict[str, Any]) -> None:
        job = self._end_job()
        if job is None:
            return
        if self._show_result is None:
            self._confirmable = job
            project = job.wish.project
            replaced = project.name if job.wish.overwrite else ""
            self.task.ask(question_text(self._planned or {}, free_disk(project), replaced))
            return
        self._result = result
        self.task.show_busy("Opening the result ...", can_cancel=False)
        in_memory = job.wish.project.parent == temporary_folder()
        self._opening = BackgroundCall(lambda: _load(result, in_memory=in_memory), self)
        self._opening.returned.connect(self._on_opened)
        self._opening.failed.connect(self._on_job_failed)
        self._opening.start()

    def _on_opened(self, loaded: tuple[Project, Any]) -> None:
        self._opening = None
        if self._show_result is not None:
            self._show_result(*loaded, self._result)

    def _on_confirmed(self) -> None:
        job, self._confirmable = self._confirmable, None
        layer = self._planned_layer
        if job is not None:
            self._start(job.wish, lambda p, d, r: self._show_volume(p, d, r, layer))

    def _on_declined(self) -> None:
        job, self._confirmable = self._confirmable, None
        if job is not None:
            job.discard()
        self.task.show_idle()
        self._update_ready()

    def _on_cancel_clicked(self) -> None:
        if self._job is not None:
            self.task.show_cancelling()
            self._job.cancel()

    def _on_job_failed(self, error: dict[str, Any]) -> None:
        self._end_job()
        self._opening = None
        self._show_error(error_text(error))

    def _show_error(self, text: str) -> None:
        from napari.utils.notifications import show_error  # type: ignore[import-untyped]

        self.task.show_idle(text, error=True)
        self._update_ready()
        show_error(text)

    def _on_job_cancelled(self) -> None:
        job = self._end_job()
        kept = job is not None and project_state(job.wish.project) == "unfinished"
        self.task.show_idle(
            "Cancelled. Finished blocks are kept: Resume goes on." if kept else "Cancelled."
        )
        self._update_ready()

    def _end_job(self) -> SegmentJob | None:
        """Let go of the job; the panel shows the start buttons again."""
        job, self._job = self._job, None
        if job is not None:
            job.deleteLater()
            self.task.show_idle("\n".join(self._notices))
            self._update_ready()
        return job

    def _show_crop(
        self, project: Project, data: Any, result: dict[str, Any], layer: Layer, roi: Roi
    ) -> None:
        """Show a trial crop over its image, in place of the one before.

        Its labels are in memory: bounded by the crop's size, they outlive the temporary folder.
        """
        _, attributes, _ = layer_from_segments(project, name=f"{self.method.title} crop")
        attributes["metadata"][METADATA_KEY]["preview"] = True
        self._remove_layers(lambda facts: bool(facts.get("preview")))
        self._add(data, attributes, layer, roi.start)
        self.task.show_idle(result_text(f"Crop {roi}", result, self._notices))
        self._update_ready()

    def _show_volume(
        self, project: Project, data: Any, result: dict[str, Any], layer: Layer | None
    ) -> None:
        """Show a project's segments lazily over their image."""
        path = str(project.path)
        _, attributes, _ = layer_from_segments(project, name=f"{self.method.title} segments")
        # The volume shows what the trial crop showed; both at once would darken the image.
        self._remove_layers(lambda facts: facts.get("project") == path or "preview" in facts)
        self._add(data, attributes, layer, (0, 0, 0))
        self.task.show_idle(result_text(project.path.name, result, self._notices))
        self._update_ready()

    def _add(
        self, data: Any, attributes: dict[str, Any], layer: Layer | None, start: tuple[int, ...]
    ) -> None:
        if layer is not None and layer in self._viewer.layers:
            attributes |= placement(layer, start)
        self._viewer.add_labels(data, **attributes)

    def _remove_layers(self, chosen: Callable[[dict[str, Any]], bool]) -> None:
        for layer in [each for each in self._viewer.layers if chosen(facts_of(each))]:
            self._viewer.layers.remove(layer)


def _load(result: dict[str, Any], *, in_memory: bool) -> tuple[Project, Any]:
    """Open a project and return it with its segments; runs beside the window.

    The graph grows with the volume, and the first import of Zarr takes a second.
    """
    from napari_neuropil.project import Project

    project = Project.open(str(result.get("project", "")))
    segments = LayerArray(project.segments().array)
    return project, segments[...] if in_memory else segments
