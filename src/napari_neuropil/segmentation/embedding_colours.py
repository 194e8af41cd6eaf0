"""Embeddings as colours: the first three principal components, the same in neighbouring patches.

A patch has its own frame: what is compared are differences within it. So the components of the
first patch are the colours, and each further patch is brought to them where it overlaps what is
there already: an affine map from its vectors to the three components, fitted by least squares. In
the overlap both patches show the same voxels, and the map carries over to the rest of the patch.

Limits: an object that lies in no overlap is mapped by what its vectors share with the others. Each
step of the chain can only explain a part of the colours, so contrast fades away from the first
patch, the faster the less two patches agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.geometry import Roi, Shape

COLOURS: Final = 3

_RIDGE: Final = 1e-3
"""Of the mean variance of a dimension: directions that an overlap does not show are not guessed."""

_LEAST_VARIANCE: Final = 1e-6
_LEAST_SKEW: Final = 1e-3
_LEAST_RANGE: Final = 0.05
"""Half a range of colours in units of the embedding, whose objects are pushed 3 apart: what differs
by less is noise and stays grey."""

_TAILS: Final = (2.0, 98.0)
_LEAST_BLEND: Final = 1e-3


@dataclass(frozen=True, eq=False)
class Projection:
    """An affine map from embeddings to three components.

    Parameters
    ----------
    matrix : ndarray of float32, (3, D)
        Applied from the left.
    offset : ndarray of float32, (3,)
        Added.
    """

    matrix: NDArray[np.float32]
    offset: NDArray[np.float32]

    def apply(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (3, ...) components of (D, ...) embeddings."""
        flat = embeddings.reshape(len(embeddings), -1)
        components = self.matrix @ flat + self.offset[:, None]
        return components.reshape(COLOURS, *embeddings.shape[1:]).astype(np.float32, copy=False)


def principal_projection(
    embeddings: NDArray[np.float32], weights: NDArray[np.floating[Any]]
) -> Projection:
    """Return the projection on the three directions of largest variance, largest first.

    Parameters
    ----------
    embeddings : ndarray of float32, (D, N)
        Vectors; with D < 3 the missing components are 0.
    weights : ndarray, (N,)
        Not negative; all 0 counts as all 1.

    Notes
    -----
    A direction points to where its component is skewed, so that colours do not depend on the
    frame's rotation; where it is symmetric, its largest entry is positive.
    """
    share = _shares(weights)
    mean = embeddings @ share
    centred = embeddings - mean[:, None]
    _, vectors = np.linalg.eigh(((centred * share) @ centred.T).astype(np.float64))
    matrix = np.zeros((COLOURS, len(embeddings)), np.float32)
    for row, vector in enumerate(vectors.T[::-1][:COLOURS].astype(np.float32)):
        component = vector @ centred
        variance = share @ component**2
        skew = (share @ component**3) / max(variance, _LEAST_VARIANCE) ** 1.5
        if abs(skew) < _LEAST_SKEW:
            skew = vector[np.argmax(abs(vector))]
        matrix[row] = vector if skew > 0 else -vector
    return Projection(matrix, -matrix @ mean)


def fitted_projection(
    embeddings: NDArray[np.float32],
    components: NDArray[np.float32],
    weights: NDArray[np.floating[Any]],
) -> Projection:
    """Return the least-squares map from vectors to the components that the same voxels have.

    Parameters
    ----------
    embeddings : ndarray of float32, (D, N)
        Vectors of a patch.
    components : ndarray of float32, (3, N)
        Of the same voxels.
    weights : ndarray, (N,)
        Not negative; all 0 counts as all 1.
    """
    share = _shares(weights)
    mean, target = embeddings @ share, components @ share
    centred = embeddings - mean[:, None]
    covariance = ((centred * share) @ centred.T).astype(np.float64)
    mixed = (((components - target[:, None]) * share) @ centred.T).astype(np.float64)
    ridge = max(_RIDGE * float(np.trace(covariance)) / len(covariance), _LEAST_VARIANCE)
    covariance[np.diag_indices_from(covariance)] += ridge
    matrix = np.linalg.solve(covariance, mixed.T).T.astype(np.float32)
    return Projection(matrix, target - matrix @ mean)


