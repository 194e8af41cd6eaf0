"""A mask of one section, kept as bits of its box: thousands of them fit into memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False, slots=True)
class PackedMask:
    """A mask that is not empty, without the empty margin around it.

    Parameters
    ----------
    start : tuple of int
        (y, x) of the box in the section.
    shape : tuple of int
        (height, width) of the box.
    bits : NDArray[np.uint8]
        The box row after row, eight pixels a byte, first pixel in the highest bit.
    area : int
        Pixels of the mask, at least 1.
    """

    start: tuple[int, int]
    shape: tuple[int, int]
    bits: NDArray[np.uint8]
    area: int

    @classmethod
    def of(cls, mask: NDArray[np.bool_], offset: tuple[int, int] = (0, 0)) -> PackedMask | None:
        """Pack a mask, or return None if it is empty.

        Parameters
        ----------
        mask : NDArray of bool, (Y, X)
            A section, or a part of one.
        offset : tuple of int
            Where the part lies in the section.
        """
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not len(rows):
            return None
        y, x = int(rows[0]), int(columns[0])
        crop = mask[y : int(rows[-1]) + 1, x : int(columns[-1]) + 1]
        return cls(
            (y + offset[0], x + offset[1]),
            (crop.shape[0], crop.shape[1]),
            np.packbits(crop),
            int(np.count_nonzero(crop)),
        )

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Its box: y0, x0, y1, x1, half open."""
        (y, x), (height, width) = self.start, self.shape
        return y, x, y + height, x + width

    def crop(self) -> NDArray[np.bool_]:
        """Return the mask inside its box, (height, width)."""
        height, width = self.shape
        flat = np.unpackbits(self.bits, count=height * width)
        return flat.reshape(height, width).view(np.bool_)

    def onto(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Return the mask of the whole section, (Y, X)."""
        mask = np.zeros(shape, np.bool_)
        y0, x0, y1, x1 = self.box
        mask[y0:y1, x0:x1] = self.crop()
        return mask

    def moved(self, by: tuple[float, float], shape: tuple[int, int]) -> PackedMask | None:
        """Return the mask moved by whole pixels (rounded), or None where it leaves the section."""
        y, x = self.start[0] + round(by[0]), self.start[1] + round(by[1])
        (height, width), crop = self.shape, self.crop()
        inside = crop[
            max(0, -y) : max(0, min(height, shape[0] - y)),
            max(0, -x) : max(0, min(width, shape[1] - x)),
        ]
        return PackedMask.of(inside, (max(0, y), max(0, x)))


def overlap_area(first: PackedMask, second: PackedMask) -> int:
    """Return the pixels that two masks share."""
    window = _shared_box(first, second)
    if window is None:
        return 0
    return int(np.count_nonzero(_part(first, window) & _part(second, window)))


def mask_overlap(first: PackedMask, second: PackedMask) -> float:
    """Return the intersection over union of two masks."""
    shared = overlap_area(first, second)
    return shared / (first.area + second.area - shared)


def mask_holds(mask: PackedMask, place: tuple[int, int]) -> bool:
    """Whether a pixel (y, x) of the section lies in a mask."""
    (y, x), (y0, x0, y1, x1) = place, mask.box
    return y0 <= y < y1 and x0 <= x < x1 and bool(mask.crop()[y - y0, x - x0])


def masks_united(masks: Sequence[PackedMask]) -> PackedMask | None:
    """Return the union of masks, or None of none."""
    if len(masks) < 2:
        return masks[0] if masks else None
    boxes = np.array([mask.box for mask in masks])
    y, x = int(boxes[:, 0].min()), int(boxes[:, 1].min())
    canvas = np.zeros((boxes[:, 2].max() - y, boxes[:, 3].max() - x), np.bool_)
    for mask in masks:
        y0, x0, y1, x1 = mask.box
        canvas[y0 - y : y1 - y, x0 - x : x1 - x] |= mask.crop()
    return PackedMask.of(canvas, (y, x))


def mask_without(mask: PackedMask, others: Sequence[PackedMask]) -> PackedMask | None:
    """Return what of a mask lies in none of the others, or None if nothing is left."""
    crop = mask.crop()
    for other in others:
        window = _shared_box(mask, other)
        if window is not None:
            y0, x0, y1, x1 = window
            y, x = mask.start
            crop[y0 - y : y1 - y, x0 - x : x1 - x] &= ~_part(other, window)
    return PackedMask.of(crop, mask.start)


def _shared_box(first: PackedMask, second: PackedMask) -> tuple[int, int, int, int] | None:
    a, b = first.box, second.box
    y0, x0, y1, x1 = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    return (y0, x0, y1, x1) if y0 < y1 and x0 < x1 else None


def _part(mask: PackedMask, window: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    (y, x), (y0, x0, y1, x1) = mask.start, window
    return mask.crop()[y0 - y : y1 - y, x0 - x : x1 - x]
