"""Boxes in a section. Rows of arrays are always (y0, x0, y1, x1), half open, in pixels.

The order is the trap of this field: YOLO and SAM's predictor take x first, micro_sam's helpers y
first. Within this package y comes first, and only the doors to those packages turn it round.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float32]
"""(n, 4): y0, x0, y1, x1."""


def clip_boxes(boxes: NDArray[Any], shape: tuple[int, int]) -> Boxes:
    """Return boxes limited to a section; one that lies outside comes back empty.

    Parameters
    ----------
    boxes : NDArray, (n, 4)
        y0, x0, y1, x1.
    shape : tuple of int
        Of the section, (Y, X).

    Returns
    -------
    Boxes, (n, 4)
    """
    clipped = np.array(boxes, np.float32).reshape(-1, 4)
    clipped[:, 0::2] = clipped[:, 0::2].clip(0, shape[0])
    clipped[:, 1::2] = clipped[:, 1::2].clip(0, shape[1])
    return clipped


def box_areas(boxes: Boxes) -> NDArray[np.float32]:
    """Return the area of each box in pixels, (n,); 0 where it is empty or turned inside out."""
    sides = (boxes[:, 2:] - boxes[:, :2]).clip(0)
    areas: NDArray[np.float32] = sides[:, 0] * sides[:, 1]
    return areas


def box_overlaps(first: Boxes, second: Boxes) -> NDArray[np.float32]:
    """Return the intersection over union of all pairs, (n, m); 0 where both are empty."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    sides = (high - low).clip(0)
    shared = sides[..., 0] * sides[..., 1]
    union = box_areas(first)[:, None] + box_areas(second)[None] - shared
    overlaps: NDArray[np.float32] = (shared / np.maximum(union, 1e-9)).astype(np.float32)
    return overlaps


def box_of_mask(mask: NDArray[np.bool_]) -> Boxes | None:
    """Return the tight box of a mask, (1, 4), or None if it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return np.array([[rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]], np.float32)
