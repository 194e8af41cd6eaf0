"""Training examples of dense voxel embeddings: connected objects and a background mask.

Source: Lee et al. 2021 (IEEE TMI 40(12)), section III: borders become background, and an object
whose parts do not touch inside the patch counts as several.
"""

from __future__ import annotations

from dataclasses import dataclass

import bioimage_cpp
import numpy as np
from numpy.typing import NDArray

from napari_neuropil.training.targets import widen_borders


@dataclass(frozen=True, slots=True)
class EmbeddingPatch:
    """One training example.

    Parameters
    ----------
    image : ndarray of float32, (Z, Y, X)
        Values in [0, 1].
    objects : ndarray of int64, (Z, Y, X)
        Connected objects 1 to C, 0 where the embedding is free.
    origins : ndarray of int64, (C,)
        The id that each object was cut from.
    background : ndarray of bool, (Z, Y, X)
        Outside every object.
    """

    image: NDArray[np.float32]
    objects: NDArray[np.int64]
    origins: NDArray[np.int64]
    background: NDArray[np.bool_]


def connected_objects(
    labels: NDArray[np.uint32], smallest: int = 1
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the connected parts (26 neighbours) of every id.

    Parameters
    ----------
    labels : ndarray of uint32, (Z, Y, X)
        Objects, 0 = background.
    smallest : int
        Parts of fewer voxels are left out.

    Returns
    -------
    objects : ndarray of int64, (Z, Y, X)
        1 to C in raster order of the parts' first voxels; 0 elsewhere.
    origins : ndarray of int64, (C,)
        The id that each part was cut from.
    """
    parts = bioimage_cpp.segmentation.label(np.ascontiguousarray(labels), connectivity=3)
    parts = parts.astype(np.int64)
    sizes = np.bincount(parts.ravel())
    origins = np.zeros(len(sizes), np.int64)
    origins[parts.ravel()] = labels.ravel()  # every voxel of a part writes the same id
    kept = sizes >= smallest
    kept[0] = False
    numbers = np.where(kept, np.cumsum(kept), 0)
    return numbers[parts], origins[kept]


def make_embedding_patch(
    image: NDArray[np.float32],
    labels: NDArray[np.uint32],
    *,
    through_sections: bool = False,
    smallest: int = 1,
) -> EmbeddingPatch:
    """Return image and targets of one patch.

    Parameters
    ----------
    image : ndarray of float32, (Z, Y, X)
        Values in [0, 1].
    labels : ndarray of uint32, (Z, Y, X)
        Objects, 0 = background.
    through_sections : bool
        Whether borders are widened along z too.
    smallest : int
        Parts of fewer voxels have a free embedding; they are no background.
    """
    labels = widen_borders(labels, through_sections=through_sections)
    objects, origins = connected_objects(labels, smallest)
    return EmbeddingPatch(image, objects, origins, labels == 0)
