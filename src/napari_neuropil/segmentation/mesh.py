"""The surface of a segment as triangles: pooled to a budget, meshed chunk by chunk, welded.

Marching cubes (Lorensen and Cline 1987, in the topologically safe form of Lewiner et al. 2003, by
scikit-image) of the share of the segment in each pooled voxel. scikit-image holds the
interpreter's lock while it works, so a box is meshed in chunks of a few milliseconds each, and
chunks without surface, most of a neuron's box, are passed over. Neighbouring chunks share one plane
of voxels; vertices on it come out equal to the bit from both sides, and are welded, so the surface
is the one that a single pass would give. It is closed also where the box cuts the segment.

Cost: one pass over the voxels of the box, memory of one slab of it and of the pooled box.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from skimage.measure import marching_cubes

from napari_neuropil.errors import CancelledError, VolumeFormatError
from napari_neuropil.geometry import Roi, Shape, VoxelSize

MESH_VOXELS: Final = 1 << 22
"""Pooled voxels of a box by default: about a second of work for a segment that fills it."""

_CHUNK: Final = 32
_SLAB_VOXELS: Final = 1 << 22
_SHARE: Final = 0.3
# scikit-image is untyped.
_marching_cubes: Final[Callable[..., tuple[NDArray[Any], ...]]] = marching_cubes


@dataclass(frozen=True, eq=False)
class Mesh:
    """A surface of triangles.

    Parameters
    ----------
    vertices : NDArray[np.float32]
        (V, 3) places in nm, (z, y, x); the centre of voxel 0 is the origin.
    faces : NDArray[np.int32]
        (F, 3) rows of `vertices`, counter-clockwise seen from outside once the axes are
        (x, y, z), as mesh files want it.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]

    @classmethod
    def empty(cls) -> Mesh:
        """Return a mesh without faces."""
        return cls(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))

    def __len__(self) -> int:
        """Return the number of faces."""
        return len(self.faces)

    @property
    def volume_um3(self) -> float:
        """Volume inside the surface in cubic micrometres, by the divergence theorem."""
        if len(self.faces) == 0:
            return 0.0
        # About the middle: far from the origin the terms would cancel badly.
        centred = self.vertices[:, ::-1].astype(np.float64)
        centred -= centred.mean(axis=0)
        a, b, c = (centred[self.faces[:, corner]] for corner in range(3))
        return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6.0 * 1e-9)


def mesh_mask(
    mask: NDArray[np.bool_],
    voxel_size: VoxelSize,
    *,
    origin: Shape = (0, 0, 0),
    translation: tuple[float, float, float] = (0.0, 0.0, 0.0),
    factors: Shape = (1, 1, 1),
) -> Mesh:
    """Return the surface of a mask.

    Parameters
    ----------
    mask : NDArray[np.bool_]
        (Z, Y, X).
    voxel_size : VoxelSize
        In nm.
    origin : tuple of int
        Voxel of ``mask[0, 0, 0]`` in its volume.
    translation : tuple of float
        World position of the volume's voxel 0, nm.
    factors : tuple of int
        Voxels pooled into one, (z, y, x); see `pooling_factors`.

    Returns
    -------
    Mesh
        Empty where the mask is.

    Raises
    ------
    VolumeFormatError
        If the mask is not three-dimensional.
    """
    if mask.ndim != 3:
        raise VolumeFormatError(f"a mask of shape {mask.shape}", "shape (Z, Y, X)")
    if mask.size == 0:
        return Mesh.empty()
    shift = [t + o * v for t, o, v in zip(translation, origin, voxel_size, strict=True)]
    return mesh_box(
        lambda box: mask[box.slices],
        Roi.of_shape(mask.shape),
        voxel_size,
        translation=(shift[0], shift[1], shift[2]),
        factors=factors,
    )


def mesh_box(
    read: Callable[[Roi], NDArray[np.bool_]],
    roi: Roi,
    voxel_size: VoxelSize,
    *,
    translation: tuple[float, float, float] = (0.0, 0.0, 0.0),
    factors: Shape = (1, 1, 1),
    stop: Callable[[], bool] | None = None,
) -> Mesh:
    """Return the surface of what a function reads, block by block.

    Parameters
    ----------
    read : callable
        Takes a box in voxels, returns a boolean array of its shape.
    roi : Roi
        Where to read; the surface is closed at its border.
    voxel_size : VoxelSize
        In nm.
    translation : tuple of float
        World position of the volume's voxel 0, nm.
    factors : tuple of int
        Voxels pooled into one, (z, y, x); see `pooling_factors`.
    stop : callable, optional
        Asked before every step; True ends the work.

    Returns
    -------
    Mesh

    Raises
    ------
    CancelledError
        If `stop` said so.
    """
    share = _pooled_share(read, roi, factors, stop)
    # Unpooled values are 0 and 1. Of pooled ones 0.3 keeps thin neurites that 0.5 would tear.
    level = 0.5 if factors == (1, 1, 1) else _SHARE
    vertices, faces = _march(share, level, stop)
    edges = np.array([v * f for v, f in zip(voxel_size, factors, strict=True)])
    # Voxel 0 of `share` is the border of zeros; a pooled voxel lies at the middle of its pool.
    first = [
        t + (a + (f - 1) / 2) * v - e
        for t, a, f, v, e in zip(translation, roi.start, factors, voxel_size, edges, strict=True)
    ]
    return Mesh((vertices * edges + np.array(first)).astype(np.float32), faces)


