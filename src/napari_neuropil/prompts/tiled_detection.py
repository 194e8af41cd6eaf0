"""A detector run over a section of any size, tile by tile."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import SettingsError, VolumeFormatError
from napari_neuropil.prompts.box_merging import (
    EDGE_TOLERANCE,
    TileDetections,
    merge_tiles,
    no_detections,
)
from napari_neuropil.prompts.boxes import box_areas, clip_boxes
from napari_neuropil.prompts.detector import Detections, Detector
from napari_neuropil.prompts.section_tiles import TileBox, tile_boxes


def detect_section(
    detector: Detector, section: NDArray[np.uint8], overlap: int | None = None
) -> Detections:
    """Find the objects of a section.

    Parameters
    ----------
    detector : Detector
        Sees `detector.tile_side` pixels at a time.
    section : NDArray of uint8, (Y, X)
        Of any size; at the pixel size the detector knows.
    overlap : int, optional
        Least number of pixels that neighbouring tiles share. None takes a quarter of a tile.
        More finds more of the objects near edges whole, and costs more passes.

    Returns
    -------
    Detections
        Highest score first, within the section, none empty. Tiles of one grey value, which hold
        no tissue, are not looked at.

    Raises
    ------
    VolumeFormatError
        If the section is not 2D or not uint8.
    SettingsError
        If the overlap is too small to find continuations, or larger than half a tile.
    """
    if section.ndim != 2 or section.dtype != np.uint8:
        raise VolumeFormatError(
            f"A section of shape {section.shape}, {section.dtype}.",
            "one section (Y, X), uint8",
            "take one section, and convert it to 8 bits.",
        )
    height, width = section.shape
    side = detector.tile_side
    shared = max(math.floor(EDGE_TOLERANCE) + 1, side // 4) if overlap is None else overlap
    if max(height, width) > side and not EDGE_TOLERANCE < shared <= side // 2:
        raise SettingsError(
            f"Tiles of {side} pixels that share {shared}.",
            f"more than {EDGE_TOLERANCE:g} and at most {side // 2} shared pixels",
            "leave the overlap out.",
        )
    parts = []
    for tile in tile_boxes((height, width), side, shared):
        pixels = section[tile[0] : tile[2], tile[1] : tile[3]]
        if pixels.size and pixels.min() != pixels.max():
            parts.append(TileDetections(tile, _shifted(detector.detect(pixels), tile)))
    return merge_tiles(parts, (height, width)) if parts else no_detections()


def _shifted(found: Detections, tile: TileBox) -> Detections:
    """Return a tile's boxes in pixels of the section, limited to the tile, without empty ones."""
    boxes = clip_boxes(found.boxes, (tile[2] - tile[0], tile[3] - tile[1]))
    kept = box_areas(boxes) > 0
    corner = np.array(tile[:2] * 2, np.float32)
    return Detections(boxes[kept] + corner, np.asarray(found.scores, np.float32)[kept])
