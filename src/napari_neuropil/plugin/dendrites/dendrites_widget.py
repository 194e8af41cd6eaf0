"""The dock "Refine dendrites": it puts the boxes together, and binds the keys.

Keys act while one of the dock's own layers is active or the dock has the keyboard, so that those of
the Proofread dock beside it stay what they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QCloseEvent, QKeySequence
from qtpy.QtWidgets import QShortcut, QTabWidget, QVBoxLayout, QWidget  # type: ignore[attr-defined]

from napari_neuropil.plugin.dendrites.commit_box import CommitBox
from napari_neuropil.plugin.dendrites.dendrite_controller import DendriteController
from napari_neuropil.plugin.dendrites.follow_box import FollowBox
from napari_neuropil.plugin.dendrites.panel_parts import say, text_line
from napari_neuropil.plugin.dendrites.progress_row import ProgressRow
from napari_neuropil.plugin.dendrites.project_link import ProjectLink
from napari_neuropil.plugin.dendrites.prompt_box import PromptBox
from napari_neuropil.plugin.dendrites.proposals_box import ProposalsBox
from napari_neuropil.plugin.dendrites.source_box import SourceBox
from napari_neuropil.plugin.dendrites.tune_box import TuneBox

_WIDTH: Final = 370
_HEIGHT: Final = 680


class DendritesWidget(QWidget):
    """Dock that turns boxes and points into dendrites.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The window it stands in.
    parent : QWidget, optional
        The owner.
    """

    def __init__(self, napari_viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.refiner = DendriteController(napari_viewer, self)
        self.project = ProjectLink(napari_viewer, self)
        self.source = SourceBox(self.refiner)
        self.tools = PromptBox(self.refiner, self.project)
        self.proposals = ProposalsBox(self.refiner)
        self.follow = FollowBox(self.refiner)
        self.commit = CommitBox(self.refiner, self.project)
        self.tune = TuneBox(self.refiner, self.project)
        self.progress = ProgressRow(self.refiner)
        self.tabs = QTabWidget()
        self.message = text_line()
        self._open = True
        self.keys: dict[str, Callable[[], None]] = {
            "Q": self.proposals.accept,
            "W": self.refiner.reject,
            "N": lambda: self.refiner.go_to_next(1),
            "Shift-N": lambda: self.refiner.go_to_next(-1),
            "K": self.refiner.turn,
            "G": self.follow.follow,
            "U": self.refiner.undo,
            "Shift-U": self.refiner.redo,
        }
        self._build()
        self.refiner.layers.made = self._on_layer_made
        self.refiner.layers.picked = self.refiner.pick
        for key, action in self.keys.items():
            shortcut = QShortcut(QKeySequence(key.replace("-", "+")), self)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(action)
        self.refiner.message.connect(self.show_message)
        self.refiner.link.became_ready.connect(self._on_ready)
        self.source.changed.connect(self._on_source_changed)
        self.tune.segmenter_wanted.connect(lambda name: self.source.switch(segmenter=name))
        self.tune.detector_wanted.connect(lambda name: self.source.switch(detector=name))
        self._on_source_changed()

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return a size that fits a laptop's screen."""
        return QSize(_WIDTH, _HEIGHT)

    def closeEvent(self, event: QCloseEvent | None) -> None:  # noqa: N802
        """End the worker with the dock."""
        self.stop()
        super().closeEvent(event)

    def stop(self) -> None:
        """End the worker and let go of the viewer; may be called twice."""
        if self._open:
            self._open = False
            self.source.stop_listening()
            self.tools.stop_listening()
            self.tune.stop()
            self.refiner.close()

    def show_message(self, text: str, error: bool = False) -> None:
        """Show a line below the tabs; an error in red."""
        say(self.message, text, error=error)

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.setSpacing(6)
        layout.addWidget(self.source)
        layout.addWidget(self.tools)
        dendrite = QWidget()
        parts = QVBoxLayout(dendrite)
        parts.setContentsMargins(4, 6, 4, 4)
        parts.setSpacing(4)
        parts.addWidget(self.follow, 1)
        parts.addWidget(self.commit)
        self.tabs.addTab(self.proposals, "Proposals")
        self.tabs.addTab(dendrite, "Dendrite")
        self.tabs.addTab(self.tune, "Fine-tune")
        layout.addWidget(self.tabs, 1)
        layout.addWidget(self.progress)
        layout.addWidget(self.message)
        self.setMinimumWidth(300)
        say(self.message, "")

    def _on_ready(self, _ready: object) -> None:
        self.tools.take("box")

    def _on_source_changed(self) -> None:
        self.tune.show_source(self.source.choice, *self.source.models)

    def _on_layer_made(self, layer: Any) -> None:
        layer.events.mode.connect(self.tools.show_tool)
        for key, action in self.keys.items():
            layer.bind_key(key, _press(action), overwrite=True)


def _press(action: Callable[[], None]) -> Callable[[Any], None]:
    def press(_layer: Any) -> None:
        action()

    return press
