"""A segment that is there already, as a mask to be refined."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_neuropil.errors import SettingsError
from napari_neuropil.plugin.layers import facts_of, finest_data
from napari_neuropil.prompts.packed_mask import PackedMask

if TYPE_CHECKING:
    from napari.layers import Labels  # type: ignore[import-untyped]

    from napari_neuropil.plugin.project_controller import ProjectController


def find_segment(
    controllers: Iterable[ProjectController], layers: Sequence[Any], shape: tuple[int, ...]
) -> tuple[Labels, int]:
    """Return the labels layer and the id that the user has selected.

    Parameters
    ----------
    controllers : iterable of ProjectController
        Of the docks: what is selected there comes first.
    layers : sequence of Layer
        Else the topmost visible labels layer on the same voxels, and its selected label.
    shape : tuple of int
        Of the volume that is worked on.

    Raises
    ------
    SettingsError
        If nothing is selected.
    """
    for controller in controllers:
        layer = controller.segments_layer
        if layer is not None and controller.selected and _shape(layer) == shape:
            return layer, controller.selected[0]
    for layer in reversed(layers):
        if not hasattr(layer, "selected_label"):
            continue
        facts = facts_of(layer)
        if "overlay" in facts or "project" in facts or not layer.visible or layer.ndim != 3:
            continue
        if _shape(layer) == shape and int(layer.selected_label):
            return layer, int(layer.selected_label)
    raise SettingsError(
        "No segment is selected.",
        "a segment selected in the Proofread dock, or a label picked in a labels layer on the same "
        "voxels",
        "click a segment there, then press Use segment again.",
    )


def segment_mask(layer: Labels, label: int, z: int) -> PackedMask:
    """Return what a label covers in a section.

    Raises
    ------
    SettingsError
        If it is not in that section.
    """
    found = PackedMask.of(np.asarray(finest_data(layer)[z]) == label)
    if found is None:
        raise SettingsError(
            f"Segment {label} is not in section {z}.",
            "a segment that this section holds",
            "go to a section that it crosses.",
        )
    return found


def _shape(layer: Any) -> tuple[int, ...]:
    return tuple(int(n) for n in finest_data(layer).shape)
