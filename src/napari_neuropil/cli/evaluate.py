"""``neuropil evaluate``: a segmentation against its ground truth."""

from __future__ import annotations

import json
from typing import Annotated

import typer

_UNITS = {"voi_split": "bits", "voi_merge": "bits", "voi": "bits"}


def register(app: typer.Typer) -> None:
    """Add the command to the table."""
    app.command("evaluate")(evaluate)


def evaluate(
    segmentation: Annotated[str, typer.Argument(help="Project folder or labels volume.")],
    labels: Annotated[str, typer.Argument(help="Ground truth; its label 0 is ignored.")],
    roi: Annotated[
        str | None,
        typer.Option(
            metavar="Z0:Z1,Y0:Y1,X0:X1",
            help="Part of the labels that the segmentation covers; a project knows its own.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON object.")] = False,
) -> None:
    """Print variation of information and adapted Rand error (both better when smaller)."""
    from napari_neuropil.workflows.evaluate import evaluate_files

    scores = evaluate_files(segmentation, labels, roi).as_dict()
    if as_json:
        typer.echo(json.dumps(scores))
        return
    show_scores(scores)


def show_scores(scores: dict[str, float]) -> None:
    """Print scores as a table.

    Parameters
    ----------
    scores : dict of str to float
        As `SegmentationScores.as_dict` returns them.
    """
    from rich.table import Table

    from napari_neuropil.cli.reporting import console

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="cyan")
    table.add_column(justify="right")
    table.add_column(style="dim")
    for name, value in scores.items():
        table.add_row(name.replace("_", " "), f"{value:.4f}", _UNITS.get(name, ""))
    console().print(table)
