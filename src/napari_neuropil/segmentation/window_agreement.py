"""What neighbouring windows say of the voxels that both saw.

Each block of a volume is labelled by its own window, and windows reach into each other. Two
labels are one neuron where, in the voxels both windows saw, they claim the same: their
intersection over union. Above one half, a label can agree so with one other only. The measure is
symmetric, so nothing depends on the order of blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.geometry import Roi

_LABELS: Final = 256


@dataclass(frozen=True, eq=False)
class WindowLabels:
    """The labels of one window.

    Parameters
    ----------
    roi : Roi
        Where it lies, on the network's grid.
    labels : ndarray of uint8, (Z, Y, X)
        0 is background; others have a meaning in this window only.
    """

    roi: Roi
    labels: NDArray[np.uint8]

    def part(self, roi: Roi) -> NDArray[np.uint8]:
        """Return the labels of a box inside."""
        return self.labels[roi.shifted([-o for o in self.roi.start]).slices]


def agreement(first: WindowLabels, second: WindowLabels) -> NDArray[np.float32]:
    """Compare all labels of two windows.

    Parameters
    ----------
    first, second : WindowLabels
        Need not overlap.

    Returns
    -------
    ndarray of float32, (256, 256)
        Intersection over union of each pair of labels in the voxels both saw; 0 for the
        background, and where the windows share nothing.
    """
    shared = first.roi.intersection(second.roi)
    table = np.zeros((_LABELS, _LABELS), np.float32)
    if shared is None:
        return table
    keys = first.part(shared).astype(np.int64) * _LABELS + second.part(shared)
    both = np.bincount(keys.ravel(), minlength=_LABELS**2).reshape(_LABELS, _LABELS)
    either = both.sum(axis=1)[:, None] + both.sum(axis=0) - both
    np.divide(both, either, out=table, where=both > 0)
    table[0] = table[:, 0] = 0
    return table


def contact_agreement(
    contacts: NDArray[np.uint64],
    block_of: NDArray[np.int64],
    label_of: NDArray[np.uint8],
    window: Callable[[int], WindowLabels],
) -> NDArray[np.float32]:
    """Return how well the windows agree that the two sides of each contact are one.

    Parameters
    ----------
    contacts : ndarray of uint64, (C, 2)
        Pairs of fragments.
    block_of : ndarray of int64, (fragment_count + 1,)
        The block each fragment lies in.
    label_of : ndarray of uint8, (fragment_count + 1,)
        Its label in that block's window; 0 where it has none.
    window : callable
        Gives the labels of a block's window.

    Returns
    -------
    ndarray of float32, (C,)
        In [0, 1]; NaN inside a block, where a window says nothing about itself.
    """
    ends = contacts.astype(np.intp)
    blocks = np.sort(block_of[ends], axis=1)
    result = np.full(len(ends), np.nan, np.float32)
    across = np.flatnonzero(blocks[:, 0] != blocks[:, 1])
    # By pairs of blocks, so that each window is read once for each neighbour.
    across = across[np.lexsort((blocks[across, 1], blocks[across, 0]))]
    pairs, starts = np.unique(blocks[across], axis=0, return_index=True)
    read: tuple[int, WindowLabels] | None = None
    for (one, other), rows in zip(pairs, np.split(across, starts[1:]), strict=False):
        if read is None or read[0] != one:
            read = int(one), window(int(one))
        table = agreement(read[1], window(int(other)))
        sides = ends[rows]
        turned = block_of[sides[:, 0]] != one
        sides[turned] = sides[turned, ::-1]
        result[rows] = table[label_of[sides[:, 0]], label_of[sides[:, 1]]]
    return result
