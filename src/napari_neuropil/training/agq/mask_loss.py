"""The loss of AGQ's masks: Dice of the matched queries and soft cross-entropy.

Source: AGQ (Chen et al.), training, segmentation loss. Both terms come from sums over voxels
that are gathered run by run: with 200 queries, each intermediate of a whole patch would be as
large as the masks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from napari_neuropil.training.agq.matching import (
    DICE_EPSILON,
    NO_QUERY,
    SoftTargets,
    runs,
)


@dataclass(frozen=True, slots=True)
class MaskTargets:
    """What the channels of the masks should be.

    Parameters
    ----------
    channels : Tensor of int64, (V, 4)
        0 = background, else the query matched to the object.
    weights : Tensor, (V, 4)
        Shares of the channels; 0 where an object has no query.
    complete : Tensor, (V,)
        1 where matched objects fill the voxel, else 0.
    matched : Tensor of int64, (M,)
        Channels with an object.
    areas : Tensor, (M,)
        Squared sums of their masks over complete voxels.
    """

    channels: Tensor
    weights: Tensor
    complete: Tensor
    matched: Tensor
    areas: Tensor


def mask_targets(targets: SoftTargets, matched: Tensor) -> MaskTargets:
    """Bring the objects into the order of the queries.

    Parameters
    ----------
    targets : SoftTargets
        Objects.
    matched : Tensor of int64, (count,)
        Channel of each object, -1 = none.
    """
    # Background first; the free label last, where its -1 points.
    lookup = torch.cat([matched.new_zeros(1), matched, matched.new_full((1,), NO_QUERY)])
    channels = lookup[targets.objects]
    weights = targets.weights * (channels != NO_QUERY)
    channels = channels.clamp(min=0)
    filled = (weights * (channels > 0)).sum(dim=1)
    complete = (filled > 1 - 1e-5).to(weights.dtype)  # the four weights are rounded
    areas = weights.new_zeros(targets.count)
    for voxels in runs(len(complete)):
        # No other object lies in a complete voxel, so the matched ones need no choosing here.
        areas += complete[voxels] @ targets.dense(voxels).square()
    found = matched != NO_QUERY
    return MaskTargets(channels, weights, complete, matched[found], areas[found])


def mask_loss(logits: Tensor, targets: MaskTargets) -> tuple[Tensor, Tensor]:
    """Return Dice loss and cross-entropy of one output.

    Parameters
    ----------
    logits : Tensor, (V, 1 + N)
        Background first, then queries; the softmax is over all of them.
    targets : MaskTargets
        The channels wanted.

    Returns
    -------
    dice : Tensor
        1 - Dice of the matched queries over complete voxels, summed and divided by N; each
        query without an object counts 0. Voxels of background, of borders and of objects without
        a query do not count.
    entropy : Tensor
        Cross-entropy with soft targets, background among them, mean over the voxels that have a
        target.
    """
    overlaps, squares, entropy = _MaskSums.apply(  # type: ignore[no-untyped-call]
        logits, targets.channels, targets.weights, targets.complete, targets.matched
    )
    dice = 2 * overlaps / (squares + targets.areas + DICE_EPSILON)
    voxels = (targets.weights.sum(dim=1) > 0).sum().clamp(min=1)
    return (1 - dice).sum() / max(1, logits.shape[1] - 1), entropy / voxels


class _MaskSums(torch.autograd.Function):
    """Sums over voxels: sum(p t) and sum(p^2) of the matched queries, and the cross-entropy.

    Left to autograd, each of some ten intermediates would be as large as the logits, and the
    gradient be made twice. The gradient by the logits is p (a - sum(a p)) for the first two sums,
    with a their gradients by p, and p sum(t) - t for the third.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, channels: Tensor, weights: Tensor, complete: Tensor,
        matched: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        ctx.save_for_backward(logits, channels, weights, complete, matched)
        overlaps = logits.new_zeros(logits.shape[1])
        squares, entropy = logits.new_zeros(len(matched)), logits.new_zeros(())
        for voxels in runs(len(logits)):
            share, chosen, full = weights[voxels], channels[voxels], complete[voxels]
            log_total = logits[voxels].logsumexp(dim=1, keepdim=True)
            log_wanted = logits[voxels].gather(1, chosen) - log_total
            entropy -= (share * log_wanted).sum()
            parts = share * full[:, None] * log_wanted.exp()
            overlaps.index_add_(0, chosen.reshape(-1), parts.reshape(-1))
            probabilities = (logits[voxels].index_select(1, matched) - log_total).exp_()
            squares += full @ probabilities.square_()
        return overlaps.index_select(0, matched), squares, entropy

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, by_overlaps: Tensor, by_squares: Tensor, by_entropy: Tensor
    ) -> tuple[Tensor | None, ...]:
        logits, channels, weights, complete, matched = ctx.saved_tensors
        gradient = torch.empty_like(logits)
        # By channel, so that a neighbour's channel finds its own.
        by_overlap, by_square = (
            logits.new_zeros(logits.shape[1]).index_copy(0, matched, by)
            for by in (by_overlaps, by_squares)
        )
        for voxels in runs(len(logits)):
            share, chosen = weights[voxels], channels[voxels]
            probabilities = logits[voxels].softmax(dim=1)
            part = torch.mul(probabilities, 2 * by_square, out=gradient[voxels])
            part.scatter_add_(1, chosen, share * by_overlap[chosen])
            part *= complete[voxels, None]
            own = (part * probabilities).sum(dim=1, keepdim=True)
            part += by_entropy * share.sum(dim=1, keepdim=True) - own
            part *= probabilities
            part.scatter_add_(1, chosen, -by_entropy * share)
        return gradient, None, None, None, None
