"""Cutting one fragment into pieces from seeds, and measuring the pieces' contacts.

Each voxel goes to the seed with the cheapest way to it inside the fragment. A nanometre of way
costs 1 + 100 b**2, b the boundary there (from affinities, from the image, or the nearness of the
surface). This is the image foresting transform with added costs (Falcao, Stolfi, Lotufo, IEEE TPAMI
2004). A watershed, which only asks for the highest place on the way, leaves a seed that does not
lie in a hollow with a few voxels: with single random clicks in pairs of touching neurites (FIB-25,
boundary from the image) it did so for half of them, this for none, and less was given to the wrong
neurite on average.

Limits: through a hole in the membrane the nearer seed reaches into the other's half, so seeds
should lie about equally far from it, or be several. Without a boundary the shape alone tells
little: a click on the surface may give a small piece only.

Cost: about 2 microseconds for each voxel of the fragment and 50 bytes for each of its box, whatever
the number of seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import bioimage_cpp
import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import EditRejectedError, VolumeFormatError
from napari_neuropil.geometry import VoxelSize
from napari_neuropil.segmentation.darkness import membrane_depth
from napari_neuropil.segmentation.rag import Rag, build_rag

_MOST_PIECES: Final = 255
_STEEPNESS: Final = 100.0
_FULL_DEPTH: Final = 98.0
_UNKNOWN: Final = np.float32(0.5)


def boundary_from_image(image: NDArray[Any], voxel_size: VoxelSize) -> NDArray[np.float32]:
    """Estimate boundaries from grey values: how much darker a voxel is than its surroundings.

    Parameters
    ----------
    image : NDArray
        (Z, Y, X) numbers; membranes dark. Brightness and contrast do not matter.
    voxel_size : VoxelSize
        Edges in nm.

    Returns
    -------
    NDArray[np.float32]
        (Z, Y, X) in [0, 1]: the black hat of `darkness.membrane_depth` over its 98th percentile.
        All 0 where the image has no contrast.

    Raises
    ------
    VolumeFormatError
        If the image is not three-dimensional or holds values that are not finite.
    """
    if image.ndim != 3:
        raise VolumeFormatError(f"an image of shape {image.shape}", "shape (Z, Y, X)")
    grey = np.asarray(image, np.float32)
    if not bool(np.isfinite(grey).all()):
        raise VolumeFormatError("an image with values that are not finite", "finite grey values")
    if grey.size == 0:
        return grey
    depth = membrane_depth(grey, voxel_size)
    full = float(np.percentile(depth, _FULL_DEPTH)) or float(depth.max())
    if full <= 0:
        return np.zeros(image.shape, np.float32)
    boundary: NDArray[np.float32] = np.clip(depth / np.float32(full), 0, 1)
    return boundary


def split_fragment(
    mask: NDArray[np.bool_],
    seeds: NDArray[np.integer[Any]],
    *,
    boundary: NDArray[np.float32] | None,
    voxel_size: VoxelSize,
) -> NDArray[np.uint8]:
    """Cut a fragment into as many pieces as there are kinds of seeds.

    Parameters
    ----------
    mask : NDArray[np.bool_]
        (Z, Y, X) the fragment in its box.
    seeds : NDArray[np.integer]
        (Z, Y, X) 0 or the piece 1..K that the voxel shall belong to; each of 1..K at least once,
        2 <= K <= 255, all within the mask.
    boundary : NDArray[np.float32] or None
        (Z, Y, X) in [0, 1], 1 = boundary; for example 1 - lowest affinity, or
        `boundary_from_image`. None: the shape of the mask alone decides.
    voxel_size : VoxelSize
        Edges in nm.

    Returns
    -------
    NDArray[np.uint8]
        (Z, Y, X) 1..K in the mask, 0 outside. Every voxel that the mask connects (by faces) to a
        seed is connected within its piece to a seed of it; parts of the mask without a seed go
        whole to the piece nearest to them.

    Raises
    ------
    EditRejectedError
        If there are no two kinds of seeds, one of 1..K is missing, or a seed is outside the mask.
    VolumeFormatError
        If shapes or types do not fit, or the boundary is not a number in [0, 1] inside the mask.
    """
    _check_arrays(mask, seeds, boundary)
    _check_seeds(mask, seeds)
    if boundary is None:
        boundary = 1.0 - _relative_radius(mask, voxel_size)
    pieces = _grow(mask, seeds, boundary, voxel_size)
    if np.count_nonzero(pieces) < np.count_nonzero(mask):
        _give_to_nearest(pieces, mask, voxel_size)
    return pieces


def measure_pieces(
    fragments: NDArray[np.uint64] | NDArray[np.uint32],
    pieces: NDArray[np.uint64],
    affinities: NDArray[np.float32] | NDArray[np.uint8] | None,
    origin: tuple[int, int, int],
    *,
    first: tuple[int, int, int] = (0, 0, 0),
) -> Rag:
    """Measure every contact that involves a new piece.

    Parameters
    ----------
    fragments : NDArray[np.uint64] or NDArray[np.uint32]
        (Z, Y, X) ids with the pieces laid in; the box of the pieces grown by one voxel where the
        volume goes on, so that all their neighbours are in it.
    pieces : NDArray[np.uint64]
        (K,) ids of the pieces.
    affinities : NDArray or None
        (3, Z, Y, X) as in `build_rag`, over the same box; None: affinity and score are 0.5.
    origin : tuple of int
        Voxel of ``fragments[0, 0, 0]``.
    first : tuple of int
        As in `build_rag`, where the box is one of several.

    Returns
    -------
    Rag
        As a pass over the whole volume would give them, contacts without a piece left out.

    Raises
    ------
    VolumeFormatError
        As in `build_rag`.
    """
    if affinities is None:
        affinities = np.broadcast_to(_UNKNOWN, (3, *fragments.shape))
    rag = build_rag(fragments, affinities, origin=origin, first=first)
    involved = np.isin(rag.contacts, pieces).any(axis=1)
    return Rag(
        rag.contacts[involved],
        rag.affinity[involved],
        rag.area[involved],
        rag.boundary_length[involved],
        rag.centroid[involved],
        rag.score[involved],
    )


def _check_arrays(
    mask: NDArray[Any], seeds: NDArray[Any], boundary: NDArray[np.float32] | None
) -> None:
    if mask.ndim != 3 or mask.dtype != np.bool_:
        raise VolumeFormatError(
            f"a mask of shape {mask.shape}, type {mask.dtype}", "shape (Z, Y, X), type bool"
        )
    if seeds.shape != mask.shape or not np.issubdtype(seeds.dtype, np.integer):
        raise VolumeFormatError(
            f"seeds of shape {seeds.shape}, type {seeds.dtype}", f"integers, shape {mask.shape}"
        )
    if boundary is None:
        return
    if boundary.shape != mask.shape:
        raise VolumeFormatError(f"a boundary of shape {boundary.shape}", f"shape {mask.shape}")
    inside = boundary[mask]
    # NaN fails both comparisons.
    if not bool(np.all((inside >= 0) & (inside <= 1))):
        raise VolumeFormatError(
            "a boundary outside [0, 1] or not a number",
            "numbers in [0, 1]",
            "compute the affinities again; a network that gives NaN is broken",
        )


def _check_seeds(mask: NDArray[np.bool_], seeds: NDArray[Any]) -> None:
    used = np.unique(seeds[seeds != 0])
    if len(used) < 2 or not np.array_equal(used, np.arange(1, len(used) + 1)):
        raise EditRejectedError(
            f"seeds for the pieces {used[:8].tolist()}",
            "at least one seed for piece 1 and one for piece 2",
            "click both neurons",
        )
    if len(used) > _MOST_PIECES:
        raise EditRejectedError(f"seeds for {len(used)} pieces", f"at most {_MOST_PIECES} pieces")
    outside = int(np.count_nonzero(seeds[~mask]))
    if outside:
        raise EditRejectedError(
            f"{outside} seed voxel(s) outside the fragment",
            "all seeds inside the fragment that is split",
            "move the seeds onto the fragment",
        )


def _grow(
    mask: NDArray[np.bool_],
    seeds: NDArray[Any],
    boundary: NDArray[np.float32],
    voxel_size: VoxelSize,
) -> NDArray[np.uint8]:
    """Give each voxel of the mask the seed from which the cheapest way by faces comes; else 0."""
    # Here, not above: it costs a second, and opening a project should not pay for it.
    from skimage import graph

    costs = np.full(mask.shape, -1.0)
    costs[mask] = 1.0 + _STEEPNESS * boundary[mask].astype(np.float64) ** 2
    make: Callable[..., Any] = graph.MCP_Geometric  # untyped
    ways = make(costs, fully_connected=False, sampling=tuple(voxel_size))
    steps = ways.find_costs(np.argwhere(seeds > 0))[1].reshape(-1)
    strides = np.array([mask.shape[1] * mask.shape[2], mask.shape[2], 1])
    jumps = np.asarray(ways.offsets) @ strides
    inside = np.flatnonzero(mask)
    came = steps[inside]
    back = np.arange(mask.size)
    back[inside[came >= 0]] -= jumps[came[came >= 0]]
    # Each round doubles the length of the way back, until all stand on a seed or were not reached.
    while True:
        further = back[back[inside]]
        if np.array_equal(further, back[inside]):
            break
        back[inside] = further
    pieces = np.zeros(mask.shape, np.uint8)
    pieces.reshape(-1)[inside] = seeds.reshape(-1)[further]
    return pieces


def _relative_radius(space: NDArray[np.bool_], voxel_size: VoxelSize) -> NDArray[np.float32]:
    """Return the distance to the nearest voxel outside over the greatest one.

    Along an axis of one voxel nothing is outside: a fragment of one section is judged in 2D.
    """
    pads = [(1, 1) if n > 1 else (0, 0) for n in space.shape]
    padded = np.pad(space, pads)
    if padded.all() or not padded.any():
        return np.zeros(space.shape, np.float32)
    distance = bioimage_cpp.distance.distance_transform(padded, sampling=list(voxel_size))
    inner = distance[tuple(slice(p, p + n) for (p, _), n in zip(pads, space.shape, strict=True))]
    radius: NDArray[np.float32] = (inner / inner.max()).astype(np.float32)
    return radius


def _give_to_nearest(
    pieces: NDArray[np.uint8], mask: NDArray[np.bool_], voxel_size: VoxelSize
) -> None:
    """Give each part without a seed to the piece nearest to it, in place."""
    left = mask & (pieces == 0)
    parts = bioimage_cpp.segmentation.label(left, connectivity=1).reshape(-1).astype(np.int64)
    distance, nearest = bioimage_cpp.distance.distance_transform(
        pieces == 0, sampling=list(voxel_size), return_indices=True
    )
    voxels = np.flatnonzero(parts)
    # Sorted by part, then distance; the first voxel of each part decides, ties by raster order.
    voxels = voxels[np.lexsort((distance.reshape(-1)[voxels], parts[voxels]))]
    first = voxels[np.flatnonzero(np.diff(parts[voxels], prepend=0))]
    target = np.zeros(int(parts.max()) + 1, np.uint8)
    target[parts[first]] = pieces[tuple(axis.reshape(-1)[first] for axis in nearest)]
    pieces[left] = target[parts[left.reshape(-1)]]