def _shares(weights: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    total = float(weights.sum(dtype=np.float64))
    if total <= 0:
        return np.full(len(weights), 1 / len(weights), np.float32)
    return (weights / total).astype(np.float32)


class ColourMosaic:
    """Components of a box, put together patch by patch; the first patch gives the colours.

    Parameters
    ----------
    hull : Roi
        Box around all patches.
    """

    def __init__(self, hull: Roi) -> None:
        self._hull = hull
        self._sum = np.zeros((COLOURS, *hull.shape), np.float32)
        self._weight = np.zeros(hull.shape, np.float32)
        self._foreground = np.zeros(hull.shape, bool)
        self._empty = True

    def add(
        self, patch: Roi, embeddings: NDArray[np.float32], foreground: NDArray[np.bool_]
    ) -> None:
        """Lay a patch in; where patches overlap they are blended.

        Parameters
        ----------
        patch : Roi
            Where it lies.
        embeddings : ndarray of float32, (D, Z, Y, X)
            Of the patch.
        foreground : ndarray of bool, (Z, Y, X)
            Voxels of objects; the others have embeddings that mean nothing.

        Raises
        ------
        ValueError
            If it overlaps nothing that is there: its colours could not be told.
        """
        inner = patch.shifted([-a for a in self._hull.start]).slices
        known = self._weight[inner]
        if self._empty:
            weights = foreground.reshape(-1).astype(np.float32)
            projection = principal_projection(embeddings.reshape(len(embeddings), -1), weights)
        else:
            shared = known > 0
            if not shared.any():
                raise ValueError(f"the patch {patch} overlaps none before it")
            there = self._sum[(slice(None), *inner)][:, shared] / known[shared]
            both = foreground[shared].astype(np.float32)
            projection = fitted_projection(embeddings[:, shared], there, both)
        blend = blend_weights(patch.shape)
        self._sum[(slice(None), *inner)] += projection.apply(embeddings) * blend
        self._weight[inner] += blend
        self._foreground[inner] |= foreground
        self._empty = False

    def colours(self, box: Roi) -> NDArray[np.uint8]:
        """Return the colours of a box that the patches cover.

        Parameters
        ----------
        box : Roi
            Inside the hull.

        Returns
        -------
        ndarray of uint8, (Z, Y, X, 3)
            Red, green, blue are the components, each stretched over its range within objects.

        Raises
        ------
        ValueError
            If no patch covers some of it.
        """
        inner = box.shifted([-a for a in self._hull.start]).slices
        weight = self._weight[inner]
        if not weight.all():
            raise ValueError(f"patches do not cover {box}")
        components = self._sum[(slice(None), *inner)] / weight
        return stretch(components, self._foreground[inner])


def stretch(components: NDArray[np.float32], foreground: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return (Z, Y, X, 3) colours of (3, Z, Y, X) components: middle of the range is 128.

    The range runs from the 2nd to the 98th percentile within `foreground`, or everywhere where
    there is none.
    """
    inside = components[:, foreground] if foreground.any() else components.reshape(COLOURS, -1)
    low, high = np.percentile(inside, _TAILS, axis=1).astype(np.float32)
    half = np.maximum((high - low) / 2, _LEAST_RANGE)
    middle = (low + high) / 2
    scaled = (np.moveaxis(components, 0, -1) - middle) / half
    colours: NDArray[np.uint8] = np.rint(np.clip(scaled, -1, 1) * 127.5 + 127.5).astype(np.uint8)
    return colours


def blend_weights(shape: Shape) -> NDArray[np.float32]:
    """Return weights of a patch that fall off towards its border, where it knows least."""
    result = np.ones((1, 1, 1), np.float32)
    for axis, length in enumerate(shape):
        at = (np.arange(length, dtype=np.float32) + 0.5) / length
        line = np.maximum(2 * np.minimum(at, 1 - at), _LEAST_BLEND)
        result = result * line.reshape([-1 if a == axis else 1 for a in range(3)])
    return result


def hull_of(boxes: Sequence[Roi]) -> Roi:
    """Return the smallest box around some boxes."""
    start = np.min([box.start for box in boxes], axis=0).tolist()
    stop = np.max([box.stop for box in boxes], axis=0).tolist()
    return Roi((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