def pooling_factors(shape: Shape, voxel_size: VoxelSize, budget: int = MESH_VOXELS) -> Shape:
    """Return the voxels to pool into one so that a box has at most `budget` of the pooled ones.

    The axis with the shortest edge is pooled first, so thick sections are pooled last.

    Parameters
    ----------
    shape : tuple of int
        Of the box, voxels.
    voxel_size : VoxelSize
        In nm.
    budget : int
        Pooled voxels, at least 1.
    """
    factors = [1, 1, 1]
    edges = list(voxel_size)
    while math.prod(-(-n // f) for n, f in zip(shape, factors, strict=True)) > max(1, budget):
        open_axes = [axis for axis in range(3) if factors[axis] < shape[axis]]
        axis = min(open_axes, key=lambda a: edges[a] * factors[a])
        factors[axis] += 1
    return factors[0], factors[1], factors[2]


def _pooled_share(
    read: Callable[[Roi], NDArray[np.bool_]],
    roi: Roi,
    factors: Shape,
    stop: Callable[[], bool] | None,
) -> NDArray[np.float32]:
    """Return the share of the segment in each pooled voxel, with a border of zeros."""
    pooled = [-(-n // f) for n, f in zip(roi.shape, factors, strict=True)]
    share = np.zeros([n + 2 for n in pooled], np.float32)
    steps = list(pooled)
    while math.prod(n * f for n, f in zip(steps, factors, strict=True)) > _SLAB_VOXELS:
        axis = max(range(3), key=lambda a: (steps[a] > 1, -a))
        if steps[axis] == 1:
            break
        steps[axis] = -(-steps[axis] // 2)
    starts = (range(0, n, step) for n, step in zip(pooled, steps, strict=True))
    for corner in itertools.product(*starts):
        _check(stop)
        begin = [a + c * f for a, c, f in zip(roi.start, corner, factors, strict=True)]
        end = [
            min(b, a + n * f) for a, b, n, f in zip(begin, roi.stop, steps, factors, strict=True)
        ]
        box = Roi((begin[0], begin[1], begin[2]), (end[0], end[1], end[2]))
        block = _pool(np.asarray(read(box), bool), factors)
        inside = tuple(slice(c + 1, c + 1 + n) for c, n in zip(corner, block.shape, strict=True))
        share[inside] = block
    return share


def _pool(mask: NDArray[np.bool_], factors: Shape) -> NDArray[np.float32]:
    """Return the mean over pools; what lies beyond the end counts as outside."""
    total = mask.view(np.uint8)
    for axis, factor in enumerate(factors):
        if factor > 1:
            starts = np.arange(0, total.shape[axis], factor)
            total = np.add.reduceat(total, starts, axis=axis, dtype=np.uint32)
    return total.astype(np.float32) / np.float32(math.prod(factors))


def _march(
    share: NDArray[np.float32], level: float, stop: Callable[[], bool] | None
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Return vertices in voxels of `share` and faces, chunks welded."""
    places: list[NDArray[np.float64]] = []
    faces: list[NDArray[np.int64]] = []
    seams: list[NDArray[np.int64]] = []
    count = 0
    for start in _chunk_starts(share.shape):
        _check(stop)
        chunk = share[tuple(slice(n, n + _CHUNK + 1) for n in start)]
        if not (chunk.max() > level >= chunk.min()):
            continue
        local, triangles, *_ = _marching_cubes(chunk, level)
        end = np.array(chunk.shape) - 1
        on_seam = ((local == 0) | (local == end)).any(axis=1)
        seams.append(np.flatnonzero(on_seam) + count)
        places.append(local.astype(np.float64) + start)
        faces.append(triangles.astype(np.int64) + count)
        count += len(local)
    if not places:
        return np.zeros((0, 3)), np.zeros((0, 3), np.int32)
    return _weld(np.concatenate(places), np.concatenate(faces), np.concatenate(seams))


def _chunk_starts(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    return itertools.product(*(range(0, n - 1, _CHUNK) for n in shape))


def _weld(
    places: NDArray[np.float64], faces: NDArray[np.int64], seam: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Make one vertex of equal ones on the planes between chunks; drop faces without area."""
    target = np.arange(len(places))
    order = seam[np.lexsort(places[seam].T)]
    if len(order):
        new = np.ones(len(order), bool)
        new[1:] = (places[order[1:]] != places[order[:-1]]).any(axis=1)
        target[order] = order[np.flatnonzero(new)][np.cumsum(new) - 1]
    faces = target[faces]
    a, b, c = faces.T
    faces = faces[(a != b) & (b != c) & (a != c)]
    kept = np.zeros(len(places), bool)
    kept[faces] = True
    row = np.cumsum(kept) - 1
    return places[kept], row[faces].astype(np.int32)


def _check(stop: Callable[[], bool] | None) -> None:
    if stop is not None and stop():
        raise CancelledError("Meshing was cancelled.")
