"""``neuropil import``: anybody's labels into a project that can be proofread."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from napari_neuropil.cli.options import EventsAsJson


def register(app: typer.Typer) -> None:
    """Add the command to the table."""
    app.command("import")(import_labels)


def import_labels(  # noqa: PLR0913 - a command's parameters are its options
    labels: Annotated[
        str, typer.Argument(help="Labels: .tif, .npy, .zarr (OME-Zarr or plain), file.h5/dataset.")
    ],
    project: Annotated[Path, typer.Argument(help="Folder to make, for example brain.neuropil.")],
    image: Annotated[
        str | None, typer.Option(help="The image the labels were made on; shown and scored by.")
    ] = None,
    affinities: Annotated[
        str | None,
        typer.Option(help="Affinities (channel, z, y, x): .zarr, file.h5/dataset, or a project."),
    ] = None,
    voxel_size: Annotated[
        str | None,
        typer.Option(metavar="Z,Y,X", help="Edge lengths in nm, where the files do not say."),
    ] = None,
    invert: Annotated[
        bool, typer.Option("--invert", help="The image's membranes are bright.")
    ] = False,
    bridge: Annotated[
        float | None,
        typer.Option(
            metavar="NM",
            help="Count contacts across background so wide; without: only if most touch nothing.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a project that holds no edits.")
    ] = False,
    as_json: EventsAsJson = False,
) -> None:
    """Make a project of labels from any program, to proofread them."""
    from napari_neuropil.cli.reporting import reporting
    from napari_neuropil.geometry import VoxelSize

    size = None if voxel_size is None else VoxelSize.parse(voxel_size)
    with reporting(as_json=as_json) as reporter:
        import numpy as np

        from napari_neuropil.workflows.import_inputs import ImportRequest
        from napari_neuropil.workflows.import_labels import import_labels as run_import

        start = time.perf_counter()
        request = ImportRequest(
            labels=labels,
            project=str(project),
            image=image,
            affinities=affinities,
            voxel_size=None if size is None else (size.z, size.y, size.x),
            invert=invert,
            bridge=bridge,
            overwrite=overwrite,
        )
        result = run_import(request, report=reporter.progress)
        for message in result.info.notices:
            reporter.notice(message)
        reporter.done(
            project=str(result.path),
            fragments=result.info.fragment_count,
            segments=int(np.count_nonzero(np.unique(result.lookup))),
            contacts=len(result.rag),
            scores=result.info.plan["scores"],
            seconds=round(time.perf_counter() - start, 1),
        )
