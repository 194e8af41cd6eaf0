"""NPY files, memory-mapped. They carry no voxel size."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_neuropil.errors import VolumeFormatError, VolumeNotFoundError
from napari_neuropil.volumes.axes import arrange, find_order
from napari_neuropil.volumes.volume import Volume


def read(container: Path, inner: str) -> Volume:
    """Open a file; pickled objects are refused, since reading them runs code."""
    if inner:
        raise VolumeNotFoundError(
            f"{container} is a file without datasets; {inner} was asked for.",
            "the path of the file alone",
            f"give {container}.",
        )
    try:
        array = np.load(container, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise VolumeFormatError(
            f"{container} cannot be read: {error}",
            "an undamaged NPY file with a 3D array of numbers",
            "save it anew with numpy.save from an array of numbers.",
        ) from error
    order = find_order(array.shape, None, str(container))
    return Volume(arrange(array, order), None, name=container.stem, source=str(container))
