"""Write a project's segments as voxels: the lookup applied block by block."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from napari_neuropil.project import Project
from napari_neuropil.volumes import write_volume


def export_segmentation(
    project: str | Path,
    out: str | Path,
    *,
    overwrite: bool = False,
    report: Callable[[int, int], None] | None = None,
) -> None:
    """Export the segments of a project.

    Parameters
    ----------
    project : path-like
        The project folder.
    out : path-like
        ``.zarr`` (OME-NGFF 0.5 labels), ``.tif`` or ``.h5`` (``file.h5/dataset``).
    overwrite : bool
        Replace an existing output.
    report : callable, optional
        Called with (blocks done, blocks in all).

    Raises
    ------
    NeuropilError
        If the project is unfinished or damaged, or the output exists or cannot be written.
    """
    segments = Project.open(project).segments()
    write_volume(
        out,
        segments.read,
        segments.shape,
        segments.dtype,
        segments.voxel_size,
        translation=segments.translation,
        kind="labels",
        overwrite=overwrite,
        report=report,
    )
