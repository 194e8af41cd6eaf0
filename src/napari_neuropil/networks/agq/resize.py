"""Trilinear resizing of sections whose corners stay in place.

Grids of AGQ's levels share their first and last voxel, so half of every second row falls on the
next coarser grid exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from napari_neuropil.networks.agq.slabs import is_sparing, slabs


def add_resized(target: Tensor, x: Tensor) -> Tensor:
    """Return target + x at the target's size.

    Parameters
    ----------
    target : Tensor
        (Z, C, Y, X); overwritten where slabs are used.
    x : Tensor
        (z, C, y, x), of any size.
    """
    if x.shape == target.shape:
        return target.add_(x) if is_sparing(target) else target + x
    if not is_sparing(target):
        return target + _resize(x, (len(target), *target.shape[2:]))
    for part in slabs(len(target), target[0].numel()):
        sections = torch.cat([_between(x, k, len(target)) for k in range(part.start, part.stop)])
        target[part] += functional.interpolate(
            sections, target.shape[2:], mode="bilinear", align_corners=True
        )
    return target


def _resize(x: Tensor, size: tuple[int, ...]) -> Tensor:
    volume = x.transpose(0, 1).unsqueeze(0)
    large = functional.interpolate(volume, size, mode="trilinear", align_corners=True)
    return large.squeeze(0).transpose(0, 1)


def _between(x: Tensor, section: int, depth: int) -> Tensor:
    """Return section `section` of `depth`, (1, C, y, x), between those of x."""
    # In whole numbers, so that what falls on a section is that section.
    steps = max(1, depth - 1)
    below, rest = divmod(section * (len(x) - 1), steps)
    if not rest:
        return x[below : below + 1]
    return torch.lerp(x[below : below + 1], x[below + 1 : below + 2], rest / steps)
