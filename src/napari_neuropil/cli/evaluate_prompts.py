"""``neuropil evaluate-prompts``: segmenters against labels, with boxes, points and clicks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from napari_neuropil.cli.options import Device, EventsAsJson


def register(app: typer.Typer) -> None:
    """Add the command to the table."""
    app.command("evaluate-prompts")(evaluate_prompts)


def evaluate_prompts(  # noqa: PLR0913 - a command's parameters are its options
    image: Annotated[Path, typer.Argument(help="Volume.")],
    labels: Annotated[Path, typer.Argument(help="Its ground truth; label 0 is ignored.")],
    segmenter: Annotated[
        list[str] | None,
        typer.Option(
            help="compact, box, ellipse, watershed, a published SAM such as vit_b, or a file; may "
            "be repeated."
        ),
    ] = None,
    roi: Annotated[
        str | None, typer.Option(metavar="Z0:Z1,Y0:Y1,X0:X1", help="Part of the volume.")
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Only each n-th section.")] = 1,
    factor: Annotated[int, typer.Option(min=1, help="Pixels averaged to one, in y and x.")] = 1,
    ids: Annotated[
        str, typer.Option(metavar="1,2,8-24", help="Labels that count; without: all.")
    ] = "",
    smallest: Annotated[
        int, typer.Option(min=1, help="Parts of fewer pixels in a section do not count.")
    ] = 200,
    clicks: Annotated[int, typer.Option(min=1, help="Clicks before the user gives up.")] = 8,
    jitter: Annotated[
        float, typer.Option(min=0, help="How far clicks go astray: standard deviation, pixels.")
    ] = 0.0,
    wrong: Annotated[
        float, typer.Option(min=0, max=1, help="Share of clicks with the wrong sign.")
    ] = 0.0,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow",
            help="Also carry the mask of one box of each label through all sections, and compare "
            "in 3D.",
        ),
    ] = False,
    project: Annotated[
        Path | None,
        typer.Option(
            help="Project of this part of the image: with --follow its segments correct the masks."
        ),
    ] = None,
    device: Annotated[Device, typer.Option(help="Where networks run.")] = Device.auto,
    as_json: EventsAsJson = False,
) -> None:
    """Measure masks for true boxes and points, and the clicks until they are good.

    Several segmenters are measured on the same objects in one run.
    """
    from napari_neuropil.cli.reporting import reporting

    with reporting(as_json=as_json) as reporter:
        from napari_neuropil.errors import SettingsError
        from napari_neuropil.evaluation.simulated_user import UserSettings
        from napari_neuropil.inference.devices import choose_device
        from napari_neuropil.prompts.segmenters import open_segmenter
        from napari_neuropil.prompts.tiled_segmenter import TiledSegmenter
        from napari_neuropil.workflows.evaluate_following import evaluate_following
        from napari_neuropil.workflows.evaluate_prompts import evaluate_prompts as measure
        from napari_neuropil.workflows.examined_sections import Examined
        from napari_neuropil.workflows.id_ranges import parse_ids

        if project is not None and not follow:
            raise SettingsError(
                "--project is given without --follow.",
                "both: a project's segments correct what is followed",
                "add --follow, or leave the project out.",
            )
        chosen = Examined(roi, every, factor, parse_ids(ids), smallest)
        user = UserSettings(max_clicks=clicks, jitter=jitter, wrong_share=wrong)
        found: dict[str, dict[str, Any]] = {}
        for name in segmenter or ["compact"]:
            tiled = TiledSegmenter(open_segmenter(name, str(choose_device(device.value))))
            what = (image, labels, tiled, chosen)
            followed: dict[str, Any] = {}
            if follow:  # first: a project that does not fit is found out at once
                followed = evaluate_following(
                    *what, project=project, report=reporter.progress
                ).as_dict()
            found[name] = measure(*what, user=user, report=reporter.progress).as_dict() | followed
        if as_json:
            reporter.done(scores=found)
            return
        show_table(found)


def show_table(found: dict[str, dict[str, Any]]) -> None:
    """Print the scores, one column a segmenter; single objects are in the JSON alone."""
    from rich.table import Table

    from napari_neuropil.cli.reporting import console

    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for name in found:
        table.add_column(Path(name).stem, justify="right")
    rows = [row for row in next(iter(found.values())) if row != "each_3d"]
    for row in rows:
        table.add_row(row.replace("_", " "), *(f"{scores[row]:.4g}" for scores in found.values()))
    console().print(table)
