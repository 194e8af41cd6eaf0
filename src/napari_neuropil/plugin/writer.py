"""File > Save for labels and images: block by block, with voxel size and place.

napari calls a writer on the window's thread. The writing itself therefore runs on another
thread while the window's events go on, and a progress bar shows how far it is.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_neuropil.errors import NeuropilError, VolumeFormatError
from napari_neuropil.geometry import NM_PER_UNIT, Roi, VoxelSize

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Kind = Literal["image", "labels"]


def write_labels(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Save a labels layer as OME-Zarr, HDF5 or TIFF (npe2 single-layer writer).

    Parameters
    ----------
    path : str
        Ends in .zarr, .h5 or .tif.
    data : array or list of array
        The layer's data; of a pyramid the finest level is written.
    attributes : dict
        The layer's attributes, from which voxel size and translation are taken.
    """
    return _write(path, data, attributes, "labels")


def write_image(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Save an image layer as OME-Zarr, HDF5 or TIFF (npe2 single-layer writer).

    Parameters are those of `write_labels`.
    """
    return _write(path, data, attributes, "image")


def _write(path: str, data: Any, attributes: dict[str, Any], kind: Kind) -> list[str]:
    try:
        _write_beside_window(path, data, attributes, kind)
    except NeuropilError as error:
        # npe2 takes a ValueError for "no such writer" and swallows it; the plain error gets through
        # and becomes a notification.
        raise NeuropilError(error.found, error.expected, error.cure) from error
    return [path]


def _write_beside_window(path: str, data: Any, attributes: dict[str, Any], kind: Kind) -> None:
    from napari.utils import progress  # type: ignore[import-untyped]
    from qtpy.QtCore import QCoreApplication

    array = data[0] if attributes.get("multiscale") else data
    done = [0.0]
    with ThreadPoolExecutor(1) as pool, progress(total=100, desc="Saving") as bar:
        future = pool.submit(write_array, path, array, attributes, kind, done.__setitem__)
        while not future.done():
            if QCoreApplication.instance() is not None:
                QCoreApplication.processEvents()
            bar.update(int(100 * done[0]) - bar.n)
            _wait(future)
        future.result()


def _wait(future: Any) -> None:
    from concurrent.futures import wait

    wait([future], timeout=0.02)


def write_array(
    path: str,
    array: Any,
    attributes: dict[str, Any],
    kind: Kind,
    report: Callable[[int, float], None] | None = None,
) -> None:
    """Write a 3D array block by block.

    Parameters
    ----------
    path : str
        Ends in .zarr, .h5 or .tif; an existing file is replaced (napari has asked).
    array : array_like
        (z, y, x), read one block at a time.
    attributes : dict
        `scale`, `translate`, `units` and `metadata` of a napari layer.
    kind : {"image", "labels"}
        What the file says it holds.
    report : callable, optional
        Called with (0, fraction done).

    Raises
    ------
    VolumeFormatError
        If the array is not 3D.
    """
    from napari_neuropil.volumes import write_volume

    shape = tuple(int(n) for n in array.shape)
    if len(shape) != 3:
        raise VolumeFormatError(
            f"The layer has {len(shape)} axes.", "a 3D layer (z, y, x)", "save one 3D layer."
        )
    read = 0

    def read_block(roi: Roi) -> NDArray[Any]:
        nonlocal read
        read += roi.size
        if report is not None:
            report(0, min(1.0, read / np.prod(shape)))
        return np.asarray(array[roi.slices])

    voxel_size, translation = _place(attributes)
    write_volume(
        path,
        read_block,
        shape,
        np.dtype(array.dtype),
        voxel_size,
        translation=translation,
        kind=kind,
        overwrite=True,
    )


def _place(attributes: dict[str, Any]) -> tuple[VoxelSize, tuple[float, float, float]]:
    """Return voxel size and translation in nm; lengths without a unit count as nm."""
    units = [str(unit) for unit in attributes.get("units") or ("nm",) * 3]
    factors = [NM_PER_UNIT.get(unit, 1.0) for unit in units[-3:]]
    scale = attributes.get("scale", (1.0, 1.0, 1.0))
    translate = attributes.get("translate", (0.0, 0.0, 0.0))
    z, y, x = (abs(float(s)) * f for s, f in zip(scale, factors, strict=True))
    a, b, c = (float(t) * f for t, f in zip(translate, factors, strict=True))
    return VoxelSize(z, y, x), (a, b, c)
