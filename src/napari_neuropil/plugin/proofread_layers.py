"""The layers of a proofreading session, and where things are in them.

The segments stay one labels layer, with napari's colours, ids in the status bar and picking. Over
it lie, only when needed, the outline of the selection, the two sides of a proposal, its contact,
and the seeds. All read `FragmentView`s: nothing is computed for more than what is on screen.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_neuropil.plugin.fragment_view import FragmentCache, FragmentView
from napari_neuropil.plugin.layers import METADATA_KEY, LayerArray, facts_of
from napari_neuropil.plugin.seed_layers import SeedLayers, over_place

if TYPE_CHECKING:
    from napari.layers import Image, Labels, Layer  # type: ignore[import-untyped]

    from napari_neuropil.plugin.edit_modes import Point
    from napari_neuropil.plugin.proofread_opening import Opened
    from napari_neuropil.proofreading import Delta, ProofreadingSession, Proposal
    from napari_neuropil.proofreading.edits import FragmentSplit

SIDE_COLOURS: Final = ("#ff4b3e", "#3e8bff", "#ffb000", "#36c275", "#b565ff", "#ff7ac8")
"""Of the sides of a proposal; the first two are the red and the blue of the seeds."""

SHOWN: Final = "shown"
DIMMED: Final = "dimmed"
HIDDEN: Final = "hidden"

_SELECTION: Final = "Selection"
_PREVIEW: Final = "Proposed edit"
_MARK: Final = "Contact"
_OTHERS_OPACITY: Final = {DIMMED: 0.12, HIDDEN: 0.0}
_OUTLINE: Final = "#ffffff"
_OUTLINE_WIDTH: Final = 2
_CLEAR: Final = "#00000000"
_MOST_COLOURS: Final = 250
_OUTLINES: Final = 8
"""Outlined segments beside each other differ in number, or no line would part them."""


class ProofreadLayers:
    """What the dock shows in the viewer.

    Parameters
    ----------
    viewer : napari.Viewer
        The window.
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self._session: ProofreadingSession | None = None
        self._cache: FragmentCache | None = None
        self._tables = {name: np.zeros(1, np.uint8) for name in (_SELECTION, _PREVIEW)}
        self._views: dict[str, FragmentView] = {}
        self._overlays: dict[str, Layer] = {}
        self._colours: dict[str, dict[int | None, Any]] = {}
        self._previewing = False
        self._selected: list[int] = []
        self._opacity = 0.7
        self.others = SHOWN
        self.segments: Labels | None = None
        self.image: Image | None = None
        self.seeds = SeedLayers(viewer)
        # After napari has sliced the layers anew.
        viewer.dims.events.ndisplay.connect(self._draw_selection, position="last")

    # Coming and going

    def shown_for(self, path: Path) -> Labels | None:
        """Return the labels layer that shows a project, None where the window has none."""
        for layer in self._viewer.layers:
            facts = facts_of(layer)
            place = facts.get("project")
            if place and Path(place) == path and "overlay" not in facts:
                return layer
        return None

    def show(self, opened: Opened) -> None:
        """Show a session: in the layer that showed the project before, else in a new one."""
        self._session, self._cache = opened.session, opened.cache
        layer = self.shown_for(opened.path)
        if layer is None and opened.image is not None:
            data, attributes, _ = opened.image
            if self._image_with(attributes) is None:
                self._viewer.add_image(data, **attributes)
        if layer is None:
            layer = self._viewer.add_labels(opened.segments, **opened.attributes)
        else:
            layer.data = opened.segments
        layer.editable = False
        self.segments = layer
        self.image = self._image_under(layer)
        self._opacity = layer.opacity
        self._viewer.layers.selection.active = layer

    def let_go(self) -> None:
        """Forget the session: overlays go, segments and image stay as they are."""
        self.show_others(SHOWN)
        for name in list(self._overlays):
            self._remove(name)
        self.seeds.remove()
        self._views.clear()
        self._session = self._cache = None
        self.segments = self.image = None
        self._selected = []

    def disconnect(self) -> None:
        """Stop listening to the viewer: the dock goes."""
        self._viewer.dims.events.ndisplay.disconnect(self._draw_selection)

    def _image_with(self, attributes: dict[str, Any]) -> Image | None:
        source = attributes["metadata"][METADATA_KEY]["source"]
        for layer in self._viewer.layers:
            known = facts_of(layer).get("source")
            if known and Path(known).resolve() == Path(source).resolve():
                return layer
        return None

    def _image_under(self, segments: Labels) -> Image | None:
        images = [x for x in self._viewer.layers if type(x).__name__ == "Image" and x.ndim == 3]
        extent = segments.extent.world
        for layer in images:
            if np.allclose(layer.extent.world, extent):
                return layer
        around = [
            layer
            for layer in images
            if (layer.extent.world[0] <= extent[0] + 1e-3).all()
            and (layer.extent.world[1] >= extent[1] - 1e-3).all()
        ]
        return around[0] if around else None

    # Places

    def world_to_voxel(self, world: Sequence[float]) -> Point | None:
        """Return the voxel at a world point, None outside."""
        if self.segments is None:
            return None
        z, y, x = (round(float(v)) for v in self.segments.world_to_data(list(world)[-3:]))
        inside = all(0 <= v < n for v, n in zip((z, y, x), self.segments.data.shape, strict=True))
        return (z, y, x) if inside else None

    def voxel_to_world(self, point: Sequence[float]) -> tuple[float, ...]:
        """Return the world point of a voxel's centre; without layers the point itself."""
        if self.segments is None:
            return tuple(float(v) for v in point)
        return tuple(float(v) for v in self.segments.data_to_world(tuple(point)))

    def look_at(self, point: Sequence[float]) -> None:
        """Bring a voxel to the middle of the view, on its section."""
        world = self.voxel_to_world(point)
        # Only axes that change what is drawn: napari slices every layer anew for each call.
        axes = tuple(self._viewer.dims.not_displayed)
        if axes:
            self._viewer.dims.set_point(axes, [world[axis] for axis in axes])
        self._viewer.scene.camera.center = world

    def enter_view(self) -> None:
        """Go to the middle section of a project that does not reach the one that is shown."""
        if self.segments is None:
            return
        axes = tuple(self._viewer.dims.not_displayed)
        at = self.segments.world_to_data(self._viewer.dims.point[-3:])
        shape = self.segments.data.shape
        if all(-0.5 <= at[axis] <= shape[axis] - 0.5 for axis in axes):
            return
        world = self.voxel_to_world([(n - 1) // 2 for n in shape])
        self._viewer.dims.set_point(axes, [world[axis] for axis in axes])

    def fragment_at(self, point: Point) -> int:
        """Return the fragment at a voxel of the fragments' grid, 0 for background."""
        if self._cache is None:
            return 0
        z, y, x = (slice(v, v + 1) for v in point)
        return int(self._cache.read((z, y, x))[0, 0, 0])

    def point_in(self, segment: int) -> Point:
        """Return a voxel of a segment: in the middle section of its largest fragment."""
        session, cache = self._session, self._cache
        if session is None or cache is None:
            return 0, 0, 0
        rows = session.members(segment).astype(np.intp)
        row = int(rows[np.argmax(session.table.size[rows])])
        start = [int(v) for v in session.table.start[row]]
        stop = [int(v) for v in session.table.stop[row]]
        middle = [(a + b - 1) // 2 for a, b in zip(start, stop, strict=True)]
        box = (slice(middle[0], middle[0] + 1), slice(start[1], stop[1]), slice(start[2], stop[2]))
        y, x = np.nonzero(cache.read(box)[0] == row)
        if not len(y):
            return middle[0], middle[1], middle[2]
        best = int(np.argmin((y + start[1] - middle[1]) ** 2 + (x + start[2] - middle[2]) ** 2))
        return middle[0], int(y[best]) + start[1], int(x[best]) + start[2]

    def voxel_on_ray(self, position: Any, direction: Any, displayed: Any) -> Point | None:
        """Return the first voxel that a view ray meets which is drawn; None where it meets none.

        The ray is read in short pieces, so only what lies before the first hit costs anything.
        """
        layer = self.segments
        if layer is None or self._session is None:
            return None
        start, end = layer.get_ray_intersections(position, direction, list(displayed))
        if start is None or end is None:
            return None
        start, end = np.asarray(start, float), np.asarray(end, float)
        count = int(np.ceil(np.abs(end - start).max() * 2)) + 1
        points = np.round(start + np.linspace(0, 1, count)[:, None] * (end - start)).astype(int)
        points = np.clip(points, 0, np.array(layer.data.shape) - 1)
        for first in range(0, count, 64):
            part = points[first : first + 64]
            low, high = part.min(axis=0), part.max(axis=0) + 1
            block = layer.data[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
            ids = block[tuple((part - low).T)]
            drawn = np.isin(ids, self._selected) if self.others == HIDDEN else ids > 0
            if drawn.any():
                z, y, x = (int(v) for v in part[int(np.argmax(drawn))])
                return z, y, x
        return None

    # Drawing

    def refresh(self, delta: Delta | None = None) -> None:
        """Draw the live layers again, where an edit shows on the section in view."""
        session, layer = self._session, self.segments
        if session is None or layer is None or self._cache is None:
            return
        if delta is not None and (delta.fragments > session.info.fragment_count).any():
            self._cache.forget()
        if delta is None or self._in_view(delta):
            layer.refresh(extent=False, thumbnail=False)
        if delta is None or set(delta.segments) & set(self._selected):
            self._draw_selection()

    def _in_view(self, delta: Delta) -> bool:
        if delta.roi is None or self._viewer.dims.ndisplay == 3 or self.segments is None:
            return True
        at = self.segments.world_to_data(self._viewer.dims.point[-3:])
        for axis in set(self._viewer.dims.not_displayed):
            if not delta.roi.start[axis] - 1 <= at[axis] <= delta.roi.stop[axis]:
                return False
        return True

    def show_selected(self, segments: Sequence[int]) -> None:
        """Outline these segments, and put the first into napari's label box."""
        self._selected = list(segments)
        if self.segments is not None and segments:
            self.segments.selected_label = segments[0]
        self._draw_selection()

    def show_others(self, how: str) -> None:
        """Draw what is not selected as usual, dimmed, or not at all."""
        layer = self.segments
        if layer is not None:
            if self.others == SHOWN:
                self._opacity = layer.opacity
            # The layer stays visible: its ids are still in the status bar, and can be picked.
            layer.opacity = _OTHERS_OPACITY.get(how, self._opacity)
        self.others = how
        self._draw_selection()

    def _draw_selection(self, _event: Any = None) -> None:
        session, segments = self._session, self.segments
        flat = self.others == SHOWN
        # In 3D napari would fill an outline, and hide the segment's colour behind it.
        # Nor is there an outline while both sides of an edit are coloured: finding it costs more
        # than anything else that is drawn (27 ms for 1024 x 1024 pixels).
        plain = self._viewer.dims.ndisplay == 3 or self._previewing
        wanted = bool(self._selected) and not (flat and plain)
        if session is None or segments is None or not wanted:
            self._hide(_SELECTION)
            return
        table = np.zeros(len(session.lookup), np.uint8)
        colours: dict[int | None, Any] = {None: _CLEAR, 0: _CLEAR}
        if flat:
            colours |= dict.fromkeys(range(1, _OUTLINES + 1), _OUTLINE)
        for number, segment in enumerate(self._selected[:_MOST_COLOURS], start=1):
            value = (number - 1) % _OUTLINES + 1 if flat else number
            table[session.members(segment).astype(np.intp)] = value
            if not flat:
                colours[value] = tuple(segments.get_color(segment))
        self._tables[_SELECTION] = table
        opacity = 1.0 if flat else self._opacity
        self._overlay(_SELECTION, colours, opacity, contour=_OUTLINE_WIDTH if flat else 0)

    def show_proposal(self, proposal: Proposal | None) -> None:
        """Colour the sides of a proposal and mark its contact; None takes both away."""
        self._previewing = proposal is not None and self._session is not None
        if proposal is None or self._session is None:
            self._hide(_PREVIEW)
            self._hide(_MARK)
            self._draw_selection()
            return
        if self.others == SHOWN:
            self._hide(_SELECTION)
        splits = proposal.effect.splits
        count = max([len(self._session.lookup), *(s.first + s.count for s in splits)])
        table = np.zeros(count, np.uint8)
        for number, side in enumerate(proposal.sides):
            table[side.astype(np.intp)] = number % len(SIDE_COLOURS) + 1
        self._tables[_PREVIEW] = table
        colours: dict[int | None, Any] = {None: _CLEAR, 0: _CLEAR}
        colours |= dict(enumerate(SIDE_COLOURS, start=1))
        self._overlay(_PREVIEW, colours, 0.65, pieces=splits)
        self._show_mark(proposal.position)

    def _overlay(
        self,
        name: str,
        colours: dict[int | None, Any],
        opacity: float,
        *,
        pieces: Sequence[FragmentSplit] = (),
        contour: int = 0,
    ) -> None:
        """Draw the overlay of that name, made if need be, from its table."""
        from napari.utils import DirectLabelColormap  # type: ignore[import-untyped]

        layer = self._overlays.get(name)
        if layer is None or layer not in self._viewer.layers:
            view = FragmentView(self._source(), lambda: self._tables[name], "uint8")
            view.lay_over(pieces)
            self._views[name] = view
            layer = self._add(
                self._viewer.add_labels,
                LayerArray(view),
                name,
                colormap=DirectLabelColormap(color_dict=colours),
                opacity=opacity,
            )
            self._colours[name] = colours
            layer.editable = False
            layer.contour = contour
            return
        self._views[name].lay_over(pieces)
        layer.opacity = opacity
        if layer.contour != contour:
            layer.contour = contour
        if colours != self._colours.get(name):
            layer.colormap = DirectLabelColormap(color_dict=colours)
            self._colours[name] = colours
        if layer.visible:
            layer.refresh(extent=False, thumbnail=False)
        else:
            layer.visible = True

    def _source(self) -> FragmentCache:
        if self._cache is None:
            raise RuntimeError("no session is shown")
        return self._cache

    def _show_mark(self, position: Point | None) -> None:
        if position is None:
            self._hide(_MARK)
            return
        layer = self._overlays.get(_MARK)
        data = np.array([position], float)
        if layer is not None and layer in self._viewer.layers:
            layer.data = data
            if not layer.visible:
                layer.visible = True
            return
        self._add(
            self._viewer.add_points,
            data,
            _MARK,
            size=16,
            face_color=_CLEAR,
            border_color="#ffe14d",
            border_width=0.15,
            canvas_size_limits=(16, 60),
        )

    def _add(self, add: Any, data: Any, name: str, **attributes: Any) -> Any:
        """Add an overlay; the active layer stays the active one."""
        active = self._viewer.layers.selection.active
        metadata = {METADATA_KEY: {"overlay": name}}
        place = {} if self.segments is None else over_place(self.segments)
        layer = add(data, name=name, metadata=metadata, **place, **attributes)
        self._viewer.layers.selection.active = active
        self._overlays[name] = layer
        return layer

    def _hide(self, name: str) -> None:
        layer = self._overlays.get(name)
        # Even where nothing changes, napari builds its scene anew: 20 ms.
        if layer is not None and layer.visible:
            layer.visible = False

    def _remove(self, name: str) -> None:
        layer = self._overlays.pop(name, None)
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)
