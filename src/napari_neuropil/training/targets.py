"""What a network learns from: labels with widened borders, their affinities and foreground."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_neuropil.geometry import Offset, pair_slices


def widen_borders(labels: NDArray[np.uint32], *, through_sections: bool) -> NDArray[np.uint32]:
    """Set voxels to background whose neighbourhood holds two objects.

    Dense voxel embeddings (Lee et al. 2021, section III-C): 3x3 within the section; in isotropic
    volumes the neighbourhood reaches into the sections above and below too.

    Parameters
    ----------
    labels : ndarray of uint32, (Z, Y, X)
        Objects, 0 = background.
    through_sections : bool
        Look along z as well.
    """
    size = (3 if through_sections else 1, 3, 3)
    highest = ndimage.maximum_filter(labels, size=size)
    # Background must not count as a lowest object: send it to the top for the minimum.
    top = np.iinfo(labels.dtype).max
    lowest = ndimage.minimum_filter(np.where(labels == 0, top, labels), size=size)
    return np.where(highest == lowest, labels, 0).astype(labels.dtype)


def affinities_of_labels(
    labels: NDArray[np.uint32], offsets: Sequence[Offset]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the affinities of labels: 1 where both voxels hold the same object.

    The value at voxel p is the pair (p, p + offset); background belongs to no object.

    Parameters
    ----------
    labels : ndarray of uint32, (Z, Y, X)
        Objects, 0 = background.
    offsets : sequence of Offset
        Neighbour vectors.

    Returns
    -------
    affinities : ndarray of float32, (offset, Z, Y, X)
        1 = same object.
    known : ndarray of bool, (offset, Z, Y, X)
        False where the partner lies outside.
    """
    affinities = np.zeros((len(offsets), *labels.shape), np.float32)
    known = np.zeros(affinities.shape, bool)
    for channel, offset in enumerate(offsets):
        z, y, x = (pair_slices(o, n) for o, n in zip(offset, labels.shape, strict=True))
        a, b = labels[z[0], y[0], x[0]], labels[z[1], y[1], x[1]]
        affinities[channel, z[0], y[0], x[0]] = (a == b) & (a > 0)
        known[channel, z[0], y[0], x[0]] = True
    return affinities, known
