"""Bottlenecks: where a fragment narrows between two wide parts, as where two neurites touch.

The distance to the surface is the radius of the widest ball around a voxel. Its hills are the wide
parts; the way from one hill to another that stays as wide as possible has its narrowest place at
a saddle, the neck. Hills are found by a watershed of the distance and joined from the widest
saddle down to the narrowest, as in a maximum spanning tree; each joining is a neck between two
parts.

Cost: a distance transform and a watershed of the mask, about 0.3 microseconds a voxel of its box,
and the box is pooled to at most `MOST_VOXELS` first: a fifth of a second at most, and 20 MB.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import bioimage_cpp
import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import VolumeFormatError
from napari_neuropil.geometry import VoxelSize

MOST_VOXELS: Final = 1 << 19
"""Voxels of a padded box that are looked at; larger boxes are pooled."""
_NARROW: Final = 0.7
"""A neck wider than this share of the smaller part's radius is a mere unevenness."""

Point = tuple[int, int, int]


@dataclass(frozen=True)
class Bottleneck:
    """The most telling neck of a fragment.

    Parameters
    ----------
    score : float
        In [0, 1]: (1 - neck radius / radius of the narrower part) * sqrt(2 * share of the smaller
        part in the voxels of both). 1 would be a neck of no width between equal halves.
    position : tuple of int
        (z, y, x) voxel of the mask at the neck.
    cores : tuple of tuple of int
        The widest place of each part, the larger part first; seeds for a split.
    neck_radius, core_radius : float
        Of the neck and of the narrower part, nm.
    """

    score: float
    position: Point
    cores: tuple[Point, Point]
    neck_radius: float
    core_radius: float

    @property
    def narrowness(self) -> float:
        """Neck radius over the narrower part's radius, in (0, 1)."""
        return self.neck_radius / self.core_radius


def find_bottleneck(mask: NDArray[np.bool_], voxel_size: VoxelSize) -> Bottleneck | None:
    """Find the neck with the highest score.

    Parameters
    ----------
    mask : NDArray[np.bool_]
        (Z, Y, X) one fragment in its box; of several connected pieces, each is looked at alone.
        Along an axis of one voxel it has no surface: a fragment of one section is judged in 2D.
    voxel_size : VoxelSize
        Edges in nm.

    Returns
    -------
    Bottleneck or None
        None where no neck is narrower than 0.7 of the narrower part's radius.

    Raises
    ------
    VolumeFormatError
        If the mask is not three-dimensional, not boolean or empty.
    """
    if mask.ndim != 3 or mask.dtype != np.bool_ or not mask.any():
        raise VolumeFormatError(
            f"a mask of shape {mask.shape}, type {mask.dtype}, {np.count_nonzero(mask)} voxels",
            "shape (Z, Y, X), type bool, at least one voxel",
        )
    factors = _pooling(mask.shape, voxel_size)
    pooled = _pool(mask, factors)
    edges = [e * f for e, f in zip(voxel_size, factors, strict=True)]
    pads = [(1, 1) if n > 1 else (0, 0) for n in pooled.shape]
    padded = np.pad(pooled, pads)
    if padded.all():
        return None
    radius = bioimage_cpp.distance.distance_transform(padded, sampling=edges)
    best = _best_neck(radius, _hills(radius))
    if best is None:
        return None
    shift = np.array([p[0] for p in pads])
    points = [
        _point_in(mask, np.array(np.unravel_index(i, padded.shape)) - shift, factors)
        for i in (best.saddle, *best.peaks)
    ]
    return Bottleneck(best.score, points[0], (points[1], points[2]), best.neck, best.core)


@dataclass(frozen=True)
class _Neck:
    """A saddle between two parts; places are flat indices, the larger part's peak first."""

    score: float
    neck: float
    core: float
    saddle: int
    peaks: tuple[int, int]


