"""``neuropil suggest-split``: whether a segment looks like two neurons, and seeds for both."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_neuropil.cli.options import Device, EventsAsJson


def register(app: typer.Typer) -> None:
    """Add the command to the table."""
    app.command("suggest-split")(suggest_split)


def suggest_split(
    project: Annotated[Path, typer.Argument(help="Project whose image is still at hand.")],
    segment: Annotated[int, typer.Argument(min=1, help="Id of the segment, as it is now.")],
    patches: Annotated[
        int, typer.Option(min=1, help="How many places of a large segment to look at, at most.")
    ] = 8,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Embedding network; without: the shipped one.")
    ] = None,
    device: Annotated[Device, typer.Option(help="Where the network runs.")] = Device.auto,
    as_json: EventsAsJson = False,
) -> None:
    """Look for two neurons in a segment: seeds for a split where its embeddings fall into two.

    From a distance of 1.5 on two parts look like two neurons. Nothing is changed.
    """
    from napari_neuropil.cli.reporting import reporting

    with reporting(as_json=as_json) as reporter:
        from napari_neuropil.workflows.split_seeds import suggest_split as look

        found = look(
            project,
            segment,
            patches=patches,
            checkpoint=checkpoint,
            device=device.value,
            report=reporter.progress,
        )
        reporter.done(
            project=str(project),
            segment=found.segment,
            two_objects=found.two_objects,
            distance=found.distance,
            separation=found.separation,
            red=found.red,
            blue=found.blue,
            box=None if found.patch is None else str(found.patch),
            patches=found.patches,
        )
