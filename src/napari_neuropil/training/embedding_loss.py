"""The loss of dense voxel embeddings: near to the own object's mean, means far from each other.

Source: Lee et al. 2021 (IEEE TMI 40(12)), section III, after De Brabandere et al. 2017 with the L1
norm in all terms. Objects that fall apart inside the patch count as several; the means of two
parts of one object are not pushed apart, since nothing in the patch tells that they differ or not.
`neighbour_loss` is ours: the same margins for single pairs of voxels, which say where the border
is; means alone teach that late.

Cost: O(voxels x dimensions) for the means, O(objects^2) memory for the pairs up to
`PAIR_ROWS` objects; above, rows of pairs are computed again in the backward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from napari_neuropil.geometry import Offset, pair_slices
from napari_neuropil.training.embedding_patches import EmbeddingPatch

PAIR_ROWS: Final = 2048
"""Objects whose distances to all others are held at once."""


class EmbeddingLossSettings(BaseModel):
    """Margins and weights of the terms; the defaults are the paper's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    spread: float = Field(0.0, ge=0, description="L1 distance from the mean that costs nothing.")
    apart: float = Field(1.5, gt=0, description="Half the L1 distance that two means should have.")
    internal: float = Field(1.0, ge=0, description="Weight of the distance to the own mean.")
    external: float = Field(1.0, ge=0, description="Weight of means that are too near.")
    regulariser: float = Field(1e-3, ge=0, description="Weight of the norm of the means.")
    background: float = Field(1.0, ge=0, description="Weight of the background's cross-entropy.")
    neighbours: float = Field(0.0, ge=0, description="Weight of single pairs of voxels; ours.")
    neighbour_offsets: tuple[Offset, ...] = Field(
        ((-1, 0, 0), (-2, 0, 0), (0, -5, 0), (0, 0, -5), (0, -12, 0), (0, 0, -12)),
        description="Which pairs; nearer ones lie in one object, since borders are background.",
    )


def embedding_loss(
    embeddings: Tensor, objects: Tensor, origins: Tensor, settings: EmbeddingLossSettings
) -> dict[str, Tensor]:
    """Return the weighted terms of one patch; their sum is the loss.

    Parameters
    ----------
    embeddings : Tensor
        (D, Z, Y, X) float.
    objects : Tensor of int64
        (Z, Y, X) 1 to C in pieces that are connected, 0 where no object is.
    origins : Tensor of int64
        (C,) the id that each piece was cut from.
    settings : EmbeddingLossSettings
        Margins and weights.

    Returns
    -------
    dict of str to Tensor
        ``internal``, ``external``, ``regulariser``: scalars, 0 without objects.
    """
    count = len(origins)
    if count == 0:
        nothing = embeddings.sum() * 0  # keeps the graph, so that a backward pass finds one
        return {"internal": nothing, "external": nothing, "regulariser": nothing}
    places = objects.reshape(-1).nonzero().squeeze(1)
    ids = objects.reshape(-1).index_select(0, places) - 1
    # index_select and index_add are each other's gradients; plain indexing would sort in its own.
    vectors = embeddings.flatten(1).t().index_select(0, places)
    sizes = torch.bincount(ids, minlength=count).to(vectors.dtype)
    sums = vectors.new_zeros((count, vectors.shape[1])).index_add(0, ids, vectors)
    means = sums / sizes[:, None]
    distances = (vectors - means.index_select(0, ids)).abs().sum(dim=1)
    costs = functional.relu(distances - settings.spread).square()
    # The mean over objects of means over voxels, as one weighted sum.
    internal = (costs / sizes.index_select(0, ids)).sum() / count
    return {
        "internal": settings.internal * internal,
        "external": settings.external * _mean_pair_cost(means, origins, settings.apart),
        "regulariser": settings.regulariser * means.abs().sum(dim=1).mean(),
    }


