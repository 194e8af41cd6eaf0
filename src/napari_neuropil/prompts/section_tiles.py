"""Overlapping tiles of a section, and which of them a prompt belongs to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.prompts.boxes import box_of_mask, clip_boxes
from napari_neuropil.prompts.prompt import Prompt, SectionMask

TileBox = tuple[int, int, int, int]
"""y0, x0, y1, x1, half open, pixels of the section."""


def tile_boxes(shape: tuple[int, int], side: int, overlap: int) -> tuple[TileBox, ...]:
    """Cover a section with tiles, row by row.

    They are as few as the overlap allows and lie at even distances, so neighbours share at least
    `overlap` pixels. A tile is smaller than `side` only where the section is.

    Parameters
    ----------
    shape : tuple of int
        Of the section, (Y, X).
    side : int
        Longest side of a tile.
    overlap : int
        Pixels that neighbours share at least; below `side`.

    Returns
    -------
    tuple of TileBox
    """
    rows, columns = (_starts(length, side, overlap) for length in shape)
    return tuple(
        (y, x, min(y + side, shape[0]), min(x + side, shape[1])) for y in rows for x in columns
    )


def _starts(length: int, side: int, overlap: int) -> list[int]:
    if length <= side:
        return [0]
    count = math.ceil((length - overlap) / (side - overlap))
    return [round(start) for start in np.linspace(0, length - side, count)]


def nearest_tile(boxes: Sequence[TileBox], place: tuple[float, float]) -> int:
    """Return the tile whose centre is nearest to a place (y, x); the first of equals."""
    return tiles_by_distance(boxes, place)[0]


def tiles_by_distance(boxes: Sequence[TileBox], place: tuple[float, float]) -> list[int]:
    """Return the numbers of all tiles, those with the nearest centres first."""
    corners = np.asarray(boxes, float)
    centres = (corners[:, :2] + corners[:, 2:]) / 2
    distances = ((centres - np.asarray(place)) ** 2).sum(axis=1)
    return [int(n) for n in np.argsort(distances, kind="stable")]


def tile_of_prompt(boxes: Sequence[TileBox], prompt: Prompt) -> int:
    """Return the tile that sees most of a prompt.

    That is the one whose centre is nearest to the box; without a box, the one that holds most of
    the positive points, of these the nearest; with a mask alone, the nearest to its box. An empty
    prompt belongs to the first.
    """
    if prompt.box is not None:
        y0, x0, y1, x1 = prompt.box
        return nearest_tile(boxes, ((y0 + y1) / 2, (x0 + x1) / 2))
    if len(prompt.points):
        points = prompt.points[prompt.positive] if prompt.positive.any() else prompt.points
        middle = (points.min(axis=0) + points.max(axis=0)) / 2
        inside = [int(_inside(points, box).sum()) for box in boxes]
        order = tiles_by_distance(boxes, (float(middle[0]), float(middle[1])))
        return max(order, key=lambda n: inside[n])  # max keeps the first of equals
    box = None if prompt.mask is None else box_of_mask(prompt.mask)
    if box is None:
        return 0
    y0, x0, y1, x1 = (float(v) for v in box[0])
    return nearest_tile(boxes, ((y0 + y1) / 2, (x0 + x1) / 2))


def prompt_in_tile(prompt: Prompt, box: TileBox) -> Prompt:
    """Return a prompt in the pixels of a tile.

    Its box is cut at the tile's border, points outside are left out, and so is a mask of which
    nothing lies inside: segmenters make junk of an empty one.
    """
    y0, x0, y1, x1 = box
    moved = prompt.box
    if prompt.box is not None:
        shifted = np.asarray(prompt.box, np.float32) - (y0, x0, y0, x0)
        clipped = clip_boxes(shifted[None], (y1 - y0, x1 - x0))[0]
        moved = (float(clipped[0]), float(clipped[1]), float(clipped[2]), float(clipped[3]))
    inside = _inside(prompt.points, box)
    mask = None if prompt.mask is None else prompt.mask[y0:y1, x0:x1]
    return replace(
        prompt,
        box=moved,
        points=(prompt.points[inside] - (y0, x0)).astype(np.float32),
        positive=prompt.positive[inside],
        mask=mask if mask is not None and mask.any() else None,
    )


def mask_in_section(found: SectionMask, box: TileBox, shape: tuple[int, int]) -> SectionMask:
    """Return a tile's mask as one of the whole section."""
    y0, x0, y1, x1 = box
    whole = np.zeros(shape, np.bool_)
    whole[y0:y1, x0:x1] = found.mask
    return replace(found, mask=whole)


def _inside(points: NDArray[np.float32], box: TileBox) -> NDArray[np.bool_]:
    # A point belongs to the pixel it rounds to.
    y, x = points[:, 0] + 0.5, points[:, 1] + 0.5
    return (y >= box[0]) & (y < box[2]) & (x >= box[1]) & (x < box[3])
