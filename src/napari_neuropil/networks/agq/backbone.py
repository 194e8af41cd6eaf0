"""The residual U-Net of AGQ: five levels, seen together at half the resolution in y and x.

The three upper levels are pooled in y and x only, the two lower ones in z too. Kernels within a
level are always flat.

Source: methods of AGQ (Chen et al.): backbone and fusion of levels. The names of the tensors are
those of the published checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from torch import Tensor, nn

from napari_neuropil.networks.agq.layers import DEEP, FLAT, NormedConvolution, Residual
from napari_neuropil.networks.agq.resize import add_resized

LEVELS: Final = 5
_FIRST_DEEP: Final = 3
"""From this level down, z is pooled too."""
_FUSED_LEVEL: Final = 1


class _Down(nn.ModuleList):
    """Nothing, a convolution that may pool, a block; the nothing keeps the published names."""

    def __init__(self, level: int, in_channels: int, channels: int) -> None:
        deep = level >= _FIRST_DEEP
        stride = (2 if deep else 1, 2, 2) if level else (1, 1, 1)
        pool = NormedConvolution(in_channels, channels, DEEP if deep else FLAT, stride)
        super().__init__([nn.Identity(), pool, Residual(channels)])

    def forward(self, x: Tensor) -> Tensor:
        _, pool, block = self
        # Only the first keeps shape and channels, and nobody else needs what came in there.
        out: Tensor = block(pool(x, into=x if pool.in_place else None))
        return out


class _Up(nn.ModuleList):
    """A convolution, resizing to the skip that is added, a block."""

    def __init__(self, level: int, in_channels: int, channels: int) -> None:
        kernel = DEEP if level + 1 >= _FIRST_DEEP else FLAT
        super().__init__([NormedConvolution(in_channels, channels, kernel), Residual(channels)])

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        mix, block = self
        out: Tensor = block(add_resized(skip, mix(x)))
        return out


class _Fusion(nn.Module):
    """The sum of all levels on the grid of one, each brought to the same channels before."""

    def __init__(self, channels: Sequence[int], fused: int) -> None:
        super().__init__()
        self.pre_convs = nn.ModuleList(NormedConvolution(c, fused) for c in channels)
        self.post_convs = nn.ModuleList([NormedConvolution(fused, fused)])

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Fuse `levels`, finest first; the list is emptied, so that memory comes free."""
        own = self.pre_convs[_FUSED_LEVEL](levels[_FUSED_LEVEL])
        size = own.shape[2:]
        levels[_FUSED_LEVEL] = own.new_empty(0)
        for level in reversed(range(LEVELS)):
            x = levels.pop()
            if level == _FUSED_LEVEL:
                continue
            # Where every second row of a finer level is a row of this one, resizing is choosing.
            chosen = all(fine == 2 * n - 1 for fine, n in zip(x.shape[2:], size, strict=True))
            every = 2 if level < _FUSED_LEVEL and chosen else 1
            own = add_resized(own, self.pre_convs[level](x, every=every))
        (post,) = self.post_convs
        out: Tensor = post(own, into=own)
        return out


class Backbone(nn.Module):
    """Image to fused features.

    Parameters
    ----------
    channels : sequence of int
        Channels of the five levels.
    fused : int
        Channels of the result.
    """

    def __init__(self, channels: Sequence[int], fused: int) -> None:
        super().__init__()
        self.conv_in = NormedConvolution(1, channels[0], (1, 5, 5))
        steps = [(channels[0], channels[0]), *pairwise(channels)]
        self.down_layers = nn.ModuleList(_Down(i, *step) for i, step in enumerate(steps))
        self.up_layers = nn.ModuleList(
            _Up(i, lower, upper) for i, (upper, lower) in enumerate(pairwise(channels))
        )
        self.fusion_block = _Fusion(channels, fused)

    def fuse(self, image: Tensor) -> Tensor:
        """Return the features of an image.

        Parameters
        ----------
        image : Tensor
            (1, 1, Z, Y, X).

        Returns
        -------
        Tensor
            Sections (Z, fused, (Y + 1) // 2, (X + 1) // 2).
        """
        x = self.conv_in(image[0].transpose(0, 1))
        skips = []
        for down in self.down_layers:
            x = down(x)
            skips.append(x)
        levels = [skips.pop()]
        for up in reversed(self.up_layers):
            levels.insert(0, up(levels[0], skips.pop()))
        fused: Tensor = self.fusion_block(levels)
        return fused
