"""Object-level consistency error: one number for a section or volume full of objects.

Each truth object is compared with all segments that touch it, weighted by the segments' sizes, and
objects count by their own size. Splits and mergers both cost, and swapping the two images changes
nothing. What costs nothing is an object that only one of the images has, because the better of two
directions counts: report the recall beside it (`objects`).

Source: Polak, Zhang, Pi 2009, "An evaluation metric for image segmentation of multiple objects",
Image and Vision Computing 27. With A_j the objects and B_i the segments:

- w_ji = |B_i| over the sum of |B_k| of all segments that meet A_j, for those that meet it
- W_j = |A_j| over the sum of all |A_l|
- E(A, B) = sum_j W_j (1 - sum_i w_ji |A_j and B_i| / |A_j or B_i|)
- error = min(E(A, B), E(B, A))
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.evaluation.object_counts import ObjectCounts, count_objects


def object_consistency_error(segments: NDArray[Any], truth: NDArray[Any]) -> float:
    """Return the object-level consistency error of two label images or volumes.

    Parameters
    ----------
    segments, truth : NDArray
        (Y, X) or (Z, Y, X), whole numbers >= 0 of one shape; 0 is background on both sides.

    Returns
    -------
    float
        In [0, 1]. 0: the same objects, whatever their ids; 1: nothing in common. Two images without
        objects agree (0); one of them alone does not (1).

    Raises
    ------
    VolumeFormatError
        If the two cannot be compared.
    """
    return consistency_error(count_objects(segments, truth))


def consistency_error(counts: ObjectCounts) -> float:
    """Return the object-level consistency error of a table of counts."""
    if not len(counts.truth_ids) or not len(counts.segment_ids):
        return float(len(counts.truth_ids) != len(counts.segment_ids))
    overlap = counts.shared / counts.union()
    one = _one_way(
        counts.truth, counts.truth_voxels, counts.segment, counts.segment_voxels, overlap
    )
    other = _one_way(
        counts.segment, counts.segment_voxels, counts.truth, counts.truth_voxels, overlap
    )
    # Rounding may leave a perfect score a hair below 0.
    return max(0.0, min(one, other))


def _one_way(
    objects: NDArray[np.intp],
    sizes: NDArray[np.int64],
    others: NDArray[np.intp],
    other_sizes: NDArray[np.int64],
    overlap: NDArray[np.float64],
) -> float:
    """Return E(objects, others)."""
    weights = other_sizes[others].astype(np.float64)
    total = np.bincount(objects, weights, len(sizes))
    reached = np.bincount(objects, weights * overlap, len(sizes))
    partial = np.divide(reached, total, out=np.zeros(len(sizes)), where=total > 0)
    return float(np.sum(sizes * (1 - partial)) / np.sum(sizes))
