"""Residual symmetric U-Net: dense voxel embeddings and a background mask.

Pre-activated blocks of four 3x3x3 convolutions, skips that are added, pooling in y and x only.
Upsampling is a fixed bilinear kernel followed by a 1x1x1 convolution.

Sources: Lee, Lu, Luther and Seung (IEEE TMI 40(12), 2021), section III and figure S7; the
symmetric form is that of Lee et al. 2017 (arXiv 1706.00120). The names of tensors are those of
the authors' building blocks, so that their checkpoints load strictly. The paper normalised over a
batch of one, in training and in use: that is instance norm.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_neuropil.networks.cpu_convolution import Convolution3x3x3

PUBLISHED_WIDTHS: Final = (16, 32, 64, 128, 256)
DIMENSIONS: Final = 24

_NORM_EPS: Final = 1e-5
_FIRST_SCALE: Final = 0.1
_KERNEL_1D: Final = (0.25, 0.75, 0.75, 0.25)


def bilinear_kernel(channels: int) -> Tensor:
    """Return the kernel (channels, 1, 1, 4, 4) that doubles y and x bilinearly."""
    line = torch.tensor(_KERNEL_1D)
    return torch.outer(line, line).repeat(channels, 1, 1, 1, 1)


class _Convolution(nn.Conv3d):
    """Convolution without stride that keeps the shape; takes oneDNN's fast path on a CPU.

    Torch sends small single samples to its slow kernel, and flat kernels miss the fast path:
    asking for oneDNN, with the sections folded into the batch, gives the same sums sooner.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: tuple[int, int, int], *, bias: bool
    ) -> None:
        padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
        super().__init__(in_channels, out_channels, kernel, padding=padding, bias=bias)
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        if not _onednn_takes(x):
            return super().forward(x)
        one = [1, 1, 1]
        if self.kernel_size == (3, 3, 3) and self.bias is None and len(x) == 1:
            return Convolution3x3x3.apply(x, self.weight)  # type: ignore[no-untyped-call,no-any-return]
        if self.kernel_size[0] > 1:
            padding = [k // 2 for k in self.kernel_size]
            return torch.mkldnn_convolution(x, self.weight, self.bias, padding, one, one, 1)
        b, c, z, h, w = x.shape
        sections = x.transpose(1, 2).reshape(b * z, c, h, w)
        padding = [k // 2 for k in self.kernel_size[1:]]
        out = torch.mkldnn_convolution(
            sections, self.weight.squeeze(2), self.bias, padding, one[1:], one[1:], 1
        )
        return out.reshape(b, z, -1, h, w).transpose(1, 2).contiguous()


def _onednn_takes(x: Tensor) -> bool:
    available = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    return available and x.device.type == "cpu" and x.dtype == torch.float32


class _NormAct(nn.Module):
    """Instance norm and ReLU.

    Channels last in memory would save a tenth of a training step, but torch's sums over channels
    last are naive: the norm is then 1e-4 off, the embeddings 3e-4.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm3d(channels, eps=_NORM_EPS, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.norm(x), inplace=True)


class _Unit(nn.Module):
    """Norm, ReLU, 3x3x3 convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm_act = _NormAct(in_channels)
        self.conv = _Convolution(in_channels, out_channels, (3, 3, 3), bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(self.norm_act(x))
        return out


class _Residual(nn.Module):
    """Two units with an identity skip."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _Unit(channels, channels)
        self.conv2 = _Unit(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.conv2(self.conv1(x))
        return out


class _Block(nn.Module):
    """Unit, residual pair, unit; the first changes the number of channels."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.pre = _Unit(in_channels, out_channels)
        self.res = _Residual(out_channels)
        self.post = _Unit(out_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.post(self.res(self.pre(x)))
        return out


class _FixedUpsampling(nn.Module):
    """Transposed convolution by a fixed kernel, stride 2 in y and x; outside counts as zero."""

    weight: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", bilinear_kernel(channels))
        self.bilinear = True

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        kernel = bilinear_kernel(self.weight.shape[0]).to(self.weight)
        self.bilinear = torch.equal(self.weight, kernel)

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv_transpose3d(
            x, self.weight, stride=(1, 2, 2), padding=(0, 1, 1), groups=x.shape[1]
        )


class _Upsampling(nn.Module):
    """Doubles y and x, then changes the number of channels."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        fixed = _FixedUpsampling(in_channels)
        mix = _Convolution(in_channels, out_channels, (1, 1, 1), bias=False)
        self.up = nn.Sequential(fixed, mix)

    def forward(self, x: Tensor) -> Tensor:
        fixed, mix = self.up
        if not fixed.bilinear:  # a checkpoint with a kernel of its own
            own: Tensor = mix(fixed(x))
            return own
        # One kernel for all channels commutes with mixing them, which is four times cheaper
        # before; a frame of zeros makes bilinear interpolation end as the transposed convolution.
        b, c, z, h, w = (mixed := mix(x)).shape
        framed = functional.pad(mixed.reshape(b, c * z, h, w), (1, 1, 1, 1))
        large = functional.interpolate(framed, scale_factor=2, mode="bilinear", align_corners=False)
        return large[:, :, 2:-2, 2:-2].reshape(b, c, z, 2 * h, 2 * w)


class _UpBlock(nn.Module):
    """Upsampling, the added skip, a block."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.up = _Upsampling(in_channels, out_channels)
        self.conv = _Block(out_channels, out_channels)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        out: Tensor = self.conv(self.up(x) + skip)
        return out


class _Core(nn.Module):
    """The U."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        steps = list(pairwise(widths))
        self.iconv = _Block(widths[0], widths[0])
        self.dconvs = nn.ModuleList(
            nn.Sequential(nn.MaxPool3d((1, 2, 2)), _Block(upper, lower)) for upper, lower in steps
        )
        self.uconvs = nn.ModuleList(_UpBlock(lower, upper) for upper, lower in reversed(steps))
        self.final = _NormAct(widths[0])

    def forward(self, x: Tensor) -> Tensor:
        x = self.iconv(x)
        skips = []
        for down in self.dconvs:
            skips.append(x)
            x = down(x)
        for up in self.uconvs:
            x = up(x, skips.pop())
        out: Tensor = self.final(x)
        return out


class _Wrapped(nn.Module):
    """A 1x5x5 convolution under the name `conv`."""

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool) -> None:
        super().__init__()
        self.conv = _Convolution(in_channels, out_channels, (1, 5, 5), bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


class _Scale(nn.Module):
    """One learnt factor."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([_FIRST_SCALE]))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class ResidualUNet(nn.Module):
    """Embeddings and background of a volume.

    Parameters
    ----------
    widths : sequence of int
        Channels of the levels, from the image's resolution down; two or more.
    dimensions : int
        Length of an embedding.

    Notes
    -----
    y and x must be divisible by ``2 ** (len(widths) - 1)``; z is never pooled and is free.
    """

    def __init__(
        self, widths: Sequence[int] = PUBLISHED_WIDTHS, dimensions: int = DIMENSIONS
    ) -> None:
        super().__init__()
        if len(widths) < 2 or min(widths) < 1 or dimensions < 1:
            raise ValueError(f"no U-Net of widths {tuple(widths)} and {dimensions} dimensions")
        self.widths = tuple(widths)
        self.dimensions = dimensions
        self.add_module("in", nn.ModuleDict({"conv": _Wrapped(1, widths[0], bias=False)}))
        self.core = _Core(widths)
        embedding = nn.Sequential(_Wrapped(widths[0], dimensions, bias=True), _Scale())
        boundary = _Wrapped(widths[0], 1, bias=True)
        self.out = nn.ModuleDict({"embedding": embedding, "boundary": boundary})

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Predict embeddings and background.

        Parameters
        ----------
        image : Tensor
            (B, 1, Z, Y, X) in [0, 1].

        Returns
        -------
        embeddings : Tensor
            (B, dimensions, Z, Y, X), unbounded; near in L1 = same object.
        background : Tensor
            (B, 1, Z, Y, X) in [0, 1], the probability of lying outside every object.
        """
        embeddings, background = self.logits(image)
        return embeddings, torch.sigmoid(background)

    def logits(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `forward` does, the background before its sigmoid."""
        factor = 2 ** (len(self.widths) - 1)
        if any(side % factor for side in image.shape[3:]):
            raise ValueError(f"y and x of {tuple(image.shape)} are not divisible by {factor}")
        features = self.core(self.get_submodule("in.conv")(image))
        return self.out["embedding"](features), self.out["boundary"](features)
