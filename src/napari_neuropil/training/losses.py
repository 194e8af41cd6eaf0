"""Losses of affinities and foreground."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_neuropil.training.patches import Patch


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


def affinity_patch_loss(
    network: nn.Module, patch: Patch, device: torch.device
) -> dict[str, Tensor]:
    """Return the loss of affinities and foreground on one patch.

    Parameters
    ----------
    network : Module
        Has `logits(image)` that gives (affinities, foreground) before the sigmoid.
    patch : Patch
        Image and targets.
    device : torch.device
        Where the network is.
    """
    image, affinities, known, foreground = (
        torch.from_numpy(np.ascontiguousarray(a))[None].to(device)
        for a in (patch.image[None], patch.affinities, patch.known, patch.foreground[None])
    )
    logits, foreground_logits = network.logits(image)  # type: ignore[operator]
    everywhere = torch.ones_like(foreground, dtype=torch.bool)
    return {
        "affinities": affinity_loss(logits, affinities, known),
        "foreground": affinity_loss(foreground_logits, foreground, everywhere),
    }
