"""Mutex watershed of a grid of affinities, by the kept library.

Edges are taken strongest first: an attractive one joins two clusters unless they exclude each
other, a repulsive one makes them exclude each other unless they are one.

Source: Wolf et al., "The Mutex Watershed and its Objective", IEEE TPAMI 43(10), 2021, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import bioimage_cpp
import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import VolumeFormatError
from napari_neuropil.geometry import Offset


def mutex_watershed(
    affinities: NDArray[Any],
    mask: NDArray[np.bool_] | None,
    *,
    offsets: Sequence[Offset],
    attractive: int = 3,
) -> NDArray[np.uint64]:
    """Cut a volume into clusters.

    Parameters
    ----------
    affinities : ndarray of uint8 or float32, (len(offsets), Z, Y, X)
        Of each voxel with its neighbour at the offset; 255 or 1.0 says one object. A repulsive
        edge has the weight 1 - affinity.
    mask : ndarray of bool, (Z, Y, X), optional
        Voxels that take part.
    offsets : sequence of Offset
        (z, y, x), the attractive ones first.
    attractive : int
        How many attract.

    Returns
    -------
    ndarray of uint64, (Z, Y, X)
        1 ... n; 0 outside the mask.

    Raises
    ------
    VolumeFormatError
        If shapes do not fit, or an affinity is no number.
    """
    if affinities.ndim != 4 or len(affinities) != len(offsets):  # noqa: PLR2004 - channel, z, y, x
        raise VolumeFormatError(
            f"affinities of shape {affinities.shape}", f"({len(offsets)}, z, y, x)"
        )
    weights = affinities.astype(np.float32)
    if affinities.dtype == np.uint8:
        weights /= 255
    if not bool(np.isfinite(weights).all()):
        raise VolumeFormatError(
            "affinities that are not numbers",
            "numbers in [0, 1]",
            "a network that gives NaN is broken",
        )
    if mask is not None and not mask.any():
        return np.zeros(affinities.shape[1:], np.uint64)
    weights[attractive:] = 1 - weights[attractive:]
    labels = bioimage_cpp.segmentation.mutex_watershed(
        weights, [list(o) for o in offsets], attractive, mask=mask
    )
    return np.asarray(labels, np.uint64)
