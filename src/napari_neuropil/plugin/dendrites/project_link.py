"""The project beside this dock: it is open in the Proofread dock, which holds its one session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QDockWidget, QWidget

from napari_neuropil.plugin.project_controller import ProjectController

_PLUGIN: Final = "napari-neuropil"
_PROOFREAD: Final = "Proofread"


class ProjectLink(QObject):
    """Finds the controller that has a project open, and has it opened where none has.

    Parameters
    ----------
    viewer : napari.Viewer
        The window.
    dock : QWidget
        Ours: the other docks are in its window.

    Signals
    -------
    opened : no argument
        The project that was asked for is open.
    failed : str
        It is not, and why.
    """

    opened = Signal()
    failed = Signal(str)

    def __init__(self, viewer: Any, dock: QWidget) -> None:
        super().__init__(dock)
        self._viewer = viewer
        self._dock = dock
        self._waiting: Callable[[], None] | None = None

    def controllers(self) -> list[ProjectController]:
        """Return the controllers of the docks in this window."""
        window = self._dock.window()
        return [] if window is None else list(window.findChildren(ProjectController))

    def controller_of(self, project: Path | None) -> ProjectController | None:
        """Return who has a project open; None: nobody."""
        for controller in self.controllers():
            if project is not None and controller.path == project:
                return controller
        return None

    def open(self, project: Path) -> None:
        """Open a project in the Proofread dock; `opened` or `failed` says how it went."""
        if self._waiting is not None:
            return
        taken = [c.path for c in self.controllers() if c.session is not None]
        if taken:
            name = taken[0].stem if taken[0] is not None else "another project"
            self.failed.emit(
                f"The Proofread dock has {name} open.\nExpected: {project.stem}\n"
                f"Cure: choose {project.stem} there, then commit again."
            )
            return
        controllers = self.controllers()
        if not controllers:
            self._viewer.window.add_plugin_dock_widget(_PLUGIN, _PROOFREAD, tabify=True)
            self._raise_own()
            controllers = self.controllers()
        if not controllers:
            self.failed.emit("The Proofread dock could not be opened.")
            return
        controller = controllers[0]
        # Opening makes the segments the active layer; the user goes on with ours, and its keys.
        active = self._viewer.layers.selection.active

        def finished() -> None:
            if controller.opening:
                return
            self._waiting = None
            controller.opening_changed.disconnect(finished)
            controller.session_changed.disconnect(finished)
            if active is not None and active in self._viewer.layers:
                self._viewer.layers.selection.active = active
            if controller.path == project:
                self.opened.emit()
            else:
                self.failed.emit(f"{project.name} was not opened; the Proofread dock says why.")

        self._waiting = finished
        controller.open_project(project)
        controller.opening_changed.connect(finished)
        controller.session_changed.connect(finished)

    def _raise_own(self) -> None:
        """Stay in front of the dock that was laid over this one."""
        widget: Any = self._dock
        while widget is not None and not isinstance(widget, QDockWidget):
            widget = widget.parent()
        if widget is not None:
            widget.raise_()
