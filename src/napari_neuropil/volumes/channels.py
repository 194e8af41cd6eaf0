"""Arrays with a channel axis, (c, z, y, x): affinities of a network, opened lazily.

A `Volume` has three axes by definition; this is the one door to files with four.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import NeuropilError, VolumeFormatError, VolumeNotFoundError
from napari_neuropil.geometry import Roi, Shape
from napari_neuropil.volumes.volume import READ_ERRORS, LazyArray
from napari_neuropil.volumes.zarr_node import find_node, list_arrays, open_array

_AXES: Final = 4
_SUFFIXES: Final = (".h5", ".hdf5", ".hdf")


@dataclass(frozen=True, eq=False)
class ChannelVolume:
    """A lazy (c, z, y, x) array.

    Parameters
    ----------
    array : LazyArray
        Nothing is read before it is indexed.
    source : str
        Where it comes from, for messages.
    """

    array: LazyArray
    source: str

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self.array.shape[0])

    @property
    def shape(self) -> Shape:
        """Edge lengths in voxels."""
        _, z, y, x = (int(n) for n in self.array.shape)
        return z, y, x

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a value, native byte order."""
        dtype: np.dtype[Any] = np.dtype(self.array.dtype).newbyteorder("=")
        return dtype

    def read(self, roi: Roi, channels: slice = slice(None)) -> NDArray[Any]:
        """Read a box of some channels.

        Raises
        ------
        VolumeFormatError
            If the file is damaged there.
        """
        try:
            block = np.asarray(self.array[(channels, *roi.slices)])
        except NeuropilError:
            raise
        except READ_ERRORS as error:
            raise _damaged(self.source, error) from error
        return np.ascontiguousarray(block, self.dtype)


def open_channels(path: str | Path) -> ChannelVolume:
    """Open an array with channels.

    Parameters
    ----------
    path : str or Path
        A zarr array or a group with one four-dimensional array in it, ``file.h5/dataset``, or
        an ``.npy`` file; axes (c, z, y, x).

    Raises
    ------
    VolumeNotFoundError
        If there is no such file or dataset.
    VolumeFormatError
        If it is damaged or holds no single array of numbers with four axes.
    """
    place = Path(path).expanduser().absolute()
    try:
        array, source = _open(place)
    except NeuropilError:
        raise
    except READ_ERRORS as error:
        raise _damaged(str(path), error) from error
    if len(array.shape) != _AXES or 0 in array.shape or np.dtype(array.dtype).kind not in "uif":
        raise VolumeFormatError(
            f"{source} has shape {tuple(array.shape)} and type {array.dtype}.",
            "numbers with four axes (channel, z, y, x)",
            "save the channels as one array, the channel axis first.",
        )
    return ChannelVolume(array, source)


def _open(place: Path) -> tuple[Any, str]:
    file = next((p for p in (place, *place.parents) if p.is_file()), None)
    if file is None and place.is_dir():
        return _open_zarr(place)
    if file is None:
        raise VolumeNotFoundError(
            f"There is no {place}.", "a zarr folder, file.h5/dataset or an .npy file", "check it."
        )
    if file.suffix.lower() in _SUFFIXES:
        return _open_hdf5(file, "/".join(place.relative_to(file).parts))
    if file.suffix.lower() == ".npy":
        return np.load(file, mmap_mode="r", allow_pickle=False), str(file)
    raise VolumeFormatError(
        f"{file} is no file with channels that can be read.",
        "a zarr folder, file.h5/dataset or an .npy file with axes (channel, z, y, x)",
        "save the array anew as zarr.",
    )


def _open_zarr(place: Path) -> tuple[Any, str]:
    node = find_node(place)
    if not node.is_array:
        fitting = [n for n in list_arrays(node) if len(n.metadata.get("shape") or ()) == _AXES]
        # Of a pyramid the full-size level counts, which sorts first by its name 0 or s0.
        levels = {n.path.parent for n in fitting}
        if len(levels) != 1:
            raise _choose(str(place), [str(n.path.relative_to(place)) for n in fitting])
        node = fitting[0]
    return open_array(node), str(node.path)


def _open_hdf5(file: Path, inner: str) -> tuple[Any, str]:
    opened = h5py.File(file, "r", locking="best-effort")
    if inner and inner not in opened:
        raise VolumeNotFoundError(
            f"There is no dataset {inner} in {file}.",
            f"one of {', '.join(_datasets(opened)) or 'none'}",
            "check the name.",
        )
    node = opened[inner or "/"]
    if isinstance(node, h5py.Dataset):
        return node, f"{file}/{inner}"
    found = _datasets(node)
    if len(found) != 1:
        raise _choose(str(file), found)
    return node[found[0]], f"{file}/{found[0]}"


def _datasets(group: h5py.Group) -> list[str]:
    names: list[str] = []

    def note(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset) and len(node.shape or ()) == _AXES:
            names.append(name)

    group.visititems(note)
    return names


def _choose(where: str, found: list[str]) -> VolumeFormatError:
    return VolumeFormatError(
        f"{where} holds {len(found)} arrays with four axes"
        + (f": {', '.join(found)}." if found else "."),
        "one array with axes (channel, z, y, x)",
        f"give one, for example {where}/{found[0]}." if found else "choose another file.",
    )


def _damaged(source: str, error: Exception) -> VolumeFormatError:
    return VolumeFormatError(
        f"{source} cannot be read: {error}",
        "an undamaged array with axes (channel, z, y, x)",
        "copy it again from where it came, or save it anew.",
    )
