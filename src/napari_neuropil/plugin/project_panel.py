"""Which project is proofread: choose an open one, open a folder, or import labels."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QMenu,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_neuropil.errors import NeuropilError
from napari_neuropil.plugin.import_job import ImportJob, import_wish
from napari_neuropil.plugin.layers import facts_of
from napari_neuropil.plugin.project_places import default_project
from napari_neuropil.plugin.proofread_controller import ProofreadController
from napari_neuropil.plugin.worker import error_text

if TYPE_CHECKING:
    from napari.layers import Layer  # type: ignore[import-untyped]

_CHOOSE: Final = "Choose a project ..."
_NONE: Final = "Open a project, or import labels"
_STEPS: Final = 1000


class ProjectPanel(QWidget):
    """The head of the dock: the project, and whether everything is saved.

    Parameters
    ----------
    controller : ProofreadController
        Opens what is chosen.
    parent : QWidget, optional
        The owner.
    """

    imported = Signal(str)

    def __init__(self, controller: ProofreadController, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._viewer = controller.viewer
        self._job: ImportJob | None = None
        self._notices: list[str] = []
        self.combo = QComboBox()
        self.combo.setToolTip("The project to proofread: those open in this window.")
        self.combo.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.open_button = QPushButton("Open ...")
        self.open_button.setToolTip("Open a project folder (.neuropil).")
        self.import_button = QPushButton("Import labels")
        self.import_button.setToolTip("Make a project of a labels layer from any program.")
        self.import_menu = QMenu(self.import_button)
        self.import_menu.aboutToShow.connect(self._fill_menu)
        self.import_button.setMenu(self.import_menu)
        self.state = QLabel()
        self.state.setWordWrap(True)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.cancel_button = QPushButton("Cancel")
        self._build()
        self.combo.activated.connect(self._on_combo_activated)
        self.open_button.clicked.connect(self._on_open_clicked)
        self.cancel_button.clicked.connect(self._on_cancel_clicked)
        for signal in (controller.session_changed, controller.opening_changed, controller.edited):
            signal.connect(self._update)
        for emitter in (self._viewer.layers.events.inserted, self._viewer.layers.events.removed):
            emitter.connect(self._update)
        self._update()

    def stop(self) -> None:
        """End an import, and stop listening: the dock goes."""
        if self._job is not None:
            self._job.kill()
        for emitter in (self._viewer.layers.events.inserted, self._viewer.layers.events.removed):
            emitter.disconnect(self._update)

    def projects(self) -> list[Path]:
        """Return the projects that have a layer in the window, each once."""
        found = [facts_of(layer).get("project") for layer in self._viewer.layers]
        paths = [Path(place) for place in dict.fromkeys(p for p in found if p)]
        own = self._controller.path
        return paths if own is None or own in paths else [own, *paths]

    def import_layer(self, layer: Layer, project: Path) -> None:
        """Make a project of a labels layer, beside the window, and open it."""
        try:
            wish = import_wish(layer, list(self._viewer.layers), project)
        except NeuropilError as error:
            self._controller.message.emit(str(error), True)
            return
        self._controller.message.emit(f"Importing {layer.name} ...", False)
        self._notices = []
        self._job = ImportJob(wish, parent=self)
        self._job.progressed.connect(self._on_progressed)
        self._job.noticed.connect(self._notices.append)
        self._job.finished.connect(self._on_finished)
        self._job.failed.connect(self._on_failed)
        self._job.cancelled.connect(self._on_cancelled)
        self._job.start()
        self._update()

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        row = QHBoxLayout()
        row.setSpacing(4)
        row.addWidget(self.combo, 1)
        row.addWidget(self.open_button)
        row.addWidget(self.import_button)
        layout.addLayout(row)
        progress = QHBoxLayout()
        progress.addWidget(self.bar, 1)
        progress.addWidget(self.cancel_button)
        layout.addLayout(progress)
        layout.addWidget(self.state)

    def _update(self, _event: Any = None) -> None:
        controller = self._controller
        busy = controller.opening or self._job is not None
        paths = self.projects()
        self.combo.clear()
        self.combo.addItem(_CHOOSE if paths else _NONE, None)
        for path in paths:
            self.combo.addItem(path.stem, str(path))
            self.combo.setItemData(self.combo.count() - 1, str(path), Qt.ItemDataRole.ToolTipRole)
        if controller.path is not None:
            self.combo.setCurrentIndex(self.combo.findData(str(controller.path)))
        for widget in (self.combo, self.open_button, self.import_button):
            widget.setEnabled(not busy)
        self.bar.setVisible(busy)
        self.cancel_button.setVisible(self._job is not None)
        if controller.opening:
            self.bar.setRange(0, 0)
        self.state.setText(self._state_text())
        self.state.setVisible(bool(self.state.text()))

    def _state_text(self) -> str:
        session = self._controller.session
        if session is None:
            return ""
        if session.read_only:
            return "Read-only" + (f": {session.owner} has it." if session.owner else ".")
        count = len(session.edits)
        if count == 0:
            return "No edits yet; each is saved at once."
        return f"All {count} edits saved." if count > 1 else "1 edit, saved."

    def _on_combo_activated(self, index: int) -> None:
        path = self.combo.itemData(index)
        if path is None:
            self._controller.close_project()
            self._update()
        elif self._controller.path != Path(path):
            self._controller.open_project(path)

    def _on_open_clicked(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Open a Neuropil project")
        if path:
            self._controller.open_project(path)

    def _fill_menu(self) -> None:
        self.import_menu.clear()
        layers = [layer for layer in self._viewer.layers if _can_be_imported(layer)]
        for layer in layers:
            action = self.import_menu.addAction(layer.name)
            if action is not None:
                action.triggered.connect(partial(self._on_import_chosen, layer))
        if not layers:
            action = self.import_menu.addAction("Open 3D labels first: File > Open")
            if action is not None:
                action.setEnabled(False)

    def _on_import_chosen(self, layer: Layer, _checked: bool = False) -> None:
        path, _ = QFileDialog.getSaveFileName(
            self, "Project folder", str(default_project(layer)), "Neuropil project (*.neuropil)"
        )
        if path:
            place = Path(path)
            if place.suffix != ".neuropil":
                place = place.with_name(f"{place.name}.neuropil")
            self.import_layer(layer, place)

    def _on_cancel_clicked(self) -> None:
        if self._job is not None:
            self._job.cancel()

    def _on_progressed(self, event: dict[str, Any]) -> None:
        total = float(event.get("total") or 0)
        self.bar.setRange(0, _STEPS if total else 0)
        if total:
            self.bar.setValue(round(_STEPS * float(event.get("done") or 0) / total))
        self._controller.message.emit(str(event.get("stage", "Importing")).capitalize(), False)

    def _on_finished(self, result: dict[str, Any]) -> None:
        self._end_job()
        self._controller.open_project(str(result.get("project", "")))
        self.imported.emit(str(result.get("project", "")))

    def _on_failed(self, error: dict[str, Any]) -> None:
        self._end_job()
        self._controller.message.emit(error_text(error), True)

    def _on_cancelled(self) -> None:
        self._end_job()
        self._controller.message.emit("Cancelled.", False)

    def _end_job(self) -> None:
        job, self._job = self._job, None
        if job is not None:
            job.deleteLater()
        self._update()


def _can_be_imported(layer: Layer) -> bool:
    facts = facts_of(layer)
    return (
        type(layer).__name__ == "Labels"
        and layer.ndim == 3
        and "project" not in facts
        and "overlay" not in facts
    )
