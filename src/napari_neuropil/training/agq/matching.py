"""Which query shall learn which object: a bipartite matching by Dice.

Source: AGQ (Chen et al.), training: the assignment that makes the sum of Dice coefficients
highest, found once on the masks before the first stage and kept for the stages.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from napari_neuropil.errors import SettingsError
from napari_neuropil.training.soft_labels import SoftLabels

DICE_EPSILON: Final = 1e-4
VOXELS_AT_ONCE: Final = 16384
"""Voxels whose probabilities are held at once: 13 MB for 200 queries."""

NO_QUERY: Final = -1


@dataclass(frozen=True, slots=True)
class SoftTargets:
    """Soft masks of a patch as tensors, a row for each voxel; see `SoftLabels`.

    Parameters
    ----------
    objects : Tensor of int64, (V, 4)
        1 to `count`, 0 = background, -1 = free.
    weights : Tensor, (V, 4)
        Their shares.
    count : int
        Number of objects.
    """

    objects: Tensor
    weights: Tensor
    count: int

    @classmethod
    def of(cls, masks: SoftLabels, like: Tensor) -> Self:
        """Return the soft masks on the device of `like`, in its type."""
        return cls(
            torch.from_numpy(np.ascontiguousarray(masks.objects.T)).to(like.device),
            torch.from_numpy(np.ascontiguousarray(masks.weights.T)).to(like),
            masks.count,
        )

    def dense(self, voxels: slice | Tensor) -> Tensor:
        """Return the soft masks of some voxels, (v, count)."""
        # Background and what is free share the first column, which is cut off.
        columns, weights = self.objects[voxels].clamp(min=0), self.weights[voxels]
        masks = weights.new_zeros((len(columns), self.count + 1))
        return masks.scatter_add(1, columns, weights)[:, 1:]


@torch.no_grad()
def match_queries(logits: Tensor, targets: SoftTargets) -> Tensor:
    """Assign a query to each object.

    Cost: two passes over the logits, O(queries x objects) memory, and the Hungarian algorithm on
    that matrix (about a millisecond for 200 x 50).

    Parameters
    ----------
    logits : Tensor, (V, 1 + N)
        Background first, then queries.
    targets : SoftTargets
        Objects at the same voxels.

    Returns
    -------
    Tensor of int64, (count,)
        Channel 1 to N of each object; -1 for those that go without, because there are more objects
        than queries or because nothing of them is left on this grid.

    Raises
    ------
    SettingsError
        If the masks are not finite: the training has run away.
    """
    matched = torch.full((targets.count,), NO_QUERY, dtype=torch.int64, device=logits.device)
    if targets.count == 0:
        return matched
    dice, areas = query_dice(logits, targets)
    if not dice.isfinite().all():
        raise SettingsError(
            "The masks of the network are not finite.",
            "finite masks",
            "lower optimiser.learning_rate or optimiser.clip, and start anew.",
        )
    queries, objects = linear_sum_assignment(dice.double().cpu().numpy(), maximize=True)
    device = logits.device
    matched[torch.from_numpy(objects).to(device)] = torch.from_numpy(queries).to(device) + 1
    matched[areas == 0] = NO_QUERY
    return matched


def query_dice(logits: Tensor, targets: SoftTargets) -> tuple[Tensor, Tensor]:
    """Return the Dice coefficient of each query with each object.

    Parameters
    ----------
    logits : Tensor, (V, 1 + N)
        Background first, then queries; the softmax is over all of them.
    targets : SoftTargets
        Objects at the same voxels.

    Returns
    -------
    dice : Tensor, (N, count)
        2 sum(p t) / (sum(p^2) + sum(t^2) + 1e-4).
    areas : Tensor, (count,)
        sum(t^2).
    """
    queries = logits.shape[1] - 1
    overlaps = logits.new_zeros((queries, targets.count))
    squares, areas = logits.new_zeros(queries), logits.new_zeros(targets.count)
    for voxels in runs(len(logits)):
        probabilities = logits[voxels].softmax(dim=1)[:, 1:]
        masks = targets.dense(voxels)
        overlaps += probabilities.t() @ masks
        squares += probabilities.square().sum(dim=0)
        areas += masks.square().sum(dim=0)
    return 2 * overlaps / (squares[:, None] + areas + DICE_EPSILON), areas


def runs(voxels: int) -> Iterator[slice]:
    """Yield all voxels in runs, so that probabilities of a few exist at a time."""
    return (slice(low, low + VOXELS_AT_ONCE) for low in range(0, voxels, VOXELS_AT_ONCE))
