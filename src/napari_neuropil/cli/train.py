"""``neuropil train``: weights of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_neuropil.cli.options import Device, EventsAsJson


def register(app: typer.Typer) -> None:
    """Add the command to the table."""
    app.command("train")(train)


def train(
    method: Annotated[
        str,
        typer.Argument(
            help="What to train: segneuron, voxel-embeddings, agq, compact-sam (masks of prompts), "
            "detector (boxes); or sam, a promptable network that is there, as neuropil tune does."
        ),
    ],
    settings: Annotated[
        Path, typer.Option("--settings", help="YAML file: volumes, labels, network, steps.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Checkpoint to write; without: beside the settings, .safetensors."),
    ] = None,
    data_root: Annotated[
        Path | None,
        typer.Option(help="Folder the volumes' paths start from; without: the settings' own."),
    ] = None,
    device: Annotated[Device, typer.Option(help="Where the network is trained.")] = Device.auto,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="CPU threads, for a detector; without: all there are."),
    ] = None,
    as_json: EventsAsJson = False,
) -> None:
    """Train a network on labelled volumes; started again, it goes on where it stopped."""
    from napari_neuropil.cli.reporting import reporting

    with reporting(as_json=as_json) as reporter:
        target = out or settings.with_suffix(".safetensors")
        if method == "detector":
            from napari_neuropil.workflows.train_detector import train_detector_from

            checkpoint = train_detector_from(
                settings,
                target,
                data_root=data_root,
                device=device.value,
                threads=threads,
                report=reporter.progress,
            )
        elif method == "sam":
            from napari_neuropil.cli.tune import run_tuning
            from napari_neuropil.workflows.tuning.settings_file import read_tune_settings

            request = read_tune_settings(settings, target, data_root=data_root, device=device.value)
            run_tuning(request, reporter, as_json=as_json)
            return
        else:
            from napari_neuropil.workflows.train import train_network

            checkpoint = train_network(
                method,
                settings,
                target,
                data_root=data_root,
                device=device.value,
                report=reporter.progress,
            )
        reporter.done(checkpoint=str(checkpoint))
