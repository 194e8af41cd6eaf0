"""Which patches to look at, so that every place lies well inside one of them.

Looking at each place with a patch of its own costs one pass of the network a place. Places that
are near each other share a patch instead: patches stand on a regular grid, each place takes the
one whose middle is nearest, and only patches that are taken count.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.geometry import Roi, Shape


def cover_places(
    places: NDArray[np.float32], shape: Shape, patch_shape: Shape, stride: Shape
) -> list[tuple[Roi, NDArray[np.intp]]]:
    """Return patches, and the places that each is to answer for.

    Parameters
    ----------
    places : ndarray of float32, (N, 3)
        Voxels of the volume.
    shape : Shape
        The volume's. Where it is smaller than a patch, the patch is as large as the volume.
    patch_shape : Shape
        One patch.
    stride : Shape
        Step of the grid; a place is at most half of it, and what borders shift, from the middle.

    Returns
    -------
    list of (Roi, ndarray of intp)
        In raster order; every place once.
    """
    if not len(places):
        return []
    size = np.minimum(shape, patch_shape)
    middle_of_first = size / 2
    cell = np.rint((places + 0.5 - middle_of_first) / np.array(stride)).astype(np.int64)
    start = np.clip(cell * np.array(stride), 0, np.array(shape) - size)
    corners, owner = np.unique(start, axis=0, return_inverse=True)
    order = np.argsort(owner.ravel(), kind="stable")
    bounds = np.searchsorted(owner.ravel()[order], np.arange(len(corners) + 1))
    patches = []
    for index, corner in enumerate(corners.tolist()):
        stop = [a + int(s) for a, s in zip(corner, size, strict=True)]
        roi = Roi((corner[0], corner[1], corner[2]), (stop[0], stop[1], stop[2]))
        patches.append((roi, order[bounds[index] : bounds[index + 1]]))
    return patches
