"""Losses of affinities and foreground."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def affinity_loss(logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
    """Return cross-entropy plus the Dice loss of the boundaries, where the target is known.

    Boundaries are the rare class; Dice on them keeps the network from the trivial answer, and
    cross-entropy keeps probabilities calibrated, which the multicut's bias relies on.

    Parameters
    ----------
    logits, targets, known : Tensor, (B, C, Z, Y, X)
        Prediction before the sigmoid, 0/1 target, 0/1 weight.
    """
    weight = known.to(logits.dtype)
    entropy = functional.binary_cross_entropy_with_logits(logits, targets, weight=weight)
    boundary, wanted = (1 - logits.sigmoid()) * weight, (1 - targets) * weight
    overlap = (boundary * wanted).sum((0, 2, 3, 4))
    size = boundary.square().sum((0, 2, 3, 4)) + wanted.square().sum((0, 2, 3, 4))
    dice = 1 - (2 * overlap + 1) / (size + 1)
    return entropy + 0.5 * dice.mean()
