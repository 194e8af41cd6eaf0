"""Fragments that a line of background keeps apart, grown until they meet.

Many programs leave the membranes unlabelled, so that no two objects touch and a graph of contacts
would be empty. Each background voxel within reach is given to the nearest fragment, and contacts
are measured on that; the fragments themselves stay as they are.

Cost: one exact distance transform, O(voxels).
"""

from __future__ import annotations

import bioimage_cpp
import numpy as np
from numpy.typing import NDArray

from napari_neuropil.geometry import Shape, VoxelSize


def grow_fragments(
    fragments: NDArray[np.uint64], reach: float, voxel_size: VoxelSize
) -> NDArray[np.uint64]:
    """Give background near fragments to the nearest one.

    Parameters
    ----------
    fragments : NDArray[np.uint64]
        (Z, Y, X); 0 is background.
    reach : float
        Distance between the middles of voxels, nm, inclusive; a gap twice as wide is closed.
    voxel_size : VoxelSize
        In nm.

    Returns
    -------
    NDArray[np.uint64]
        (Z, Y, X); where two fragments are equally near, either of them.
    """
    outside = fragments == 0
    if not outside.any() or outside.all():
        return fragments
    distance, nearest = bioimage_cpp.distance.distance_transform(
        outside, sampling=tuple(voxel_size), return_distances=True, return_indices=True
    )
    near = outside & (distance <= np.float32(reach))
    grown = fragments.copy()
    grown[near] = fragments[tuple(nearest[:, near])]
    return grown


def reach_halo(reach: float, voxel_size: VoxelSize) -> Shape:
    """Return how many voxels around a box `grow_fragments` looks at."""
    z, y, x = (int(reach / edge) for edge in voxel_size)
    return z, y, x
