"""Where an imported project's scores come from: given affinities, else the image, else nothing.

Each source answers for a box with the affinities of its voxels, (3, Z, Y, X), channel c at voxel p
for the pair (p, p - 1) along axis c, which is what `build_rag` averages over a contact.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.blockwise import split_blocks
from napari_neuropil.errors import VolumeFormatError
from napari_neuropil.geometry import Roi, Shape, VoxelSize
from napari_neuropil.inference.grey_values import GreyRange, find_grey_range
from napari_neuropil.project.affinities import AffinityStore
from napari_neuropil.project.fragment_table import whole_chunks
from napari_neuropil.segmentation.channel_names import NEAREST_NAMES
from napari_neuropil.segmentation.darkness import (
    affinities_from_depth,
    depth_halo,
    membrane_depth,
)
from napari_neuropil.volumes import Volume
from napari_neuropil.volumes.channels import ChannelVolume, open_channels

_AXES: Final = 3
_SAMPLES_PER_AXIS: Final = 3
_SAMPLE_SHAPE: Final[Shape] = (16, 128, 128)
_FULL_DEPTH_PERCENTILE: Final = 95.0
"""A twentieth of a tissue's voxels at least lies in membranes."""

_STORE_CHUNKS: Final[Shape] = (16, 256, 256)
_COPY_VOXELS: Final = 1 << 22


class AffinitySource(Protocol):
    """Gives the affinities of a box."""

    @property
    def name(self) -> str:
        """What the scores are made from."""
        ...

    def read(self, roi: Roi) -> NDArray[np.float32] | NDArray[np.uint8]:
        """Return (3, Z, Y, X) of `roi`; uint8: 255 is 1."""
        ...


