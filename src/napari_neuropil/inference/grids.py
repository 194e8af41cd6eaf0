"""Between the image's grid and the coarser one a network sees."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.geometry import Roi, Shape


def pooled_shape(shape: Sequence[int], factors: Shape) -> Shape:
    """Return the shape after pooling; a remainder makes one more voxel."""
    z, y, x = (math.ceil(n / f) for n, f in zip(shape, factors, strict=True))
    return z, y, x


def unpooled_roi(roi: Roi, factors: Shape, shape: Sequence[int]) -> Roi:
    """Return the box on the image's grid that `roi` on the pooled grid stands for."""
    start = [a * f for a, f in zip(roi.start, factors, strict=True)]
    stop = [min(b * f, n) for b, f, n in zip(roi.stop, factors, shape, strict=True)]
    return Roi((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def pool_mean(image: NDArray[np.float32], factors: Shape) -> NDArray[np.float32]:
    """Average boxes of `factors` voxels; the last box of an axis may be filled up by its edge.

    Parameters
    ----------
    image : ndarray of float32, (Z, Y, X)
        Grey values.
    factors : Shape
        Box.
    """
    if factors == (1, 1, 1):
        return image
    padding = [(0, -n % f) for n, f in zip(image.shape, factors, strict=True)]
    if any(p for _, p in padding):
        image = np.pad(image, padding, mode="edge")
    (fz, fy, fx), (z, y, x) = factors, image.shape
    boxes = image.reshape(z // fz, fz, y // fy, fy, x // fx, fx)
    pooled: NDArray[np.float32] = boxes.mean(axis=(1, 3, 5), dtype=np.float32)
    return pooled


def repeat_voxels(
    array: NDArray[np.uint64], factors: Shape, shape: Sequence[int]
) -> NDArray[np.uint64]:
    """Write every voxel `factors` times, and cut to `shape` (undoes `pooled_shape`)."""
    for axis, factor in enumerate(factors):
        if factor > 1:
            array = np.repeat(array, factor, axis)
    z, y, x = shape
    return array[:z, :y, :x]
