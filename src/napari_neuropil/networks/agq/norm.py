"""Group normalisation of sections, in one go or from sums that are gathered slab by slab.

Source: Wu and He, Group Normalization, ECCV 2018. The sums are those of numbers from which a first
estimate of the mean is taken away: squares of what is left lose nothing to cancellation, however
far the mean is from 0 (Chan, Golub and LeVeque, The American Statistician 37(3), 1983, section 2).
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_neuropil.networks.agq.slabs import as_rows

GROUPS: Final = 8


class ChannelSums:
    """Sums over the voxels of each channel, of sections that come a few at a time."""

    def __init__(self) -> None:
        self.voxels = 0
        self._origin = self._sum = self._square = torch.zeros(0)

    def add(self, sections: Tensor) -> None:
        """Take in sections (n, C, Y, X) of float32."""
        rows = as_rows(sections)
        if not self.voxels:
            self._origin = rows.mean(dim=0)
            self._sum = torch.zeros(len(self._origin), dtype=torch.float64)
            self._square = torch.zeros_like(self._sum)
        self.voxels += len(rows)
        rows = rows - self._origin
        self._sum += rows.sum(dim=0)
        self._square += rows.square_().sum(dim=0)

    def group_moments(self, groups: int) -> tuple[Tensor, Tensor]:
        """Return mean and variance of each channel's group, (C,) of float64 each."""
        rest = self._sum / self.voxels
        mean = self._origin + rest
        width = len(mean) // groups
        group_mean = _over_groups(mean, width)
        spread = self._square / self.voxels - rest.square() + (mean - group_mean).square()
        return group_mean, _over_groups(spread, width).clamp(min=0)


def _over_groups(values: Tensor, width: int) -> Tensor:
    return values.view(-1, width).mean(dim=1).repeat_interleave(width)


class SectionGroupNorm(nn.GroupNorm):
    """Group normalisation of sections (Z, C, Y, X) with the statistics of the whole volume."""

    def __init__(self, channels: int) -> None:
        super().__init__(GROUPS, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise all sections at once."""
        volume = x.transpose(0, 1).unsqueeze(0)
        normed = functional.group_norm(volume, self.num_groups, self.weight, self.bias, self.eps)
        return normed.squeeze(0).transpose(0, 1)  # an index would fill zeros in the gradient

    def scale_and_shift(self, sums: ChannelSums) -> tuple[Tensor, Tensor]:
        """Return factor and summand of each channel, (1, C, 1, 1), from the sums of a volume."""
        mean, variance = sums.group_moments(self.num_groups)
        scale = self.weight / (variance + self.eps).sqrt()
        shift = self.bias - mean * scale
        return scale.float().view(1, -1, 1, 1), shift.float().view(1, -1, 1, 1)
