"""The loss that compares features of voxels: alike within an object, unlike between objects.

Source: AGQ (Chen et al.), training, feature contrast, as the authors' program computes it: voxels
against voxels, not against prototypes, on features that are not normalised. What is silent there
and our reading: a voxel is compared with itself too, which keeps features from growing; background
is neither drawn nor compared.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

ROWS_AT_ONCE: Final = 512
"""Voxels compared with all others at once: 8 MB for 4096 voxels, which in one go take 67 MB."""


def contrast_loss(features: Tensor, masks: Tensor, temperature: float) -> Tensor:
    """Return the cross-entropy of the similarities of voxels.

    The logits of voxel i are its dot products with all voxels by the temperature; the target of
    pair (i, j) is t_i . t_j, each row divided by its sum. The target is never built: its part of
    the cross-entropy is a product with the sums of the objects' features.

    Parameters
    ----------
    features : Tensor, (K, C)
        Of the voxels drawn.
    masks : Tensor, (K, count)
        Their soft masks, no row without an object.
    temperature : float
        What dot products are divided by.

    Returns
    -------
    Tensor
        Mean over voxels; 0 without voxels.
    """
    if len(features) == 0:
        return features.sum()  # 0, with a graph for the backward pass
    total = features.new_zeros(())
    for rows in torch.split(features, ROWS_AT_ONCE):
        if features.requires_grad:
            total = total + checkpoint(
                _log_totals,
                rows,
                features,
                temperature,
                use_reentrant=False,
                preserve_rng_state=False,
            )
        else:
            total = total + _log_totals(rows, features, temperature)
    sums = masks.t() @ features
    attraction = (features * (masks @ sums)).sum(dim=1) / (masks @ masks.sum(dim=0))
    return (total - attraction.sum() / temperature) / len(features)


def _log_totals(rows: Tensor, features: Tensor, temperature: float) -> Tensor:
    return (rows @ features.t() / temperature).logsumexp(dim=1).sum()
