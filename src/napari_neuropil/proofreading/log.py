"""The log as lines of JSON, and from lines back into a project: export and replay."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from typing import Any

from napari_neuropil.errors import ProjectError
from napari_neuropil.proofreading.database import SESSION_FORMAT
from napari_neuropil.proofreading.edits import FIRST_FORMAT, Edit
from napari_neuropil.proofreading.fingerprint import fingerprint_of
from napari_neuropil.proofreading.session import ProofreadingSession


def export_log(session: ProofreadingSession) -> Iterator[dict[str, Any]]:
    """Give a line that says what the log belongs to, and then one line for each edit."""
    yield {
        "log": session.path.name,
        "format": max((edit.format for edit in session.edits), default=FIRST_FORMAT),
        "fingerprint": fingerprint_of(session.project),
    }
    active = {row.id for row in session.history() if row.active}
    for edit in session.edits:
        yield {**_edit_to_json(edit), "active": edit.id in active}


def replay_log(lines: Iterable[dict[str, Any]], session: ProofreadingSession) -> int:
    """Carry out a log on a project as segmented; the labels become those of the log's origin.

    Parameters
    ----------
    lines : iterable of dict
        As `export_log` gives them.
    session : ProofreadingSession
        Without edits, on the same fragments.

    Returns
    -------
    int
        Lines carried out, moves among them.

    Raises
    ------
    ProjectError
        Other fragments, edits already there, a line that does not fit. What came before a bad
        line has been carried out, durably.
    """
    lines = iter(lines)
    head = next(lines, {})
    found, own = head.get("fingerprint"), fingerprint_of(session.project)
    if not isinstance(found, str):
        raise ProjectError(
            "This is no log: its first line has no fingerprint.",
            "lines as `neuropil log PROJECT --json` prints them",
            "export the log again.",
        )
    if int(head.get("format", 0)) > SESSION_FORMAT:
        raise ProjectError(
            f"The log has format {head['format']}.",
            f"at most {SESSION_FORMAT}",
            "replay it with a newer napari-neuropil: pip install -U napari-neuropil.",
        )
    if found != own:
        raise ProjectError(
            f"The log was made on the fragments {found}; {session.path} holds {own}.",
            "a project with the fragments the log was made on",
            "replay it onto a copy of the project it came from.",
        )
    if session.edits:
        raise ProjectError(
            f"{session.path} has {len(session.edits)} edits of its own.",
            "a project as segmented",
            "replay onto a copy without its session.sqlite.",
        )
    count = 0
    for line in lines:
        session.append(_edit_from_json(line))
        count += 1
    return count


def _edit_to_json(edit: Edit) -> dict[str, Any]:
    """Return an edit as JSON; the effect both readable and, for replay, exact."""
    record: dict[str, Any] = {
        "id": edit.id,
        "time": edit.time,
        "kind": edit.kind,
        "parent": edit.parent,
        "target": edit.target,
        "wish": edit.wish,
        "seconds": edit.seconds,
        "position": None if edit.position is None else list(edit.position),
        "effect": None,
    }
    if edit.effect is not None and edit.packed is not None:
        record["segments"] = list(edit.effect.segments)
        record["fragments_moved"] = len(edit.effect.fragments)
        record["effect"] = base64.b64encode(edit.packed).decode()
    return record


def _edit_from_json(record: dict[str, Any]) -> Edit:
    """Return the edit that `export_log` wrote.

    Raises
    ------
    ProjectError
        If a field is missing or damaged.
    """
    try:
        effect = record["effect"]
        position = record["position"]
        return Edit(
            id=int(record["id"]),
            time=float(record["time"]),
            kind=record["kind"],
            parent=int(record["parent"]),
            target=None if record["target"] is None else int(record["target"]),
            wish_text=json.dumps(dict(record["wish"])),
            packed=None if effect is None else base64.b64decode(effect, validate=True),
            seconds=record["seconds"],
            place=None
            if position is None
            else f"{int(position[0])},{int(position[1])},{int(position[2])}",
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ProjectError(
            f"A line of the log is no edit: {error!r}",
            "lines as `neuropil log PROJECT --json` prints them",
            "export the log again.",
        ) from error
