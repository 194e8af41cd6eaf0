"""The tools: box, points, scribble, brush, an existing segment, undo and redo."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_neuropil.errors import NeuropilError
from napari_neuropil.plugin.dendrites.dendrite_controller import DendriteController
from napari_neuropil.plugin.dendrites.dendrite_text import area_text
from napari_neuropil.plugin.dendrites.existing_segment import find_segment, segment_mask
from napari_neuropil.plugin.dendrites.layer_making import BOXES, MASK, POINTS
from napari_neuropil.plugin.dendrites.panel_parts import CHECKED, button, row, text_line

if TYPE_CHECKING:
    from napari_neuropil.plugin.dendrites.project_link import ProjectLink

_TOOLS: Final = {
    "box": ("Box", BOXES, "add_rectangle", "Drag a box around a dendrite; it becomes a proposal."),
    "point": (
        "Point",
        POINTS,
        "add",
        "Click on the dendrite (positive, green) or beside it (negative, red). Without a box or a "
        "mask the first positive point begins a proposal.",
    ),
    "scribble": (
        "Scribble",
        BOXES,
        "add_path",
        "Drag a line along the dendrite: it is taken as up to 12 points of the sign below.",
    ),
    "paint": (
        "Paint",
        MASK,
        "paint",
        "Paint the mask itself with napari's brush (its eraser and fill work too).",
    ),
    "move": ("Edit boxes", BOXES, "select", "Move, resize or delete boxes (Delete key)."),
}


class PromptBox(QWidget):
    """What to draw with, and what came of it in the section in view.

    Parameters
    ----------
    controller : DendriteController
        Whose layers are drawn into.
    link : ProjectLink
        Where a selected segment may be.
    parent : QWidget, optional
        The owner.
    """

    def __init__(
        self, controller: DendriteController, link: ProjectLink, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._controller = controller
        self._link = link
        self.tools: dict[str, QPushButton] = {
            name: button(title, tip, partial(self.take, name))
            for name, (title, _layer, _mode, tip) in _TOOLS.items()
        }
        self.sign_button = button(
            "Points: + (K)",
            "Whether the next points and scribbles are on the dendrite (+) or beside it (-). K "
            "changes it.",
            controller.turn,
        )
        self.segment_button = button(
            "Use segment",
            "Load the selected segment (of the Proofread dock, or of a labels layer on the same "
            "voxels) as the mask in this section, to be refined.",
            self.use_segment,
        )
        self.undo_button = button("Undo (U)", "Take the last step here back.", controller.undo)
        self.redo_button = button("Redo", "Make the step again (Shift+U).", controller.redo)
        self.new_button = button(
            "New dendrite",
            "The next box, point or stroke begins another dendrite.",
            controller.begin_anew,
        )
        self.state = text_line()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(row(*self.tools.values()))
        layout.addLayout(row(self.sign_button, self.segment_button, self.new_button))
        layout.addLayout(row(self.undo_button, self.redo_button, self.state, stretch=2))
        for tool in self.tools.values():
            tool.setStyleSheet(CHECKED)
            tool.setCheckable(True)
        controller.work_changed.connect(self._show)
        controller.moved.connect(self._show)
        controller.link.changed.connect(self._show)
        self._active = controller.viewer.layers.selection.events.active
        self._active.connect(self.show_tool)
        self._show()

    def stop_listening(self) -> None:
        """Let go of the viewer: the dock goes."""
        self._active.disconnect(self.show_tool)

    def take(self, name: str) -> None:
        """Take a tool in hand."""
        _title, layer, mode, _tip = _TOOLS[name]
        self._controller.layers.take_tool(layer, mode)
        self.show_tool()

    def show_tool(self, _event: Any = None) -> None:
        """Mark the tool that is in hand, however it was taken."""
        in_hand = self._controller.layers.tool_in_hand()
        for name, (_title, layer, mode, _tip) in _TOOLS.items():
            self.tools[name].setChecked(in_hand == (layer, mode))

    def use_segment(self) -> None:
        """Load the selected segment as the mask of this section."""
        controller = self._controller
        try:
            layer, label = find_segment(
                self._link.controllers(), list(controller.viewer.layers), controller.layers.shape
            )
            mask = segment_mask(layer, label, controller.z)
        except NeuropilError as error:
            controller.message.emit(str(error), True)
            return
        controller.take_mask(mask)
        controller.message.emit(f"Segment {label} is the mask here; points refine it.", False)

    def _show(self) -> None:
        controller = self._controller
        there = controller.layers.over is not None
        for tool in (*self.tools.values(), self.segment_button, self.new_button):
            tool.setEnabled(there)
        self.sign_button.setText("Points: + (K)" if controller.positive else "Points: - (K)")
        colour = "#36c275" if controller.positive else "#ff4b3e"
        self.sign_button.setStyleSheet(f"padding: 5px; color: {colour};")
        self.undo_button.setEnabled(controller.can_undo)
        self.redo_button.setEnabled(controller.can_redo)
        mask = controller.mask if there else None
        if controller.desk.waiting:
            self.state.setText("Working out the mask ...")
        elif mask is not None:
            self.state.setText(area_text(mask.area, controller.voxel_size))
        else:
            self.state.setText("No mask here." if there else "")
