"""Where a query begins: its component, softened, as a term of its logits.

Ours. In the published network a mask has to come from the features alone, so they must first learn
to tell any two neurons of a block apart, which takes most of its training. Here the component that
made the query speaks too: inside it the term is high, outside low, and features decide near its rim
and against it. Each of the masks learns how much the term weighs.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

_BOX: Final = 5
"""Pixels of the box whose mean is taken twice in a section."""
_CERTAINTY: Final = 1e-3
_WEIGHT: Final = 0.5
_LEARNED: Final = -2.0
"""Term of a learned query, which has no place, before training."""


class Places(nn.Module):
    """The terms of all masks.

    Parameters
    ----------
    masks : int
        Before the first stage, after each stage.
    """

    def __init__(self, masks: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.full((masks,), _WEIGHT))
        self.learned = nn.Parameter(torch.full((masks,), _LEARNED))

    def forward(self, labels: Tensor, components: int, learned: int) -> list[Tensor]:
        """Return the terms (V, components + learned) of each of the masks.

        Parameters
        ----------
        labels : Tensor of int64
            (Z, Y, X), components from 1, 0 elsewhere.
        components, learned : int
            Queries of each kind.
        """
        logits = place_logits(labels, components, self.weights.dtype)
        voxels = labels.numel()
        return [
            torch.cat([weight * logits, level.expand(voxels, learned)], dim=1)
            for weight, level in zip(self.weights, self.learned, strict=True)
        ]


def place_logits(labels: Tensor, components: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the log-odds that a voxel near components is of each.

    A component's mask is softened: in each section by two means over 5 x 5, along z by weights of
    1, 2 and 1. Beyond that reach all components are alike.

    Parameters
    ----------
    labels : Tensor of int64
        (Z, Y, X), components from 1, 0 elsewhere.
    components : int
        N.
    dtype : torch.dtype
        Of the result.

    Returns
    -------
    Tensor
        (Z * Y * X, N), from -6.9 to 6.9.
    """
    # The channels of a voxel side by side, as the rows of the result.
    masks = torch.zeros(*labels.shape, components + 1, dtype=dtype, device=labels.device)
    masks.scatter_(3, labels.unsqueeze(3), 1.0)
    if not components:
        return masks.view(-1, 1)[:, 1:]
    sections = masks[..., 1:].permute(0, 3, 1, 2)
    for _ in range(2):
        sections = functional.avg_pool2d(
            sections, _BOX, stride=1, padding=_BOX // 2, count_include_pad=False
        )
    soft = 2 * sections
    soft[1:] += sections[:-1]
    soft[:-1] += sections[1:]
    soft[0] += sections[0]
    soft[-1] += sections[-1]
    soft = (soft / 4).clamp(_CERTAINTY, 1 - _CERTAINTY)
    return torch.logit(soft).permute(0, 2, 3, 1).reshape(labels.numel(), components)
