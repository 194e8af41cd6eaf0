"""How a volume comes to the voxel size a network was trained at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from napari_neuropil.geometry import Shape, VoxelSize, factors_between
from napari_neuropil.methods.settings import MethodSettings

ANISOTROPIC: Final = 2.0
"""Sections this many times thicker than pixels are wide make a volume anisotropic."""


def working_factors(
    voxel_size: VoxelSize,
    trained: Sequence[tuple[float, float, float]],
    settings: MethodSettings,
) -> Shape:
    """Return the pooling factors that bring a volume to what the network was trained at.

    Of the voxel sizes trained at, the one of the nearest section thickness counts. Sections are
    never pooled in anisotropic volumes: there are too few of them already.

    Parameters
    ----------
    voxel_size : VoxelSize
        The volume's.
    trained : sequence of (z, y, x)
        Voxel sizes in nm, from the checkpoint's spec.
    settings : MethodSettings
        `resample` off gives (1, 1, 1).
    """
    if not settings.resample or not trained:
        return (1, 1, 1)
    # Pooling in plane changes the anisotropy, so the section thickness decides.
    target = min(
        (VoxelSize(*size) for size in trained), key=lambda size: abs(np.log(size.z / voxel_size.z))
    )
    factors = factors_between(voxel_size, target)
    return factors if target.anisotropy < ANISOTROPIC else (1, *factors[1:])
