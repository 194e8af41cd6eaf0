"""Write a project's segments, with their edits, as voxels: the lookup applied block by block."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.geometry import Roi
from napari_neuropil.volumes import Volume, write_volume
from napari_neuropil.workflows.results import choose_segments, open_edited, open_segments


def export_segmentation(
    project: str | Path,
    out: str | Path,
    *,
    segments: str | None = None,
    overwrite: bool = False,
    report: Callable[[int, int], None] | None = None,
) -> None:
    """Export the segments of a project, as proofread.

    Parameters
    ----------
    project : path-like
        The project folder.
    out : path-like
        ``.zarr`` (OME-NGFF 0.5 labels), ``.tif`` or ``.h5`` (``file.h5/dataset``).
    segments : str, optional
        Ids with commas between them, a status or ``all``; others become background.
    overwrite : bool
        Replace an existing output.
    report : callable, optional
        Called with (blocks done, blocks in all).

    Raises
    ------
    NeuropilError
        If the project is unfinished or damaged, or the output exists or cannot be written.
    """
    if segments is None:
        with open_segments(project) as volume:
            _write(volume, volume.read, out, overwrite=overwrite, report=report)
        return
    with open_edited(project) as session:
        volume = session.segments()
        chosen = choose_segments(session, segments)

        def read(roi: Roi) -> NDArray[np.uint64]:
            ids: NDArray[np.uint64] = volume.read(roi)
            ids[~np.isin(ids, chosen)] = 0
            return ids

        _write(volume, read, out, overwrite=overwrite, report=report)


def _write(
    volume: Volume,
    read: Callable[[Roi], NDArray[np.uint64]],
    out: str | Path,
    *,
    overwrite: bool,
    report: Callable[[int, int], None] | None,
) -> None:
    write_volume(
        out,
        read,
        volume.shape,
        volume.dtype,
        volume.voxel_size,
        translation=volume.translation,
        kind="labels",
        overwrite=overwrite,
        report=report,
    )
