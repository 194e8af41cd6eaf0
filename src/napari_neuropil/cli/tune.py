"""``neuropil tune``: the promptable network learns from what was corrected."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_neuropil.cli.options import Device, EventsAsJson, PartOfImage, Seed, VoxelSizeWish

if TYPE_CHECKING:
    from napari_neuropil.cli.reporting import Reporter
    from napari_neuropil.workflows.tuning.requests import TuneRequest


class Part(StrEnum):
    """What learns."""

    decoder = "decoder"
    lora = "lora"
    all = "all"


class Trainer(StrEnum):
    """Whose loop trains."""

    auto = "auto"
    own = "own"
    micro_sam = "micro_sam"


class HeldOut(StrEnum):
    """What is measured on."""

    sections = "sections"
    segments = "segments"


def register(app: typer.Typer) -> None:
    """Add the command to the table."""
    app.command("tune")(tune)


def tune(  # noqa: PLR0913 - a command's parameters are its options
    image: Annotated[str, typer.Argument(help="The volume; HDF5 as file.h5/dataset.")],
    out: Annotated[Path, typer.Option(help="File of the tuned network, .safetensors.")],
    project: Annotated[
        str | None, typer.Option(help="Project of this image: its segments, with all edits.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="Or labels, on the grid of the image or of --roi.")
    ] = None,
    segments: Annotated[
        str | None,
        typer.Option(
            metavar="1,5-9",
            help="What was corrected: ids and ranges; of a project also done (the default), "
            "another status, corrected (touched by edits), all. Of labels all by default.",
        ),
    ] = None,
    base: Annotated[
        str, typer.Option(help="Network to begin with: compact, vit_b or so, or a file.")
    ] = "compact",
    part: Annotated[Part, typer.Option(help="What learns: decoder, lora, or all.")] = Part.decoder,
    trainer: Annotated[
        Trainer,
        typer.Option(
            help="Whose loop trains: auto takes micro_sam's for published networks, where it is "
            "installed."
        ),
    ] = Trainer.auto,
    held_out: Annotated[
        HeldOut, typer.Option(help="What is measured on: the last sections, or whole segments.")
    ] = HeldOut.sections,
    share: Annotated[
        float, typer.Option(help="Share of the corrected objects that is held out.")
    ] = 0.2,
    gap: Annotated[
        int | None,
        typer.Option(min=0, help="Sections left out between the two; without: about 40 nm."),
    ] = None,
    pseudo: Annotated[
        str,
        typer.Option(
            metavar="2,11-30",
            help="Segments nobody checked but a network is sure of: learned from, never measured "
            "on.",
        ),
    ] = "",
    pseudo_labels: Annotated[
        str | None, typer.Option(help="Labels that hold them, if others than the corrected ones.")
    ] = None,
    pseudo_weight: Annotated[
        float, typer.Option(help="How often they are drawn, relative to corrected ones.")
    ] = 0.3,
    steps: Annotated[int, typer.Option(min=1, help="Steps of training.")] = 200,
    minutes: Annotated[
        float | None, typer.Option(help="Training ends after so long, and is measured then.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Without: 1e-4, for all 1e-5.")
    ] = None,
    most_sections: Annotated[
        int, typer.Option(min=2, help="Sections to learn from, evenly spread, at most.")
    ] = 64,
    smallest: Annotated[
        int, typer.Option(min=1, help="Parts of fewer pixels, as the network sees them, are left.")
    ] = 60,
    voxel_size: VoxelSizeWish = None,
    roi: PartOfImage = None,
    cache_dir: Annotated[
        Path | None, typer.Option(help="Folder of image embeddings, as of neuropil prompts.")
    ] = None,
    seed: Seed = 0,
    device: Annotated[Device, typer.Option(help="Where the network is trained.")] = Device.auto,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace OUT, and a run begun in another way.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what is learned from and what is held out.")
    ] = False,
    as_json: EventsAsJson = False,
) -> None:
    """Fine-tune the network behind prompts on corrected segments; written only if it is better.

    Stopped, it goes on when started again.
    """
    from napari_neuropil.cli.reporting import reporting
    from napari_neuropil.cli.requests import read_request
    from napari_neuropil.workflows.tuning.requests import TuneRequest

    request = read_request(
        TuneRequest, voxel_size, image=image, out=str(out), project=project, labels=labels,
        segments=segments, base=base, parts=part.value, trainer=trainer.value,
        held_out=held_out.value, share=share, gap=gap, pseudo=pseudo, pseudo_labels=pseudo_labels,
        pseudo_weight=pseudo_weight, steps=steps, minutes=minutes, learning_rate=learning_rate,
        most_sections=most_sections, smallest=smallest, roi=roi, seed=seed, device=device.value,
        overwrite=overwrite, cache_dir=None if cache_dir is None else str(cache_dir),
    )  # fmt: skip
    with reporting(as_json=as_json) as reporter:
        if dry_run:
            from napari_neuropil.workflows.tuning.tune import plan_tuning

            reporter.plan(plan_tuning(request, reporter.progress))
            return
        run_tuning(request, reporter, as_json=as_json)


def run_tuning(request: TuneRequest, reporter: Reporter, *, as_json: bool) -> None:
    """Fine-tune, and say what came of it."""
    from napari_neuropil.workflows.tuning.tune import tune as carry_out

    try:
        outcome = carry_out(request, report=reporter.progress, planned=reporter.plan)
    except KeyboardInterrupt:
        reporter.notice("Stopped: the same command goes on from the last saved state.")
        raise
    if as_json:
        reporter.done(**outcome.model_dump(mode="json"))
        return
    reporter.done(
        result=outcome.reason,
        checkpoint=outcome.checkpoint,
        steps=outcome.steps,
        seconds=outcome.seconds,
    )
