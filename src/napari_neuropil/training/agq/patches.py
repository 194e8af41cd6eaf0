"""Training examples of AGQ: soft masks, affinities and voxels to compare, on the decoder's grid.

Source: AGQ (Chen et al.), training targets: each id falls into its connected components
within the patch, borders are widened, masks and affinities are resized linearly to the grid of the
decoder, which has all sections and every second row and column.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.geometry import Offset
from napari_neuropil.training.embedding_patches import connected_objects
from napari_neuropil.training.soft_labels import (
    FREE,
    SoftLabels,
    linear_places,
    resize_labels,
    resize_sections,
)
from napari_neuropil.training.targets import affinities_of_labels, widen_borders


@dataclass(frozen=True, slots=True)
class AgqPatch:
    """One training example.

    Parameters
    ----------
    image : ndarray of float32, (Z, Y, X)
        Values in [0, 1].
    masks : SoftLabels
        Connected objects on the decoder's grid (Z, (Y + 1) // 2, (X + 1) // 2).
    affinities : ndarray of float32, (offset, Z, (Y + 1) // 2, (X + 1) // 2)
        Targets in [0, 1].
    compared : ndarray of int64, (K,)
        Voxels of the decoder's grid whose features are compared, ascending.
    """

    image: NDArray[np.float32]
    masks: SoftLabels
    affinities: NDArray[np.float32]
    compared: NDArray[np.int64]


def make_agq_patch(
    image: NDArray[np.float32],
    labels: NDArray[np.uint32],
    *,
    through_sections: bool = False,
    offsets: Sequence[Offset],
    smallest: int = 1,
    compared: int = 4096,
    evenness: float = 0.6,
) -> AgqPatch:
    """Return image and targets of one patch.

    Parameters
    ----------
    image : ndarray of float32, (Z, Y, X)
        Values in [0, 1]. What is random below follows from its bytes alone.
    labels : ndarray of uint32, (Z, Y, X)
        Objects, 0 = background.
    through_sections : bool
        Whether borders are widened along z too.
    offsets : sequence of Offset
        Affinities wanted.
    smallest : int
        Connected parts of fewer voxels are free: no query is made to find them, none is told to
        leave them out.
    compared : int
        Voxels whose features are compared.
    evenness : float
        How strongly voxels of small objects are preferred among them.
    """
    labels = widen_borders(labels, through_sections=through_sections)
    objects, origins = connected_objects(labels, smallest)
    objects = np.where((labels > 0) & (objects == 0), FREE, objects)
    rows, columns = (linear_places(n, (n + 1) // 2) for n in labels.shape[1:])
    masks = resize_labels(objects, len(origins), rows, columns)
    rng = np.random.default_rng(zlib.crc32(np.ascontiguousarray(image).data))
    return AgqPatch(
        image,
        masks,
        resize_sections(extended_affinities(labels, offsets), rows, columns),
        choose_voxels(masks, compared, evenness, rng),
    )


def extended_affinities(
    labels: NDArray[np.uint32], offsets: Sequence[Offset]
) -> NDArray[np.float32]:
    """Return affinities whose pairs that leave the patch count as connected inside objects.

    The network finds its objects in the mean of the affinities, first planes included, so these
    must not be left to chance.

    Parameters
    ----------
    labels : ndarray of uint32, (Z, Y, X)
        Objects, 0 = background.
    offsets : sequence of Offset
        Neighbour vectors.

    Returns
    -------
    ndarray of float32, (offset, Z, Y, X)
        1 = same object.
    """
    affinities, known = affinities_of_labels(labels, offsets)
    return np.where(known, affinities, (labels > 0).astype(np.float32))


def choose_voxels(
    masks: SoftLabels, wanted: int, evenness: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw voxels of objects without repeats, those of small objects more often.

    Adding Gumbel noise to log weights and taking the highest is drawing without repeats in
    proportion to the weights (Yellott 1977). The weight is the inverse area of the object to the
    power of `evenness`; of several objects at a voxel, the mean by their shares.

    Parameters
    ----------
    masks : SoftLabels
        Objects.
    wanted : int
        Voxels to draw; if fewer lie in objects, those.
    evenness : float
        0 draws voxels alike, 1 draws objects alike.
    rng : Generator
        The source of all randomness.

    Returns
    -------
    ndarray of int64, (K,)
        Ascending positions in raster order.
    """
    inverse = np.zeros(masks.count + 2)  # background first, the free label last: index -1
    inverse[1:-1] = 1 / np.maximum(masks.areas(), np.finfo(np.float32).tiny)
    weight = (masks.weights * inverse[masks.objects]).sum(axis=0)
    # One number a voxel, drawn whether it counts or not: a voxel's noise is its own.
    noise = rng.gumbel(size=len(weight))
    inside = np.flatnonzero(weight)
    if len(inside) <= wanted:
        return inside
    scores = evenness * np.log(weight[inside]) + noise[inside]
    highest = np.argpartition(scores, len(inside) - wanted)[len(inside) - wanted :]
    return np.sort(inside[highest])
