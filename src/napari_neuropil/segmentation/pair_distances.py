"""Distances between the mean embeddings of pairs of labels, for many places in one patch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.geometry import Roi, Shape
from napari_neuropil.segmentation.mean_embedding import (
    focal_means,
    mean_embedding_distance,
    window_roi,
)


def pair_distances(
    embeddings: NDArray[np.float32],
    labels: NDArray[np.uint64],
    patch: Roi,
    pairs: NDArray[np.uint64],
    places: NDArray[np.float32],
    window_shape: Shape,
) -> NDArray[np.float32]:
    """Return the L1 distance of the mean embeddings of each pair near its place.

    Parameters
    ----------
    embeddings : ndarray of float32, (D, Z, Y, X)
        Of one patch: vectors of different patches cannot be compared.
    labels : ndarray of uint64, (Z, Y, X)
        Of the same patch.
    patch : Roi
        Where it lies.
    pairs : ndarray of uint64, (N, 2)
        Labels.
    places : ndarray of float32, (N, 3)
        In the volume's voxels; the focal window is centred there, inside the patch.
    window_shape : Shape
        Of the focal window.

    Returns
    -------
    ndarray of float32, (N,)
        NaN where a label has no voxel in the window.
    """
    distances = np.full(len(pairs), np.nan, np.float32)
    back = [-a for a in patch.start]
    for row, (pair, place) in enumerate(zip(pairs, places, strict=True)):
        window = window_roi(place, window_shape, patch).shifted(back)
        means, counts = focal_means(embeddings, labels, pair, window)
        if counts.all():
            distances[row] = mean_embedding_distance(means[0], means[1])
    return distances
