"""Red and blue seeds of a split: two points layers that stay for the next one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_neuropil.plugin.layers import METADATA_KEY, UNITS

if TYPE_CHECKING:
    from napari.layers import Labels, Points  # type: ignore[import-untyped]

    from napari_neuropil.plugin.edit_modes import Point

RED: Final = "red"
BLUE: Final = "blue"
_COLOURS: Final = {RED: "#ff4b3e", BLUE: "#3e8bff"}
_DIAMETER: Final = 9
_SPENT_OPACITY: Final = 0.35


class SeedLayers:
    """Two layers of points in voxels of the fragments' grid.

    Napari's own points tools work on them too: select, move and delete.

    Parameters
    ----------
    viewer : napari.Viewer
        The window.
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self._layers: dict[str, Points] = {}
        self._changed: Callable[[], None] | None = None
        self._quiet = False
        self.side = RED
        self.spent = False

    def show(self, over: Labels, changed: Callable[[], None]) -> None:
        """Show the seeds over a labels layer; `changed` is called after each change."""
        self._changed = changed
        for side in (RED, BLUE):
            layer = self._layers.get(side)
            if layer is None or layer not in self._viewer.layers:
                self._layers[side] = layer = self._make(side, over)
            layer.visible = True

    def hide(self) -> None:
        """Hide the seeds and keep them."""
        self._changed = None
        for layer in self._alive():
            layer.visible = False

    def remove(self) -> None:
        """Take the layers away."""
        self._changed = None
        for layer in self._alive():
            self._viewer.layers.remove(layer)
        self._layers.clear()
        self.spent = False

    def add(self, points: Iterable[Point]) -> None:
        """Add seeds to the active side; the first after a split begins a new set."""
        new = np.array(list(points), float).reshape(-1, 3)
        layer = self._layers.get(self.side)
        if layer is None or not len(new):
            return
        if self.spent:
            self._put({RED: np.zeros((0, 3)), BLUE: np.zeros((0, 3)), self.side: new})
        else:
            self._put({self.side: np.concatenate((np.asarray(layer.data), new))})

    def swap(self) -> None:
        """Make the red seeds blue and the blue ones red."""
        if len(self._layers) == 2:
            red, blue = (np.asarray(self._layers[side].data).copy() for side in (RED, BLUE))
            self._put({RED: blue, BLUE: red})

    def turn(self) -> None:
        """Let the next clicks set seeds of the other side."""
        self.side = BLUE if self.side == RED else RED

    def clear(self) -> None:
        """Forget all seeds."""
        self._put({RED: np.zeros((0, 3)), BLUE: np.zeros((0, 3))})

    def set_spent(self, spent: bool) -> None:
        """Mark the seeds as those of a split that has been made: faded, and not for the next."""
        self.spent = spent
        opacity = _SPENT_OPACITY if spent else 1.0
        for layer in self._alive():
            if layer.opacity != opacity:
                layer.opacity = opacity

    def voxels(self) -> tuple[tuple[Point, ...], tuple[Point, ...]]:
        """Return the red and the blue seeds, each voxel once; none where they are spent."""
        if self.spent:
            return (), ()
        return self.points(RED), self.points(BLUE)

    def points(self, side: str) -> tuple[Point, ...]:
        """Return the seeds of one side, spent or not."""
        layer = self._layers.get(side)
        if layer is None:
            return ()
        found = dict.fromkeys((round(z), round(y), round(x)) for z, y, x in np.asarray(layer.data))
        return tuple(found)

    def _put(self, data: dict[str, Any]) -> None:
        self._quiet = True
        for side, points in data.items():
            if side in self._layers:
                self._layers[side].selected_data = set()
                self._layers[side].data = points
        self._quiet = False
        self.set_spent(False)
        self._tell()

    def _tell(self) -> None:
        if self._changed is not None and not self._quiet:
            self._changed()

    def _on_layer_data(self) -> None:
        # Moved or deleted with napari's own tools.
        if not self._quiet:
            self.set_spent(False)
            self._tell()

    def _alive(self) -> list[Points]:
        return [layer for layer in self._layers.values() if layer in self._viewer.layers]

    def _make(self, side: str, over: Labels) -> Points:
        active = self._viewer.layers.selection.active
        layer = self._viewer.add_points(
            np.zeros((0, 3)),
            name=f"Seeds {side}",
            size=_DIAMETER,
            face_color=_COLOURS[side],
            border_color="white",
            border_width=0.12,
            canvas_size_limits=(6, 60),
            metadata={METADATA_KEY: {"overlay": "seeds"}},
            **over_place(over),
        )
        layer.events.data.connect(self._on_layer_data)
        self._viewer.layers.selection.active = active
        return layer


def over_place(layer: Labels) -> dict[str, Any]:
    """Return the layer attributes that make another layer's voxels lie over `layer`'s."""
    place = {
        "scale": tuple(layer.scale),
        "translate": tuple(layer.translate),
        "rotate": layer.rotate,
        "affine": layer.affine,
    }
    if all(str(unit) != "pixel" for unit in layer.units):
        place["units"] = UNITS
    return place
