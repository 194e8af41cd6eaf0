"""Surfaces and centre lines of chosen segments, one file each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import OutputError, SettingsError
from napari_neuropil.geometry import Roi
from napari_neuropil.proofreading import ProofreadingSession
from napari_neuropil.segmentation.mesh import MESH_VOXELS, mesh_box, pooling_factors
from napari_neuropil.tracing import SKELETON_METHODS, skeletonize, write_swc
from napari_neuropil.tracing.skeleton import SKELETON_VOXELS
from napari_neuropil.tracing.swc import Unit
from napari_neuropil.workflows.mesh_files import MESH_FORMATS, MeshFormat, write_mesh
from napari_neuropil.workflows.results import choose_segments, open_edited

Told = Callable[[int, int], None]
_SWC: Final = "swc"


def export_meshes(
    project: str | Path,
    folder: str | Path,
    segments: str,
    *,
    form: MeshFormat = "glb",
    overwrite: bool = False,
    voxels: int = MESH_VOXELS,
    report: Told = lambda _done, _total: None,
) -> list[Path]:
    """Write the surfaces of segments, in nm, axes (x, y, z), at their place in the world.

    Parameters
    ----------
    project : path-like
        The project folder.
    folder : path-like
        Made if absent; one file ``ID.glb`` or ``ID.ply`` for each segment.
    segments : str
        Ids with commas between them, a status or ``all``.
    form : {"glb", "ply"}
        Of the files.
    overwrite : bool
        Replace files that exist.
    voxels : int
        Larger boxes are pooled down to so many voxels.
    report : callable
        Called with (segments done, segments in all); may raise to stop.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    NeuropilError
        No project, no such segment, an output that exists or cannot be written.
    """
    if form not in MESH_FORMATS:
        raise SettingsError(f"There is no mesh format {form!r}.", " or ".join(MESH_FORMATS), "")

    def write(session: ProofreadingSession, segment: int, file: Path) -> None:
        roi, voxel_size = session.segment_roi(segment), session.info.voxel_size_nm
        mesh = mesh_box(
            _reader(session, segment),
            roi,
            voxel_size,
            translation=session.info.translation,
            factors=pooling_factors(roi.shape, voxel_size, voxels),
        )
        write_mesh(file, mesh, form)

    return _each(project, Path(folder), segments, form, write, overwrite=overwrite, report=report)


def export_skeletons(
    project: str | Path,
    folder: str | Path,
    segments: str,
    *,
    method: str = "teasar",
    unit: Unit = "um",
    overwrite: bool = False,
    report: Told = lambda _done, _total: None,
) -> list[Path]:
    """Write the centre lines of segments as SWC, at their place in the world.

    Parameters
    ----------
    project : path-like
        The project folder.
    folder : path-like
        Made if absent; one file ``ID.swc`` for each segment.
    segments : str
        Ids with commas between them, a status or ``all``.
    method : str
        ``teasar``, or ``kimimaro`` where that extra is installed.
    unit : {"um", "nm"}
        Of the numbers; the file's first line says so.
    overwrite : bool
        Replace files that exist.
    report : callable
        Called with (segments done, segments in all); may raise to stop.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    NeuropilError
        As `export_meshes`; `MissingExtraError` if the method's package is not installed.
    """
    if method not in SKELETON_METHODS:
        raise SettingsError(
            f"There is no skeleton method {method!r}.", " or ".join(SKELETON_METHODS), ""
        )

    def write(session: ProofreadingSession, segment: int, file: Path) -> None:
        roi, voxel_size = session.segment_roi(segment), session.info.voxel_size_nm
        skeleton = skeletonize(
            _reader(session, segment),
            roi,
            voxel_size,
            translation=session.info.translation,
            factors=pooling_factors(roi.shape, voxel_size, SKELETON_VOXELS),
            method=method,
        )
        note = session.annotation(segment)
        comments = [f"segment {segment} of {session.path.name}, method {method}"]
        if note.name:
            comments.append(f"name {' '.join(note.name.split())}")
        write_swc(file, skeleton, unit=unit, comments=comments)

    return _each(project, Path(folder), segments, _SWC, write, overwrite=overwrite, report=report)


def _each(
    project: str | Path,
    folder: Path,
    segments: str,
    suffix: str,
    write: Callable[[ProofreadingSession, int, Path], None],
    *,
    overwrite: bool,
    report: Told,
) -> list[Path]:
    with open_edited(project) as session:
        chosen = [int(s) for s in choose_segments(session, segments)]
        files = [folder / f"{segment}.{suffix}" for segment in chosen]
        there = [file.name for file in files if file.exists()]
        if there and not overwrite:
            raise OutputError(
                f"{len(there)} of the files exist in {folder}, for example {there[0]}.",
                "files that do not exist yet",
                "choose another folder, or --overwrite them.",
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            report(0, len(files))
            for done, (segment, file) in enumerate(zip(chosen, files, strict=True), start=1):
                write(session, segment, file)
                report(done, len(files))
        except OSError as error:
            if isinstance(error, OutputError):
                raise
            raise OutputError(
                f"{folder} cannot be written: {error}",
                "a folder that can be written, with space enough",
                "free disk space, or choose another folder.",
            ) from error
    return files


def _reader(session: ProofreadingSession, segment: int) -> Callable[[Roi], NDArray[np.bool_]]:
    volume = session.segments()
    wanted = np.uint64(segment)

    def read(roi: Roi) -> NDArray[np.bool_]:
        inside: NDArray[np.bool_] = volume.read(roi) == wanted
        return inside

    return read
