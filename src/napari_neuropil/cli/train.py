"""``neuropil train``: weights of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_neuropil.cli.options import Device


def register(app: typer.Typer) -> None:
    """Add the command to the table."""
    app.command("train")(train)


def train(
    method: Annotated[
        str, typer.Argument(help="Method to train for: segneuron, voxel-embeddings or agq.")
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
    as_json: Annotated[
        bool, typer.Option("--json", help="Write events as JSON lines on stdout.")
    ] = False,
) -> None:
    """Train a network on labelled volumes; started again, it goes on where it stopped."""
    from napari_neuropil.cli.reporting import reporting

    with reporting(as_json=as_json) as reporter:
        from napari_neuropil.workflows.train import train_network

        checkpoint = train_network(
            method,
            settings,
            out or settings.with_suffix(".safetensors"),
            data_root=data_root,
            device=device.value,
            report=reporter.progress,
        )
        reporter.done(checkpoint=str(checkpoint))
