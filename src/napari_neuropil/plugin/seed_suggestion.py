"""Seeds for a split from embeddings: a button in Split mode, answered by the worker process.

What comes back are ordinary seeds. They are seen, moved and deleted like those set by hand, and
nothing is split before Enter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_neuropil.plugin.job_row import JobRow
from napari_neuropil.plugin.seed_layers import BLUE, RED

if TYPE_CHECKING:
    from napari_neuropil.plugin.edit_modes import Point
    from napari_neuropil.plugin.proofread_controller import ProofreadController

_TIP: Final = (
    "Look where the selected segment's embeddings fall into two, and set a seed on both sides. "
    "Seeds that are there are replaced."
)
_NONE: Final = "Select the segment first: leave Split (Esc), click it, and come back (K)."


class SeedSuggestion(QWidget):
    """Asks where the selected segment may be split, and sets the seeds.

    Parameters
    ----------
    controller : ProofreadController
        Mode, selection and seeds.
    parent : QWidget, optional
        The owner.
    """

    def __init__(self, controller: ProofreadController, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self.button = QPushButton("Suggest seeds")
        # The keyboard stays where it is: a click on a button must not take it from the canvas.
        self.button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.row = JobRow(controller)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.button)
        layout.addWidget(self.row)
        self.button.clicked.connect(self._on_clicked)
        self.row.finished.connect(self._on_found)
        self.row.busy_changed.connect(self._update)
        controller.mode_changed.connect(self._on_mode_changed)
        controller.selection_changed.connect(self._update)
        self._on_mode_changed()

    @property
    def _active(self) -> bool:
        mode = self._controller.edit_mode
        return mode is not None and mode.seeds

    def _on_mode_changed(self) -> None:
        self.setVisible(self._active)
        if not self._active:
            self.row.drop()
        self._update()

    def _update(self) -> None:
        chosen = bool(self._controller.selected)
        self.button.setEnabled(chosen and not self.row.busy)
        self.button.setToolTip(_TIP if chosen else _NONE)

    def _on_clicked(self) -> None:
        controller = self._controller
        if controller.path is not None and controller.selected:
            words = ["suggest-split", str(controller.path), str(controller.selected[0]), "--json"]
            self.row.run(words, "Loading the network ...")

    def _on_found(self, result: dict[str, Any]) -> None:
        segment = int(result["segment"])
        if not result.get("two_objects"):
            self._controller.message.emit(_no_text(segment, result), False)
            return
        red, blue = _point(result["red"]), _point(result["blue"])
        self._place(segment, red, blue)
        where = "" if blue[0] == red[0] else f"The blue seed is on section {blue[0]}. "
        self._controller.message.emit(
            f"Segment {segment} may be two neurons: its parts' embeddings are "
            f"{result['distance']:.1f} apart. {where}Look at both seeds, then Enter.",
            False,
        )

    def _place(self, segment: int, red: Point, blue: Point) -> None:
        controller, seeds = self._controller, self._controller.layers.seeds
        controller.select([segment])
        seeds.clear()
        for side, point in ((BLUE, blue), (RED, red)):
            seeds.side = side
            seeds.add([point])
        controller.jump_to(red)


def _point(values: Any) -> Point:
    z, y, x = (int(v) for v in values)
    return z, y, x


def _no_text(segment: int, result: dict[str, Any]) -> str:
    if not result.get("patches"):
        return f"Segment {segment} is too small to compare parts of it."
    text = f"Segment {segment} looks like one neuron"
    if result.get("distance") is None:
        return f"{text}."
    return (
        f"{text}: its parts' embeddings are {result['distance']:.1f} apart, and 1.5 would be two."
    )
