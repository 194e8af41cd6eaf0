"""Tiles: where single forward passes lie, and how their results are blended.

The tiles of a volume form one grid, whatever blocks it is worked through in. A block computes
every tile that touches it and blends only what lies inside it, so the result does not depend on
the blocks: it equals the one-shot result to rounding.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.geometry import Roi, Shape

NO_MARGIN: Final[Shape] = (0, 0, 0)


def tile_starts(length: int, tile: int, overlap: float, margin: int = 0) -> list[int]:
    """Return evenly spaced starts of tiles that cover an axis.

    Parameters
    ----------
    length : int
        Voxels along the axis.
    tile : int
        Voxels of a tile.
    overlap : float
        Smallest share of a tile that neighbours have in common, [0, 0.75].
    margin : int
        Outermost voxels of a tile that do not count: neighbours overlap by more than both.
    """
    if length <= tile:
        return [0]
    stride = max(1, min(math.floor(tile * (1 - overlap)), tile - 2 * margin - 1))
    count = math.ceil((length - tile) / stride) + 1
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def tiles_touching(
    roi: Roi, shape: Sequence[int], tile_shape: Shape, overlap: float, margin: Shape = NO_MARGIN
) -> list[Roi]:
    """Return the tiles of a volume's grid that meet `roi`, in raster order.

    Found axis by axis, so the cost does not grow with the volume's number of tiles. A tile is
    never larger than the volume; prediction pads what the network needs.

    Parameters
    ----------
    roi : Roi
        A box of the volume.
    shape : sequence of int
        The volume's.
    tile_shape : Shape
        A tile's.
    overlap, margin
        As `tile_starts`.
    """
    sizes = [min(n, t) for n, t in zip(shape, tile_shape, strict=True)]
    starts = [
        [s for s in tile_starts(n, t, overlap, m) if s < b and s + size > a]
        for n, t, m, size, a, b in zip(
            shape, tile_shape, margin, sizes, roi.start, roi.stop, strict=True
        )
    ]
    return [
        Roi((z, y, x), (z + sizes[0], y + sizes[1], x + sizes[2]))
        for z, y, x in itertools.product(*starts)
    ]


def count_passes(
    shape: Sequence[int],
    block_shape: Shape,
    tile_shape: Shape,
    overlap: float,
    margin: Shape = NO_MARGIN,
) -> int:
    """Return the tiles computed in all, when the volume is worked through block by block.

    Tiles that meet several blocks are computed for each.
    """
    passes = 1
    for n, block, tile, m in zip(shape, block_shape, tile_shape, margin, strict=True):
        size, starts = min(n, tile), tile_starts(n, tile, overlap, m)
        passes *= sum(
            sum(1 for s in starts if s < min(a + block, n) and s + size > a)
            for a in range(0, n, block)
        )
    return passes


def blending_weight(tile_shape: Sequence[int], overlap: float) -> NDArray[np.float32]:
    """Return the weight of a tile's voxels: 1 inside, falling linearly towards the faces.

    The ramp is as wide as the smallest overlap, so the outermost voxels, whose context is
    missing on one side, count least; it never reaches 0, so every voxel has a value. Against
    the paper's Gaussian (section A.6 of SegNeuron's code) it needs no overlap of one half.
    """
    weight = np.ones(tuple(tile_shape), np.float32)
    for axis, n in enumerate(tile_shape):
        ramp = max(1, math.floor(n * overlap))
        distance = np.minimum(np.arange(n), np.arange(n)[::-1]) + 1
        profile = np.minimum(1.0, distance / (ramp + 1)).astype(np.float32)
        weight *= profile.reshape([-1 if a == axis else 1 for a in range(3)])
    return weight


def without_margin(
    weight: NDArray[np.float32], tile: Roi, shape: Sequence[int], margin: Shape
) -> NDArray[np.float32]:
    """Return a tile's weights with its margin at zero, except at the volume's own faces.

    Parameters
    ----------
    weight : ndarray of float32
        The tile's, from `blending_weight`.
    tile : Roi
        Where it lies.
    shape : sequence of int
        The volume's.
    margin : Shape
        Voxels along each axis.
    """
    if not any(margin):
        return weight
    inner = tuple(
        slice(m if a > 0 else 0, b - a - (m if b < n else 0))
        for a, b, n, m in zip(tile.start, tile.stop, shape, margin, strict=True)
    )
    result = np.zeros_like(weight)
    result[inner] = weight[inner]
    return result
