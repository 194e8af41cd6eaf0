"""Prompts from a mask: what the object looked like in one section asks for it in the next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_neuropil.prompts.packed_mask import PackedMask
from napari_neuropil.prompts.prompt import Prompt


@dataclass(frozen=True, slots=True)
class MaskPrompting:
    """What of a mask becomes the prompt.

    Parameters
    ----------
    box : bool
        Its box.
    mask : bool
        The mask itself.
    points : int
        Points well inside; 0 for none.
    margin : float
        By how much the box is wider on each side, as a share of its own length.
    """

    box: bool = True
    mask: bool = True
    points: int = 1
    margin: float = 0.0


def mask_pieces(mask: PackedMask, min_area: int = 1) -> list[PackedMask]:
    """Return the pieces of a mask that hang together, over corners too, largest first.

    Parameters
    ----------
    mask : PackedMask
        One section.
    min_area : int
        Smaller pieces are crumbs; where all are, the largest is kept.
    """
    labels, count = ndimage.label(mask.crop(), np.ones((3, 3), np.int8))
    if count == 1:
        return [mask]
    pieces = []
    for index, box in enumerate(ndimage.find_objects(labels), 1):
        y, x = mask.start[0] + box[0].start, mask.start[1] + box[1].start
        piece = PackedMask.of(labels[box] == index, (y, x))
        pieces += [piece] if piece is not None else []
    pieces.sort(key=lambda piece: (-piece.area, piece.start))
    return [piece for piece in pieces if piece.area >= min_area] or pieces[:1]


def inner_points(mask: PackedMask, count: int = 1) -> NDArray[np.float32]:
    """Return points as far from the edge of a mask as they can be, and from each other.

    The first is the middle of the largest disc inside, then the same without that disc, and so on
    while discs of a third of its radius fit. The border of the section counts as an edge.

    Parameters
    ----------
    mask : PackedMask
        One section.
    count : int
        At most so many.

    Returns
    -------
    NDArray[np.float32], (n, 2)
        (y, x) in pixels of the section, whole numbers.
    """
    depth = ndimage.distance_transform_edt(np.pad(mask.crop(), 1))[1:-1, 1:-1]
    rows, columns = np.ogrid[: depth.shape[0], : depth.shape[1]]
    points: list[tuple[int, int]] = []
    least = depth.max() / 3
    while len(points) < count:
        y, x = divmod(int(depth.argmax()), depth.shape[1])
        radius = depth[y, x]
        if radius < max(least, 0.5):
            break
        points.append((mask.start[0] + y, mask.start[1] + x))
        depth[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = 0
    return np.array(points, np.float32).reshape(-1, 2)


def prompt_of_mask(mask: PackedMask, shape: tuple[int, int], use: MaskPrompting) -> Prompt:
    """Return the prompt that asks for an object which looked like this.

    Parameters
    ----------
    mask : PackedMask
        One piece.
    shape : tuple of int
        Of the section, (Y, X).
    use : MaskPrompting
        What of it is told. If that is nothing, its box is.
    """
    points = inner_points(mask, use.points)
    box = None
    if use.box or not (use.mask or len(points)):
        y0, x0, y1, x1 = mask.box
        dy, dx = use.margin * (y1 - y0), use.margin * (x1 - x0)
        box = (max(0, y0 - dy), max(0, x0 - dx), min(shape[0], y1 + dy), min(shape[1], x1 + dx))
    return Prompt(
        box=box,
        points=points,
        positive=np.ones(len(points), np.bool_),
        mask=mask.onto(shape) if use.mask else None,
    )
