"""What lies below a drawing: how many voxels of which fragments, and where background is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import EditRejectedError
from napari_neuropil.geometry import Roi
from napari_neuropil.proofreading.block_reader import BlockReader
from napari_neuropil.proofreading.drawings import Drawing
from napari_neuropil.proofreading.effects import Point


@dataclass(frozen=True, eq=False)
class Survey:
    """What lies below a drawing.

    Parameters
    ----------
    fragments : NDArray[np.uint64]
        (n,) ascending, without background.
    inside : NDArray[np.int64]
        (n,) voxels of each in the mask.
    background : tuple of Roi
        Boxes, one for each block at most, around the background in the mask.
    voxels : int
        In the mask.
    place : tuple of int
        A voxel of it, in the block that holds most of it.
    """

    fragments: NDArray[np.uint64]
    inside: NDArray[np.int64]
    background: tuple[Roi, ...]
    voxels: int
    place: Point


def survey(reader: BlockReader, drawing: Drawing, boxes: NDArray[np.int64]) -> Survey:
    """Count what lies in the mask.

    Parameters
    ----------
    reader : BlockReader
        Fragments.
    drawing : Drawing
        The mask.
    boxes : NDArray[np.int64]
        (n, 2, 3) inside the volume; nothing is drawn elsewhere.

    Raises
    ------
    EditRejectedError
        If the mask is empty.
    """
    found = [np.zeros(0, np.uint32)]
    counts = [np.zeros(0, np.int64)]
    background: list[Roi] = []
    voxels, most, place = 0, 0, (0, 0, 0)
    for block in reader.blocks_of(boxes):
        mask = drawing.read(block)
        box = tight_box(mask)
        if box is None:
            continue
        mask = mask[box.slices]
        roi = box.shifted(block.start)
        ids = reader.read(roi)
        below, count = np.unique(ids[mask], return_counts=True)
        found.append(below)
        counts.append(count.astype(np.int64))
        total = int(count.sum())
        voxels += total
        if total > most:
            most, place = total, _middle(mask, roi)
        if below[0] == 0:
            empty = tight_box(mask & (ids == 0))
            background += [] if empty is None else [empty.shifted(roi.start)]
    if not voxels:
        raise EditRejectedError("The mask is empty.", "at least one voxel", "draw the object.")
    fragments, row = np.unique(np.concatenate(found), return_inverse=True)
    inside = np.zeros(len(fragments), np.int64)
    np.add.at(inside, row, np.concatenate(counts))
    known = fragments > 0
    return Survey(
        fragments[known].astype(np.uint64), inside[known], tuple(background), voxels, place
    )


def tight_box(mask: NDArray[np.bool_]) -> Roi | None:
    """Return the box around the true voxels of an array, None if there are none."""
    start, stop = [], []
    for others in ((1, 2), (0, 2), (0, 1)):
        along = np.flatnonzero(mask.any(axis=others))
        if not len(along):
            return None
        start.append(int(along[0]))
        stop.append(int(along[-1]) + 1)
    return Roi((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _middle(mask: NDArray[np.bool_], roi: Roi) -> Point:
    voxels = np.flatnonzero(mask)
    z, y, x = np.unravel_index(int(voxels[len(voxels) // 2]), mask.shape)
    oz, oy, ox = roi.start
    return int(z) + oz, int(y) + oy, int(x) + ox
