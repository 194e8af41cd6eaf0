"""The masks of one section, and how those of two sections overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_neuropil.errors import VolumeFormatError
from napari_neuropil.prompts.packed_mask import PackedMask

Shift = tuple[int, int]
"""(y, x) in whole pixels: where a section shows what the one before it shows at (0, 0)."""

_ROUNDS: Final = 4
_FEWEST_PAIRS: Final = 8  # the median of fewer displacements follows single neurites
_LEAST_GAIN: Final = 1.02  # of the pixels matched; below it the shift is in the noise


@dataclass(frozen=True, eq=False, slots=True)
class SectionMasks:
    """Masks of one section, unpacked.

    Parameters
    ----------
    crops : list of NDArray of bool
        Each mask in its box.
    boxes : NDArray[np.int64], (n, 4)
        y0, x0, y1, x1.
    areas : NDArray[np.int64], (n,)
        Pixels.
    """

    crops: list[NDArray[np.bool_]]
    boxes: NDArray[np.int64]
    areas: NDArray[np.int64]

    @classmethod
    def of(cls, masks: Sequence[PackedMask]) -> SectionMasks:
        """Unpack masks; they may overlap."""
        return cls(
            [mask.crop() for mask in masks],
            np.array([mask.box for mask in masks], np.int64).reshape(-1, 4),
            np.array([mask.area for mask in masks], np.int64),
        )

    def __len__(self) -> int:
        return len(self.crops)

    def centres(self) -> NDArray[np.float64]:
        """Return the centre of mass of each mask, (n, 2)."""
        inside = [[n.mean() for n in np.nonzero(crop)] for crop in self.crops]
        return np.array(inside, np.float64).reshape(-1, 2) + self.boxes[:, :2]


@dataclass(frozen=True, eq=False, slots=True)
class OverlapTable:
    """Pairs of masks of two sections that share pixels.

    Parameters
    ----------
    first, second : NDArray[np.intp], (P,)
        Which mask of either section.
    shared : NDArray[np.int64], (P,)
        Pixels in both, at least 1.
    shift : tuple of int
        By how much the second section was taken to be displaced.
    """

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    shared: NDArray[np.int64]
    shift: Shift = (0, 0)


def masks_of_labels(labels: NDArray[Any]) -> list[PackedMask]:
    """Return a mask for each id of a label image, ids ascending; 0 is background.

    Parameters
    ----------
    labels : NDArray, (Y, X)
        Whole numbers >= 0. An id may lie in several pieces.
    """
    if labels.ndim != 2 or labels.dtype.kind not in "iu":
        raise VolumeFormatError(
            f"labels of shape {labels.shape} and type {labels.dtype}",
            "one section of whole numbers",
        )
    ids, compact = np.unique(labels, return_inverse=True)
    compact = compact.reshape(labels.shape).astype(np.int32)
    if len(ids) and ids[0] != 0:
        compact += 1  # find_objects counts from 1
    masks = []
    for index, box in enumerate(ndimage.find_objects(compact), 1):
        if box is not None:
            mask = PackedMask.of(compact[box] == index, (box[0].start, box[1].start))
            masks += [mask] if mask is not None else []
    return masks


def count_overlaps(
    first: SectionMasks, second: SectionMasks, shift: Shift = (0, 0)
) -> OverlapTable:
    """Count the pixels that each pair of masks shares.

    Parameters
    ----------
    first, second : SectionMasks
        Of two sections.
    shift : tuple of int
        (y, x); the second section is moved back by so much.
    """
    moved = second.boxes - np.array([*shift, *shift])
    low = np.maximum(first.boxes[:, None, :2], moved[None, :, :2])
    high = np.minimum(first.boxes[:, None, 2:], moved[None, :, 2:])
    rows, columns = np.nonzero((low < high).all(axis=2))
    shared = np.zeros(len(rows), np.int64)
    for pair, (i, j) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
        (y0, x0), (y1, x1) = low[i, j], high[i, j]
        (ya, xa), (yb, xb) = first.boxes[i, :2], moved[j, :2]
        here = first.crops[i][y0 - ya : y1 - ya, x0 - xa : x1 - xa]
        there = second.crops[j][y0 - yb : y1 - yb, x0 - xb : x1 - xb]
        shared[pair] = np.count_nonzero(here & there)
    met = shared > 0
    return OverlapTable(rows[met], columns[met], shared[met], shift)


def best_partners(
    first: SectionMasks, second: SectionMasks, table: OverlapTable
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the overlap of each pair, and whether each is the other's best.

    Returns
    -------
    overlap : NDArray[np.float64], (P,)
        Intersection over union.
    mutual : NDArray of bool, (P,)
        Best of both. Of equal ones several may be.
    """
    union = first.areas[table.first] + second.areas[table.second] - table.shared
    overlap = table.shared / union
    best_first, best_second = np.zeros(len(first)), np.zeros(len(second))
    np.maximum.at(best_first, table.first, overlap)
    np.maximum.at(best_second, table.second, overlap)
    mutual = (overlap >= best_first[table.first]) & (overlap >= best_second[table.second])
    return overlap, mutual


def aligned_overlaps(first: SectionMasks, second: SectionMasks) -> OverlapTable:
    """Count overlaps after taking out the shift between the two sections, if there is one.

    Masks that are each other's best partner move by the median of what their centres of mass
    move; counted again with that shift, more of them find each other, so it is done up to four
    times. A shift stays only if it lets clearly more pixels match: on aligned sections it is zero,
    and with few masks nothing is estimated.

    Parameters
    ----------
    first, second : SectionMasks
        Of two sections that follow each other.
    """
    best = count_overlaps(first, second)
    move = second.centres()[None, :] - first.centres()[:, None]
    table, matched, threshold = best, -1, 0.0
    for _ in range(_ROUNDS):
        overlap, mutual = best_partners(first, second, table)
        pairs = mutual & (overlap >= 0.1)
        now = int(table.shared[pairs].sum())
        if matched < 0:
            threshold = now * _LEAST_GAIN
        elif now <= matched:
            break
        elif now > threshold:
            best = table
        matched = now
        if np.count_nonzero(pairs) < _FEWEST_PAIRS:
            break
        median = np.median(move[table.first[pairs], table.second[pairs]], axis=0)
        shift = (round(float(median[0])), round(float(median[1])))
        if shift == table.shift:
            break
        table = count_overlaps(first, second, shift)
    return best
