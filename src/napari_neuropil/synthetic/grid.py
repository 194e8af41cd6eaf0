"""Where each voxel really is, and the distance of voxels to a tube.

A section is cut into thinner layers: averaging them blurs oblique membranes as a real section of
that thickness does. Coordinates are warped, which bends round tubes into irregular profiles, and
shifted from section to section. All that is drawn reads the same coordinates, so image and labels
agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.geometry import Shape, VoxelSize
from napari_neuropil.synthetic.noise import make_smooth_noise

Field = NDArray[np.float32]
Box = tuple[slice, slice, slice]
Value = TypeVar("Value", np.float32, np.uint32)

_LAYER = 10.0  # nm, thickest layer


@dataclass(frozen=True)
class Grid:
    """Layers of a volume in space.

    Parameters
    ----------
    coordinates : ndarray of float32, (3, L, Y, X)
        World position (z, y, x) of each voxel of each layer, nm.
    spacing : tuple of float
        Layer thickness and in-plane edges, nm.
    layers : int
        Layers in a section; L = layers * sections.
    slack : float
        Largest shift of a coordinate against the regular grid, nm.
    """

    coordinates: Field
    spacing: tuple[float, float, float]
    layers: int
    slack: float

    @property
    def shape(self) -> Shape:
        """Layers, rows and columns."""
        count, rows, columns = self.coordinates.shape[1:]
        return count, rows, columns

    def box(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> Box | None:
        """Return the voxels that may lie between two corners (nm), or None for no voxel."""
        slices = []
        for a, b, step, count in zip(low, high, self.spacing, self.shape, strict=True):
            first = max(0, int(np.floor((a - self.slack) / step)))
            last = min(count, int(np.ceil((b + self.slack) / step)) + 1)
            if last <= first:
                return None
            slices.append(slice(first, last))
        return slices[0], slices[1], slices[2]

    def middle(self, field: NDArray[Value]) -> NDArray[Value]:
        """Return the middle layer of each section of an (L, Y, X) field."""
        return field[self.layers // 2 :: self.layers]

    def average(self, field: Field) -> Field:
        """Return the mean over the layers of each section, (Z, Y, X)."""
        count, rows, columns = self.shape
        return np.asarray(
            field.reshape(count // self.layers, self.layers, rows, columns).mean(axis=1)
        )


def make_grid(shape: Shape, voxel_size: VoxelSize, jitter: float, rng: np.random.Generator) -> Grid:
    """Return the warped coordinates of a volume.

    Parameters
    ----------
    shape : tuple of int
        Sections, rows, columns.
    voxel_size : VoxelSize
        nm.
    jitter : float
        Standard deviation of the shift of a section against the last, voxels; cut at 3.
    rng : numpy.random.Generator
        Source of the numbers.
    """
    sections, rows, columns = shape
    layers = max(1, int(np.ceil(voxel_size.z / _LAYER)))
    spacing = (voxel_size.z / layers, voxel_size.y, voxel_size.x)
    full = (sections * layers, rows, columns)
    axes = np.meshgrid(
        *(np.arange(n) * s for n, s in zip(full, spacing, strict=True)), indexing="ij"
    )
    regular = np.stack([axis.astype(np.float32) for axis in axes])
    moved = np.zeros_like(regular)
    for axis in range(3):
        moved[axis] += 26 * make_smooth_noise(full, spacing, 190, rng)
        moved[axis] += 7 * make_smooth_noise(full, spacing, 65, rng)
    shift = np.clip(jitter * rng.standard_normal((2, sections)), -3, 3)
    for axis in (1, 2):
        per_section = np.repeat(shift[axis - 1] * spacing[axis], layers)
        moved[axis] += per_section[:, None, None].astype(np.float32)
    np.clip(moved, -80, 80, out=moved)
    return Grid(regular + moved, spacing, layers, float(np.abs(moved).max()))


def measure_capsule(
    where: Field,
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    radii: tuple[float, float],
) -> tuple[Field, Field]:
    """Return signed distance to a tapered capsule, and the place along its axis.

    Parameters
    ----------
    where : ndarray of float32, (3, ...)
        Positions, nm.
    start, end : ndarray of float64, (3,)
        Ends of its axis, nm.
    radii : tuple of float
        Radius at the two ends, nm.

    Returns
    -------
    distance : ndarray of float32
        nm, negative inside.
    along : ndarray of float32
        0 at `start`, 1 at `end`.
    """
    axis = (end - start).astype(np.float32)
    dz, dy, dx = (where[i] - np.float32(start[i]) for i in range(3))
    square = float(axis @ axis)
    along = dz * axis[0]
    along += dy * axis[1]
    along += dx * axis[2]
    along /= np.float32(max(square, 1e-6))
    np.clip(along, 0, 1, out=along)
    dz -= along * axis[0]
    dy -= along * axis[1]
    dx -= along * axis[2]
    dz *= dz
    dy *= dy
    dx *= dx
    dz += dy
    dz += dx
    np.sqrt(dz, out=dz)
    dz -= np.float32(radii[0]) + along * np.float32(radii[1] - radii[0])
    return dz, along
