"""Connected pieces of labels that are too large for memory: labelled in blocks, joined at faces.

Each block is labelled alone (two face-neighbours with one id are one piece). Where two blocks meet,
pieces of equal id on both sides are one: these pairs are the edges of a graph over all pieces, and
its connected components are the pieces of the volume. Equal to labelling the whole volume at once,
for any blocks. Cost: O(voxels) for the blocks, O(pieces + pairs) for the graph.

Source: two-pass connected component labelling (Rosenfeld and Pfaltz, J. ACM 13, 1966), the second
pass over blocks instead of rows.
"""

from __future__ import annotations

from typing import Any

import bioimage_cpp
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def label_pieces(labels: NDArray[Any]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Find the connected pieces of each id of one block.

    Parameters
    ----------
    labels : NDArray
        (Z, Y, X) of integers or booleans; 0 is background.

    Returns
    -------
    pieces : NDArray[np.uint64]
        (Z, Y, X) 1 to K in raster order of their first voxels; 0 is background.
    ids : NDArray[np.uint64]
        (K,) the label of each piece; ``ids[k - 1]`` is that of piece k.
    """
    known = labels if labels.dtype in _LABELLED else labels.astype(np.uint64)
    pieces: NDArray[np.uint64] = bioimage_cpp.segmentation.label(known, connectivity=1)
    ids = np.zeros(int(pieces.max(initial=0)) + 1, np.uint64)
    # All voxels of a piece write the same value, so the order does not matter.
    ids[pieces.reshape(-1).view(np.int64)] = labels.reshape(-1)
    return pieces, ids[1:]


_LABELLED = tuple(np.dtype(t) for t in ("bool", "uint8", "uint16", "uint32", "uint64", "int64"))


class PieceJoiner:
    """Collects the pieces of blocks and what joins them; gives the pieces of the volume."""

    def __init__(self) -> None:
        self._ids: list[NDArray[np.uint64]] = [np.zeros(1, np.uint64)]
        self._pairs: list[NDArray[np.int64]] = []
        self.count = 0

    def add(self, ids: NDArray[np.uint64]) -> int:
        """Take in the pieces of a block.

        Parameters
        ----------
        ids : NDArray[np.uint64]
            (K,) their labels.

        Returns
        -------
        int
            What to add to the block's numbers 1 to K to make them unique.
        """
        first = self.count
        self._ids.append(ids)
        self.count += len(ids)
        return first

    def join(self, lower: NDArray[np.uint64], upper: NDArray[np.uint64]) -> None:
        """Note which pieces meet across a face.

        Parameters
        ----------
        lower, upper : NDArray[np.uint64]
            Unique numbers of the voxels on both sides, of one shape; both blocks added before.
        """
        inside = (lower > 0) & (upper > 0)
        pairs = np.stack([lower[inside], upper[inside]], axis=1).astype(np.int64)
        # Runs of equal pairs first: a sort of all voxels of a face would cost more than the rest.
        if len(pairs):
            new = np.ones(len(pairs), bool)
            new[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)
            self._pairs.append(np.unique(pairs[new], axis=0))

    def number(self) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Return the pieces of the volume.

        Returns
        -------
        final : NDArray[np.uint64]
            (P + 1,) the piece, 1 to F, that each unique number belongs to; ``final[0]`` is 0.
            Numbered in the order of their first blocks.
        ids : NDArray[np.uint64]
            (F + 1,) the label of each piece; ``ids[0]`` is 0.
        """
        labels = np.concatenate(self._ids)
        pairs = np.concatenate(self._pairs) if self._pairs else np.zeros((0, 2), np.int64)
        pairs = pairs[labels[pairs[:, 0]] == labels[pairs[:, 1]]]
        nodes = self.count + 1
        graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (nodes, nodes))
        count, component = connected_components(graph, directed=False)
        first = np.full(count, nodes, np.int64)
        np.minimum.at(first, component, np.arange(nodes))
        order = np.argsort(first)
        rank = np.empty(count, np.uint64)
        rank[order] = np.arange(count, dtype=np.uint64)
        return rank[component], labels[first[order]]