class GivenAffinities:
    """Affinities from a file, on the labels' grid or one that is coarser by whole factors.

    Parameters
    ----------
    path : Path
        A 4D array, or a project of ours with ``affinities.zarr``.
    shape : tuple of int
        Of the labels.

    Raises
    ------
    NeuropilError
        If the file cannot be read or does not fit.
    """

    name: Final = "affinities"

    def __init__(self, path: Path, shape: Shape) -> None:
        own = path / "affinities.zarr" if (path / "project.json").is_file() else path
        self._volume = open_channels(own)
        _check_channels(self._volume)
        self._factors = _factors(self._volume, shape)

    def read(self, roi: Roi) -> NDArray[np.float32] | NDArray[np.uint8]:
        """Return (3, Z, Y, X) of `roi`, each value repeated over the voxels it stands for."""
        lows = [a // f for a, f in zip(roi.start, self._factors, strict=True)]
        highs = [(b - 1) // f + 1 for b, f in zip(roi.stop, self._factors, strict=True)]
        coarse = self._read_coarse(Roi((lows[0], lows[1], lows[2]), (highs[0], highs[1], highs[2])))
        if self._factors == (1, 1, 1):
            return coarse
        picks = [
            np.arange(a, b) // f - low
            for a, b, f, low in zip(roi.start, roi.stop, self._factors, lows, strict=True)
        ]
        fine: NDArray[Any] = coarse[np.ix_(np.arange(_AXES), *picks)]
        return fine

    def keep(self, path: Path, voxel_size: VoxelSize, report: Callable[[int, int], None]) -> None:
        """Copy them into a project, rounded to 1/255: a fragment is split on them later.

        Parameters
        ----------
        path : Path
            ``PROJECT/affinities.zarr``.
        voxel_size : VoxelSize
            Of the labels, nm.
        report : callable
            Called with (blocks done, blocks in all).
        """
        shape = self._volume.shape
        store = AffinityStore.create(
            path, NEAREST_NAMES, shape, _STORE_CHUNKS, voxel_size.scaled(self._factors)
        )
        blocks = split_blocks(shape, whole_chunks(shape, _STORE_CHUNKS, _COPY_VOXELS))
        report(0, len(blocks))
        for block in blocks:
            values = self._read_coarse(block.roi)
            store.write(block.roi, _as_probability(values))
            report(block.index + 1, len(blocks))

    def _read_coarse(self, roi: Roi) -> NDArray[np.float32] | NDArray[np.uint8]:
        values = self._volume.read(roi, slice(0, _AXES))
        if values.dtype == np.uint8:
            return values
        values = values.astype(np.float32, copy=False)
        lowest, highest = float(values.min()), float(values.max())
        if not (lowest >= 0 and highest <= 1):  # also where one is NaN
            raise VolumeFormatError(
                f"{self._volume.source} holds values from {lowest:g} to {highest:g} at {roi}.",
                "affinities in [0, 1], or uint8 with 255 for 1",
                "apply the network's sigmoid, or divide by the maximum, and save them anew.",
            )
        return values


class ImageAffinities:
    """Affinities from the image's darkness, see `segmentation.darkness`.

    Parameters
    ----------
    image : Volume
        On the labels' grid.
    voxel_size : VoxelSize
        In nm.
    invert : bool
        Membranes are bright.

    Raises
    ------
    VolumeFormatError
        If the image is constant or holds NaN.
    """

    name: Final = "image"

    def __init__(self, image: Volume, voxel_size: VoxelSize, *, invert: bool) -> None:
        self._image = image
        self._voxel_size = voxel_size
        whole = Roi.of_shape(image.shape)
        self._grey, _ = find_grey_range(image, whole, "percentile", invert=invert)
        self.full_depth = _full_depth(image, self._grey, voxel_size)

    def read(self, roi: Roi) -> NDArray[np.float32]:
        """Return (3, Z, Y, X) of `roi`."""
        return affinities_from_depth(
            _depth_of(self._image, roi, self._grey, self._voxel_size), self.full_depth
        )


class UnknownAffinities:
    """One half everywhere: nothing is known."""

    name: Final = "none"

    def read(self, roi: Roi) -> NDArray[np.float32]:
        """Return (3, Z, Y, X) of 0.5."""
        return np.broadcast_to(np.float32(0.5), (_AXES, *roi.shape))


def _check_channels(volume: ChannelVolume) -> None:
    if volume.channels < _AXES:
        raise VolumeFormatError(
            f"{volume.source} has {volume.channels} channels.",
            "at least three: affinities to the lower neighbour along z, y and x",
            "give the affinities of the nearest neighbours, channel axis first.",
        )
    if volume.dtype.kind != "f" and volume.dtype != np.uint8:
        raise VolumeFormatError(
            f"{volume.source} holds {volume.dtype}.",
            "floats in [0, 1], or uint8 with 255 for 1",
            "convert them and save them anew.",
        )


def _factors(volume: ChannelVolume, shape: Shape) -> Shape:
    """Return by which whole factors the affinities' grid is coarser than the labels'."""
    factors = [max(1, round(n / m)) for n, m in zip(shape, volume.shape, strict=True)]
    fits = [math.ceil(n / f) == m for n, f, m in zip(shape, factors, volume.shape, strict=True)]
    if not all(fits):
        raise VolumeFormatError(
            f"The affinities have shape {volume.shape}, the labels {shape}.",
            "the labels' shape, or that shape divided by whole numbers; axes (channel, z, y, x)",
            "crop the affinities to the labels, or leave --affinities out.",
        )
    return factors[0], factors[1], factors[2]


def _as_probability(values: NDArray[Any]) -> NDArray[np.float32]:
    if values.dtype == np.uint8:
        return values.astype(np.float32) / np.float32(255)
    return values.astype(np.float32, copy=False)


def _depth_of(
    image: Volume, roi: Roi, grey: GreyRange, voxel_size: VoxelSize
) -> NDArray[np.float32]:
    wide = roi.grown(depth_halo(voxel_size), image.shape)
    depth = membrane_depth(grey.apply(image.read(wide)), voxel_size)
    return depth[roi.shifted([-a for a in wide.start]).slices]


def _full_depth(image: Volume, grey: GreyRange, voxel_size: VoxelSize) -> float:
    """Return the depth of a plain membrane, from boxes spread evenly over the image."""
    edges = [min(n, e) for n, e in zip(image.shape, _SAMPLE_SHAPE, strict=True)]
    starts = [
        np.unique(np.linspace(0, n - e, _SAMPLES_PER_AXIS).astype(int))
        for n, e in zip(image.shape, edges, strict=True)
    ]
    samples = [
        _depth_of(
            image,
            Roi.of_shape(edges).shifted([int(a) for a in start]),
            grey,
            voxel_size,
        ).ravel()
        for start in itertools.product(*starts)
    ]
    depth = np.concatenate(samples)
    full = float(np.percentile(depth, _FULL_DEPTH_PERCENTILE)) or float(depth.max())
    return full if full > 0 else 1.0
