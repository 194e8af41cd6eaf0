"""What the user has drawn into the dock's three layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_neuropil.plugin.dendrites.box_rows import DrawnBox, read_shapes
from napari_neuropil.plugin.dendrites.cross_section import Dot
from napari_neuropil.plugin.dendrites.layer_making import OTHERS, feature_column
from napari_neuropil.prompts.packed_mask import PackedMask

if TYPE_CHECKING:
    from napari.layers import Labels, Points, Shapes  # type: ignore[import-untyped]

BOX_KINDS: Final = ("rectangle", "ellipse", "polygon")
"""Any closed shape stands for the box around it; the others are scribbles."""


def boxes_of(layer: Shapes, shape: tuple[int, int, int]) -> list[DrawnBox]:
    """Return the boxes of a layer, inside a volume of that shape."""
    kinds = [str(kind) for kind in layer.shape_type]
    ids = feature_column(layer, "id", 0)
    rows = [
        (data, number)
        for data, number, kind in zip(layer.data, ids, kinds, strict=True)
        if kind in BOX_KINDS
    ]
    return read_shapes([d for d, _ in rows], [int(n) for _, n in rows], shape)


def scribbles_of(layer: Shapes) -> list[list[tuple[float, float]]]:
    """Return the paths (y, x) that were drawn between the boxes."""
    kinds = [str(kind) for kind in layer.shape_type]
    return [
        [(float(y), float(x)) for _, y, x in data]
        for data, kind in zip(layer.data, kinds, strict=True)
        if kind not in BOX_KINDS
    ]


def dots_of(layer: Points, z: int, shape: tuple[int, int, int]) -> tuple[Dot, ...]:
    """Return the points in a section; those outside the image are left out."""
    signs = feature_column(layer, "positive", True)
    return tuple(
        Dot(float(y), float(x), bool(sign))
        for (at, y, x), sign in zip(np.asarray(layer.data), signs, strict=True)
        if round(float(at)) == z and -0.5 <= y < shape[1] - 0.5
        if -0.5 <= x < shape[2] - 0.5
    )


def painted_mask(layer: Labels) -> PackedMask | None:
    """Return what is painted in the section drawn; other dendrites are no part of it."""
    data = np.asarray(layer.data)[0]
    return PackedMask.of((data != 0) & (data != OTHERS))


def box_at(layer: Shapes, event: Any) -> int:
    """Return the proposal whose box lies under the mouse; 0: none."""
    found = layer.get_value(
        event.position,
        view_direction=event.view_direction,
        dims_displayed=event.dims_displayed,
        world=True,
    )
    index = None if found is None else found[0]
    ids = feature_column(layer, "id", 0)
    return int(ids[index]) if index is not None and 0 <= index < len(ids) else 0
