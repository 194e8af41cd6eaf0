"""``neuropil tune-detector``: the detector learns from what was corrected."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_neuropil.cli.options import Device, EventsAsJson, PartOfImage, Seed, VoxelSizeWish


def register(app: typer.Typer) -> None:
    """Add the command to the table."""
    app.command("tune-detector")(tune_detector)


def tune_detector(  # noqa: PLR0913 - a command's parameters are its options
    image: Annotated[str, typer.Argument(help="The volume; HDF5 as file.h5/dataset.")],
    out: Annotated[Path, typer.Option(help="File of the tuned detector, .safetensors.")],
    project: Annotated[
        str | None, typer.Option(help="Project of this image: its segments, with all edits.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="Or labels, on the grid of the image or of --roi.")
    ] = None,
    segments: Annotated[
        str | None,
        typer.Option(metavar="1,5-9", help="What is to be found, as of neuropil tune."),
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Detector to begin with; without: the built-in one.")
    ] = None,
    share: Annotated[float, typer.Option(help="Share of the sections that is held out.")] = 0.2,
    gap: Annotated[int, typer.Option(min=0, help="Sections left out between the two.")] = 1,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training sections.")] = 20,
    smallest_area: Annotated[
        float, typer.Option(min=0, help="Pieces below it, in square µm, get no box.")
    ] = 0.05,
    voxel_size: VoxelSizeWish = None,
    roi: PartOfImage = None,
    seed: Seed = 0,
    device: Annotated[Device, typer.Option(help="Where the network is trained.")] = Device.auto,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace OUT, and begin anew.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what is learned from and what is held out.")
    ] = False,
    as_json: EventsAsJson = False,
) -> None:
    """Fine-tune a detector on corrected segments; written only if it is better.

    Stopped, it goes on when started again.
    """
    from napari_neuropil.cli.reporting import reporting
    from napari_neuropil.cli.requests import read_request
    from napari_neuropil.workflows.tuning.detector_requests import DetectorTuneRequest

    request = read_request(
        DetectorTuneRequest, voxel_size, image=image, out=str(out), project=project,
        labels=labels, segments=segments, base=base, share=share, gap=gap, epochs=epochs,
        smallest_area=smallest_area,
        roi=roi, seed=seed, device=device.value, overwrite=overwrite,
    )  # fmt: skip
    with reporting(as_json=as_json) as reporter:
        from napari_neuropil.workflows.tuning.detector import plan_detector_tuning
        from napari_neuropil.workflows.tuning.detector import tune_detector as run_tuning

        if dry_run:
            reporter.plan(plan_detector_tuning(request))
            return
        try:
            outcome = run_tuning(request, report=reporter.progress, planned=reporter.plan)
        except KeyboardInterrupt:
            reporter.notice("Stopped: the same command goes on after the last whole epoch.")
            raise
        if as_json:
            reporter.done(**outcome.model_dump(mode="json"))
            return
        reporter.done(result=outcome.reason, checkpoint=outcome.checkpoint, seconds=outcome.seconds)
