"""Fragments as they are now, read through the blocks read last.

Hundreds of small boxes beside each other would each unpack the same chunks of the volume again.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.geometry import Roi, Shape
from napari_neuropil.project.fragment_table import whole_chunks
from napari_neuropil.proofreading.pieces import PiecedFragments

_BLOCK_VOXELS: Final = 1 << 20
_FALLBACK_CHUNKS: Final = (16, 256, 256)
_KEPT_BYTES: Final = 1 << 28


class BlockReader:
    """Reads boxes of fragment ids; for one piece of work, since it does not follow edits.

    Parameters
    ----------
    fragments : PiecedFragments
        Not edited meanwhile.
    """

    def __init__(self, fragments: PiecedFragments) -> None:
        self._fragments = fragments
        self.shape: Shape = fragments.shape
        chunks = fragments.chunks or _FALLBACK_CHUNKS
        self._edges = whole_chunks(self.shape, chunks, _BLOCK_VOXELS)
        self._blocks: OrderedDict[Shape, NDArray[np.uint32]] = OrderedDict()
        self._bytes = 0

    def blocks_of(self, boxes: NDArray[np.int64]) -> list[Roi]:
        """Return the blocks that meet any of some boxes, (n, 2, 3), in raster order."""
        first = boxes[:, 0] // self._edges
        last = (boxes[:, 1] - 1) // self._edges
        found: set[Shape] = set()
        for low, high in np.unique(np.stack((first, last), axis=1), axis=0).tolist():
            ranges = (range(a, b + 1) for a, b in zip(low, high, strict=True))
            found.update((z, y, x) for z, y, x in itertools.product(*ranges))
        return [self._block(place) for place in sorted(found)]

    def read(self, roi: Roi) -> NDArray[np.uint32]:
        """Return the ids in a box, (Z, Y, X) of `roi`; the caller's own copy.

        Ids fit: no fragment has one above 2^31.
        """
        ids = np.empty(roi.shape, np.uint32)
        for block in self.blocks_of(np.array([[roi.start, roi.stop]], np.int64)):
            shared = block.intersection(roi)
            if shared is not None:
                inner = shared.shifted([-v for v in block.start]).slices
                outer = shared.shifted([-v for v in roi.start]).slices
                ids[outer] = self._read_block(block)[inner]
        return ids

    def _block(self, place: Shape) -> Roi:
        start = [p * e for p, e in zip(place, self._edges, strict=True)]
        stop = [min(a + e, n) for a, e, n in zip(start, self._edges, self.shape, strict=True)]
        return Roi((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))

    def _read_block(self, block: Roi) -> NDArray[np.uint32]:
        known = self._blocks.get(block.start)
        if known is not None:
            self._blocks.move_to_end(block.start)
            return known
        ids = self._fragments.read(block).astype(np.uint32)
        self._blocks[block.start] = ids
        self._bytes += ids.nbytes
        while self._bytes > _KEPT_BYTES and len(self._blocks) > 1:
            self._bytes -= self._blocks.popitem(last=False)[1].nbytes
        return ids
