"""Labels on a coarser grid within the section: which objects a voxel holds, and how much of each.

Resizing one mask an object costs a volume an object. A linear resize within the section looks at
four voxels only, so four ids and four weights say the same, whatever the number of objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

BACKGROUND: Final = 0
FREE: Final = -1
"""Belongs to an object that is not learned: neither that object nor background is right there."""


@dataclass(frozen=True, slots=True)
class SoftLabels:
    """Soft masks of objects, as the four neighbours of each voxel on the finer grid.

    The mask of object g at voxel v is the sum of ``weights[i, v]`` over the i with
    ``objects[i, v] == g``; the same object may stand there several times.

    Parameters
    ----------
    objects : ndarray of int64, (4, V)
        1 to `count`, 0 = background, -1 = free; V runs in raster order.
    weights : ndarray of float32, (4, V)
        Not negative, their sum at a voxel is 1.
    count : int
        Number of objects.
    """

    objects: NDArray[np.int64]
    weights: NDArray[np.float32]
    count: int

    def areas(self) -> NDArray[np.float64]:
        """Return the soft volumes of the objects in voxels, (count,)."""
        # One more than the free label, which would be a negative index.
        shares: NDArray[np.float64] = np.bincount(
            self.objects.ravel() + 1, self.weights.ravel(), minlength=self.count + 2
        ).astype(np.float64)
        return shares[2:]


@dataclass(frozen=True, slots=True)
class LinearPlaces:
    """Where the samples of a linear resize lie on the finer axis.

    Parameters
    ----------
    low, high : ndarray of int64, (n,)
        Neighbours below and above.
    share : ndarray of float64, (n,)
        Weight of the neighbour above.
    """

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    share: NDArray[np.float64]


def linear_places(length: int, wanted: int) -> LinearPlaces:
    """Return the neighbours and weights that bring an axis of `length` to `wanted` samples.

    Voxels are areas, not points: the first sample lies in the middle of the first `wanted`-th of
    the axis (``align_corners=False``).
    """
    place = np.maximum((np.arange(wanted) + 0.5) * length / wanted - 0.5, 0)
    low = np.minimum(place.astype(np.int64), length - 1)
    return LinearPlaces(low, np.minimum(low + 1, length - 1), place - low)


def resize_labels(
    objects: NDArray[np.int64], count: int, rows: LinearPlaces, columns: LinearPlaces
) -> SoftLabels:
    """Resize all masks of a labelled patch within its sections.

    Parameters
    ----------
    objects : ndarray of int64, (Z, Y, X)
        1 to `count`, 0 = background, -1 = free.
    count : int
        Number of objects.
    rows, columns : LinearPlaces
        Of y and x.
    """
    ids, weights = [], []
    for row, of_row in ((rows.low, 1 - rows.share), (rows.high, rows.share)):
        for column, of_column in (
            (columns.low, 1 - columns.share),
            (columns.high, columns.share),
        ):
            ids.append(objects[:, row[:, None], column].ravel())
            weight = of_row[:, None] * of_column
            weights.append(np.broadcast_to(weight, (len(objects), *weight.shape)).ravel())
    return SoftLabels(np.stack(ids), np.stack(weights).astype(np.float32), count)


def resize_sections(
    values: NDArray[np.float32], rows: LinearPlaces, columns: LinearPlaces
) -> NDArray[np.float32]:
    """Resize the last two axes linearly.

    Parameters
    ----------
    values : ndarray of float32, (..., Y, X)
        On the finer grid.
    rows, columns : LinearPlaces
        Of y and x.
    """
    share = columns.share.astype(np.float32)
    values = values[..., columns.low] * (1 - share) + values[..., columns.high] * share
    share = rows.share.astype(np.float32)[:, None]
    return values[..., rows.low, :] * (1 - share) + values[..., rows.high, :] * share
