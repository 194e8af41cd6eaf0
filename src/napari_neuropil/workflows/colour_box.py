"""Colours of a box of a project, in a file that anybody can read: numpy's ``npz``."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import OutputError, VolumeFormatError, VolumeNotFoundError
from napari_neuropil.geometry import Roi, VoxelSize
from napari_neuropil.volumes.output import partial_output

SUFFIX: Final = ".npz"


@dataclass(frozen=True, eq=False)
class ColourBox:
    """Colours on a project's grid.

    Parameters
    ----------
    colours : ndarray of uint8, (Z, Y, X, 3)
        Red, green, blue.
    start : tuple of int
        Voxel of the project at which they begin.
    voxel_size : VoxelSize
        The project's.
    translation : tuple of float
        World position of the first voxel, nm.
    checkpoint_sha256 : str
        Of the network whose embeddings they show.
    """

    colours: NDArray[np.uint8]
    start: tuple[int, int, int]
    voxel_size: VoxelSize
    translation: tuple[float, float, float]
    checkpoint_sha256: str = ""

    @property
    def roi(self) -> Roi:
        """The box, voxels of the project."""
        z, y, x = self.colours.shape[:3]
        return Roi(self.start, (self.start[0] + z, self.start[1] + y, self.start[2] + x))


def check_place(path: Path) -> None:
    """Refuse a file name of another kind, before any work.

    Raises
    ------
    OutputError
        If it does not end in ``.npz``.
    """
    if path.suffix != SUFFIX:
        raise OutputError(
            f"The colours cannot be written to {path}.",
            f"a name that ends in {SUFFIX}",
            f"call it {path.with_suffix(SUFFIX).name}.",
        )


def write_colour_box(path: Path, box: ColourBox, *, overwrite: bool = False) -> None:
    """Write colours with their place, whole or not at all.

    Raises
    ------
    OutputError
        If the name has another ending, the file exists and may not be replaced, or the folder
        cannot be written.
    """
    check_place(path)
    with partial_output(path, overwrite=overwrite) as partial, partial.open("wb") as file:
        np.savez_compressed(
            file,
            colours=box.colours,
            start=np.array(box.start, np.int64),
            voxel_size=np.array(tuple(box.voxel_size)),
            translation=np.array(box.translation),
            checkpoint_sha256=np.array(box.checkpoint_sha256),
        )


def read_colour_box(path: Path) -> ColourBox:
    """Read what `write_colour_box` wrote.

    Raises
    ------
    VolumeNotFoundError
        If there is no such file.
    VolumeFormatError
        If it holds something else.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            colours = content["colours"]
            start, size, place = (
                content[name].tolist() for name in ("start", "voxel_size", "translation")
            )
            box = ColourBox(
                colours,
                (int(start[0]), int(start[1]), int(start[2])),
                VoxelSize(*size),
                (place[0], place[1], place[2]),
                str(content["checkpoint_sha256"]),
            )
    except FileNotFoundError as error:
        raise VolumeNotFoundError(f"There is no file {path}.", "", "check the path.") from error
    except (OSError, ValueError, TypeError, LookupError, EOFError, zipfile.BadZipFile) as error:
        raise _unreadable(path, str(error)) from error
    if colours.dtype != np.uint8 or colours.ndim != 4 or colours.shape[-1] != 3:
        raise _unreadable(path, f"colours of type {colours.dtype}, shape {colours.shape}")
    return box


def _unreadable(path: Path, reason: str) -> VolumeFormatError:
    return VolumeFormatError(
        f"{path} cannot be read as colours: {reason}",
        "a file written by `neuropil embeddings`",
        "make it anew.",
    )
