"""The affinities of a project: uint8, (channel, z, y, x), on the grid the network saw.

Kept after the run: a fragment that spans two neurons is split on them, and a second partition
with other settings needs no second pass of the network. 8 bits resolve 1/255, far below what
the network knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import zarr
from numpy.typing import NDArray

from napari_neuropil.errors import OutputError, ProjectError
from napari_neuropil.geometry import Roi, Shape, VoxelSize
from napari_neuropil.segmentation.channel_names import NEAREST_NAMES


class AffinityStore:
    """Affinities (nearest offsets z, y, x) and foreground of a project.

    Parameters
    ----------
    array : zarr.Array
        uint8, (C, Z, Y, X).
    """

    def __init__(self, array: Any) -> None:
        self.array = array

    @classmethod
    def create(
        cls, path: Path, names: Sequence[str], shape: Shape, chunks: Shape, voxel_size: VoxelSize
    ) -> AffinityStore:
        """Make an empty store, replacing what an unfinished run left.

        Parameters
        ----------
        path : Path
            Folder of the array.
        names : sequence of str
            What each channel is.
        shape, chunks : Shape
            Of a channel.
        voxel_size : VoxelSize
            Of the grid, nm.

        Raises
        ------
        OutputError
            If the folder cannot be written.
        """
        try:
            array = zarr.create_array(
                store=str(path),
                shape=(len(names), *shape),
                chunks=(1, *(min(c, n) for c, n in zip(chunks, shape, strict=True))),
                dtype="uint8",
                overwrite=True,
            )
            array.attrs.update({"voxel_size_nm": list(voxel_size), "channels": list(names)})
        except OSError as error:
            raise OutputError(
                f"{path} cannot be written: {error}", "a folder that can be written", ""
            ) from error
        return cls(array)

    @classmethod
    def open(cls, path: Path) -> AffinityStore:
        """Open a store.

        Raises
        ------
        ProjectError
            If it is missing or damaged.
        """
        try:
            return cls(zarr.open_array(store=str(path), mode="r+"))
        except (OSError, ValueError, KeyError) as error:
            raise ProjectError(
                f"The affinities {path} cannot be read: {error}",
                "affinities as written by `neuropil segment`",
                "segment anew.",
            ) from error

    @property
    def shape(self) -> Shape:
        """Shape of the network's grid."""
        _, z, y, x = self.array.shape
        return int(z), int(y), int(x)

    @property
    def names(self) -> tuple[str, ...]:
        """What each channel is; stores of older versions say it by their number only."""
        count = int(self.array.shape[0])
        names = self.array.attrs.get("channels")
        if isinstance(names, list) and len(names) == count:
            return tuple(str(name) for name in names)
        if count in (3, 4):
            return (*NEAREST_NAMES, "foreground")[:count]
        return tuple(f"channel {index}" for index in range(count))

    def write(self, roi: Roi, values: NDArray[np.float32]) -> None:
        """Store probabilities in [0, 1], (C, Z, Y, X), rounded to 1/255."""
        self.array[(slice(None), *roi.slices)] = np.round(values * 255).astype(np.uint8)

    def read(self, roi: Roi) -> NDArray[np.uint8]:
        """Return stored values, 255 = 1."""
        return cast("NDArray[np.uint8]", np.asarray(self.array[(slice(None), *roi.slices)]))
