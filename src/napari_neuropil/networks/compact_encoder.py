"""A small convolutional encoder of sections, quick on a CPU and quick to train.

A vision transformer learns from scratch that neighbouring pixels belong together; a convolution
knows it. Widths are multiples of 16, with which oneDNN is fastest. Five resolutions; what the
coarse ones know of the surroundings is added to the embedding at an eighth, and the two fine ones
go out beside it, so that the mask decoder need not guess where membranes run.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

from torch import Tensor, nn
from torch.nn import functional

EMBEDDING_STRIDE: Final = 8
INPUT_MULTIPLE: Final = 32
"""Input sides are multiples of this: the stride of the coarsest stage."""

_GROUPS: Final = 8


class CompactEncoder(nn.Module):
    """The encoder of `CompactSam`.

    Parameters
    ----------
    widths : sequence of int
        Channels at 1/2, 1/4, 1/8, 1/16 and 1/32.
    blocks : sequence of int
        Residual blocks at 1/4, 1/8, 1/16 and 1/32.
    channels : int
        Of the embedding at 1/8.
    middle, fine : int
        Of the features at 1/4 and at 1/2.
    """

    def __init__(
        self,
        widths: Sequence[int],
        blocks: Sequence[int],
        channels: int,
        middle: int,
        fine: int,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            conv_norm(1, widths[0], stride=2),
            nn.ReLU(),
            conv_norm(widths[0], widths[0]),
            nn.ReLU(),
        )
        self.stages = nn.ModuleList(
            nn.Sequential(
                conv_norm(before, width, stride=2),
                nn.ReLU(),
                *(_Residual(width) for _ in range(count)),
            )
            for (before, width), count in zip(pairwise(widths), blocks, strict=True)
        )
        self.fine = nn.Conv2d(widths[0], fine, 1)
        self.middle = nn.Conv2d(widths[1], middle, 1)
        self.laterals = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in widths[2:])
        self.join = nn.Sequential(nn.ReLU(), conv_norm(channels, channels))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Encode images.

        Parameters
        ----------
        image : Tensor, (B, 1, Y, X)
            Y and X multiples of 32.

        Returns
        -------
        dict of str to Tensor
            ``image`` at 1/8, ``middle`` at 1/4, ``fine`` at 1/2.
        """
        levels = [self.stem(image)]
        for stage in self.stages:
            levels.append(stage(levels[-1]))
        joined = self.laterals[-1](levels[-1])
        for lateral, level in zip(self.laterals[-2::-1], levels[-2:1:-1], strict=True):
            joined = functional.interpolate(joined, scale_factor=2.0, mode="nearest")
            joined = joined + lateral(level)
        return {
            "image": self.join(joined),
            "middle": self.middle(levels[1]),
            "fine": self.fine(levels[0]),
        }


class _Residual(nn.Module):
    """Two convolutions beside an identity; before training the identity alone counts."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = conv_norm(width, width)
        self.second = conv_norm(width, width)
        norm: Any = self.second[1]
        nn.init.zeros_(norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return as many channels of the same size."""
        return functional.relu(x + self.second(functional.relu(self.first(x))))


def conv_norm(before: int, width: int, stride: int = 1) -> nn.Sequential:
    """Return a 3x3 convolution and a group norm, which works with batches of one."""
    return nn.Sequential(
        nn.Conv2d(before, width, 3, stride=stride, padding=1, bias=False),
        nn.GroupNorm(_GROUPS, width),
    )
