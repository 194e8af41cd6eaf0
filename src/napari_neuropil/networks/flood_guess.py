"""First masks that end at membranes, and their refinement beside prompts and fine features."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from napari_neuropil.networks.flood import Box, flood_box
from napari_neuropil.networks.prompt_maps import MAP_COUNT, draw_prompts
from napari_neuropil.networks.promptable import PromptTensors

_STRIDE: Final = 2
_REACH: Final = 48
"""Pixels around points in which their object is sought when there is no box."""
_CORE: Final = 0.35
_CERTAINTY: Final = 4.0
_WIDTH: Final = 16


class FloodGuess(nn.Module):
    """Floods prompts on a map of membranes, and mends what came of it.

    Parameters
    ----------
    fine : int
        Channels of the features at 1/2.
    """

    def __init__(self, fine: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.full((1,), _CERTAINTY))
        self.first = nn.Conv2d(fine, _WIDTH, 3, padding=1)
        self.prompts = nn.Conv2d(MAP_COUNT + 1, _WIDTH, 3, padding=1, bias=False)
        self.second = nn.Conv2d(_WIDTH, _WIDTH, 3, padding=2, dilation=2)
        self.last = nn.Conv2d(_WIDTH, 1, 3, padding=1)
        with torch.no_grad():
            self.last.weight.mul_(0.01)
            nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, border: Tensor, prompts: PromptTensors, count: int) -> Tensor:
        """Return first masks, logits (B, 1, y, x) at 1/2.

        Parameters
        ----------
        border : Tensor, (1, 1, Y, X)
            High on membranes.
        prompts : PromptTensors
            B prompts, in pixels.
        count : int
            B.
        """
        heights = border[0, 0].float().cpu().numpy()
        found = np.stack([_flood(heights, prompts, i) for i in range(count)])
        masks = torch.from_numpy(found).to(border)[:, None]
        return self.gain * (2 * functional.avg_pool2d(masks, _STRIDE) - 1)

    def refine(self, logits: Tensor, fine: Tensor, prompts: PromptTensors) -> Tensor:
        """Return what is added to logits (B, M, y, x) at 1/2."""
        count, readings = logits.shape[:2]
        grid = (logits.shape[2], logits.shape[3])
        maps = draw_prompts(prompts, grid, _STRIDE, count)
        maps = maps.repeat_interleave(readings, dim=0)
        flat = logits.flatten(0, 1)[:, None]
        seen = torch.cat([maps, torch.tanh(flat / _CERTAINTY)], dim=1)
        hidden = functional.relu(self.first(fine) + self.prompts(seen))
        hidden = functional.relu(self.second(hidden))
        added: Tensor = self.last(hidden)
        return added.view_as(logits)


def _flood(
    heights: NDArray[np.float32], prompts: PromptTensors, number: int
) -> NDArray[np.float32]:
    """Return the flooded mask of one prompt, (Y, X) of 0 and 1; 0.5 where nothing is known."""
    points = np.zeros((0, 2), np.float32)
    positive = np.zeros(0, np.bool_)
    if prompts.points is not None and prompts.positive is not None:
        signs = prompts.positive[number].detach().cpu().numpy()
        points = prompts.points[number].detach().cpu().numpy()[signs >= 0]
        positive = signs[signs >= 0] > 0
    mask = None
    if prompts.masks is not None:
        logits = prompts.masks[number, 0].detach().float().cpu().numpy()
        mask = np.repeat(np.repeat(logits > 0, _STRIDE, 0), _STRIDE, 1)
    box = _box(heights.shape, prompts, number, points[positive], mask)
    if box is None:
        return np.full(heights.shape, 0.5, np.float32)
    if mask is not None and not mask[box[0] : box[2], box[1] : box[3]].any():
        mask = None
    found = np.zeros(heights.shape, np.float32)
    found[box[0] : box[2], box[1] : box[3]] = flood_box(
        heights, box, points, positive, mask, core=_CORE
    )
    return found


def _box(
    shape: tuple[int, ...],
    prompts: PromptTensors,
    number: int,
    positive: NDArray[np.float32],
    mask: NDArray[np.bool_] | None,
) -> Box | None:
    """Return where a prompt's object lies: its box; else around its points and its mask."""
    if prompts.boxes is not None:
        y0, x0, y1, x1 = prompts.boxes[number].detach().cpu().numpy()
        low, high = np.floor([y0, x0]), np.ceil([y1, x1])
    else:
        parts = [positive - _REACH, positive + _REACH] if len(positive) else []
        if mask is not None and mask.any():
            ys, xs = np.nonzero(mask)
            margin = _REACH // 4
            parts.append(np.array([[ys.min() - margin, xs.min() - margin]], np.float32))
            parts.append(np.array([[ys.max() + margin, xs.max() + margin]], np.float32))
        if not parts:
            return None
        places = np.concatenate(parts)
        # The rim stays outside: a flood that nothing stops takes all.
        low = np.maximum(np.floor(places.min(axis=0)), 1)
        high = np.minimum(np.ceil(places.max(axis=0)) + 1, np.array(shape) - 1)
    y0, x0 = (int(v) for v in np.maximum(low, 0))
    y1, x1 = (int(v) for v in np.minimum(high, shape))
    return (y0, x0, y1, x1) if y1 > y0 and x1 > x0 else None
