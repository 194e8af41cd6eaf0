"""The volume: a lazy (z, y, x) array with a voxel size and a translation."""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_neuropil.errors import NeuropilError, VolumeFormatError
from napari_neuropil.geometry import Roi, Shape, VoxelSize
from napari_neuropil.volumes.output import cast_exactly, output_error

Translation = tuple[float, float, float]
"""World position of voxel 0 in nm, (z, y, x)."""

_MAX_ITEMSIZE: Final = 8

READ_ERRORS: Final = (
    OSError,
    ValueError,
    RuntimeError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    EOFError,
    ImportError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
)
"""What the format libraries raise on damaged files; no two of them agree on a type."""


class LazyArray(Protocol):
    """An array read by slices: a zarr array, an HDF5 dataset, a memory map, an `AxesView`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Edge lengths in voxels."""
        ...

    @property
    def dtype(self) -> Any:
        """Type of a voxel."""
        ...

    def __getitem__(self, index: Any, /) -> Any:
        """Read the voxels of a tuple of slices and integers."""
        ...


@dataclass(frozen=True, eq=False)
class Volume:
    """A lazy array with a place in space.

    Parameters
    ----------
    array : LazyArray
        (Z, Y, X). Nothing is read before it is indexed.
    voxel_size : VoxelSize or None
        In nm; None where the file does not say.
    translation : tuple of float
        World position of voxel 0 in nm, (z, y, x).
    name : str
        Short, for a layer.
    source : str
        The path text that opens the volume again, ``a.h5/image``; empty for one made in memory.
    levels : tuple of LazyArray
        The pyramid, finest first; ``levels[0]`` is `array`. Left out: `array` alone.
    level_factors : tuple of tuple of float
        Each level's voxel edge over that of level 0, (z, y, x).

    Raises
    ------
    VolumeFormatError
        If the array is not 3D, is empty or holds no numbers.
    """

    array: LazyArray
    voxel_size: VoxelSize | None
    translation: Translation = (0.0, 0.0, 0.0)
    name: str = "volume"
    source: str = ""
    levels: tuple[LazyArray, ...] = ()
    level_factors: tuple[tuple[float, float, float], ...] = ()

    def __post_init__(self) -> None:
        """Check the array; fill in what follows from it."""
        _check_array(self.array.shape, np.dtype(self.array.dtype), self.source or self.name)
        if not self.levels:
            object.__setattr__(self, "levels", (self.array,))
        if len(self.level_factors) != len(self.levels):
            factors = tuple(_factors_of(self.array.shape, level.shape) for level in self.levels)
            object.__setattr__(self, "level_factors", factors)

    @property
    def shape(self) -> Shape:
        """Edge lengths in voxels."""
        z, y, x = (int(n) for n in self.array.shape)
        return z, y, x

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a voxel as `read` returns it, in native byte order."""
        dtype: np.dtype[Any] = np.dtype(self.array.dtype).newbyteorder("=")
        return dtype

    @property
    def level_voxel_sizes(self) -> tuple[VoxelSize | None, ...]:
        """Voxel size of each level in nm, None where that of level 0 is unknown."""
        if self.voxel_size is None:
            return (None,) * len(self.levels)
        return tuple(self.voxel_size.scaled(factors) for factors in self.level_factors)

    def read(self, roi: Roi) -> NDArray[Any]:
        """Read a box.

        Parameters
        ----------
        roi : Roi
            In voxels of this volume.

        Returns
        -------
        ndarray
            (Z, Y, X) of `roi`, native byte order, C-contiguous, the caller's own copy.

        Raises
        ------
        VolumeFormatError
            If `roi` leaves the volume or the file is damaged there.
        """
        self._check_inside(roi)
        try:
            block = np.asarray(self.array[roi.slices])
        except NeuropilError:
            raise
        except READ_ERRORS as error:
            raise VolumeFormatError(
                f"{self.source or self.name} cannot be read at {roi}: {error}",
                "an undamaged file",
                "copy the file again from where it came, or save it anew.",
            ) from error
        # A view would keep a memory map, or somebody else's array, alive behind the caller's back.
        return np.array(
            block, dtype=self.dtype, order="C", copy=None if block.base is None else True
        )

    def write(self, roi: Roi, values: ArrayLike) -> None:
        """Write a box of a volume made by `create_volume`.

        A chunk that two threads write at once loses one of the two: give each writer whole chunks.

        Parameters
        ----------
        roi : Roi
            In voxels of this volume.
        values : array_like
            (Z, Y, X) of `roi`.

        Raises
        ------
        VolumeFormatError
            If `roi` leaves the volume, `values` has another shape or numbers that the volume's
            type cannot hold, or the volume is read-only.
        OutputError
            If the disk is full or the folder cannot be written.
        """
        self._check_inside(roi)
        block = np.asarray(values)
        store = getattr(self.array, "__setitem__", None)
        if block.shape != roi.shape or store is None:
            raise VolumeFormatError(
                f"A block of shape {block.shape} was to be written to {roi} of "
                f"{self.source or self.name}.",
                f"shape {roi.shape} and a volume that can be written",
                "make the volume with create_volume.",
            )
        try:
            store(roi.slices, cast_exactly(block, self.dtype))
        except NeuropilError:
            raise
        except OSError as error:
            raise output_error(self.source or self.name, error) from error

    def with_voxel_size(self, voxel_size: VoxelSize | None) -> Volume:
        """Return the same volume with another voxel size in nm."""
        return replace(self, voxel_size=voxel_size)

    def _check_inside(self, roi: Roi) -> None:
        if any(b > n for b, n in zip(roi.stop, self.shape, strict=True)):
            raise VolumeFormatError(
                f"Roi {roi} leaves the volume {self.source or self.name}.",
                f"a box inside {Roi.of_shape(self.shape)}",
                "shrink the roi.",
            )


def check_image(volume: Volume) -> None:
    """Refuse a volume that cannot be an image.

    Parameters
    ----------
    volume : Volume
        3D and non-empty already, or it would not exist.

    Raises
    ------
    VolumeFormatError
        If its voxels are neither integers nor floats.
    """
    if volume.dtype.kind not in "iuf":
        raise VolumeFormatError(
            f"{volume.source or volume.name} has voxels of type {volume.dtype}.",
            "an image of integers or floats",
            "choose the image; a mask is saved as uint8 first if it is meant as one.",
        )


def _check_array(shape: Sequence[int], dtype: np.dtype[Any], what: str) -> None:
    if len(shape) != 3:
        raise VolumeFormatError(
            f"{what} has shape {tuple(shape)}.",
            "a 3D volume (z, y, x)",
            "save one 3D volume in a file of its own.",
        )
    if 0 in shape:
        raise VolumeFormatError(
            f"{what} is empty: shape {tuple(shape)}.",
            "at least one voxel along every axis",
            "choose another dataset, or save the volume anew.",
        )
    if dtype.kind not in "buif" or dtype.itemsize > _MAX_ITEMSIZE:
        raise VolumeFormatError(
            f"{what} has voxels of type {dtype}.",
            "integers or floats of up to 64 bits",
            "convert the voxels, for example to uint8, and save the volume anew.",
        )


def _factors_of(fine: Sequence[int], coarse: Sequence[int]) -> tuple[float, float, float]:
    z, y, x = (float(round(a / max(1, b))) or 1.0 for a, b in zip(fine, coarse, strict=True))
    return z, y, x
