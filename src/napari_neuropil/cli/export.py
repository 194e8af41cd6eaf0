"""``neuropil export``: a project's segments as one file of labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command to the table."""
    app.command("export")(export)


def export(
    project: Annotated[Path, typer.Argument(help="Project folder.")],
    out: Annotated[
        str,
        typer.Argument(help="File to write: .zarr (OME-NGFF labels), .tif or .h5[/dataset]."),
    ],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an output that exists.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write events as JSON lines on stdout.")
    ] = False,
) -> None:
    """Write the segments of a project, with their voxel size, as a labels volume."""
    from napari_neuropil.cli.reporting import reporting

    with reporting(as_json=as_json) as reporter:
        from napari_neuropil.workflows.export import export_segmentation
        from napari_neuropil.workflows.requests import Progress

        def report(done: int, total: int) -> None:
            reporter.progress(Progress(stage="export", done=done, total=total))

        export_segmentation(project, out, overwrite=overwrite, report=report)
        reporter.done(labels=out)
