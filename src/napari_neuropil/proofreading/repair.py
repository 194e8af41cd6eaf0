"""Save what can be read of a damaged session into a new one; the damaged files are kept."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_neuropil.errors import OutputError, ProjectError
from napari_neuropil.project import Project
from napari_neuropil.proofreading.database import DATABASE, SessionDatabase
from napari_neuropil.proofreading.edits import Edit
from napari_neuropil.proofreading.fingerprint import fingerprint_of
from napari_neuropil.proofreading.history import History
from napari_neuropil.proofreading.lock import WriterLock
from napari_neuropil.proofreading.receipt import RECEIPT, read_receipt


@dataclass(frozen=True)
class RepairResult:
    """What a repair saved.

    Parameters
    ----------
    kept : int
        Lines of the log in the new session.
    lost : int
        Lines known to have been there after them; the true number may be larger.
    backup : Path or None
        Where the damaged database is now; None if nothing was damaged.
    """

    kept: int
    lost: int
    backup: Path | None


def repair_log(path: str | Path) -> RepairResult:
    """Keep the readable beginning of a project's log, and all readable notes and answers.

    Raises
    ------
    ProjectError
        No project, or another program has it open.
    OutputError
        If the folder cannot be written; then nothing was changed.
    """
    project = Project.open(path)
    lock = WriterLock(project.path)
    owner = lock.acquire()
    if owner:
        raise ProjectError(f"{owner} has {project.path} open.", "a closed project", "close it.")
    try:
        return _repair(project)
    finally:
        lock.release()


def _repair(project: Project) -> RepairResult:
    fingerprint = fingerprint_of(project)
    edits, lost, whole, rest = _salvage(project.path, fingerprint)
    if whole:
        return RepairResult(len(edits), 0, None)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    backup = project.path / f"session.damaged-{stamp}.sqlite"
    names = {DATABASE: backup.name, f"{DATABASE}-wal": f"{backup.name}-wal", RECEIPT: ""}
    try:
        for name, new in names.items():
            file = project.path / name
            if file.exists():
                file.rename(project.path / new) if new else file.unlink()
        (project.path / f"{DATABASE}-shm").unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"{project.path} cannot be written: {error}", "a folder that can be written", ""
        ) from error
    database = SessionDatabase(project.path, fingerprint, read_only=False)
    for edit in edits:
        database.append(edit)
    for write, rows in rest:
        for row in rows:
            write(database, *row)
    database.close()
    return RepairResult(len(edits), lost, backup)


_Rest = list[tuple[Callable[..., None], list[tuple[Any, ...]]]]


def _salvage(folder: Path, fingerprint: str) -> tuple[list[Edit], int, bool, _Rest]:
    """Return readable edits, how many more there were, whether all is whole, and the rest."""
    edits: list[Edit] = []
    rest: _Rest = []
    try:
        database = SessionDatabase(folder, fingerprint, read_only=True, check=False)
    except ProjectError:
        return edits, read_receipt(folder), False, rest
    whole = database.is_sound()
    try:
        history = History()
        for edit in database.read_edits():
            history.append(edit)
            edits.append(edit)
    except ProjectError:
        whole = False
    lost = max(0, database.promised() - len(edits))
    for read, write in (
        (lambda: [(s,) for s in database.read_snapshots()], SessionDatabase.write_snapshot),
        (lambda: list(database.read_annotations().items()), SessionDatabase.write_annotation),
        (lambda: [(d,) for d in database.read_decisions()], SessionDatabase.write_decision),
        (lambda: list(database.read_memory().items()), SessionDatabase.write_memory),
    ):
        try:
            rest.append((write, read()))
        except ProjectError:
            whole = False
    with suppress(sqlite3.Error):
        database.close()
    return edits, lost, whole, rest
