"""Voxels at the faces between blocks, remembered while blocks go by in raster order.

What a block needs of its lower neighbours is one plane along each axis. The one along z is as wide
as the volume and lies in a file of its own; the others are as deep as a block.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.blockwise import Block
from napari_neuropil.geometry import Roi, Shape


class BlockFaces:
    """Last planes of the blocks that went by; a context manager that removes its file.

    Parameters
    ----------
    file : Path
        For the plane along z; made anew.
    shape : tuple of int
        Of the volume.
    block_shape : tuple of int
        Of its blocks; the last ones may be smaller.
    """

    def __init__(self, file: Path, shape: Shape, block_shape: Shape) -> None:
        self._file = file
        self._along_z = np.memmap(file, np.uint64, "w+", shape=shape[1:])
        self._along_y = np.zeros((block_shape[0], shape[2]), np.uint64)
        self._along_x = np.zeros(block_shape[:2], np.uint64)

    def __enter__(self) -> BlockFaces:
        """Return itself."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close and remove the file."""
        del self._along_z
        self._file.unlink(missing_ok=True)

    def meet(
        self, block: Block, ids: NDArray[np.uint64]
    ) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.uint64]]]:
        """Yield the planes on both sides of the block's lower faces, below and above.

        Parameters
        ----------
        block : Block
            Blocks come in raster order.
        ids : NDArray[np.uint64]
            (Z, Y, X) of the block.
        """
        for axis, lower in enumerate(self._below(block)):
            if block.roi.start[axis] > 0:
                yield lower, np.moveaxis(ids, axis, 0)[0, :, :]

    def keep(self, block: Block, ids: NDArray[np.uint64]) -> None:
        """Remember the last planes of a block for its upper neighbours."""
        _, y, x = block.roi.slices
        depth, height, _ = ids.shape
        self._along_z[y, x] = ids[-1]
        self._along_y[:depth, x] = ids[:, -1]
        self._along_x[:depth, :height] = ids[:, :, -1]

    def surround(self, block: Block, ids: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], Roi]:
        """Return the block with one plane more before each lower face, and the box of both.

        Voxels that face no voxel of the block (the edges of the added planes) are 0.
        """
        start = [max(0, a - 1) for a in block.roi.start]
        roi = Roi((start[0], start[1], start[2]), block.roi.stop)
        inner = block.roi.shifted([-a for a in start]).slices
        wide = np.zeros(roi.shape, np.uint64)
        wide[inner] = ids
        for axis, lower in enumerate(self._below(block)):
            if block.roi.start[axis] > 0:
                place: list[slice | int] = list(inner)
                place[axis] = 0
                wide[tuple(place)] = lower
        return wide, roi

    def _below(self, block: Block) -> tuple[NDArray[np.uint64], ...]:
        _, y, x = block.roi.slices
        depth, height, _ = block.roi.shape
        return self._along_z[y, x], self._along_y[:depth, x], self._along_x[:depth, :height]
