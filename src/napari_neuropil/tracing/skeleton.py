"""The centre line of a segment as a tree of points with radii.

TEASAR: from the end farthest from a root, a path is led back through the middle of the object, and
what lies within ``scale * radius + constant`` of it counts as covered; the farthest end of the rest
begins the next path. Large ``constant`` leaves short twigs out.

A segment whose box is large is pooled first: a pooled voxel is inside if one of its voxels is, so
thin neurites stay whole. Cost: O(n log n) in the pooled voxels of the segment for each path.

Source: Sato et al., TEASAR: tree-structure extraction algorithm for accurate and robust skeletons,
Pacific Graphics 2000.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import bioimage_cpp
import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import SettingsError
from napari_neuropil.geometry import Roi, Shape, VoxelSize

SKELETON_VOXELS: Final = 1 << 24
"""Pooled voxels of a box by default."""

_SLAB_VOXELS: Final = 1 << 23
_SCALE: Final = 1.5
_CONSTANT_NM: Final = 300.0


@dataclass(frozen=True, eq=False)
class Skeleton:
    """A forest: one tree for each connected part of the segment.

    Parameters
    ----------
    vertices : NDArray[np.float64]
        (V, 3) world places in nm, (z, y, x).
    edges : NDArray[np.int64]
        (E, 2) rows of `vertices`.
    radii : NDArray[np.float64]
        (V,) distance to the surface, nm.
    """

    vertices: NDArray[np.float64]
    edges: NDArray[np.int64]
    radii: NDArray[np.float64]

    def __len__(self) -> int:
        """Return the number of points."""
        return len(self.vertices)

    @property
    def length_nm(self) -> float:
        """Length of all edges."""
        ends = self.vertices[self.edges]
        return float(np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1).sum())


class _Method(Protocol):
    def __call__(
        self, mask: NDArray[np.bool_], spacing: tuple[float, float, float], constant: float
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Return vertices in nm from voxel 0, edges and radii."""
        ...


def _teasar(
    mask: NDArray[np.bool_], spacing: tuple[float, float, float], constant: float
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    found: tuple[NDArray[Any], NDArray[Any], NDArray[Any]] = bioimage_cpp.skeleton.teasar(
        mask, spacing=spacing, scale=_SCALE, constant=constant
    )
    return found


def _kimimaro(
    mask: NDArray[np.bool_], spacing: tuple[float, float, float], constant: float
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    from napari_neuropil.tracing._kimimaro import trace

    return trace(mask, spacing, scale=_SCALE, constant=constant)


SKELETON_METHODS: Final[dict[str, _Method]] = {"teasar": _teasar, "kimimaro": _kimimaro}
"""By name; kimimaro also knows cell bodies and needs its extra."""


def skeletonize(
    read: Callable[[Roi], NDArray[np.bool_]],
    roi: Roi,
    voxel_size: VoxelSize,
    *,
    translation: tuple[float, float, float] = (0.0, 0.0, 0.0),
    factors: Shape = (1, 1, 1),
    method: str = "teasar",
    constant_nm: float = _CONSTANT_NM,
) -> Skeleton:
    """Return the skeleton of what a function reads.

    Parameters
    ----------
    read : callable
        Takes a box in voxels, returns a boolean array of its shape.
    roi : Roi
        The box of the segment.
    voxel_size : VoxelSize
        In nm.
    translation : tuple of float
        World position of the volume's voxel 0, nm.
    factors : tuple of int
        Voxels pooled into one, (z, y, x).
    method : str
        Row of `SKELETON_METHODS`.
    constant_nm : float
        Twigs shorter than about this are left out.

    Returns
    -------
    Skeleton
        Empty where nothing is inside.

    Raises
    ------
    SettingsError
        If there is no such method.
    MissingExtraError
        If the method's package is not installed.
    """
    trace = SKELETON_METHODS.get(method)
    if trace is None:
        raise SettingsError(
            f"There is no skeleton method {method!r}.", f"one of {', '.join(SKELETON_METHODS)}", ""
        )
    mask = _pool_any(read, roi, factors)
    size = voxel_size.scaled(factors)
    if not mask.any():
        return Skeleton(np.zeros((0, 3)), np.zeros((0, 2), np.int64), np.zeros(0))
    vertices, edges, radii = trace(mask, (size.z, size.y, size.x), constant_nm)
    # A pooled voxel lies at the middle of its pool.
    origin = [
        t + (a + (f - 1) / 2) * v
        for t, a, f, v in zip(translation, roi.start, factors, voxel_size, strict=True)
    ]
    return Skeleton(
        np.asarray(vertices, np.float64).reshape(-1, 3) + np.array(origin),
        np.asarray(edges, np.int64).reshape(-1, 2),
        np.asarray(radii, np.float64),
    )


def _pool_any(
    read: Callable[[Roi], NDArray[np.bool_]], roi: Roi, factors: Shape
) -> NDArray[np.bool_]:
    """Return which pooled voxels hold a voxel of the segment, read slab by slab."""
    pooled = [-(-n // f) for n, f in zip(roi.shape, factors, strict=True)]
    mask = np.zeros(pooled, bool)
    steps = list(pooled)
    while math.prod(n * f for n, f in zip(steps, factors, strict=True)) > _SLAB_VOXELS:
        axis = max(range(3), key=lambda a: steps[a])
        if steps[axis] == 1:
            break
        steps[axis] = -(-steps[axis] // 2)
    for corner in itertools.product(
        *(range(0, n, step) for n, step in zip(pooled, steps, strict=True))
    ):
        begin = [a + c * f for a, c, f in zip(roi.start, corner, factors, strict=True)]
        end = [
            min(b, a + n * f) for a, b, n, f in zip(begin, roi.stop, steps, factors, strict=True)
        ]
        box = Roi((begin[0], begin[1], begin[2]), (end[0], end[1], end[2]))
        part = np.asarray(read(box), bool)
        for axis, factor in enumerate(factors):
            if factor > 1:
                starts = np.arange(0, part.shape[axis], factor)
                part = np.logical_or.reduceat(part, starts, axis=axis)
        place = tuple(slice(c, c + n) for c, n in zip(corner, part.shape, strict=True))
        mask[place] = part
    return mask
