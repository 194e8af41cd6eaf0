"""The selected segments as surfaces in 3D.

Meshes are made beside the window from the segment's box: pooled to a budget, and of a box too large
to read only what is near the middle of the view. An old mesh stays until the new one is there.
While meshes are shown, lazy volumes are hidden, since napari would read them whole to draw in 3D.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QWidget

from napari_neuropil.geometry import Roi
from napari_neuropil.plugin.layers import (
    METADATA_KEY,
    UNITS,
    LayerArray,
    finest_data,
    view_centre,
)
from napari_neuropil.plugin.worker import error_text
from napari_neuropil.segmentation.mesh import Mesh, mesh_box, pooling_factors

if TYPE_CHECKING:
    from napari.layers import Layer, Surface  # type: ignore[import-untyped]

    from napari_neuropil.geometry import Shape, VoxelSize
    from napari_neuropil.plugin.proofread_controller import ProofreadController
    from napari_neuropil.proofreading import Delta

READ_VOXELS: Final = 1 << 27
"""Voxels read for one mesh at most: a second or two of look-up."""

SHOWN_VOXELS: Final = 1 << 21
"""Pooled voxels of one mesh."""

_MOST_SEGMENTS: Final = 12
_DELAY_MS: Final = 80
_FILL: Final = 0.75


@dataclass(frozen=True, eq=False)
class _Task:
    """One mesh to make."""

    segment: int
    roi: Roi
    clipped: bool
    stop: threading.Event


class MeshView(QWidget):
    """A button that shows the selection as meshes, and the line that says how far it is.

    Parameters
    ----------
    controller : ProofreadController
        Session, selection and viewer.
    parent : QWidget, optional
        The owner.
    """

    def __init__(self, controller: ProofreadController, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._layers: dict[int, Surface] = {}
        self._tasks: dict[int, _Task] = {}
        self._clipped: set[int] = set()
        self._covered: list[Layer] = []
        self._listening = False
        self._framed = False
        self.button = QPushButton("Selection in 3D")
        self.button.setCheckable(True)
        self.button.setToolTip("Show the selected segments as surfaces; volumes are hidden.")
        self.near_button = QPushButton("Around here")
        self.near_button.setToolTip("The segment is large: mesh what is near the view's middle.")
        self.message = QLabel()
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.button)
        layout.addWidget(self.near_button)
        layout.addWidget(self.message, 1)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_DELAY_MS)
        self._timer.timeout.connect(self._update)
        self._stale: set[int] = set()
        self.button.toggled.connect(self._on_toggled)
        self.near_button.clicked.connect(self._on_near_clicked)
        controller.session_changed.connect(self._on_session_changed)
        controller.selection_changed.connect(self._timer.start)
        controller.edited.connect(self._on_edited)
        self._on_session_changed()

    # in and out of 3D

    def _on_session_changed(self) -> None:
        self.button.setChecked(False)
        listen = self._controller.session is not None
        self.button.setEnabled(listen)
        emitter = self._controller.viewer.dims.events.ndisplay
        # Only while a project is open: a closed dock must not hear of the viewer.
        if listen != self._listening:
            (emitter.connect if listen else emitter.disconnect)(self._on_ndisplay_changed)
            self._listening = listen

    def _on_toggled(self, on: bool) -> None:
        viewer = self._controller.viewer
        if on:
            self._framed = False
            self._covered = [x for x in viewer.layers if x.visible and _is_lazy(x)]
            for layer in self._covered:
                layer.visible = False
            viewer.dims.ndisplay = 3
            self._update()
            return
        self._timer.stop()
        for task in self._tasks.values():
            task.stop.set()
        self._tasks.clear()
        self._stale.clear()
        for segment in list(self._layers):
            self._remove(segment)
        if viewer.dims.ndisplay == 3:
            viewer.dims.ndisplay = 2
        for layer in self._covered:
            if layer in viewer.layers:
                layer.visible = True
        self._covered = []
        self._say()

    def _on_ndisplay_changed(self, _event: Any = None) -> None:
        if self._controller.viewer.dims.ndisplay == 2:
            self.button.setChecked(False)

    # which meshes

    def _on_edited(self, delta: Delta) -> None:
        self._stale.update(delta.segments)
        self._timer.start()

    def _on_near_clicked(self) -> None:
        self._stale.update(self._clipped)
        self._update()

    def _update(self) -> None:
        """Begin the meshes that are missing or out of date; take away those not selected."""
        session = self._controller.session
        if session is None or not self.button.isChecked():
            self._stale.clear()
            return
        wanted = self._controller.selected[:_MOST_SEGMENTS]
        for segment in [s for s in (*self._layers, *self._tasks) if s not in wanted]:
            self._remove(segment)
        for segment in wanted:
            known = segment in self._layers or segment in self._tasks
            if not known or segment in self._stale:
                self._begin(segment)
        self._stale.clear()
        self._say()

    def _begin(self, segment: int) -> None:
        session = self._controller.session
        if session is None:
            return
        old = self._tasks.get(segment)
        if old is not None:
            old.stop.set()
        size = session.info.voxel_size_nm
        whole = session.segment_roi(segment)
        roi = near_box(whole, self._middle(whole), size, READ_VOXELS)
        task = _Task(segment, roi, roi != whole, threading.Event())
        self._tasks[segment] = task
        inside = np.zeros(len(session.lookup) + 1, bool)
        inside[session.members(segment).astype(np.intp)] = True
        fragments, translation = session.fragments(), session.info.translation

        def read(box: Roi) -> NDArray[np.bool_]:
            ids = np.asarray(fragments.array[box.slices])
            return np.asarray(np.take(inside, ids.view(np.int64), mode="clip"))

        def work() -> tuple[_Task, Mesh]:
            factors = pooling_factors(roi.shape, size, SHOWN_VOXELS)
            mesh = mesh_box(
                read, roi, size, translation=translation, factors=factors, stop=task.stop.is_set
            )
            return task, mesh

        self._controller.in_background(work, self._on_meshed, partial(self._on_failed, task))

    def _middle(self, whole: Roi) -> tuple[float, ...]:
        """Return the voxel in the middle of the view; if outside the box, that of the box."""
        layer = self._controller.segments_layer
        middle = tuple((a + b) / 2 for a, b in zip(whole.start, whole.stop, strict=True))
        if layer is None:
            return middle
        voxel = view_centre(self._controller.viewer, layer)
        bounds = zip(voxel, whole.start, whole.stop, strict=True)
        return voxel if all(a <= v <= b for v, a, b in bounds) else middle

    # what comes back

    def _on_meshed(self, result: tuple[_Task, Mesh]) -> None:
        task, mesh = result
        if self._tasks.get(task.segment) is not task:
            return
        del self._tasks[task.segment]
        if task.clipped:
            self._clipped.add(task.segment)
        else:
            self._clipped.discard(task.segment)
        self._show(task.segment, mesh)
        self._say()

    def _on_failed(self, task: _Task, error: dict[str, Any]) -> None:
        if self._tasks.get(task.segment) is task:
            del self._tasks[task.segment]
            self._controller.message.emit(error_text(error), True)
            self._say()

    def _show(self, segment: int, mesh: Mesh) -> None:
        viewer = self._controller.viewer
        layer = self._layers.get(segment)
        if len(mesh) == 0:
            self._remove(segment)
            return
        data = (mesh.vertices, mesh.faces)
        if layer is not None and layer in viewer.layers:
            layer.data = data
        else:
            self._layers[segment] = self._add(segment, data)
        if not self._framed:
            self._framed = True
            self._frame(mesh)

    def _add(self, segment: int, data: tuple[NDArray[Any], NDArray[Any]]) -> Surface:
        from napari.utils import Colormap  # type: ignore[import-untyped]

        viewer, segments = self._controller.viewer, self._controller.segments_layer
        colour = (0.7, 0.7, 0.7, 1.0) if segments is None else segments.get_color(segment)
        active = viewer.layers.selection.active
        layer = viewer.add_surface(
            data,
            name=f"Segment {segment}",
            colormap=Colormap([colour, colour], name=f"segment {segment}"),
            shading="smooth",
            units=UNITS,
            metadata={METADATA_KEY: {"overlay": "mesh", "segment": segment}},
        )
        viewer.layers.selection.active = active
        return layer

    def _frame(self, mesh: Mesh) -> None:
        """Bring the first mesh into view."""
        viewer = self._controller.viewer
        low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
        viewer.scene.camera.center = tuple(float(v) for v in (low + high) / 2)
        extent = float(np.linalg.norm(high - low))
        if extent > 0:
            viewer.scene.camera.zoom = _FILL * min(viewer.canvas.size) / extent

    def _remove(self, segment: int) -> None:
        task = self._tasks.pop(segment, None)
        if task is not None:
            task.stop.set()
        layer = self._layers.pop(segment, None)
        self._clipped.discard(segment)
        if layer is not None and layer in self._controller.viewer.layers:
            self._controller.viewer.layers.remove(layer)

    def _say(self) -> None:
        on = self.button.isChecked()
        text = ""
        if on and self._tasks:
            text = "Meshing ..."
        elif on and not self._controller.selected:
            text = "Select a segment."
        elif on and self._clipped:
            text = "Clipped: only what is near."
        self.message.setText(text)
        self.near_button.setVisible(on and bool(self._clipped))


def near_box(whole: Roi, middle: tuple[float, ...], voxel_size: VoxelSize, budget: int) -> Roi:
    """Return the part of a box near a voxel that holds at most about `budget` voxels.

    Parameters
    ----------
    whole : Roi
        A segment's box.
    middle : tuple of float
        Voxel inside it.
    voxel_size : VoxelSize
        The part is a cube in nm, as far as the box allows.
    budget : int
        Voxels.
    """
    if whole.size <= budget:
        return whole
    shape: Shape = whole.shape
    low, high = 0.0, max(n * v for n, v in zip(shape, voxel_size, strict=True))
    for _ in range(40):
        edge = (low + high) / 2
        counts = [min(n, max(1.0, edge / v)) for n, v in zip(shape, voxel_size, strict=True)]
        low, high = (low, edge) if math.prod(counts) > budget else (edge, high)
    start, stop = [], []
    for a, b, at, v in zip(whole.start, whole.stop, middle, voxel_size, strict=True):
        count = min(b - a, max(1, int(low / v)))
        first = min(max(a, round(at - count / 2)), b - count)
        start.append(first)
        stop.append(first + count)
    return Roi((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _is_lazy(layer: Layer) -> bool:
    return layer.ndim == 3 and isinstance(finest_data(layer), LayerArray)