def _pooling(shape: tuple[int, ...], voxel_size: VoxelSize) -> tuple[int, int, int]:
    """Return factors that make the padded box small enough, finest axes first."""
    factors = [1, 1, 1]
    edges = list(voxel_size)

    def padded() -> int:
        return int(np.prod([-(-n // f) + 2 for n, f in zip(shape, factors, strict=True)]))

    while padded() > MOST_VOXELS:
        lengths = [
            e * f if n > f else np.inf for e, f, n in zip(edges, factors, shape, strict=True)
        ]
        factors[int(np.argmin(lengths))] *= 2
    return factors[0], factors[1], factors[2]


def _pool(mask: NDArray[np.bool_], factors: tuple[int, int, int]) -> NDArray[np.bool_]:
    """Keep a coarse voxel where at least half of it, or of what lies in the box, is in the mask.

    Any voxel at all would close thin gaps, hence widen necks.
    """
    if factors == (1, 1, 1):
        return mask
    total: NDArray[Any] = mask.astype(np.float32)
    for axis, factor in enumerate(factors):
        starts = np.arange(0, mask.shape[axis], factor)
        lengths = np.diff(starts, append=mask.shape[axis])
        total = np.add.reduceat(total, starts, axis=axis)
        total /= lengths.reshape([-1 if a == axis else 1 for a in range(3)])
    pooled: NDArray[np.bool_] = total >= 0.5
    return pooled


def _hills(radius: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Label each voxel by the hill it belongs to; 0 outside."""
    # Here, not above: it costs a second.
    from skimage import morphology

    # Half a percent of roughness would make a hill of every other voxel.
    smooth = bioimage_cpp.filters.gaussian_smoothing(radius, 1.0)
    smooth[radius == 0] = 0
    find: Callable[..., NDArray[np.bool_]] = morphology.local_maxima  # untyped
    tops = find(smooth, connectivity=3) & (radius > 0)
    seeds = bioimage_cpp.segmentation.label(tops, connectivity=3).astype(np.uint32)
    hills: NDArray[np.uint32] = bioimage_cpp.segmentation.watershed(
        np.ascontiguousarray(-smooth), seeds, mask=radius > 0
    )
    return hills


def _best_neck(radius: NDArray[np.float32], hills: NDArray[np.uint32]) -> _Neck | None:
    """Join hills from the widest saddle down and return the joining with the highest score."""
    flat_hills, flat_radius = hills.reshape(-1).astype(np.int64), radius.reshape(-1)
    inside = np.flatnonzero(flat_hills)
    count = int(flat_hills.max()) + 1
    # Later writes win: sorted by radius, the widest voxel of each hill stays.
    peak = np.zeros(count, np.int64)
    ordered = inside[np.argsort(flat_radius[inside], kind="stable")]
    peak[flat_hills[ordered]] = ordered
    voxels = np.bincount(flat_hills[inside], minlength=count)
    first, second, width, place = _saddles(flat_hills, flat_radius, radius.shape)
    root = list(range(count))

    def find(hill: int) -> int:
        while root[hill] != hill:
            root[hill] = root[root[hill]]
            hill = root[hill]
        return hill

    best: _Neck | None = None
    for row in np.argsort(-width, kind="stable").tolist():
        a, b = find(int(first[row])), find(int(second[row]))
        if a == b:
            continue
        if voxels[a] < voxels[b]:
            a, b = b, a
        neck, core = float(width[row]), float(min(flat_radius[peak[a]], flat_radius[peak[b]]))
        share = voxels[b] / (voxels[a] + voxels[b])
        score = float((1.0 - neck / core) * np.sqrt(2.0 * share))
        if neck <= _NARROW * core and (best is None or score > best.score):
            best = _Neck(score, neck, core, int(place[row]), (int(peak[a]), int(peak[b])))
        if flat_radius[peak[b]] > flat_radius[peak[a]]:
            peak[a] = peak[b]
        voxels[a] += voxels[b]
        root[b] = a
    return best


def _saddles(
    hills: NDArray[np.int64], radius: NDArray[np.float32], shape: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    """Return the widest place between each two hills that touch: the hills, its radius, its index.

    The radius of a pair of voxels is the smaller one, and its place that voxel.
    """
    index = np.arange(hills.size).reshape(shape)
    lows, highs = [], []
    for axis in range(3):
        along = np.moveaxis(index, axis, 0)
        lows.append(along[:-1].reshape(-1))
        highs.append(along[1:].reshape(-1))
    low, high = np.concatenate(lows), np.concatenate(highs)
    crossing = (hills[low] != hills[high]) & (hills[low] > 0) & (hills[high] > 0)
    low, high = low[crossing], high[crossing]
    width = np.minimum(radius[low], radius[high])
    place = np.where(radius[low] <= radius[high], low, high)
    first = np.minimum(hills[low], hills[high])
    second = np.maximum(hills[low], hills[high])
    order = np.lexsort((-width, second, first))
    first, second = first[order], second[order]
    widest = np.ones(len(order), bool)
    widest[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    rows = order[widest]
    return first[widest], second[widest], width[rows], place[rows]


def _point_in(
    mask: NDArray[np.bool_], coarse: NDArray[np.int64], factors: tuple[int, int, int]
) -> Point:
    """Return the voxel of the mask nearest to the middle of a coarse voxel."""
    start = coarse * factors
    block = mask[tuple(slice(s, s + f) for s, f in zip(start, factors, strict=True))]
    inside = np.argwhere(block)
    middle = (np.array(block.shape) - 1) / 2
    z, y, x = start + inside[int(np.argmin(((inside - middle) ** 2).sum(axis=1)))]
    return int(z), int(y), int(x)
