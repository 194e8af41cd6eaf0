"""The layers that AGQ is built of: convolutions of sections whose border repeats.

Source: methods of AGQ (Chen et al.) and the residual U-Net it stands on; the names of the tensors
are those of the published checkpoint. Sections are (Z, C, Y, X); `slabs` says why.
"""

from __future__ import annotations

from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_neuropil.networks.agq.norm import ChannelSums, SectionGroupNorm
from napari_neuropil.networks.agq.slabs import empty_sections, is_sparing, slabs

FLAT: Final = (1, 3, 3)
DEEP: Final = (3, 3, 3)


class Convolution(nn.Conv3d):
    """Convolution of sections; beyond the border the nearest voxel counts.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels.
    kernel : tuple of int
        Odd; 1 or 3 along z.
    stride : tuple of int
        Along z, y, x; y and x alike.
    bias : bool
        Whether a bias is added.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: tuple[int, int, int] = FLAT,
        stride: tuple[int, int, int] = (1, 1, 1),
        *,
        bias: bool = False,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel, stride, bias=bias)
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    @property
    def in_place(self) -> bool:
        """Whether a section of the result may take the place of the section it comes from."""
        same = self.in_channels == self.out_channels and max(self.stride) == 1
        return same and self.kernel_size[0] == 1

    def result_shape(self, x: Tensor) -> tuple[int, int, int, int]:
        """Return the shape that `x` gives."""
        z, _, *plane = x.shape
        y, x_ = ((n - 1) // self.stride[1] + 1 for n in plane)
        return (z - 1) // self.stride[0] + 1, self.out_channels, y, x_

    def forward(self, x: Tensor, part: slice | None = None) -> Tensor:
        """Convolve; return all sections of the result, or a part of them."""
        weight = self.weight.squeeze(2)
        if self.kernel_size[0] == 3:
            # Three neighbouring sections become the channels of one: a plain 2-D convolution,
            # as fast as the 3-D one, and its gradient three times as fast.
            x = _with_neighbours(x, self.stride[0], part)
            weight = self.weight.transpose(1, 2).flatten(1, 2)
        elif part is not None:
            x = x[part]
        rim = self.kernel_size[1] // 2
        if rim:
            x = functional.pad(x, (rim, rim, rim, rim), mode="replicate")
        return functional.conv2d(x, weight, self.bias, self.stride[1:])


def _with_neighbours(x: Tensor, stride: int, part: slice | None) -> Tensor:
    """Return (Z, C, Y, X) as (Z / stride, 3 C, Y, X): the section below, the own, that above."""
    middle = range(0, len(x), stride)[part if part is not None else slice(None)]
    last = len(x) - 1

    def moved(shift: int) -> Tensor:
        places = [min(max(place + shift, 0), last) for place in middle]
        return x[places] if len(places) > 1 else x[places[0] : places[0] + 1]  # spares a copy

    return torch.cat([moved(-1), moved(0), moved(1)], dim=1)


class _Layer(nn.Sequential):
    """A convolution and what follows it, under the names 0, 1, ..."""

    @property
    def convolution(self) -> Convolution:
        return cast(Convolution, self[0])

    @property
    def in_place(self) -> bool:
        """Whether `into` may be what comes in."""
        return self.convolution.in_place


class NormedConvolution(_Layer):
    """Convolution, group norm, ELU; what is added before the ELU makes it the end of a block."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: tuple[int, int, int] = FLAT,
        stride: tuple[int, int, int] = (1, 1, 1),
    ) -> None:
        convolution = Convolution(in_channels, out_channels, kernel, stride)
        super().__init__(convolution, SectionGroupNorm(out_channels))

    def forward(
        self, x: Tensor, skip: Tensor | None = None, *, into: Tensor | None = None, every: int = 1
    ) -> Tensor:
        """Return ELU(norm(convolution(x)) + skip).

        Parameters
        ----------
        x, skip : Tensor
            Sections.
        into : Tensor, optional
            Memory for the result, where slabs are used; may be `x` if `in_place`.
        every : int
            Return only every such row and column; the norm sees all.
        """
        convolution, norm = self.convolution, cast(SectionGroupNorm, self[1])
        if not is_sparing(x):
            y = norm(convolution(x))[..., ::every, ::every]
            return functional.elu(y if skip is None else y + skip)
        depth, channels, height, width = shape = convolution.result_shape(x)
        if into is None:
            kept = (depth, channels, -(-height // every), -(-width // every))
            into = empty_sections(x, kept)
        sums = ChannelSums()
        for part in slabs(depth, _numbers(x, shape)):
            y = convolution(x, part)
            sums.add(y)
            into[part] = y[..., ::every, ::every]
        scale, shift = norm.scale_and_shift(sums)
        for part in slabs(depth, into[0].numel()):
            y = into[part]
            torch.addcmul(shift, y, scale, out=y)
            functional.elu_(y if skip is None else y.add_(skip[part]))
        return into


class PlainConvolution(_Layer):
    """Convolution, then layers that see a voxel alone: an activation, or batch norm and one."""

    def __init__(self, convolution: Convolution, *pointwise: nn.Module) -> None:
        super().__init__(convolution, *pointwise)

    def forward(self, x: Tensor, *, into: Tensor | None = None) -> Tensor:
        """Return the result; `into` as in `NormedConvolution`."""
        if not is_sparing(x) or any(isinstance(m, nn.BatchNorm2d) and m.training for m in self):
            for layer in self:
                x = layer(x)
            return x
        convolution, pointwise = self.convolution, list(self)[1:]
        shape = convolution.result_shape(x)
        into = empty_sections(x, shape) if into is None else into
        for part in slabs(shape[0], _numbers(x, shape)):
            y = convolution(x, part)
            for layer in pointwise:
                y = layer(y)
            into[part] = y
        return into


def _numbers(x: Tensor, result: tuple[int, int, int, int]) -> int:
    """Return how many numbers a section holds before or after, whichever are more."""
    return max(x[0].numel(), result[1] * result[2] * result[3])


class Residual(nn.Module):
    """Two flat convolutions and what came in, then ELU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.ModuleList(NormedConvolution(channels, channels) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Return sections of the same shape."""
        first, second = self.conv
        y = first(x)
        out: Tensor = second(y, x, into=y)
        return out
