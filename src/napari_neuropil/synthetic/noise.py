"""Smooth random fields with a length given in nm, cheap for any length.

Normals on a coarse grid are interpolated by cubic B-splines, one matrix product per axis:
filtering white noise at full size would cost the length in voxels at every voxel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def make_smooth_noise(
    shape: Sequence[int],
    spacing: Sequence[float],
    length: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Return a smooth random field of mean about 0 and standard deviation about 1.

    Parameters
    ----------
    shape : sequence of int
        Shape of the field, any number of axes.
    spacing : sequence of float
        Edge lengths of its voxels, nm.
    length : float
        Pitch of the coarse grid, nm: about half the distance between a hill and a valley.
    rng : numpy.random.Generator
        Source of the numbers.

    Returns
    -------
    ndarray of float32, `shape`
    """
    matrices = [
        _spline_matrix(count, step / length) for count, step in zip(shape, spacing, strict=True)
    ]
    field = rng.standard_normal([m.shape[1] for m in matrices]).astype(np.float32)
    for matrix in matrices:
        # The axis worked on is always the first; tensordot appends the result as the last.
        field = np.tensordot(field, matrix, axes=(0, 1))
    return np.ascontiguousarray(field)


def _spline_matrix(count: int, step: float) -> NDArray[np.float32]:
    """Return the (count, knots) weights that read a spline at ``0, step, 2 step...`` knots."""
    place = np.arange(count) * step
    knots = int(np.floor(place[-1])) + 4
    distance = np.abs(place[:, None] - (np.arange(knots)[None, :] - 1))
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = (2 - distance) ** 3 / 6
    weights = np.where(distance < 1, near, np.where(distance < 2, far, 0.0))
    # Knots are independent normals, so unit row norms give unit variance everywhere.
    weights /= np.sqrt((weights**2).sum(axis=1, keepdims=True))
    return weights.astype(np.float32)
