"""Clearing up after a mutex watershed: crumbs go, gaps are filled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt


def without_crumbs(labels: NDArray[np.uint64], smallest: int) -> NDArray[np.uint64]:
    """Return labels whose small ones are background.

    Parameters
    ----------
    labels : ndarray of uint64
        Consecutive from 1; 0 is background.
    smallest : int
        Labels of fewer voxels go; where all would go, all stay, since an empty result helps
        nobody.
    """
    sizes = np.bincount(labels.ravel())
    kept = sizes >= smallest
    if not kept[1:].any():
        return labels
    kept[0] = False
    names = np.where(kept, np.arange(len(sizes), dtype=np.uint64), np.uint64(0))
    result: NDArray[np.uint64] = names[labels]
    return result


def fill_sections(labels: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Give every background pixel the nearest label of its section.

    Sections without any label stay background.

    Parameters
    ----------
    labels : ndarray of uint64, (Z, Y, X)
        0 is background.
    """
    filled = labels.copy()
    for section in filled:
        gaps = section == 0
        if gaps.any() and not gaps.all():
            nearest = distance_transform_edt(gaps, return_distances=False, return_indices=True)
            section[gaps] = section[tuple(nearest[:, gaps])]
    return filled
