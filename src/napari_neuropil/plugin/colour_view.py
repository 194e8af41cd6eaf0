"""The embeddings around the view as colours: what the network tells apart, under the segments.

Made by `neuropil embeddings` in the worker process, so that no torch loads here. The colours of
one box agree with each other; those of the next box may be others.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qtpy.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_neuropil.geometry import Roi
from napari_neuropil.plugin.job_row import JobRow
from napari_neuropil.plugin.layers import METADATA_KEY, placement, view_centre
from napari_neuropil.plugin.staging import temporary_path
from napari_neuropil.plugin.worker import error_text
from napari_neuropil.workflows.colour_box import ColourBox, read_colour_box

if TYPE_CHECKING:
    from napari.layers import Image, Labels  # type: ignore[import-untyped]

    from napari_neuropil.plugin.proofread_controller import ProofreadController

NAME: Final = "Embedding colours"

_OPACITY: Final = 0.6
_THICKNESS: Final = 16
"""Voxels across the view: what one patch of 20 sections answers for."""

_LARGEST_NM: Final = 2900.0
"""Along an edge in view: nine patches at 12 nm, half a minute on one core."""


class ColourView(QWidget):
    """A button that shows the colours around the view, and the line that says how far they are.

    Parameters
    ----------
    controller : ProofreadController
        Session and viewer.
    parent : QWidget, optional
        The owner.
    """

    def __init__(self, controller: ProofreadController, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._layer: Image | None = None
        self._wanted: Path | None = None
        self._listening = False
        self.button = QPushButton(NAME)
        self.button.setCheckable(True)
        self.button.setToolTip(
            "Colour the voxels around the view by their embeddings: one neuron, one colour. "
            "A segment with two colours may be two neurons. Dim (Shift+H) fades the segments above."
        )
        self.near_button = QPushButton("Around here")
        self.near_button.setToolTip("Make the colours anew, for what is in view now.")
        self.row = JobRow(controller)
        buttons = QHBoxLayout()
        buttons.addWidget(self.button)
        buttons.addWidget(self.near_button)
        buttons.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(buttons)
        layout.addWidget(self.row)
        self.button.toggled.connect(self._on_toggled)
        self.near_button.clicked.connect(self._begin)
        self.row.finished.connect(self._on_made)
        self.row.stopped.connect(self._give_up)
        self.row.busy_changed.connect(self._update)
        controller.session_changed.connect(self._on_session_changed)
        self._on_session_changed()

    def _on_session_changed(self) -> None:
        self.button.setChecked(False)
        listen = self._controller.session is not None
        self.button.setEnabled(listen)
        emitter = self._controller.viewer.layers.events.removed
        # Only while a project is open: a closed dock must not hear of the viewer.
        if listen != self._listening:
            (emitter.connect if listen else emitter.disconnect)(self._on_layer_removed)
            self._listening = listen
        self._update()

    def _on_toggled(self, on: bool) -> None:
        if on:
            self._begin()
        else:
            self._wanted = None
            self.row.drop()
            self._remove()
        self._update()

    # making

    def _begin(self) -> None:
        controller, segments = self._controller, self._controller.segments_layer
        if controller.path is None or segments is None:
            return
        if controller.viewer.dims.ndisplay == 3:
            controller.message.emit("The colours lie on sections: leave 3D to see them.", True)
            self._give_up()
            return
        self._wanted = temporary_path("embedding-colours.npz")
        box = box_in_view(controller.viewer, segments)
        words = ["embeddings", str(controller.path), str(self._wanted), "--near", str(box)]
        self.row.run([*words, "--json"], "Loading the network ...")

    def _on_made(self, _result: dict[str, Any]) -> None:
        path = self._wanted
        if path is not None:
            self._controller.in_background(
                partial(_take, path), partial(self._show, path), partial(self._on_unreadable, path)
            )

    def _on_unreadable(self, path: Path, error: dict[str, Any]) -> None:
        if path == self._wanted:
            self._controller.message.emit(error_text(error), True)
            self._give_up()

    def _give_up(self) -> None:
        """Keep what was shown before; without anything to show the button is off."""
        self._wanted = None
        if self._layer is None:
            self.button.setChecked(False)

    # showing

    def _show(self, path: Path, box: ColourBox) -> None:
        viewer, segments = self._controller.viewer, self._controller.segments_layer
        if path != self._wanted or segments is None:
            return
        self._wanted = None
        before, self._layer = self._layer, None
        looks: dict[str, Any] = {"opacity": _OPACITY, "blending": "translucent"}
        if before is not None:
            # As the user has set them.
            looks = {name: getattr(before, name) for name in ("opacity", "blending", "visible")}
            viewer.layers.remove(before)
        active = viewer.layers.selection.active
        self._layer = viewer.add_image(
            box.colours,
            rgb=True,
            name=NAME,
            metadata={METADATA_KEY: {"overlay": NAME}},
            **placement(segments, box.start),
            **looks,
        )
        layers = viewer.layers
        layers.move(layers.index(self._layer), layers.index(segments))
        layers.selection.active = active

    def _on_layer_removed(self, event: Any) -> None:
        # Taken away by hand.
        if self._layer is not None and event.value is self._layer:
            self._layer = None
            if self._wanted is None:
                self.button.setChecked(False)

    def _remove(self) -> None:
        layer, self._layer = self._layer, None
        if layer is not None:
            self._controller.viewer.layers.remove(layer)

    def _update(self) -> None:
        self.near_button.setVisible(self.button.isChecked())
        self.near_button.setEnabled(not self.row.busy)


def box_in_view(viewer: Any, layer: Labels) -> Roi:
    """Return the box of voxels that is in view, or its middle where that is large.

    Parameters
    ----------
    viewer : napari.Viewer
        Showing sections.
    layer : Labels
        (Z, Y, X), in nm.

    Returns
    -------
    Roi
        At most 2900 nm along an edge in view, 16 voxels across; moved, not cut, at the volume's
        border.
    """
    wanted = [float(_THICKNESS)] * 3
    for axis, pixels in zip(viewer.dims.displayed, viewer.canvas.size, strict=True):
        visible = float(pixels) / float(viewer.scene.camera.zoom)
        wanted[axis] = min(visible, _LARGEST_NM) / abs(float(layer.scale[axis]))
    start, stop = [], []
    for at, size, length in zip(view_centre(viewer, layer), wanted, layer.data.shape, strict=True):
        n = min(int(length), max(1, round(size)))
        first = min(max(0, round(at - n / 2)), int(length) - n)
        start.append(first)
        stop.append(first + n)
    return Roi((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _take(path: Path) -> ColourBox:
    box = read_colour_box(path)
    path.unlink(missing_ok=True)
    return box
