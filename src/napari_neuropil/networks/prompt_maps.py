"""Prompts drawn onto the grid of an embedding.

SAM tells its decoder where a prompt lies by the phases of a few sine waves, and training must
first learn to read them. A convolutional network reads a drawing at once, which saves a network
that learns on a CPU the hours in which it would only learn where things are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from napari_neuropil.networks.promptable import PromptTensors

MAP_COUNT = 3


def draw_prompts(prompts: PromptTensors, grid: tuple[int, int], stride: int, count: int) -> Tensor:
    """Return maps of boxes, positive points and negative points.

    Parameters
    ----------
    prompts : PromptTensors
        B prompts, in input pixels.
    grid : tuple of int
        Cells along y and x.
    stride : int
        Pixels of a cell.
    count : int
        B.

    Returns
    -------
    Tensor of float32, (B, 3, y, x)
        The part of each cell that the box covers; for each sign the nearness of the nearest
        point, ``exp(-d^2 / 2)`` with d in cells. Zero where there is nothing to draw.
    """
    given = (prompts.boxes, prompts.points, prompts.masks)
    maps = next(t for t in given if t is not None).new_zeros(count, MAP_COUNT, *grid)
    if prompts.boxes is not None:
        rows = _covered(prompts.boxes[:, 0], prompts.boxes[:, 2], grid[0], stride)
        columns = _covered(prompts.boxes[:, 1], prompts.boxes[:, 3], grid[1], stride)
        maps[:, 0] = rows[:, :, None] * columns[:, None, :]
    if prompts.points is not None and prompts.positive is not None:
        near = _nearness(prompts.points, grid, stride)
        for channel, wanted in ((1, 1), (2, 0)):
            seen = near * (prompts.positive == wanted)[:, :, None, None]
            maps[:, channel] = seen.amax(dim=1)
    return maps


def _covered(low: Tensor, high: Tensor, cells: int, stride: int) -> Tensor:
    """Return the part of each cell of an axis that lies between two places, (B, cells)."""
    edges = torch.arange(cells + 1, device=low.device, dtype=low.dtype) * stride
    start = torch.maximum(edges[:-1], low[:, None])
    stop = torch.minimum(edges[1:], high[:, None])
    return (stop - start).clamp(min=0) / stride


def _nearness(points: Tensor, grid: tuple[int, int], stride: int) -> Tensor:
    """Return the nearness of each cell to each point, (B, N, y, x)."""
    parts = []
    for axis, cells in enumerate(grid):
        middles = (torch.arange(cells, device=points.device, dtype=points.dtype) + 0.5) * stride
        away = (middles - (points[:, :, axis, None] + 0.5)) / stride
        parts.append(torch.exp(-(away**2) / 2))
    return parts[0][:, :, :, None] * parts[1][:, :, None, :]