def _mean_pair_cost(means: Tensor, origins: Tensor, apart: float) -> Tensor:
    """Return the cost of all ordered pairs of different origin, divided by the number of pairs."""
    count = len(means)
    if count < 2:
        return means.sum() * 0
    total = means.new_zeros(())
    for low in range(0, count, PAIR_ROWS):
        rows = slice(low, low + PAIR_ROWS)
        pairs = (means[rows], origins[rows], means, origins, apart)
        if count > PAIR_ROWS:
            total = total + checkpoint(_pair_cost, *pairs, use_reentrant=False)
        else:
            total = total + _pair_cost(*pairs)
    # Pairs of one origin cost nothing but count: the paper's divisor is that of all pairs.
    return total / (count * (count - 1))


def _pair_cost(
    rows: Tensor, row_origins: Tensor, means: Tensor, origins: Tensor, apart: float
) -> Tensor:
    costs = functional.relu(2 * apart - torch.cdist(rows, means, p=1)).square()
    return costs.masked_fill(row_origins[:, None] == origins[None], 0).sum()


def neighbour_loss(
    embeddings: Tensor,
    objects: Tensor,
    origins: Tensor,
    offsets: Sequence[Offset],
    settings: EmbeddingLossSettings,
) -> Tensor:
    """Return the cost of pairs of voxels: far apart in one object, near in two.

    The mean over pairs in one object and the mean over pairs in two count the same, however few
    the latter are; the mean over offsets is returned. Pairs of two parts of one id do not count.

    Parameters
    ----------
    embeddings, objects, origins
        As in `embedding_loss`.
    offsets : sequence of Offset
        Neighbour vectors, voxels.
    settings : EmbeddingLossSettings
        Margins.
    """
    total = embeddings.sum() * 0
    if len(origins) == 0:
        return total
    ids = torch.cat([origins.new_zeros(1), origins])
    for offset in offsets:
        if any(abs(o) >= n for o, n in zip(offset, objects.shape, strict=True)):
            continue
        pair = [pair_slices(o, n) for o, n in zip(offset, objects.shape, strict=True)]
        here, there = (tuple(sides) for sides in zip(*pair, strict=True))
        mine, other = objects[here], objects[there]
        both = (mine > 0) & (other > 0)
        same = both & (mine == other)
        apart = both & (ids[mine] != ids[other])
        distances = (embeddings[:, *here] - embeddings[:, *there]).abs().sum(dim=0)
        near = functional.relu(distances - settings.spread).square()
        far = functional.relu(2 * settings.apart - distances).square()
        total = total + 0.5 * (_mean_where(near, same) + _mean_where(far, apart))
    return total / len(offsets)


def _mean_where(costs: Tensor, mask: Tensor) -> Tensor:
    return (costs * mask).sum() / mask.sum().clamp(min=1)


def embedding_patch_loss(
    network: nn.Module, patch: EmbeddingPatch, device: torch.device, settings: EmbeddingLossSettings
) -> dict[str, Tensor]:
    """Return the loss terms of a network on one patch, the background's among them.

    Parameters
    ----------
    network : Module
        Has `logits(image)` that gives (embeddings, background before the sigmoid).
    patch : EmbeddingPatch
        Image and targets.
    device : torch.device
        Where the network is.
    settings : EmbeddingLossSettings
        Margins and weights.
    """
    image, objects, origins, background = (
        torch.from_numpy(np.ascontiguousarray(a)).to(device)
        for a in (patch.image, patch.objects, patch.origins, patch.background)
    )
    embeddings, logits = network.logits(image[None, None])  # type: ignore[operator]
    terms = embedding_loss(embeddings[0], objects, origins, settings)
    entropy = functional.binary_cross_entropy_with_logits(logits[0, 0], background.to(logits))
    terms["background"] = settings.background * entropy
    if settings.neighbours:
        pairs = neighbour_loss(
            embeddings[0], objects, origins, settings.neighbour_offsets, settings
        )
        terms["neighbours"] = settings.neighbours * pairs
    return terms
