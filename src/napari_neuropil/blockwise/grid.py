"""Blocks: the units of work a volume is cut into."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from napari_neuropil.geometry import Roi, Shape


@dataclass(frozen=True, slots=True)
class Block:
    """One unit of work.

    Parameters
    ----------
    index : int
        Position in raster order.
    roi : Roi
        The voxels it writes; blocks tile the volume without overlap.
    """

    index: int
    roi: Roi


def split_blocks(shape: Sequence[int], block_shape: Shape) -> list[Block]:
    """Return the blocks of a volume in raster order (z slowest); the last may be smaller."""
    counts = [math.ceil(n / b) for n, b in zip(shape, block_shape, strict=True)]
    whole = Roi.of_shape(shape)
    blocks = []
    for index, position in enumerate(itertools.product(*(range(n) for n in counts))):
        z, y, x = (p * b for p, b in zip(position, block_shape, strict=True))
        bz, by, bx = block_shape
        roi = Roi((z, y, x), (z + bz, y + by, x + bx)).intersection(whole)
        assert roi is not None  # noqa: S101 - by construction every block begins inside
        blocks.append(Block(index, roi))
    return blocks


def with_plane_before(block: Block) -> tuple[Roi, Shape]:
    """Return a block's box for pairs, which belong to the block of their upper voxel.

    Returns
    -------
    roi : Roi
        The block with one plane before it along each axis, where there is one.
    first : Shape
        Where the block itself begins inside.
    """
    z, y, x = (max(0, a - 1) for a in block.roi.start)
    fz, fy, fx = (b - a for a, b in zip((z, y, x), block.roi.start, strict=True))
    return Roi((z, y, x), block.roi.stop), (fz, fy, fx)
