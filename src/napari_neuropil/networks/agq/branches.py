"""What AGQ reads off the fused features: affinities, features of masks, features of instances.

Source: methods of AGQ (Chen et al.): branches. All three see where a voxel lies in the block.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from napari_neuropil.networks.agq.layers import DEEP, FLAT, Convolution, PlainConvolution

COORDINATES: Final = 3
_LAYERS: Final = 4
FIRST_FEATURES: Final = 0.1
"""Scale of the features that masks are made of. They are compared by dot products that nothing
scales: with usual first weights the contrast begins forty times above the other terms and leads the
first steps."""


def with_coordinates(x: Tensor) -> Tensor:
    """Put three channels before those of sections: z, x, y, each from -1 to 1.

    Parameters
    ----------
    x : Tensor
        (Z, C, Y, X).

    Returns
    -------
    Tensor
        (Z, 3 + C, Y, X).
    """
    lines = (
        torch.linspace(-1, 1, n, dtype=x.dtype, device=x.device) for n in (len(x), *x.shape[2:])
    )
    z, y, x_ = torch.meshgrid(*lines, indexing="ij")
    return torch.cat([torch.stack([z, x_, y], dim=1), x], dim=1)


def _widths(fused: int) -> list[int]:
    return [COORDINATES + fused, *[fused] * (_LAYERS - 1)]


class Branch(nn.Module):
    """Four convolutions with ELU and a projection.

    Parameters
    ----------
    fused : int
        Channels, the coordinates not counted.
    out_channels : int
        Channels of the result.
    deep : bool
        Whether the kernels reach into the neighbouring sections.
    scale : float
        Of the result, before training.
    """

    def __init__(self, fused: int, out_channels: int, *, deep: bool, scale: float = 1.0) -> None:
        super().__init__()
        kernel = DEEP if deep else FLAT
        self.mask_convs = nn.ModuleList(
            PlainConvolution(Convolution(width, fused, kernel), nn.ELU(inplace=True))
            for width in _widths(fused)
        )
        self.projection = Convolution(fused, out_channels, (1, 1, 1), bias=True)
        with torch.no_grad():
            self.projection.weight.mul_(scale)

    def forward(self, x: Tensor) -> Tensor:
        """Return sections (Z, out_channels, Y, X) of sections (Z, 3 + fused, Y, X)."""
        first, *others = self.mask_convs
        x, spare = first(x), None
        for layer in others:
            # Deep kernels need two volumes in turn, flat ones do with one.
            x, spare = layer(x, into=x if layer.in_place else spare), x
        out: Tensor = PlainConvolution(self.projection)(x)
        return out


class InstanceFeatures(nn.ModuleList):
    """Four flat convolutions with batch norm and ReLU."""

    def __init__(self, fused: int) -> None:
        super().__init__(
            PlainConvolution(
                Convolution(width, fused), nn.BatchNorm2d(fused), nn.ReLU(inplace=True)
            )
            for width in _widths(fused)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return sections (Z, fused, Y, X) of sections (Z, 3 + fused, Y, X)."""
        first, *others = self
        x = first(x)
        for layer in others:
            x = layer(x, into=x)
        return x
