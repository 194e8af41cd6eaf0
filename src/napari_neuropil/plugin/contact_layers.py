"""The layers of the contacts panel: points at the contacts, and a tint of the neighbours.

Both are coloured by what the user chose: the score, or the distance of the mean embeddings.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined]

from napari_neuropil.plugin.fragment_view import FragmentCache, FragmentView
from napari_neuropil.plugin.layers import METADATA_KEY, LayerArray
from napari_neuropil.plugin.seed_layers import over_place
from napari_neuropil.segmentation.metric_offsets import HALF_WAY

if TYPE_CHECKING:
    from napari.layers import Image, Layer, Points  # type: ignore[import-untyped]

    from napari_neuropil.plugin.proofread_controller import ProofreadController
    from napari_neuropil.proofreading import ProofreadingSession
    from napari_neuropil.proofreading.graph import Contacts

Evidence = Literal["score", "distance"]
"""What contacts are coloured by."""

POINTS_NAME: Final = "Contacts"
TINT_NAMES: Final[dict[Evidence, str]] = {
    "score": "Neighbours by score",
    "distance": "Neighbours by distance",
}

_COLOURS: Final = (
    (0.27, 0.00, 0.33),
    (0.23, 0.32, 0.55),
    (0.13, 0.57, 0.55),
    (0.37, 0.79, 0.38),
    (0.99, 0.91, 0.14),
)
"""Five points of viridis: dark says apart, bright says merge, also to the colour-blind."""

_GREY: Final = (0.55, 0.55, 0.55)
_MOST_POINTS: Final = 5000
_MOST_TEXTS: Final = 2000
_DIAMETERS: Final = (5.0, 26.0)
_PICKED: Final = "#ff2fd6"
_BORDER: Final = "#101010"
_LOWEST_TINT: Final = 0.02
"""A tint of 0 is clear, so a score of 0 is drawn as this."""
_UNKNOWN_TINT: Final = 1.25
"""Above all scores: drawn grey."""


def score_colours(score: NDArray[Any]) -> NDArray[np.float64]:
    """Return an RGBA colour for each score in [0, 1], (n, 4); grey where it is NaN."""
    places = np.linspace(0, 1, len(_COLOURS))
    channels = [np.interp(score, places, np.array(_COLOURS)[:, i]) for i in range(3)]
    colours = np.stack([*channels, np.ones(len(score))], axis=1)
    colours[np.isnan(score), :3] = _GREY
    return colours


def merge_likeness(distance: NDArray[Any]) -> NDArray[np.float32]:
    """Return where a distance stands between merge and apart, as a score does.

    1 at distance 0, 0.5 at 1.5, and 0 from 3 on; NaN where the distance is unknown.
    """
    likeness = 1 - np.asarray(distance, np.float64) / (2 * HALF_WAY)
    return np.asarray(np.clip(likeness, 0, 1), np.float32)


def evidence_of(contacts: Contacts, by: Evidence) -> NDArray[np.float32]:
    """Return what colours contacts, (n,): 1 says merge, 0 apart, NaN nothing."""
    return contacts.score if by == "score" else merge_likeness(contacts.distance)


class ContactLayers(QObject):
    """Shows contacts in the viewer.

    Parameters
    ----------
    controller : ProofreadController
        Viewer, session and segments layer.

    Signals
    -------
    picked : list of int
        Rows whose points were selected in the view.
    """

    picked = Signal(list)

    def __init__(self, controller: ProofreadController) -> None:
        super().__init__(controller)
        self._controller = controller
        self._points: Points | None = None
        self._tint: Image | None = None
        self._contacts: Contacts | None = None
        self._by: Evidence = "score"
        self._places: NDArray[np.float32] = np.zeros((0, 3), np.float32)
        self._values: NDArray[np.float32] = np.zeros(1, np.float32)
        self._cache: tuple[ProofreadingSession, FragmentCache] | None = None
        self._quiet = False
        controller.edited.connect(self._on_edited)
        controller.session_changed.connect(self._on_session_changed)

    def _on_session_changed(self) -> None:
        self.remove()
        self._cache = None

    def _on_edited(self, delta: Any) -> None:
        session = self._controller.session
        pieces = session is not None and (delta.fragments > session.info.fragment_count).any()
        if pieces and self._cache is not None:
            self._cache[1].forget()

    # points

    def show_points(self, contacts: Contacts, by: Evidence = "score") -> None:
        """Show the first contacts as points.

        Parameters
        ----------
        contacts : Contacts
            Row r becomes point r; the last of very many are left out.
        by : str
            What colours them; distances are also written beside them.
        """
        self._by = by
        shown = contacts[slice(0, _MOST_POINTS)]
        places = shown.centroid.copy()
        # On a section, or between two of them it would be in none.
        places[:, 0] = np.round(places[:, 0])
        self._contacts, self._places = contacts, places
        size = np.clip(np.sqrt(shown.area), *_DIAMETERS)
        colours = score_colours(evidence_of(shown, by))
        # Wide floats: napari leaves a NaN out of its status line only if it is one.
        distance = shown.distance.astype(np.float64)
        features = {"score": shown.score, "distance": distance, "area": shown.area}
        text = {
            # Spaces keep the number beside the point: napari's own shift grows with the zoom.
            "string": ["" if np.isnan(d) else f"   {d:.2f}" for d in distance.tolist()],
            "color": "white",
            "size": 8,
            "anchor": "upper_left",
            # Drawing text is slow, and in 3D that of thousands covers itself.
            "visible": by == "distance" and len(shown) <= _MOST_TEXTS,
        }
        layer = self._there(self._points)
        self._quiet = True
        if layer is None:
            self._points = layer = self._add(
                self._controller.viewer.add_points,
                places,
                POINTS_NAME,
                size=size,
                face_color=colours,
                border_color=_BORDER,
                border_width=0.12,
                features=features,
                text=text,
                canvas_size_limits=(5, 40),
            )
            # Active, its points can be picked at once; a layer that cannot be edited has no
            # select mode, so what is moved or deleted is put back instead.
            layer.mode = "select"
            layer.events.data.connect(self._on_points_edited)
            layer.selected_data.events.items_changed.connect(self._on_points_selected)
        else:
            layer.selected_data = set()
            layer.data = places
            layer.features = features
            layer.text = text
            layer.size = size
            layer.face_color = colours
            layer.border_color = _BORDER
        self._quiet = False

    def mark(self, rows: Iterable[int]) -> None:
        """Mark the points of some rows."""
        layer = self._there(self._points)
        # While napari deletes points, colours of the wrong number would be refused.
        if layer is None or len(layer.data) != len(self._places):
            return
        wanted = {row for row in rows if row < len(self._places)}
        self._quiet = True
        layer.selected_data = wanted
        colours = np.tile(np.array([[0.06, 0.06, 0.06, 1.0]]), (len(self._places), 1))
        if wanted:
            from napari.utils.colormaps.standardize_color import (  # type: ignore[import-untyped]
                transform_color,
            )

            colours[sorted(wanted)] = transform_color(_PICKED)[0]
        if len(colours):
            layer.border_color = colours
        self._quiet = False

    def _on_points_selected(self, *_: Any) -> None:
        layer = self._there(self._points)
        if not self._quiet and layer is not None:
            rows = sorted(int(row) for row in layer.selected_data)
            self.mark(rows)
            self.picked.emit(rows)

    def _on_points_edited(self, event: Any) -> None:
        layer = self._there(self._points)
        if self._quiet or layer is None or str(getattr(event, "action", "")).startswith("ing"):
            return
        same = len(layer.data) == len(self._places) and np.allclose(layer.data, self._places)
        if not same:
            # Later: napari has not finished with its colours and sizes.
            QTimer.singleShot(0, self._put_back)

    def _put_back(self) -> None:
        if self._contacts is not None and self._there(self._points) is not None:
            self.show_points(self._contacts, self._by)

    # tint

    def show_tint(
        self, neighbours: NDArray[np.uint64], contacts: Contacts, by: Evidence = "score"
    ) -> None:
        """Tint each neighbour by its contact that says merge most; grey where none is known.

        Parameters
        ----------
        neighbours : NDArray[np.uint64]
            (n,) segment on the other side of each contact.
        contacts : Contacts
            (n,).
        by : str
            What speaks.
        """
        session = self._controller.session
        if session is None:
            return
        values = np.zeros(len(session.lookup), np.float32)
        segments, group = np.unique(neighbours, return_inverse=True)
        highest = np.full(len(segments), np.nan, np.float32)
        np.fmax.at(highest, group, evidence_of(contacts, by))
        unknown = np.isnan(highest)
        highest = np.where(unknown, _UNKNOWN_TINT, np.maximum(highest, _LOWEST_TINT))
        for segment, value in zip(segments.tolist(), highest.tolist(), strict=True):
            values[session.members(segment).astype(np.intp)] = value
        values[0] = 0.0
        self._values = values
        layer = self._there(self._tint)
        if layer is not None:
            layer.name = TINT_NAMES[by]
            layer.refresh(extent=False, thumbnail=False)
            return
        from napari.utils import Colormap  # type: ignore[import-untyped]

        clear = [0.0, 0.0, 0.0, 0.0]
        lowest = [*_COLOURS[0], 1.0]
        inner = np.linspace(_LOWEST_TINT, 1, len(_COLOURS))
        places = np.array([0.0, _LOWEST_TINT / 2, *inner, (1 + _UNKNOWN_TINT) / 2, _UNKNOWN_TINT])
        grey = [*_GREY, 1.0]
        colormap = Colormap(
            [clear, clear, lowest, *([*c, 1.0] for c in _COLOURS[1:]), grey, grey],
            controls=places / _UNKNOWN_TINT,
            name="neuropil evidence",
        )
        view = FragmentView(self._fragments(session), lambda: self._values, "float32")
        self._tint = self._add(
            self._controller.viewer.add_image,
            LayerArray(view),
            TINT_NAMES[by],
            colormap=colormap,
            contrast_limits=(0.0, _UNKNOWN_TINT),
            blending="translucent_no_depth",
            interpolation2d="nearest",
            opacity=0.75,
        )
        layers, segments_layer = self._controller.viewer.layers, self._controller.segments_layer
        if segments_layer in layers:
            # Below outline and points: they stay readable.
            layers.move(layers.index(self._tint), layers.index(segments_layer) + 1)

    def _fragments(self, session: ProofreadingSession) -> FragmentCache:
        if self._cache is None or self._cache[0] is not session:
            self._cache = (session, FragmentCache(session.fragments()))
        return self._cache[1]

    # coming and going

    def remove_points(self) -> None:
        """Take the points away."""
        self._remove(self._points)
        self._points = None

    def remove_tint(self) -> None:
        """Take the tint away."""
        self._remove(self._tint)
        self._tint = None

    def remove(self) -> None:
        """Take both layers away."""
        self.remove_points()
        self.remove_tint()

    def _there(self, layer: Any) -> Any:
        """Return a layer, None where it is not made or the user has removed it."""
        return layer if layer is not None and layer in self._controller.viewer.layers else None

    def _remove(self, layer: Layer | None) -> None:
        if self._there(layer) is not None:
            self._controller.viewer.layers.remove(layer)

    def _add(self, add: Any, data: Any, name: str, **attributes: Any) -> Any:
        """Add a layer over the segments; the active layer stays the active one."""
        chosen = self._controller.viewer.layers.selection
        active, segments = chosen.active, self._controller.segments_layer
        place = {} if segments is None else over_place(segments)
        facts = {METADATA_KEY: {"overlay": name}}
        layer = add(data, name=name, metadata=facts, **place, **attributes)
        chosen.active = active
        return layer
