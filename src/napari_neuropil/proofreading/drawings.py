"""Objects drawn over a volume: masks of sections, or a function, read one box at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import index
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import EditRejectedError, SettingsError
from napari_neuropil.geometry import Roi, Shape

DrawnRow = tuple[int, int, int, NDArray[np.bool_]]
"""Section z, first row y0, first column x0, and the mask (h, w) that lies there."""


@dataclass(frozen=True, slots=True)
class DrawingRules:
    """How a drawing meets the fragments below it.

    Parameters
    ----------
    whole_share : float
        A fragment with at least this share of its voxels in the mask is taken whole; above 0.5.
    sliver : int
        Voxels: smaller parts of a fragment stay with the side that holds most of it.
    spare_done : bool
        Leave out what belongs to segments marked done, instead of refusing.

    Raises
    ------
    SettingsError
        If the share is not above 0.5 and at most 1, or the sliver is below 0.
    """

    whole_share: float = 0.9
    sliver: int = 50
    spare_done: bool = False

    def __post_init__(self) -> None:
        """Refuse rules that contradict themselves."""
        if not 0.5 < self.whole_share <= 1:
            raise SettingsError(
                f"A fragment is taken whole from the share {self.whole_share}.",
                "more than 0.5, at most 1",
                "with half or less inside, most of what is taken was not drawn.",
            )
        if self.sliver < 0:
            raise SettingsError(f"A sliver of {self.sliver} voxels.", "0 or more", "")


class Drawing(Protocol):
    """The voxels of an object, on the fragments' grid."""

    @property
    def boxes(self) -> NDArray[np.int64]:
        """(n, 2, 3) start and stop of boxes that hold all of it; they may leave the volume."""
        ...

    @property
    def grid(self) -> Shape | None:
        """Shape of the volume it was drawn on, where known."""
        ...

    def read(self, roi: Roi) -> NDArray[np.bool_]:
        """Return the mask in a box inside the volume."""
        ...

    def outside(self, shape: Shape) -> int | None:
        """Return how many drawn voxels lie outside a volume; None: some may, nobody counted."""
        ...


class DrawnRows:
    """An object given by masks of single sections; where two lie on each other, both count.

    Parameters
    ----------
    rows : iterable of (z, y0, x0, mask)
        Voxels of the fragments' grid; each mask (h, w) bool.
    grid : tuple of int, optional
        Shape of the volume it was drawn on: one of another shape is refused.

    Raises
    ------
    EditRejectedError
        If a row is not of that form.
    """

    def __init__(self, rows: Iterable[DrawnRow], *, grid: Sequence[int] | None = None) -> None:
        trimmed = [_trimmed(*_checked(row)) for row in rows]
        self._rows = [row for row in trimmed if row is not None]
        starts = np.array([row[:3] for row in self._rows], np.int64).reshape(-1, 3)
        sizes = [(1, *row[3].shape) for row in self._rows]
        self.boxes = np.stack((starts, starts + np.array(sizes, np.int64).reshape(-1, 3)), axis=1)
        self.grid = _shape(grid)

    def read(self, roi: Roi) -> NDArray[np.bool_]:
        """Return the mask in a box inside the volume."""
        mask = np.zeros(roi.shape, bool)
        for i in np.flatnonzero(meeting(self.boxes, roi)).tolist():
            z, y, x, drawn = self._rows[i]
            low, high = _common(self.boxes[i], roi.start, roi.stop)
            part = drawn[low[1] - y : high[1] - y, low[2] - x : high[2] - x]
            oz, oy, ox = roi.start
            mask[z - oz, low[1] - oy : high[1] - oy, low[2] - ox : high[2] - ox] |= part
        return mask

    def outside(self, shape: Shape) -> int:
        """Return how many drawn voxels lie outside a volume."""
        lost = 0
        for (_, y, x, drawn), box in zip(self._rows, self.boxes, strict=True):
            lost += int(np.count_nonzero(drawn))
            low, high = _common(box, (0, 0, 0), shape)
            if all(a < b for a, b in zip(low, high, strict=True)):
                part = drawn[low[1] - y : high[1] - y, low[2] - x : high[2] - x]
                lost -= int(np.count_nonzero(part))
        return lost


