"""Between a section and the input of a network: sizes, places and masks. On the CPU throughout.

Scaling down averages over what a pixel covers; not all devices have that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class SectionScaling:
    """How a section becomes the input of a network.

    Parameters
    ----------
    shape : tuple of int
        Of the section, (Y, X).
    size : tuple of int
        Of the scaled section, before padding.
    """

    shape: tuple[int, int]
    size: tuple[int, int]

    @classmethod
    def to_side(cls, shape: tuple[int, int], side: int, *, enlarge: bool) -> SectionScaling:
        """Return the scaling that brings the longest side to `side`.

        Shorter sections keep their size unless `enlarge`.
        """
        factor = side / max(shape)
        if factor > 1 and not enlarge:
            factor = 1.0
        return cls(shape, (_scaled(shape[0], factor), _scaled(shape[1], factor)))

    @property
    def factors(self) -> tuple[float, float]:
        """Input pixels of one pixel, along y and x."""
        return self.size[0] / self.shape[0], self.size[1] / self.shape[1]

    def scale(self, values: Tensor) -> Tensor:
        """Return images (B, C, Y, X) of the section at the size of the input."""
        return _resize(values, self.size)

    def restore(self, logits: Tensor, stride: int) -> NDArray[np.bool_]:
        """Return masks of the section.

        Parameters
        ----------
        logits : Tensor, (B, y, x)
            Each covers `stride` input pixels; may reach into the padding.
        stride : int
            See there.

        Returns
        -------
        NDArray of bool, (B, Y, X)
        """
        masks = np.empty((len(logits), *self.shape), np.bool_)
        for mask, own in zip(masks, logits, strict=True):  # one at a time: sections are large
            fine = own[None, None].float()
            if stride > 1:
                fine = functional.interpolate(fine, scale_factor=float(stride), mode="bilinear")
            fine = fine[..., : self.size[0], : self.size[1]]
            mask[:] = (_resize(fine, self.shape)[0, 0] > 0).numpy()
        return masks

    def mask_logits(
        self, mask: NDArray[np.bool_], grid: tuple[int, int], stride: int
    ) -> NDArray[np.float32]:
        """Return a mask of the section as logits on the grid that the network reads.

        Parameters
        ----------
        mask : NDArray of bool, (Y, X)
            The object so far.
        grid : tuple of int
            Cells along y and x, padding included.
        stride : int
            Input pixels of a cell.

        Returns
        -------
        NDArray of float32, grid
            Log odds of the covered part of each cell, between -6.9 and 6.9.
        """
        covered = self.scale(torch.from_numpy(mask.astype(np.float32))[None, None])
        room = (0, grid[1] * stride - self.size[1], 0, grid[0] * stride - self.size[0])
        cells = functional.avg_pool2d(functional.pad(covered, room), stride)[0, 0]
        odds: NDArray[np.float32] = cells.clamp(_FAINTEST, 1 - _FAINTEST).logit().numpy()
        return odds


_FAINTEST = 0.001
"""Log odds of it are 6.9: as sure as a network's own masks are well inside an object."""


def _scaled(length: int, factor: float) -> int:
    return max(1, int(length * factor + 0.5))


def _resize(values: Tensor, size: tuple[int, int]) -> Tensor:
    if values.shape[-2:] == size:
        return values
    return functional.interpolate(
        values, size, mode="bilinear", align_corners=False, antialias=True
    )
