"""Whether embeddings fall into two groups, and a voxel for each: where a segment may be split.

The network's loss draws the vectors of an object to their mean and pushes the means of two objects
3 apart in L1 (twice its margin of 1.5; Lee, Lu, Luther and Seung, IEEE TMI 40(12), 2021, section
III). Two groups in one segment whose means are 1.5 apart or more look like two neurons.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_neuropil.errors import VolumeFormatError
from napari_neuropil.geometry import VoxelSize
from napari_neuropil.segmentation.metric_offsets import HALF_WAY

FAR_APART: Final = 2 * HALF_WAY
"""L1 distance from which on the loss no longer pushes: as sure as the network can be."""

_MOST_ROUNDS: Final = 100


@dataclass(frozen=True, eq=False)
class TwoMeans:
    """Vectors in two groups; the first is the heavier one.

    Parameters
    ----------
    means : ndarray of float32, (2, D)
        Of the groups; both the same where the vectors do not differ.
    second : ndarray of bool, (N,)
        Which vectors are in the second group.
    distance : float
        L1 distance of the means.
    spread : float
        Mean L1 distance of a vector from its own group's mean.
    """

    means: NDArray[np.float32]
    second: NDArray[np.bool_]
    distance: float
    spread: float

    @property
    def separation(self) -> float:
        """How much farther apart the groups are than wide; infinite where they have no width."""
        if self.spread > 0:
            return self.distance / self.spread
        return np.inf if self.distance > 0 else 0.0

    @property
    def two_objects(self) -> bool:
        """Whether the groups are as far apart as two objects."""
        return self.distance >= HALF_WAY


def two_means(
    vectors: NDArray[np.float32], weights: NDArray[np.floating[Any]] | None = None
) -> TwoMeans:
    """Part vectors into the two groups of least squared distance from their means.

    The start is the best cut of the vectors' first principal component, found exactly, so equal
    input gives equal groups; then assignment and means take turns (Lloyd, IEEE Trans. Inf. Theory
    28, 1982) until nothing changes.

    Parameters
    ----------
    vectors : ndarray of float32, (D, N)
        Embeddings of one segment's voxels in one patch, or means of its fragments there.
    weights : ndarray, (N,), optional
        Positive, for example the fragments' voxels.

    Raises
    ------
    VolumeFormatError
        If there is no vector, a value is not finite, or a weight is not positive.
    """
    share = _checked_shares(vectors, weights)
    mean = vectors @ share
    centred = vectors - mean[:, None]
    second = _first_cut(centred, share)
    pair = np.zeros((2, len(vectors)), np.float32)
    for _ in range(_MOST_ROUNDS):
        if not second.any() or second.all():
            break
        pair = np.stack([_mean_of(centred, share, ~second), _mean_of(centred, share, second)])
        axis = pair[1] - pair[0]
        moved = axis @ centred > axis @ pair.mean(axis=0)
        if np.array_equal(moved, second):
            break
        second = moved
    if not second.any() or second.all():
        second, pair = np.zeros(len(share), bool), np.zeros_like(pair)
    elif float(share @ second) > 0.5:
        second, pair = ~second, pair[::-1]
    own = np.where(second, pair[1][:, None], pair[0][:, None])
    spread = float(share @ np.abs(centred - own).sum(axis=0))
    distance = float(np.abs(pair[1] - pair[0]).sum())
    return TwoMeans((pair + mean).astype(np.float32), second, distance, spread)


def _checked_shares(
    vectors: NDArray[np.float32], weights: NDArray[np.floating[Any]] | None
) -> NDArray[np.float32]:
    count = vectors.shape[1]
    given = np.ones(count, np.float32) if weights is None else weights
    if not count or not np.isfinite(vectors).all():
        raise VolumeFormatError(
            f"{count} embeddings, not all of them finite" if count else "no embeddings at all",
            "finite vectors of at least one voxel",
            "check the checkpoint, and that the image holds no NaN.",
        )
    if given.shape != (count,) or not (given > 0).all():
        raise VolumeFormatError(
            f"weights of shape {given.shape} from {given.min():g}", f"{count} positive numbers", ""
        )
    share: NDArray[np.float32] = (given / given.sum(dtype=np.float64)).astype(np.float32)
    return share


def _first_cut(centred: NDArray[np.float32], share: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Cut the first principal component where the squared distances left are least."""
    _, axes = np.linalg.eigh(((centred * share) @ centred.T).astype(np.float64))
    component = axes[:, -1].astype(np.float32) @ centred
    order = np.argsort(component, kind="stable")
    along = component[order]
    below = np.cumsum(share[order], dtype=np.float64)[:-1]
    moment = np.cumsum(share[order] * along, dtype=np.float64)[:-1]
    # The mean is 0, so what lies above has the same moment with the other sign. Equal values stay
    # together.
    gain = moment**2 / (below * np.maximum(1 - below, 1e-12))
    gain[along[1:] == along[:-1]] = 0
    second = np.zeros(len(share), bool)
    if gain.size and gain.max() > 0:
        second[order[int(np.argmax(gain)) + 1 :]] = True
    return second


def _mean_of(
    centred: NDArray[np.float32], share: NDArray[np.float32], inside: NDArray[np.bool_]
) -> NDArray[np.float32]:
    mine = share * inside
    mean: NDArray[np.float32] = centred @ mine / mine.sum()
    return mean


def seed_voxel(
    depth: NDArray[np.float32], embeddings: NDArray[np.float32], mean: NDArray[np.float32]
) -> tuple[int, int, int]:
    """Return the voxel that stands for one side: deep inside it, and typical.

    Of the half of its voxels that are nearest to the mean, the deepest; of several, the nearest to
    the mean.

    Parameters
    ----------
    depth : ndarray of float32, (Z, Y, X)
        Of the side's voxels (`depth_inside`); 0 outside. Not 0 everywhere.
    embeddings : ndarray of float32, (D, Z, Y, X)
        Of the same box.
    mean : ndarray of float32, (D,)
        Of the side.
    """
    side = depth > 0
    places = np.argwhere(side)
    away = np.abs(embeddings[:, side] - mean[:, None]).sum(axis=0)
    typical = np.flatnonzero(away <= np.median(away))
    best = typical[np.lexsort((away[typical], -depth[side][typical]))[0]]
    z, y, x = (int(v) for v in places[best])
    return z, y, x


def depth_inside(mask: NDArray[np.bool_], voxel_size: VoxelSize) -> NDArray[np.float32]:
    """Return each voxel's distance in nm to the nearest voxel outside, 0 outside.

    The border of the array is no outside; a mask that fills it is equally deep everywhere.
    """
    if mask.all():
        return np.full(mask.shape, np.inf, np.float32)
    depth: NDArray[np.float32] = ndimage.distance_transform_edt(
        mask, sampling=tuple(voxel_size)
    ).astype(np.float32)
    return depth
