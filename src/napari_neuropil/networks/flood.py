"""Masks by flooding: from inside a prompt and from outside it, until both meet on a membrane.

A seeded watershed (Meyer 1992) on a map of membranes, in the box of a prompt; of points alone, in
a square around them. What it lacks is any notion of an object: it takes whatever lies in the middle
of the box. It is the baseline of the promptable networks, and the first guess of one of them.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion
from skimage.segmentation import watershed

DOT: Final = 2
"""Pixels around a point that are its own."""
_OBJECT, _OTHER = 1, 2

Box = tuple[int, int, int, int]


def flood_box(
    heights: NDArray[np.float32],
    box: Box,
    points: NDArray[np.float32],
    positive: NDArray[np.bool_],
    mask: NDArray[np.bool_] | None = None,
    core: float = 0.5,
) -> NDArray[np.bool_]:
    """Return the object in a box.

    Parameters
    ----------
    heights : ndarray of float32, (Y, X)
        High on membranes.
    box : tuple of int
        y0, x0, y1, x1, half open, within the section and not empty.
    points : ndarray of float32, (N, 2)
        y, x.
    positive : ndarray of bool, (N,)
        Whether they lie in the object.
    mask : ndarray of bool, (Y, X), optional
        The object so far; what lies well inside it is the object for sure.
    core : float
        Without mask and positive points the ellipse of this size in the middle of the box is.

    Returns
    -------
    ndarray of bool, (y1 - y0, x1 - x0)
    """
    # A frame of one pixel, where the section has it, is outside for sure.
    low = (max(box[0] - 1, 0), max(box[1] - 1, 0))
    high = (min(box[2] + 1, heights.shape[0]), min(box[3] + 1, heights.shape[1]))
    own = (slice(box[0] - low[0], box[2] - low[0]), slice(box[1] - low[1], box[3] - low[1]))
    seeds = np.full((high[0] - low[0], high[1] - low[1]), _OTHER, np.int32)
    known = None if mask is None else mask[box[0] : box[2], box[1] : box[3]]
    seeds[own] = _inner_seeds(box, points, positive, known, core)
    part = heights[low[0] : high[0], low[1] : high[1]]
    flooded = watershed(part, seeds)  # type: ignore[no-untyped-call]
    filled: NDArray[np.bool_] = flooded[own] == _OBJECT
    return filled


def ellipse(shape: tuple[int, int], size: float) -> NDArray[np.bool_]:
    """Return the ellipse in the middle of a box, `size` of its diameters; never empty."""
    y, x = ((np.arange(n) + 0.5) / n * 2 - 1 for n in shape)
    away = y[:, None] ** 2 + x[None, :] ** 2
    inside: NDArray[np.bool_] = away <= max(size**2, float(away.min()))
    return inside


def _inner_seeds(
    box: Box,
    points: NDArray[np.float32],
    positive: NDArray[np.bool_],
    known: NDArray[np.bool_] | None,
    core: float,
) -> NDArray[np.int32]:
    """Return the seeds in a box; 0 is open."""
    shape = (box[2] - box[0], box[3] - box[1])
    seeds = np.zeros(shape, np.int32)
    if known is not None:
        inner = binary_erosion(known, iterations=DOT)
        seeds[inner if inner.any() else known] = _OBJECT
    elif not positive.any():
        seeds[ellipse(shape, core)] = _OBJECT
    for (y, x), sign in zip(points, positive, strict=True):
        row, column = round(float(y)) - box[0], round(float(x)) - box[1]
        rows = slice(max(row - DOT, 0), max(row + DOT + 1, 0))
        columns = slice(max(column - DOT, 0), max(column + DOT + 1, 0))
        seeds[rows, columns] = _OBJECT if sign else _OTHER
    return seeds
