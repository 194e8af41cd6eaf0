"""Affinities from embeddings: the metric graph.

Source: Lee et al. 2021 (IEEE TMI 40(12)), section III, the affinity of two voxels by the L1
distance of their embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from napari_neuropil.geometry import Offset, pair_slices


def metric_affinities(embeddings: Tensor, offsets: Sequence[Offset], delta: float = 1.5) -> Tensor:
    """Return the affinities of all voxels with their neighbours at `offsets`.

    Parameters
    ----------
    embeddings : Tensor
        (B, D, Z, Y, X) float.
    offsets : sequence of Offset
        Neighbour vectors (z, y, x), voxels.
    delta : float
        Half the distance from which on two voxels have affinity 0.

    Returns
    -------
    Tensor
        (B, len(offsets), Z, Y, X) in [0, 1]; at voxel v the pair (v, v + offset), 0 where the
        partner lies outside.
    """
    if delta <= 0:
        raise ValueError(f"delta must be above 0, not {delta}")
    batch, _, *shape = embeddings.shape
    affinities = embeddings.new_zeros((batch, len(offsets), *shape))
    # One offset at a time: the differences of all at once would be as many copies of the
    # embeddings.
    for channel, offset in enumerate(offsets):
        if any(abs(o) >= n for o, n in zip(offset, shape, strict=True)):
            continue
        z, y, x = (pair_slices(o, n) for o, n in zip(offset, shape, strict=True))
        difference = embeddings[..., z[0], y[0], x[0]] - embeddings[..., z[1], y[1], x[1]]
        distance = difference.abs().sum(dim=1)
        near = (1 - distance / (2 * delta)).clamp(0).square()
        affinities[:, channel, z[0], y[0], x[0]] = near
    return affinities


class MetricGraph(nn.Module):
    """A network of embeddings, made one of affinities and foreground.

    Parameters
    ----------
    network : Module
        Gives (embeddings, background probability) of an image.
    offsets : sequence of Offset
        Affinities wanted.
    delta : float
        As in `metric_affinities`.
    """

    def __init__(self, network: nn.Module, offsets: Sequence[Offset], delta: float = 1.5) -> None:
        super().__init__()
        self.network = network
        self.offsets = tuple(offsets)
        self.delta = delta

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Predict probabilities.

        Parameters
        ----------
        image : Tensor
            (B, 1, Z, Y, X) in [0, 1].

        Returns
        -------
        affinities : Tensor
            (B, len(offsets), Z, Y, X) in [0, 1], 1 = same object.
        foreground : Tensor
            (B, 1, Z, Y, X) in [0, 1], 1 = inside an object.
        """
        embeddings, background = self.network(image)
        foreground: Tensor = torch.rsub(background, 1)
        return metric_affinities(embeddings, self.offsets, self.delta), foreground
