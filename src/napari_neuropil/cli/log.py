"""``neuropil log``, ``replay`` and ``repair``: the edits of a project."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_neuropil.cli.options import EventsAsJson

if TYPE_CHECKING:
    from napari_neuropil.proofreading import ProofreadingSession


def register(app: typer.Typer) -> None:
    """Add the commands to the table."""
    app.command("log")(log)
    app.command("replay")(replay)
    app.command("repair")(repair)


def log(
    project: Annotated[Path, typer.Argument(help="Project folder.")],
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Write one JSON object a line, for neuropil replay."),
    ] = False,
) -> None:
    """Show the edits of a project, also of a damaged session as far as it can be read."""
    from napari_neuropil.cli.reporting import console
    from napari_neuropil.proofreading import ProofreadingSession
    from napari_neuropil.proofreading.log import export_log

    with ProofreadingSession.open(project, read_only=True) as session:
        if as_json:
            for line in export_log(session):
                typer.echo(json.dumps(line, ensure_ascii=False))
        else:
            _show_log(session)
        stderr = console(stderr=True)
        for notice in session.notices:
            stderr.print(f"note: {notice}", style="yellow", markup=False)


def replay(
    log: Annotated[
        Path, typer.Argument(help="What neuropil log PROJECT --json wrote, or another project.")
    ],
    project: Annotated[Path, typer.Argument(help="Project without edits, on the same fragments.")],
    as_json: EventsAsJson = False,
) -> None:
    """Carry out a log of edits on the raw result; the labels become those of the log's origin."""
    from napari_neuropil.cli.reporting import reporting

    with reporting(as_json=as_json) as reporter:
        from napari_neuropil.workflows.session_log import replay as run_replay

        lines = run_replay(log, project)
        reporter.done(project=str(project), replayed=lines)


def repair(
    project: Annotated[Path, typer.Argument(help="Project folder.")],
    as_json: EventsAsJson = False,
) -> None:
    """Save the readable edits of a damaged session; the damaged file is kept beside it."""
    from napari_neuropil.cli.reporting import reporting

    with reporting(as_json=as_json) as reporter:
        from napari_neuropil.proofreading.repair import repair_log

        result = repair_log(project)
        if result.backup is None:
            reporter.notice("Nothing is damaged; nothing was changed.")
        elif result.lost:
            reporter.notice(
                f"{result.lost} lines of the log could not be read and are lost from the session; "
                f"the damaged file is kept as {result.backup.name}."
            )
        else:
            reporter.notice(f"The damaged file is kept as {result.backup.name}.")
        reporter.done(
            project=str(project),
            kept=result.kept,
            lost=result.lost,
            backup=None if result.backup is None else str(result.backup),
        )


def _show_log(session: ProofreadingSession) -> None:
    from rich.table import Table

    from napari_neuropil.cli.reporting import console, format_seconds

    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in ("id", "time", "kind", "what", "where (z, y, x)", "took", ""):
        table.add_column(header, justify="right" if header in ("id", "took") else "left")
    rows = session.history()
    for row in rows:
        where = "" if row.position is None else ", ".join(str(v) for v in row.position)
        table.add_row(
            str(row.id),
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row.time)),
            row.kind,
            row.text,
            where,
            "" if row.seconds is None else format_seconds(row.seconds),
            "now" if row.current else "" if row.active else "undone",
            style=None if row.active else "dim",
        )
    target = console()
    if rows:
        target.print(table)
    active = sum(row.active for row in rows)
    target.print(f"{len(rows)} edits, {active} of them active.", markup=False)
