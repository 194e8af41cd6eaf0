"""Who owns each voxel: neurites compete, glia takes the rest.

A voxel belongs to the neurite whose surface is nearest (distance to its axis minus its radius, an
additively weighted Voronoi diagram; Aurenhammer 1991, section 3.1.2), or to glia where every
surface is farther than a gap. Half the difference of the two smallest values is the distance to
the membrane. The cost is that of the boxes around the tubes' pieces, some ten times the volume.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from napari_neuropil.synthetic.grid import Field, Grid, measure_capsule
from napari_neuropil.synthetic.neurites import Neurite
from napari_neuropil.synthetic.noise import make_smooth_noise

Ids = NDArray[np.uint32]

FAR: Final = 60.0
"""Distance to a membrane, nm, beyond which it is not followed."""

_SMALLEST = 1.2e6  # nm^3; a smaller piece goes to its neighbour


@dataclass
class Tissue:
    """Dense ownership of the layers.

    Parameters
    ----------
    owners : ndarray of uint32, (L, Y, X)
        Object of each voxel: 1 + index of the neurite, glia above.
    others : ndarray of uint32, (L, Y, X)
        Nearest other neurite, 0 where none is near.
    segments : ndarray of int32, (L, Y, X)
        Row of `Axes` that is nearest, -1 where no neurite is near.
    depth : ndarray of float32, (L, Y, X)
        Distance to the membrane, nm, at most `FAR`.
    """

    owners: Ids
    others: Ids
    segments: NDArray[np.int32]
    depth: Field


def fill_tissue(grid: Grid, neurites: list[Neurite], rng: np.random.Generator) -> Tissue:
    """Share the voxels of a grid between neurites and glia.

    Parameters
    ----------
    grid : Grid
        Coordinates of the voxels.
    neurites : list of Neurite
        Competitors; object ids are 1 + their index.
    rng : numpy.random.Generator
        Source of the numbers.
    """
    nearest = np.full(grid.shape, 2 * FAR, dtype=np.float32)
    second = np.full(grid.shape, 2 * FAR, dtype=np.float32)
    owners = np.zeros(grid.shape, dtype=np.uint32)
    others = np.zeros(grid.shape, dtype=np.uint32)
    segments = np.full(grid.shape, -1, dtype=np.int32)
    row = -1
    for index, neurite in enumerate(neurites):
        for tube in neurite.tubes:
            for i in range(len(tube.points) - 1):
                row += 1
                ends = tube.points[i : i + 2]
                reach = float(tube.radii[i : i + 2].max()) + FAR
                box = grid.box(ends.min(axis=0) - reach, ends.max(axis=0) + reach)
                if box is None:
                    continue
                radii = float(tube.radii[i]), float(tube.radii[i + 1])
                value, _ = measure_capsule(grid.coordinates[:, *box], ends[0], ends[1], radii)
                wins = _compete(
                    np.uint32(index + 1),
                    value,
                    (nearest[box], second[box], owners[box], others[box]),
                )
                segments[box][wins] = row
    gap = 22 + 14 * make_smooth_noise(grid.shape, grid.spacing, 300, rng)
    np.clip(gap, 4, None, out=gap)
    depth = np.minimum((second - nearest) / 2, gap - nearest)
    glia = nearest > gap
    depth[glia] = nearest[glia] - gap[glia]
    identity, apart = _share_glia(grid, glia, rng)
    owners[glia] = identity + np.uint32(len(neurites) + 1)
    depth[glia] = np.minimum(depth[glia], apart)
    np.clip(depth, 0, FAR, out=depth)
    return Tissue(owners, others, segments, depth)


def _compete(
    owner: np.uint32, value: Field, state: tuple[Field, Field, Ids, Ids]
) -> NDArray[np.bool_]:
    """Enter one segment's values and tell where it is nearest.

    All segments of an owner must come one after the other.
    """
    nearest, second, owners, others = state
    own = owners == owner
    wins = value < nearest
    overtakes = wins & ~own
    np.copyto(second, nearest, where=overtakes)
    np.copyto(others, owners, where=overtakes)
    runner_up = ~wins & ~own & (value < second)
    np.copyto(second, value, where=runner_up)
    np.copyto(others, owner, where=runner_up)
    np.copyto(nearest, value, where=wins)
    owners[overtakes] = owner
    return wins


def _share_glia(grid: Grid, glia: NDArray[np.bool_], rng: np.random.Generator) -> tuple[Ids, Field]:
    """Return territory and distance to the next one for each glia voxel."""
    extent = np.array(grid.shape) * grid.spacing
    count = max(2, int(np.ceil(np.prod((extent + 600) / 1400))))
    seeds = rng.uniform(-300, extent + 300, (count, 3))
    places = grid.coordinates[:, glia].T
    if not len(places):
        return np.zeros(0, np.uint32), np.zeros(0, np.float32)
    found = cKDTree(seeds).query(places, k=2)
    distance, index = np.asarray(found[0]), np.asarray(found[1])
    return index[:, 0].astype(np.uint32), ((distance[:, 1] - distance[:, 0]) / 2).astype(np.float32)


def label_tissue(tissue: Tissue, grid: Grid, voxel_volume: float) -> tuple[Ids, NDArray[np.uint32]]:
    """Return connected objects of the sections and clean the tissue of crumbs.

    A neurite that leaves the volume and comes back is two objects; a piece too small to follow
    joins its neighbour, and the membrane around it goes.

    Parameters
    ----------
    tissue : Tissue
        Its `depth` is changed in place.
    grid : Grid
        Its coordinates.
    voxel_volume : float
        nm^3, of a voxel of a section.

    Returns
    -------
    labels : ndarray of uint32, (Z, Y, X)
        Consecutive ids from 1, no 0.
    owners : ndarray of uint32, (N + 1,)
        The owner of each id; the first is 0.
    """
    owners = grid.middle(tissue.owners)
    raw = pieces = _connect(owners)
    sizes = np.bincount(pieces.ravel())
    kept = sizes * voxel_volume >= _SMALLEST
    if not kept.any():
        kept = sizes == sizes.max()
    crumbs = ~kept[pieces]
    if crumbs.any():
        nearest = ndimage.distance_transform_edt(
            crumbs, sampling=(3.0, 1.0, 1.0), return_distances=False, return_indices=True
        )
        pieces = pieces[tuple(nearest)]
        _clear_membranes(tissue, grid, pieces, crumbs)
    used, labels = np.unique(pieces, return_inverse=True)
    first = np.zeros(len(sizes), dtype=np.uint32)
    first[raw] = owners
    table = np.concatenate([np.zeros(1, np.uint32), first[used]])
    return (labels.reshape(owners.shape) + 1).astype(np.uint32), table


def _connect(owners: Ids) -> NDArray[np.int32]:
    """Return 6-connected pieces of equal owner, numbered from 0."""
    index = np.arange(owners.size, dtype=np.int32).reshape(owners.shape)
    pairs = []
    for axis in range(3):
        low = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        high = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        same = owners[low] == owners[high]
        pairs.append(np.stack([index[low][same], index[high][same]]))
    rows, columns = np.concatenate(pairs, axis=1)
    graph = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(owners.size,) * 2)
    _, pieces = connected_components(graph.tocsr(), directed=False)
    return np.asarray(pieces, dtype=np.int32).reshape(owners.shape)


def _clear_membranes(
    tissue: Tissue, grid: Grid, pieces: NDArray[np.int32], crumbs: NDArray[np.bool_]
) -> None:
    """Measure the depth around crumbs anew, from the borders that are left."""
    near = ndimage.binary_dilation(crumbs, iterations=3)
    low = ndimage.minimum_filter(pieces, size=(1, 3, 3))
    high = ndimage.maximum_filter(pieces, size=(1, 3, 3))
    edge = low != high
    if edge.all() or not edge.any():
        return
    # Sections far apart: the distance is to the nearest border of the same section.
    apart = ndimage.distance_transform_edt(~edge, sampling=(1e4, *grid.spacing[1:]))
    apart = np.clip(apart + grid.spacing[2] / 2, 0, FAR).astype(np.float32)
    for layer in range(grid.layers):
        tissue.depth[layer :: grid.layers][near] = apart[near]
