"""The three layers of the dock: boxes, points, and the mask of the section in view.

They are drawn from the state and read back after the user's own tools have changed them. The mask
is one section in memory that moves along z: a layer over the whole volume would be gigabytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_neuropil.plugin.dendrites.box_rows import DrawnBox, box_label, shape_of_box
from napari_neuropil.plugin.dendrites.cross_section import Dot
from napari_neuropil.plugin.dendrites.layer_making import (
    BOXES,
    CURRENT_COLOUR,
    EDGE,
    MASK,
    NEGATIVE_COLOUR,
    OTHERS,
    POINTS,
    POSITIVE_COLOUR,
    THIS,
    make_layer,
)
from napari_neuropil.plugin.dendrites.layer_reading import (
    BOX_KINDS,
    box_at,
    boxes_of,
    dots_of,
    painted_mask,
    scribbles_of,
)
from napari_neuropil.plugin.dendrites.records import Proposal
from napari_neuropil.plugin.layers import placement
from napari_neuropil.prompts.packed_mask import PackedMask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari.layers import Labels, Layer, Points, Shapes  # type: ignore[import-untyped]

_STATE_COLOURS: Final = {"proposed": "#ffe14d", "accepted": "#36c275", "rejected": "#8b919b"}
_LOOKING: Final = ("select", "direct", "pan_zoom")
_DONE: Final = ("added", "changed", "removed")


class DendriteLayers:
    """What the dock shows in the viewer.

    Parameters
    ----------
    viewer : napari.Viewer
        The window.
    touched : callable
        Called with the name of a layer that the user has changed.
    """

    def __init__(self, viewer: Any, touched: Callable[[str], None]) -> None:
        self._viewer = viewer
        self._touched = touched
        self._layers: dict[str, Layer] = {}
        self._quiet = False
        self._positive = True
        self._boxes_key: tuple[Any, ...] = ()
        self._mask_key: tuple[Any, ...] = ()
        self.over: Layer | None = None
        self.shape = (0, 0, 0)
        self.shown: tuple[int, ...] = ()
        self.z = 0
        self.made: Callable[[Layer], None] = lambda _layer: None
        self.picked: Callable[[int], None] = lambda _number: None

    # places

    def show_over(self, layer: Layer, shape: tuple[int, int, int]) -> None:
        """Lie over a layer of a volume of that shape; made when first drawn."""
        if layer != self.over or shape != self.shape:
            self.remove()
        self.over, self.shape = layer, shape

    def section_in_view(self) -> int:
        """Return the section that the viewer shows."""
        if self.over is None:
            return 0
        z = self.over.world_to_data(self._viewer.dims.point[-3:])[0]
        return min(max(0, round(float(z))), self.shape[0] - 1)

    def centre_of_view(self) -> tuple[float, float] | None:
        """Return (y, x) in the middle of the canvas; None outside the section."""
        if self.over is None:
            return None
        world = self._viewer.scene.camera.center
        _, y, x = (float(v) for v in self.over.world_to_data(tuple(world)[-3:]))
        inside = 0 <= y < self.shape[1] and 0 <= x < self.shape[2]
        return (y, x) if inside else None

    def look_at(self, z: int, place: tuple[float, float] | None) -> None:
        """Show a section, and a place of it in the middle."""
        if self.over is None:
            return
        y, x = place or (self.shape[1] / 2, self.shape[2] / 2)
        world = self.over.data_to_world((z, y, x))
        axes = tuple(self._viewer.dims.not_displayed)
        if axes:
            self._viewer.dims.set_point(axes, [world[axis] for axis in axes])
        if place is not None:
            self._viewer.scene.camera.center = world

    # drawing

    def draw_boxes(self, proposals: Sequence[Proposal], current: int | None) -> None:
        """Draw the boxes of these proposals."""
        layer: Shapes = self._ensure(BOXES)
        rows = [(p, p.box) for p in proposals if p.box is not None]
        key = tuple((p.id, p.z, box, p.state, p.found, p.id == current) for p, box in rows)
        names = [str(kind) for kind in layer.shape_type]
        strange = len(names) != len(rows) or any(kind not in BOX_KINDS for kind in names)
        if key == self._boxes_key and not strange:
            return
        self._boxes_key = key
        self.shown = tuple(p.id for p, _ in rows)
        places = [(p.id, p.z, box) for p, box in rows]
        with self._silently():
            if strange or places != [(d.id, d.z, d.box) for d in self.read_boxes()]:
                layer.selected_data = set()
                layer.data = [(shape_of_box(z, box), "rectangle") for _, z, box in places]
            layer.features = {
                "id": np.array([p.id for p, _ in rows], np.int64),
                # Typed: of an empty list pandas would make numbers.
                "label": np.array([box_label(p) for p, _ in rows], object),
            }
            if rows:
                colours = [
                    CURRENT_COLOUR if p.id == current else _STATE_COLOURS[p.state] for p, _ in rows
                ]
                layer.edge_color = colours
                layer.edge_width = [EDGE] * len(rows)
            layer.current_edge_color = CURRENT_COLOUR
            layer.feature_defaults = {"id": 0, "label": ""}

    def draw_points(self, z: int, dots: Sequence[Dot], *, positive: bool) -> None:
        """Draw the points of what is in work; the next one is positive or negative."""
        layer: Points = self._ensure(POINTS)
        with self._silently():
            if z != self.z or tuple(dots) != self.read_points(z):
                layer.selected_data = set()
                layer.data = np.array([(z, d.y, d.x) for d in dots], float).reshape(-1, 3)
                layer.features = {"positive": np.array([d.positive for d in dots], bool)}
                if dots:
                    layer.face_color = [
                        POSITIVE_COLOUR if d.positive else NEGATIVE_COLOUR for d in dots
                    ]
            self.z = z
            self._positive = positive
            self._draw_sign()

    def _draw_sign(self, _event: Any = None) -> None:
        """Let the next point be positive or negative."""
        layer = self._layers.get(POINTS)
        if layer is None or str(layer.mode) == "select":
            return
        # napari takes the next point's features from the selected ones, and colours those anew.
        layer.selected_data = set()
        layer.feature_defaults = {"positive": self._positive}
        layer.current_face_color = POSITIVE_COLOUR if self._positive else NEGATIVE_COLOUR

    def draw_mask(self, z: int, mask: PackedMask | None, others: Sequence[PackedMask]) -> None:
        """Draw the mask in work and those of other dendrites in a section."""
        layer: Labels = self._ensure(MASK)
        self.z = z
        key = (z, mask, *others)
        if key == self._mask_key:
            return
        self._mask_key = key
        labels = np.zeros((1, *self.shape[1:]), np.uint8)
        for value, masks in ((OTHERS, others), (THIS, () if mask is None else (mask,))):
            for found in masks:
                y0, x0, y1, x1 = found.box
                labels[0, y0:y1, x0:x1][found.crop()] = value
        with self._silently():
            layer.data = labels
            layer.translate = placement(self._reference(), (z, 0, 0))["translate"]

    # what the user made of it

    def read_boxes(self) -> list[DrawnBox]:
        """Return the boxes of the layer."""
        layer = self._layers.get(BOXES)
        return [] if layer is None else boxes_of(layer, self.shape)

    def read_scribbles(self) -> list[list[tuple[float, float]]]:
        """Return the paths (y, x) that were drawn between the boxes."""
        layer = self._layers.get(BOXES)
        return [] if layer is None else scribbles_of(layer)

    def read_points(self, z: int) -> tuple[Dot, ...]:
        """Return the points in a section; those outside the image are left out."""
        layer = self._layers.get(POINTS)
        return () if layer is None else dots_of(layer, z, self.shape)

    def read_mask(self) -> PackedMask | None:
        """Return what is painted in the section drawn; other dendrites are no part of it."""
        layer = self._layers.get(MASK)
        return None if layer is None else painted_mask(layer)

    # tools

    def take_tool(self, name: str, mode: str) -> None:
        """Make a layer active, with one of napari's tools in hand."""
        layer = self._ensure(name)
        self._viewer.layers.selection.active = layer
        if name == MASK:
            layer.selected_label = THIS
        layer.mode = mode

    def tool_in_hand(self) -> tuple[str, str]:
        """Return the active layer, if it is one of these, and the tool; else empty words."""
        active = self._viewer.layers.selection.active
        for name, layer in self._layers.items():
            if layer == active:
                return name, str(layer.mode)
        return "", ""

    def remove(self) -> None:
        """Take the layers away."""
        layers, self._layers = list(self._layers.values()), {}
        self._boxes_key = self._mask_key = self.shown = ()
        for layer in layers:
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)

    def _ensure(self, name: str) -> Any:
        layer = self._layers.get(name)
        if layer is not None and layer in self._viewer.layers:
            return layer
        active = self._viewer.layers.selection.active
        with self._silently():
            layer = make_layer(name, self._viewer, self._reference(), self.shape)
        self._boxes_key = self._mask_key = ()
        if name == MASK:
            layer.events.paint.connect(lambda _event: self._tell(MASK))
        else:
            layer.events.data.connect(self._on_data(name))
        if name == POINTS:
            layer.events.mode.connect(self._draw_sign)
        if name == BOXES:
            layer.mouse_drag_callbacks.append(self._on_press)
        self._layers[name] = layer
        if active is not None and active in self._viewer.layers:
            self._viewer.layers.selection.active = active
        self.made(layer)
        return layer

    def _reference(self) -> Layer:
        if self.over is None:
            raise RuntimeError("nothing to lie over")
        return self.over

    def _on_data(self, name: str) -> Callable[[Any], None]:
        def changed(event: Any) -> None:
            if str(getattr(event.action, "value", event.action)).lower() in _DONE:
                self._tell(name)

        return changed

    def _on_press(self, layer: Shapes, event: Any) -> Iterator[None]:
        """Tell of a box that is clicked, with a tool in hand that draws nothing."""
        if str(layer.mode) not in _LOOKING:
            return
        number = box_at(layer, event)
        yield
        if event.type == "mouse_release" and number:
            self.picked(number)

    def _tell(self, name: str) -> None:
        if not self._quiet:
            self._touched(name)

    @contextmanager
    def _silently(self) -> Iterator[None]:
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before