class DrawnFunction:
    """An object given by a function: for one that is too large for memory.

    Parameters
    ----------
    mask_in : callable
        Returns the mask in a box, (Z, Y, X) bool; called for boxes inside the volume and `roi`.
    roi : Roi
        Where it is drawn, voxels of the fragments' grid.
    grid : tuple of int, optional
        Shape of the volume it was drawn on: one of another shape is refused.
    """

    def __init__(
        self,
        mask_in: Callable[[Roi], NDArray[np.bool_]],
        roi: Roi,
        *,
        grid: Sequence[int] | None = None,
    ) -> None:
        self._mask_in = mask_in
        self._roi = roi
        self.boxes = np.array([[roi.start, roi.stop]], np.int64)
        self.grid = _shape(grid)

    def read(self, roi: Roi) -> NDArray[np.bool_]:
        """Return the mask in a box inside the volume.

        Raises
        ------
        EditRejectedError
            If the function gives something else than a mask of the box.
        """
        mask = np.zeros(roi.shape, bool)
        box = self._roi.intersection(roi)
        if box is not None:
            part = self._mask_in(box)
            if part.shape != box.shape or part.dtype != np.bool_:
                raise EditRejectedError(
                    f"The mask in {box} has shape {part.shape} and type {part.dtype}.",
                    f"shape {box.shape}, type bool",
                    "",
                )
            mask[box.shifted([-v for v in roi.start]).slices] = part
        return mask

    def outside(self, shape: Shape) -> int | None:
        """Return 0 if the box lies inside a volume, else None: nobody asks outside."""
        return 0 if all(b <= n for b, n in zip(self._roi.stop, shape, strict=True)) else None


def as_drawing(drawn: Drawing | Iterable[DrawnRow]) -> Drawing:
    """Return a drawing, of rows where it is none."""
    if isinstance(drawn, Iterable):
        return DrawnRows(drawn)
    return drawn


def clipped_boxes(drawing: Drawing, shape: Shape) -> NDArray[np.int64]:
    """Return the boxes of a drawing inside a volume, (n, 2, 3).

    Raises
    ------
    EditRejectedError
        If it was drawn on another grid, or none of it lies inside.
    """
    if drawing.grid is not None and drawing.grid != shape:
        raise EditRejectedError(
            f"The mask was drawn on a volume of {drawing.grid} voxels.",
            f"the fragments' grid of {shape} voxels",
            "resample it, and shift it where the project covers a part of the image only.",
        )
    boxes = drawing.boxes
    if not len(boxes):
        raise EditRejectedError("The mask is empty.", "at least one voxel", "draw the object.")
    start, stop = boxes[:, 0].clip(0), np.minimum(boxes[:, 1], shape)
    inside = (start < stop).all(axis=1)
    if not inside.any():
        raise EditRejectedError(
            f"The mask lies outside: its first voxel is {tuple(boxes[0, 0].tolist())}.",
            f"inside {shape} voxels",
            "shift it where the project covers a part of the image only.",
        )
    return np.stack((start[inside], stop[inside]), axis=1)


def meeting(boxes: NDArray[np.int64], roi: Roi) -> NDArray[np.bool_]:
    """Return which boxes, (n, 2, 3), meet another."""
    met = (boxes[:, 0] < roi.stop) & (boxes[:, 1] > roi.start)
    return np.asarray(met.all(axis=1))


def _checked(row: Any) -> DrawnRow:
    try:
        z, y, x, mask = row
        z, y, x = (index(v) for v in (z, y, x))
        if mask.ndim == 2 and mask.dtype == np.bool_:
            return z, y, x, mask
        found = f"a mask of shape {mask.shape}, type {mask.dtype}"
    except (TypeError, ValueError, AttributeError, OverflowError):
        found = f"{type(row).__name__} where a row of the drawing should be"
    raise EditRejectedError(found, "(z, y0, x0, mask), each mask (h, w) of type bool", "")


def _trimmed(z: int, y: int, x: int, mask: NDArray[np.bool_]) -> DrawnRow | None:
    """Return a row without its empty margins, None where it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    part = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return z, y + int(rows[0]), x + int(columns[0]), part


def _common(
    box: NDArray[np.int64], start: Sequence[int], stop: Sequence[int]
) -> tuple[list[int], list[int]]:
    return np.maximum(box[0], start).tolist(), np.minimum(box[1], stop).tolist()


def _shape(grid: Sequence[int] | None) -> Shape | None:
    if grid is None:
        return None
    z, y, x = (int(n) for n in grid)
    return z, y, x
