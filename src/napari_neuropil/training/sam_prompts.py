"""Prompts as a user would give them: a point or a box first, then points where the mask is wrong.

Source: Kirillov et al. 2023 ("Segment Anything"), appendix A, "training algorithm": the first
prompt at random a point or a box with noise, the next ones drawn from the error region. As in
micro_sam each correction is one point in what is missing and one in what is too much.

Points are cells of a grid, (y, x); all of it is a pure function of masks and random numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

ABSENT = -1.0
"""The sign of a point that is none; SAM's prompt encoder knows it."""


def draw_cells(masks: Tensor, chance: Tensor) -> tuple[Tensor, Tensor]:
    """Draw one cell of each mask, all its cells alike.

    Parameters
    ----------
    masks : Tensor of bool, (N, Y, X)
        Where to draw.
    chance : Tensor of float32, (N,)
        In [0, 1): the share of the mask's cells, in raster order, that comes before.

    Returns
    -------
    cells : Tensor of float32, (N, 2)
        (y, x); 0 where the mask is empty.
    found : Tensor of bool, (N,)
        Whether there was a cell.
    """
    running = masks.flatten(1).cumsum(1, dtype=torch.int32)
    counts = running[:, -1:]
    ranks = (chance[:, None] * counts).to(torch.int32).clamp(max=counts - 1)
    # The first cell at which as many have been met as come before, and one more.
    index = torch.searchsorted(running, ranks.clamp(min=0) + 1)[:, 0]
    found = counts[:, 0] > 0
    index = torch.where(found, index, 0)
    width = masks.shape[-1]
    return torch.stack([index // width, index % width], dim=1).float(), found


def shake_boxes(boxes: Tensor, chance: Tensor, amount: float, shape: tuple[int, int]) -> Tensor:
    """Move each side of each box by up to a share of the box's length, and keep it in the section.

    Parameters
    ----------
    boxes : Tensor, (N, 4)
        y0, x0, y1, x1.
    chance : Tensor, (N, 4)
        In [0, 1); 0.5 moves nothing.
    amount : float
        Largest share.
    shape : tuple of int
        Of the section, (Y, X).
    """
    lengths = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    moved = boxes + (2 * chance - 1) * amount * lengths
    limit = boxes.new_tensor(shape).repeat(2)
    return torch.minimum(moved.clamp(min=0), limit)


def inside_boxes(boxes: Tensor, shape: tuple[int, int], grow: float = 0.0) -> Tensor:
    """Return the cells in each box, (N, Y, X) bool.

    Parameters
    ----------
    boxes : Tensor, (N, 4)
        y0, x0, y1, x1, half open, in cells.
    shape : tuple of int
        (Y, X).
    grow : float
        Share of the box's length that is added on each side, and a cell at least.
    """
    lengths = boxes[:, 2:] - boxes[:, :2]
    margin = (grow * lengths).clamp(min=1.0) if grow else 0 * lengths
    low, high = boxes[:, :2] - margin, boxes[:, 2:] + margin
    parts = []
    for axis, length in enumerate(shape):
        middles = torch.arange(length, device=boxes.device) + 0.5
        parts.append((middles > low[:, axis, None]) & (middles < high[:, axis, None]))
    return parts[0][:, :, None] & parts[1][:, None, :]


def correct_masks(
    predicted: Tensor, wanted: Tensor, near: Tensor, positive: Tensor, negative: Tensor
) -> tuple[Tensor, Tensor]:
    """Point at what is missing, and at what is too much.

    Where nothing is missing, the positive point lies anywhere in the object; where nothing is too
    much, the negative one lies near it; and where nothing is near, it is absent.

    Parameters
    ----------
    predicted, wanted : Tensor of bool, (N, Y, X)
        Masks so far, and true ones.
    near : Tensor of bool, (N, Y, X)
        Surroundings of each object.
    positive, negative : Tensor of float32, (N,)
        Random numbers in [0, 1).

    Returns
    -------
    cells : Tensor of float32, (N, 2, 2)
        A positive and a negative point each, (y, x).
    signs : Tensor of float32, (N, 2)
        1, 0 or `ABSENT`.
    """
    missing, too_much = wanted & ~predicted, predicted & ~wanted
    missing = torch.where(_any(missing), missing, wanted)
    too_much = torch.where(_any(too_much), too_much, near & ~wanted)
    cells, signs = [], []
    for where, chance, sign in ((missing, positive, 1.0), (too_much, negative, 0.0)):
        drawn, found = draw_cells(where, chance)
        cells.append(drawn)
        signs.append(torch.where(found, sign, ABSENT))
    return torch.stack(cells, dim=1), torch.stack(signs, dim=1)


def _any(masks: Tensor) -> Tensor:
    return masks.flatten(1).any(1)[:, None, None]
