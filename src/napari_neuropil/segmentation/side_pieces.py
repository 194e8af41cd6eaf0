"""A box parted into sides by a mask: slivers given back, the connected parts of each side numbered.

A mask drawn by hand or by a network never follows the fragments to the voxel, so a fragment that it
cuts has crumbs of one side along the border of the other. They are given to the side that holds
more of the fragment, or the cut would leave a swarm of pieces that nobody asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.segmentation.connected_pieces import label_pieces

Faces = Sequence[tuple[int, int]]
"""Faces of a box, each (axis, plane); plane 0 is the first, -1 the last."""

MOST_PIECES: Final = 255
"""What an array of uint8 can number."""


def without_slivers(
    sides: NDArray[np.uint8], minority: int, smallest: int, open_faces: Faces = ()
) -> NDArray[np.uint8]:
    """Give the small parts of one side to the other.

    Parameters
    ----------
    sides : NDArray[np.uint8]
        (Z, Y, X) 1 and 2 on the two sides, 0 elsewhere.
    minority : int
        The side that loses its small parts, 1 or 2.
    smallest : int
        Voxels of a part (connected by faces) that is kept.
    open_faces : sequence of (axis, plane)
        Faces of the box beyond which the sides go on; plane 0 is the first, -1 the last. A part
        that reaches one of them is kept, since its size is not known.

    Returns
    -------
    NDArray[np.uint8]
        The sides afterwards.
    """
    parts, side = label_pieces(sides)
    small = (side == minority) & (_sizes(parts, len(side)) < smallest)
    for axis, plane in open_faces:
        met = np.unique(np.moveaxis(parts, axis, 0)[plane])
        small[(met[met > 0] - 1).astype(np.intp)] = False
    given = np.concatenate(([False], small))[parts.view(np.int64)]
    return np.where(given, np.uint8(3 - minority), sides)


def number_pieces(
    sides: NDArray[np.uint8], smallest: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Give the connected parts of each side numbers.

    Parameters
    ----------
    sides : NDArray[np.uint8]
        (Z, Y, X) 1, 2, ... on the sides, 0 elsewhere.
    smallest : int
        Voxels of a part (connected by faces) that gets a number of its own; smaller ones count
        with the largest of their side, and so do the smallest where there are more than
        `MOST_PIECES`.

    Returns
    -------
    labels : NDArray[np.uint8]
        (Z, Y, X) 1 to K, 0 where `sides` is 0.
    side : NDArray[np.uint8]
        (K,) the side of each piece.
    """
    parts, ids = label_pieces(sides)
    if not len(ids):
        return np.zeros(sides.shape, np.uint8), np.zeros(0, np.uint8)
    size = _sizes(parts, len(ids))
    names, row = np.unique(ids, return_inverse=True)
    largest = np.array([int(np.argmax(np.where(row == r, size, 0))) for r in range(len(names))])
    rank = np.empty(len(ids), np.intp)
    rank[np.argsort(-size, kind="stable")] = np.arange(len(ids))
    kept = (size >= smallest) & (rank < MOST_PIECES - len(names))
    kept[largest] = True
    own = np.cumsum(kept)
    number = np.concatenate(([0], np.where(kept, own, own[largest][row]))).astype(np.uint8)
    return number[parts.view(np.int64)], ids[kept].astype(np.uint8)


def _sizes(parts: NDArray[np.uint64], count: int) -> NDArray[np.int64]:
    counts = np.bincount(parts.reshape(-1).view(np.int64), minlength=count + 1)[1:]
    return counts.astype(np.int64, copy=False)
