"""Masks of AGQ: kernels times features, and what is gathered under them.

Source: methods of AGQ (Chen et al.): initial queries and stages. Voxels are rows (V, C) here. Where
nothing has to be remembered for a gradient, logits of all queries exist for a few voxels at a time
only: those of a block of 17 x 257 x 257 with 200 queries would take 227 MB a stage.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from napari_neuropil.networks.agq.slabs import slabs


@dataclass(frozen=True, slots=True)
class MaskHead:
    """Queries, as kernels that give logits.

    Parameters
    ----------
    kernels : Tensor
        (N, C).
    norm : BatchNorm2d
        Of a single channel: all logits share its statistics.
    places : Tensor, optional
        (V, N), added to the logits: where each query's component lies.
    """

    kernels: Tensor
    norm: nn.BatchNorm2d
    places: Tensor | None = None

    @property
    def in_parts(self) -> bool:
        """Whether voxels may be treated apart."""
        return not (torch.is_grad_enabled() or self.norm.training)

    def logits(self, rows: Tensor) -> Tensor:
        """Return the logits (V, N) of normalised features (V, C)."""
        logits: Tensor = self.norm((rows @ self.kernels.t())[None, None]).squeeze((0, 1))
        return logits if self.places is None else logits + self.places

    def folded(self) -> tuple[Tensor, Tensor]:
        """Return kernels that have the norm's factor in them, and its summand."""
        norm = self.norm
        if norm.running_mean is None or norm.running_var is None:
            raise ValueError("a norm without running statistics")
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        return self.kernels * scale, norm.bias - norm.running_mean * scale


def masks_of(head: MaskHead, rows: Tensor, background: Tensor) -> Tensor:
    """Return the logits of background and queries.

    Parameters
    ----------
    head : MaskHead
        N queries.
    rows : Tensor
        (V, C), normalised features.
    background : Tensor
        (V, 1), its logits.

    Returns
    -------
    Tensor
        (V, 1 + N).
    """
    if not head.in_parts:
        return torch.cat([background, head.logits(rows)], dim=1)
    kernels, shift = head.folded()
    # A kernel of zeros keeps the background's place: products are written where they belong.
    kernels = torch.cat([torch.zeros_like(kernels[:1]), kernels]) if len(kernels) else kernels
    masks = rows.new_empty(len(rows), 1 + len(head.kernels))
    for part in slabs(len(rows), masks.shape[1]):
        if len(kernels):
            torch.mm(rows[part], kernels.t(), out=masks[part]).add_(shift)
            if head.places is not None:
                masks[part, 1:] += head.places[part]
        masks[part, :1] = background[part]
    return masks


def gathered_under(head: MaskHead, rows: Tensor, instances: Tensor) -> Tensor:
    """Return what lies under each mask: the sum of features, weighted by the query's share.

    The shares are those among the queries, without the background. It is a sum, not a mean: its
    size grows with the block.

    Parameters
    ----------
    head : MaskHead
        N queries.
    rows : Tensor
        (V, C), normalised features.
    instances : Tensor
        (V, C), the features gathered.

    Returns
    -------
    Tensor
        (N, C).
    """
    if not head.in_parts:
        return head.logits(rows).softmax(dim=1).t() @ instances
    kernels, _ = head.folded()  # what all logits have in common does not change shares
    total = torch.zeros_like(kernels)
    for part in slabs(len(rows), max(1, len(kernels))):
        logits = rows[part] @ kernels.t()
        if head.places is not None:
            logits += head.places[part]
        shares = logits.softmax(dim=1)
        total += shares.t() @ instances[part]
    return total
