"""A detector at the pixel size it was trained at, in front of finer sections."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import SettingsError
from napari_neuropil.prompts.detector import Detections, Detector
from napari_neuropil.prompts.tiled_detection import detect_section


def pooling_factors(pixel_size: Sequence[float], wanted: float) -> tuple[int, int]:
    """Return the whole factors (y, x) that bring pixels nearest to a detector's own size.

    Parameters
    ----------
    pixel_size : sequence of float
        Of the section, (y, x) in nm.
    wanted : float
        Edge of the pixels the detector was trained with, nm.

    Returns
    -------
    tuple of int
        At least 1 each: coarser sections are looked at as they are.

    Raises
    ------
    SettingsError
        If a size is not positive.
    """
    if min(*pixel_size, wanted) <= 0:
        raise SettingsError(
            f"Pixels of {tuple(pixel_size)} nm for a detector of {wanted} nm.",
            "positive sizes",
            "set the voxel size of the image.",
        )
    fy, fx = (max(1, round(wanted / size)) for size in pixel_size)
    return fy, fx


def pool_section(section: NDArray[np.uint8], factors: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a section with pixels averaged; incomplete ones at the far borders are left out."""
    fy, fx = factors
    if factors == (1, 1):
        return section
    height, width = section.shape[0] // fy, section.shape[1] // fx
    blocks = section[: height * fy, : width * fx].reshape(height, fy, width, fx)
    means = blocks.mean(axis=(1, 3), dtype=np.float32)
    # Other types stay as they are: who is given them says what is wrong.
    pooled: NDArray[np.uint8] = means.round().astype(section.dtype)
    return pooled


def detect_pooled(
    detector: Detector,
    section: NDArray[np.uint8],
    factors: tuple[int, int],
    overlap: int | None = None,
) -> Detections:
    """Find the objects of a section that is finer than what the detector was trained on.

    Parameters
    ----------
    detector : Detector
        Sees the averaged section.
    section : NDArray of uint8, (Y, X)
        Of any size.
    factors : tuple of int
        Pixels (y, x) that become one, from `pooling_factors`.
    overlap : int, optional
        As `detect_section`, in averaged pixels.

    Returns
    -------
    Detections
        In pixels of the section.

    Raises
    ------
    VolumeFormatError, SettingsError
        As `detect_section`.
    """
    pooled = pool_section(section, factors) if section.ndim == 2 else section
    found = detect_section(detector, pooled, overlap)
    return Detections(found.boxes * np.array(factors * 2, np.float32), found.scores)
