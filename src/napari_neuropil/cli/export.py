"""``neuropil export``: a project's segments as labels, surfaces, centre lines and a table."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_neuropil.cli.options import EventsAsJson
from napari_neuropil.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_neuropil.cli.reporting import Reporter


class MeshFormat(StrEnum):
    """Files of surfaces."""

    glb = "glb"
    ply = "ply"


class SkeletonMethod(StrEnum):
    """Ways to centre lines; kimimaro needs the extra `skeletons`."""

    teasar = "teasar"
    kimimaro = "kimimaro"


class SwcUnit(StrEnum):
    """Unit of the numbers in SWC files."""

    um = "um"
    nm = "nm"


def register(app: typer.Typer) -> None:
    """Add the command to the table."""
    app.command("export")(export)


def export(  # noqa: PLR0913 - a command's parameters are its options
    project: Annotated[Path, typer.Argument(help="Project folder.")],
    out: Annotated[
        str | None,
        typer.Argument(help="Labels to write: .zarr (OME-NGFF labels), .tif or .h5[/dataset]."),
    ] = None,
    segments: Annotated[
        str | None,
        typer.Option(metavar="5,9", help="Only these ids; or a status such as done; or all."),
    ] = None,
    meshes: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a surface of each segment, in nm.")
    ] = None,
    mesh_format: Annotated[
        MeshFormat, typer.Option("--format", help="Of the surfaces.")
    ] = MeshFormat.glb,
    skeletons: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a centre line of each segment, SWC.")
    ] = None,
    skeleton_method: Annotated[
        SkeletonMethod, typer.Option(help="kimimaro: pip install napari-neuropil[skeletons].")
    ] = SkeletonMethod.teasar,
    swc_unit: Annotated[SwcUnit, typer.Option(help="Of the numbers in SWC.")] = SwcUnit.um,
    statistics: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Write a table of the segments.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace outputs that exist.")
    ] = False,
    as_json: EventsAsJson = False,
) -> None:
    """Write the segments of a project, with all edits: labels, meshes, skeletons, a table."""
    if out is None and meshes is None and skeletons is None and statistics is None:
        raise SettingsError(
            "Nothing is to be written.",
            "OUT, --meshes DIR, --skeletons DIR or --statistics FILE.csv",
            "for example neuropil export PROJECT segments.zarr.",
        )
    if segments is None and (meshes is not None or skeletons is not None):
        raise SettingsError(
            "Meshes and skeletons were asked for, and no segments.",
            "--segments with ids, a status or all",
            "for example --segments 5,9; --statistics FILE.csv lists the ids.",
        )
    from napari_neuropil.cli.reporting import reporting

    with reporting(as_json=as_json) as reporter:
        facts: dict[str, Any] = {}
        if out is not None:
            from napari_neuropil.workflows.export import export_segmentation

            export_segmentation(
                project,
                out,
                segments=segments,
                overwrite=overwrite,
                report=_reporting(reporter, "export"),
            )
            facts["labels"] = out
        if statistics is not None:
            from napari_neuropil.workflows.statistics import write_statistics

            facts["segments"] = write_statistics(
                project, statistics, segments=segments or "all", overwrite=overwrite
            )
            facts["statistics"] = str(statistics)
        if meshes is not None and segments is not None:
            from napari_neuropil.workflows.export_objects import export_meshes

            export_meshes(
                project,
                meshes,
                segments,
                form=mesh_format.value,
                overwrite=overwrite,
                report=_reporting(reporter, "meshes"),
            )
            facts["meshes"] = str(meshes)
        if skeletons is not None and segments is not None:
            from napari_neuropil.workflows.export_objects import export_skeletons

            export_skeletons(
                project,
                skeletons,
                segments,
                method=skeleton_method.value,
                unit=swc_unit.value,
                overwrite=overwrite,
                report=_reporting(reporter, "skeletons"),
            )
            facts["skeletons"] = str(skeletons)
        reporter.done(**facts)


def _reporting(reporter: Reporter, stage: str) -> Callable[[int, int], None]:
    from napari_neuropil.workflows.requests import Progress

    def report(done: int, total: int) -> None:
        reporter.progress(Progress(stage=stage, done=done, total=total))

    return report
