"""``neuropil evaluate-detector``: a detector's boxes against the held-out sections of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_neuropil.cli.options import Device, EventsAsJson


def register(app: typer.Typer) -> None:
    """Add the command to the table."""
    app.command("evaluate-detector")(evaluate_detector)


def evaluate_detector(
    weights: Annotated[Path, typer.Argument(help="The detector's .safetensors.")],
    settings: Annotated[
        Path, typer.Option("--settings", help="YAML of a recipe: volumes, ids, held-out sections.")
    ],
    data_root: Annotated[
        Path | None,
        typer.Option(help="Folder the volumes' paths start from; without: the settings' own."),
    ] = None,
    confidence: Annotated[
        float | None,
        typer.Option(help="Score from which a box counts; without: the detector's own."),
    ] = None,
    device: Annotated[Device, typer.Option(help="Where the network runs.")] = Device.auto,
    as_json: EventsAsJson = False,
) -> None:
    """Measure precision, recall and average precision of a detector on sections it never saw."""
    from napari_neuropil.cli.reporting import reporting

    with reporting(as_json=as_json) as reporter:
        from napari_neuropil.workflows.evaluate_detector import evaluate_detector as measure

        scores = measure(
            weights,
            settings,
            data_root=data_root,
            device=device.value,
            confidence=confidence,
            report=reporter.progress,
        )
        facts = scores.as_dict()
        reporter.done(**({"scores": facts} if as_json else facts))
