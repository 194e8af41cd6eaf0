"""``neuropil embeddings``: what the embedding network tells apart, as colours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_neuropil.cli.options import Device, EventsAsJson


def register(app: typer.Typer) -> None:
    """Add the command to the table."""
    app.command("embeddings")(embeddings)


def embeddings(
    project: Annotated[Path, typer.Argument(help="Project whose image is still at hand.")],
    out: Annotated[Path, typer.Argument(help="Where the colours go: a file that ends in .npz.")],
    near: Annotated[
        str | None,
        typer.Option(
            metavar="Z0:Z1,Y0:Y1,X0:X1", help="The box, voxels of the project; without: all of it."
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Embedding network; without: the shipped one.")
    ] = None,
    device: Annotated[Device, typer.Option(help="Where the network runs.")] = Device.auto,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that exists.")
    ] = False,
    as_json: EventsAsJson = False,
) -> None:
    """Colour a part of a project by its voxel embeddings: one neuron, one colour.

    Red, green and blue are the first three principal components of the middle patch; the patches
    around it are brought to the same colours. The file holds colours (Z, Y, X, 3) on the project's
    grid, start (voxels), voxel_size and translation (nm).
    """
    from napari_neuropil.cli.reporting import reporting

    with reporting(as_json=as_json) as reporter:
        from napari_neuropil.geometry import Roi
        from napari_neuropil.project import Project
        from napari_neuropil.volumes.output import refuse_existing
        from napari_neuropil.workflows.colour_box import check_place, write_colour_box
        from napari_neuropil.workflows.embedding_view import embedding_colours

        check_place(out)
        refuse_existing(out, overwrite=overwrite)
        box = Roi.parse(near, Project.open(project).fragments.shape) if near else None
        found = embedding_colours(
            project,
            near=box,
            checkpoint=checkpoint,
            device=device.value,
            report=reporter.progress,
        )
        write_colour_box(out, found, overwrite=overwrite)
        reporter.done(project=str(project), colours=str(out), box=str(found.roi))
