"""How the dock's three layers look when they are new."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_neuropil.plugin.dendrites.image_choice import OVERLAY
from napari_neuropil.plugin.layers import METADATA_KEY
from napari_neuropil.plugin.seed_layers import over_place

if TYPE_CHECKING:
    from napari.layers import Labels, Layer, Points, Shapes  # type: ignore[import-untyped]

BOXES: Final = "Dendrite boxes"
POINTS: Final = "Dendrite points"
MASK: Final = "Dendrite mask"

THIS: Final = 1
OTHERS: Final = 2
"""Labels of the mask layer: the dendrite in work, and those accepted before."""

CURRENT_COLOUR: Final = "#ffffff"
POSITIVE_COLOUR: Final = "#36c275"
NEGATIVE_COLOUR: Final = "#ff4b3e"
EDGE: Final = 1.5
_DIAMETER: Final = 9
_MASK_COLOURS: Final = {None: "#00000000", 0: "#00000000", THIS: "#ffb000", OTHERS: "#3e8bff"}


def make_layer(name: str, viewer: Any, over: Layer, shape: tuple[int, int, int]) -> Layer:
    """Add one of the three layers, empty, over a layer of a volume of that shape."""
    place = {"name": name, "metadata": {METADATA_KEY: {"overlay": OVERLAY}}, **over_place(over)}
    if name == BOXES:
        return _boxes(viewer, place)
    return _points(viewer, place) if name == POINTS else _mask(viewer, place, shape)


def _boxes(viewer: Any, place: dict[str, Any]) -> Shapes:
    return viewer.add_shapes(
        None,
        ndim=3,
        face_color="#00000000",
        edge_color=CURRENT_COLOUR,
        edge_width=EDGE,
        features={"id": np.zeros(0, np.int64), "label": np.zeros(0, object)},
        feature_defaults={"id": 0, "label": ""},
        text={"string": "{label}", "size": 8, "color": "#ffe14d", "anchor": "upper_left"},
        **place,
    )


def _points(viewer: Any, place: dict[str, Any]) -> Points:
    return viewer.add_points(
        np.zeros((0, 3)),
        size=_DIAMETER,
        face_color=POSITIVE_COLOUR,
        border_color="white",
        border_width=0.12,
        canvas_size_limits=(6, 24),
        features={"positive": np.zeros(0, bool)},
        feature_defaults={"positive": True},
        **place,
    )


def _mask(viewer: Any, place: dict[str, Any], shape: tuple[int, int, int]) -> Labels:
    from napari.utils import DirectLabelColormap  # type: ignore[import-untyped]

    layer = viewer.add_labels(
        np.zeros((1, *shape[1:]), np.uint8),
        opacity=0.45,
        colormap=DirectLabelColormap(color_dict=_MASK_COLOURS),
        **place,
    )
    layer.selected_label = THIS
    return layer


def feature_column(layer: Any, name: str, default: Any) -> list[Any]:
    """Return a feature of all shapes or points of a layer."""
    features = layer.features
    if name not in features:
        return [default] * len(layer.data)
    values = features[name].tolist()
    # A shape drawn just now may have none: napari then puts NaN.
    return [default if value is None or value != value else value for value in values]
