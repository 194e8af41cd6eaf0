"""From the logits of queries to a label field: one pass, section by section.

What is defined (Chen et al., AGQ, the published inference; see `label_queries`): logits are
interpolated to the image's grid, a softmax over the queries follows, queries of too small a soft
volume are set to 0, and each voxel takes the strongest. Held whole, that is 201 channels at full
size, 0.9 GB for a block of 17 x 257 x 257. Here only one section of it exists at a time; labels and
volumes come of the same pass, and a section is looked at again only where a query that is too
small has won a voxel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

MOST_QUERIES: Final = 256
"""Labels are bytes."""


@dataclass(frozen=True, slots=True)
class QueryLabels:
    """Which query each voxel belongs to.

    Parameters
    ----------
    labels : Tensor of uint8, (Z, Y, X)
        Index of the strongest query; 0 is background.
    confidence : Tensor of float32, (Z, Y, X)
        Its probability, in [0, 1].
    runner_up : Tensor of uint8, (Z, Y, X)
        Index of the second strongest; 0 is background.
    runner_up_share : Tensor of float32, (Z, Y, X)
        Its probability, in [0, 0.5].
    foreground : Tensor of float32, (Z, Y, X)
        Probability of all queries together, without the background.
    volumes : Tensor of float32, (N,)
        Soft volume of each query, voxels.
    """

    labels: Tensor
    confidence: Tensor
    runner_up: Tensor
    runner_up_share: Tensor
    foreground: Tensor
    volumes: Tensor


def label_queries(
    logits: Tensor, size: tuple[int, int, int], *, smallest_volume: float = 40.0
) -> QueryLabels:
    """Give each voxel to its strongest query.

    Parameters
    ----------
    logits : Tensor
        (N, z, y, x), the background first; z as in `size`, y and x may be coarser.
    size : tuple of int
        (Z, Y, X) of the image.
    smallest_volume : float
        Queries of a smaller soft volume win nothing, voxels of the image's grid.

    Raises
    ------
    ValueError
        If there are more than `MOST_QUERIES`, or sections are missing.
    """
    if len(logits) > MOST_QUERIES or logits.shape[1] != size[0]:
        raise ValueError(f"logits of shape {tuple(logits.shape)} for an image of {size}")
    many = len(logits) > 1
    labels = torch.empty(size, dtype=torch.uint8, device=logits.device)
    confidence = torch.empty(size, dtype=torch.float32, device=logits.device)
    runner_up = torch.zeros_like(labels)
    share, foreground = torch.zeros_like(confidence), torch.zeros_like(confidence)
    volumes = torch.zeros(len(logits), dtype=torch.float64, device=logits.device)
    winners = torch.zeros(size[0], len(logits), dtype=torch.bool, device=logits.device)

    def give(section: int, shares: Tensor) -> Tensor:
        index, strongest = _highest(shares)
        labels[section], confidence[section] = index.to(torch.uint8), strongest
        if many:
            # No share is below 0; the first is out of the race.
            rest = shares.scatter(0, index[None], -1.0)
            second, share[section] = _highest(rest)
            runner_up[section] = second.to(torch.uint8)
        return index

    for section in range(size[0]):
        shares = _shares(logits[:, section], size)
        volumes += shares.flatten(1) @ shares.new_ones(size[1] * size[2])
        index = give(section, shares)
        foreground[section] = 1 - shares[0]
        winners[section] = torch.bincount(index.flatten(), minlength=len(logits)) > 0
    small = volumes < smallest_volume
    for section in (winners & small).any(dim=1).nonzero().flatten().tolist():
        shares = _shares(logits[:, section], size)
        shares[small] = 0
        give(section, shares)
    return QueryLabels(
        labels, confidence, runner_up, share, foreground.clamp_(0, 1), volumes.float()
    )


def _shares(logits: Tensor, size: tuple[int, int, int]) -> Tensor:
    """Return the softmax of one section (N, y, x) on the image's grid, (N, Y, X) float32."""
    # Sections keep their number, so the trilinear interpolation is bilinear in each. The network
    # keeps the queries of a voxel side by side; one after another they take half the time.
    fine = functional.interpolate(
        logits.float()[None].contiguous(), size=size[1:], mode="bilinear", align_corners=False
    )
    return fine[0].softmax(dim=0)


def _highest(shares: Tensor) -> tuple[Tensor, Tensor]:
    """Return index and value of the highest of (N, Y, X); of equal ones the first, of zeros 0.

    Finding the value alone and then where it is takes a sixth of the time of `topk` on a CPU.
    """
    value = shares.amax(dim=0)
    last = len(shares)
    ranks = torch.arange(last, 0, -1, dtype=torch.int16, device=shares.device).view(-1, 1, 1)
    index = last - ((shares == value) * ranks).amax(dim=0).long()
    return index * (value > 0), value
