"""``neuropil distances``: how far apart the embeddings on both sides of each contact are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_neuropil.cli.options import Device, EventsAsJson


def register(app: typer.Typer) -> None:
    """Add the command to the table."""
    app.command("distances")(distances)


def distances(
    project: Annotated[Path, typer.Argument(help="Project whose image is still at hand.")],
    near: Annotated[
        str | None,
        typer.Option(
            metavar="Z0:Z1,Y0:Y1,X0:X1", help="Only contacts in this box, voxels of the project."
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Embedding network; without: the shipped one.")
    ] = None,
    device: Annotated[Device, typer.Option(help="Where the network runs.")] = Device.auto,
    as_json: EventsAsJson = False,
) -> None:
    """Measure mean-embedding distances of contacts: evidence for merging, kept in the project.

    Below 1.5 both sides look like one neuron. Stopped with Ctrl-C it keeps what it has; started
    again it goes on.
    """
    from napari_neuropil.cli.reporting import reporting

    with reporting(as_json=as_json) as reporter:
        import numpy as np

        from napari_neuropil.geometry import Roi
        from napari_neuropil.project import Project
        from napari_neuropil.segmentation.metric_offsets import HALF_WAY
        from napari_neuropil.workflows.distances import measure_distances

        box = Roi.parse(near, Project.open(project).fragments.shape) if near else None
        found = measure_distances(
            project,
            near=box,
            checkpoint=checkpoint,
            device=device.value,
            report=reporter.progress,
        )
        known = found.distance[np.isfinite(found.distance)]
        reporter.done(
            project=str(project),
            contacts=len(found.distance),
            measured=int(found.measured.sum()),
            below_threshold=int((known < HALF_WAY).sum()),
        )
