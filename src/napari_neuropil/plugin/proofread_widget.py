"""The Proofread dock: choose a project, edit, go through the queue, look things up.

It only puts panels together: each talks to the one `ProofreadController`, none to another panel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QCloseEvent, QKeySequence
from qtpy.QtWidgets import (  # type: ignore[attr-defined]
    QHBoxLayout,
    QLabel,
    QPushButton,
    QShortcut,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_neuropil.plugin.canvas_input import CanvasInput
from napari_neuropil.plugin.colour_view import ColourView
from napari_neuropil.plugin.contacts_panel import ContactsPanel
from napari_neuropil.plugin.edit_panel import EditPanel
from napari_neuropil.plugin.history_panel import HistoryPanel
from napari_neuropil.plugin.measure_panel import MeasurePanel
from napari_neuropil.plugin.mesh_view import MeshView
from napari_neuropil.plugin.project_panel import ProjectPanel
from napari_neuropil.plugin.proofread_controller import ProofreadController
from napari_neuropil.plugin.queue_panel import QueuePanel
from napari_neuropil.plugin.segments_panel import SegmentsPanel
from napari_neuropil.plugin.stored_view import StoredView

if TYPE_CHECKING:
    from napari_neuropil.errors import EditRejectedError

_WIDTH: Final = 370
_HEIGHT: Final = 660
_TABS: Final = ("Edit", "Queue", "Segments", "History", "Contacts", "Measure")


class ProofreadWidget(QWidget):
    """Dock that proofreads a project.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The window it stands in.
    parent : QWidget, optional
        The owner.
    """

    def __init__(self, napari_viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._forced: Callable[[], None] | None = None
        self.controller = ProofreadController(napari_viewer, self)
        self.project = ProjectPanel(self.controller)
        self.edit = EditPanel(self.controller)
        self.queue = QueuePanel(self.controller)
        self.segments = SegmentsPanel(self.controller)
        self.history = HistoryPanel(self.controller)
        self.contacts = ContactsPanel(self.controller)
        self.measure = MeasurePanel(self.controller)
        self.mesh = MeshView(self.controller)
        self.colours = ColourView(self.controller)
        self.stored = StoredView(self.controller)
        self.tabs = QTabWidget()
        self.message = QLabel()
        self.force_button = QPushButton("Do it anyway")
        self._build()
        self.input = CanvasInput(self.controller)
        self._bind_keys()
        self.controller.message.connect(self.show_message)
        self.controller.refused.connect(self._on_refused)
        self.controller.wish_changed.connect(self._on_moved_on)
        self.controller.edited.connect(self._on_moved_on)
        self.controller.session_changed.connect(self._on_session_changed)
        self.force_button.clicked.connect(self._on_force_clicked)
        self.queue.attention.connect(lambda: self.tabs.setCurrentWidget(self.queue))
        self._on_session_changed()
        self._open = True

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return a size that fits a laptop's screen."""
        return QSize(_WIDTH, _HEIGHT)

    def closeEvent(self, event: QCloseEvent | None) -> None:  # noqa: N802
        """Give project, keys and mouse back with the dock."""
        self.stop()
        super().closeEvent(event)

    def stop(self) -> None:
        """Close the project and let go of the viewer; may be called twice."""
        if self._open:
            self._open = False
            self.input.disconnect()
            self.project.stop()
            self.controller.disconnect_viewer()

    def show_message(self, text: str, error: bool = False) -> None:
        """Show a line below the tabs; an error in red."""
        self._forced = None
        self._show(text, error=error)

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.setSpacing(6)
        layout.addWidget(self.project)
        panels = (self.edit, self.queue, self.segments, self.history, self.contacts, self.measure)
        for title, panel in zip(_TABS, panels, strict=True):
            self.tabs.addTab(panel, title)
        self.tabs.setUsesScrollButtons(True)
        layout.addWidget(self.tabs, 1)
        layout.addWidget(self.mesh)
        layout.addWidget(self.colours)
        layout.addWidget(self.stored)
        row = QHBoxLayout()
        self.message.setWordWrap(True)
        self.message.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        row.addWidget(self.message, 1)
        row.addWidget(self.force_button)
        layout.addLayout(row)
        self.setMinimumWidth(300)
        self._show("")

    def _bind_keys(self) -> None:
        # The canvas has its own; these are for when a table or a button has the keyboard.
        for key, (_title, action) in self.controller.keys.items():
            shortcut = QShortcut(QKeySequence(key.replace("-", "+")), self)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(action)

    def _show(self, text: str, *, error: bool = False) -> None:
        self.message.setText(text)
        self.message.setStyleSheet("color: #ff6b60;" if error else "")
        self.message.setVisible(bool(text))
        self.force_button.setVisible(self._forced is not None)

    def _on_refused(self, error: EditRejectedError, forced: Callable[[], None] | None) -> None:
        self._forced = forced
        self._show(str(error), error=True)

    def _on_force_clicked(self) -> None:
        forced = self._forced
        self.show_message("")
        if forced is not None:
            forced()

    def _on_moved_on(self, _what: object = None) -> None:
        """Take a refusal away once the user does something else."""
        if self.controller.wish.force or not self.message.styleSheet():
            return
        self.show_message("")

    def _on_session_changed(self) -> None:
        self.tabs.setEnabled(self.controller.session is not None)
