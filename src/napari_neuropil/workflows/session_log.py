"""The log of a project's edits: read from a file or another project, and carried out again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from napari_neuropil.errors import ProjectError
from napari_neuropil.proofreading import ProofreadingSession
from napari_neuropil.proofreading.log import export_log, replay_log
from napari_neuropil.workflows.results import open_edited


def read_log(source: str | Path) -> Iterator[dict[str, Any]]:
    """Give the lines of a log.

    Parameters
    ----------
    source : path-like
        A project, or a file with a JSON object a line as `neuropil log PROJECT --json` writes it.

    Raises
    ------
    ProjectError
        If it cannot be read, or a line is no JSON object.
    """
    path = Path(source)
    if path.is_dir():
        with open_edited(path) as session:
            yield from export_log(session)
        return
    try:
        with path.open(encoding="utf-8") as file:
            for number, text in enumerate(file, start=1):
                if text.strip():
                    yield _object(text, path, number)
    except (OSError, UnicodeDecodeError) as error:
        raise ProjectError(
            f"{path} cannot be read: {error}",
            "a log as `neuropil log PROJECT --json` writes it, or a project",
            "check the path.",
        ) from error


def replay(source: str | Path, project: str | Path) -> int:
    """Carry out a log on a project without edits; its segments become those of the log's origin.

    Parameters
    ----------
    source : path-like
        As for `read_log`.
    project : path-like
        The project folder, on the same fragments.

    Returns
    -------
    int
        Lines carried out, undo and redo among them.

    Raises
    ------
    ProjectError
        Other fragments (both fingerprints are named), edits already there, a bad line, or another
        program has the project open. What came before a bad line has been carried out.
    """
    with ProofreadingSession.open(project) as session:
        if session.read_only:
            raise ProjectError(
                f"{project} cannot be edited: {' '.join(session.notices)}",
                "a project that no other program has open, in a folder that can be written",
                "close it there, or replay onto a copy.",
            )
        return replay_log(read_log(source), session)


def _object(text: str, path: Path, number: int) -> dict[str, Any]:
    try:
        line = json.loads(text)
    except json.JSONDecodeError as error:
        raise _bad_line(path, number, str(error)) from error
    if not isinstance(line, dict):
        raise _bad_line(path, number, f"it is {type(line).__name__}")
    return line


def _bad_line(path: Path, number: int, why: str) -> ProjectError:
    return ProjectError(
        f"Line {number} of {path} cannot be read: {why}.",
        "one JSON object a line, as `neuropil log PROJECT --json` writes them",
        "export the log again.",
    )
