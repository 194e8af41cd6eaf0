"""The door to ``session.sqlite``: rows in, rows out, each durable before its call returns.

Every row carries a checksum; that of an edit also covers the checksum of the edit before it, so a
flipped bit, a lost row and a row of another log are all noticed. A receipt (`receipt`) tells when
the tail was lost.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
import time
import zlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final, cast

from napari_neuropil.errors import NeuropilError, OutputError, ProjectError
from napari_neuropil.proofreading.edits import (
    DRAWING_FORMAT,
    FIRST_FORMAT,
    Annotation,
    Decision,
    Edit,
    Snapshot,
    Status,
)
from napari_neuropil.proofreading.file_systems import is_network_folder
from napari_neuropil.proofreading.receipt import read_receipt, write_receipt
from napari_neuropil.proofreading.sqlite_door import Transaction, can_write, connect, quoted

SESSION_FORMAT: Final = DRAWING_FORMAT
"""The newest this program reads. A session has the oldest that can hold its edits, so that an older
program opens whatever it can read."""

DATABASE: Final = "session.sqlite"

_SCHEMA: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE edits (
    id INTEGER PRIMARY KEY, time REAL NOT NULL, kind TEXT NOT NULL, parent INTEGER NOT NULL,
    target INTEGER, wish TEXT NOT NULL, effect BLOB, seconds REAL, position TEXT,
    crc INTEGER NOT NULL);
CREATE TABLE snapshots (name TEXT PRIMARY KEY, edit INTEGER NOT NULL, time REAL NOT NULL,
    crc INTEGER NOT NULL);
CREATE TABLE annotations (segment TEXT PRIMARY KEY, name TEXT NOT NULL, status TEXT NOT NULL,
    comment TEXT NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE decisions (id INTEGER PRIMARY KEY, key TEXT NOT NULL, kind TEXT NOT NULL,
    answer TEXT NOT NULL, seconds REAL NOT NULL, a TEXT NOT NULL, b TEXT NOT NULL,
    score REAL NOT NULL, time REAL NOT NULL, edit INTEGER, crc INTEGER NOT NULL);
CREATE TABLE memory (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class SessionDatabase:
    """The database of one session.

    Parameters
    ----------
    folder : Path
        The project folder.
    fingerprint : str
        Of the project's fragments; a session made on others is refused.
    read_only : bool
        Read what is there; an absent database is an empty session.
    check : bool
        Refuse a damaged one at once; without, damage shows where it is met.

    Raises
    ------
    ProjectError
        Damaged, of a newer program, or made on other fragments.
    OutputError
        If it cannot be made (disk full, read-only folder).
    """

    def __init__(
        self, folder: Path, fingerprint: str, *, read_only: bool, check: bool = True
    ) -> None:
        self.path = folder / DATABASE
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        self._crc = 0
        self._last = 0
        self._format = FIRST_FORMAT
        self._connection = self._connect(read_only=read_only)
        try:
            if self._is_empty():
                if read_only:
                    self._connection.close()
                    self._connection = connect(":memory:")
                self._create(fingerprint)
            elif check:
                self._check(fingerprint)
        except NeuropilError:
            self.close()
            raise
        except sqlite3.Error as error:
            self.close()
            raise self._error(error) from error

    def _connect(self, *, read_only: bool) -> sqlite3.Connection:
        if read_only:
            if not self.path.exists():
                return connect(":memory:")
            return connect(f"file:{quoted(self._readable())}?mode=ro", uri=True)
        connection = connect(str(self.path))
        try:
            # Write-ahead logging needs memory shared between processes, which network file
            # systems do not give; there the rollback journal is the safe choice.
            network = is_network_folder(self.path.parent)
            connection.execute(f"PRAGMA journal_mode = {'DELETE' if network else 'WAL'}")
            connection.execute(f"PRAGMA synchronous = {'EXTRA' if network else 'FULL'}")
        except sqlite3.Error as error:
            connection.close()
            raise self._error(error) from error
        return connection

    def _readable(self) -> Path:
        """Return a path SQLite can read: the database, or a copy where its folder is read-only.

        A database with a write-ahead log needs a file of shared memory beside it.
        """
        journal = self.path.with_name(f"{DATABASE}-wal")
        if not journal.exists():
            return self.path
        probe = self.path.with_name(f"{DATABASE}-shm")
        if probe.exists() or can_write(self.path.parent):
            return self.path
        self._copy = tempfile.TemporaryDirectory(prefix="neuropil-")
        for file in (self.path, journal):
            shutil.copy(file, self._copy.name)
        return Path(self._copy.name) / DATABASE

    def _is_empty(self) -> bool:
        """Return whether nothing was ever written: no file, or one killed while it was made."""
        tables = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        return not tables and not read_receipt(self.path.parent)

    def _create(self, fingerprint: str) -> None:
        with Transaction(self._connection):
            for statement in _SCHEMA.split(";\n"):
                if statement.strip():
                    self._connection.execute(statement)
            facts = {"format": str(self._format), "fingerprint": fingerprint}
            self._connection.executemany("INSERT INTO meta VALUES (?, ?)", list(facts.items()))

    def _check(self, fingerprint: str) -> None:
        meta = dict(self._connection.execute("SELECT key, value FROM meta"))
        found = meta.get("format", "")
        if found.isdecimal() and int(found) > SESSION_FORMAT:
            raise ProjectError(
                f"The session {self.path} has format {found}.",
                f"at most {SESSION_FORMAT}",
                "open it with a newer napari-neuropil: pip install -U napari-neuropil.",
            )
        if meta.get("fingerprint") != fingerprint:
            raise ProjectError(
                f"The edits in {self.path} were made on the fragments {meta.get('fingerprint')}; "
                f"the project now holds the fragments {fingerprint}.",
                "the fragments the edits were made on",
                "restore the project from a copy, or move session.sqlite away to begin anew.",
            )
        self._format = int(found) if found.isdecimal() else FIRST_FORMAT
        if not self.is_sound():
            raise self._damaged("SQLite finds its pages out of order")

    def is_sound(self) -> bool:
        """Ask SQLite whether the pages of the file fit together."""
        try:
            found: str = self._connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.Error:
            return False
        return found == "ok"

    def promised(self) -> int:
        """Return the number of the last acknowledged edit, as far as anything remembers it."""
        last = 0
        with suppress(sqlite3.Error):
            last = self._connection.execute("SELECT max(id) FROM edits").fetchone()[0] or 0
        return max(last, read_receipt(self.path.parent))

    # edits

    def read_edits(self) -> Iterator[Edit]:
        """Give the edits in order, each checked.

        Raises
        ------
        ProjectError
            At the first edit that is damaged or missing; those before it have been given.
        """
        rows = self._rows(
            "SELECT id, time, kind, parent, target, wish, effect, seconds, position, crc "
            "FROM edits ORDER BY id"
        )
        with closing(rows):
            for row in rows:
                crc = _edit_checksum(self._crc, row)
                if crc != row[-1] or row[0] != self._last + 1:
                    raise self._damaged(f"edit {self._last + 1} is not as it was written")
                self._crc, self._last = crc, row[0]
                yield Edit._make(row[:-1])
        promised = read_receipt(self.path.parent)
        if promised > self._last:
            raise self._damaged(f"edits {self._last + 1} to {promised} are missing")

    def append(self, edit: Edit) -> None:
        """Write an edit; durable when this returns.

        The first of a kind that older programs do not know raises the format in the same step.

        Raises
        ------
        OutputError
            If it could not be written; the database is as before.
        """
        row = tuple(edit)
        crc = _edit_checksum(self._crc, row)
        needed = max(self._format, edit.format)
        steps = [("INSERT INTO edits VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*row, crc))]
        if needed > self._format:
            steps.append(("UPDATE meta SET value = ? WHERE key = 'format'", (str(needed),)))
        self._write_all(steps)
        self._crc, self._last, self._format = crc, edit.id, needed
        write_receipt(self.path.parent, edit.id)

    # snapshots, annotations, decisions, memory

    def write_snapshot(self, snapshot: Snapshot) -> None:
        """Write a snapshot, replacing one of the same name."""
        row = (snapshot.name, snapshot.edit_id, snapshot.time)
        self._write("REPLACE INTO snapshots VALUES (?, ?, ?, ?)", (*row, _checksum(*row)))

    def read_snapshots(self) -> list[Snapshot]:
        """Return the snapshots, oldest first."""
        rows = self._checked("SELECT name, edit, time, crc FROM snapshots ORDER BY time, name")
        return [Snapshot(*row) for row in rows]

    def write_annotation(self, segment: int, annotation: Annotation) -> None:
        """Write what is noted on a segment, replacing what was."""
        row = (str(segment), annotation.name, annotation.status, annotation.comment)
        self._write("REPLACE INTO annotations VALUES (?, ?, ?, ?, ?)", (*row, _checksum(*row)))

    def read_annotations(self) -> dict[int, Annotation]:
        """Return annotations by segment."""
        rows = self._checked("SELECT segment, name, status, comment, crc FROM annotations")
        return {
            int(segment): Annotation(name, cast("Status", status), comment)
            for segment, name, status, comment in rows
        }

    def write_decision(self, decision: Decision) -> None:
        """Append a decision."""
        row = (
            decision.key,
            decision.kind,
            decision.answer,
            decision.seconds,
            str(decision.a),
            str(decision.b),
            decision.score,
            decision.time,
            decision.edit_id,
        )
        self._write(
            "INSERT INTO decisions VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*row, _checksum(*row)),
        )

    def read_decisions(self) -> list[Decision]:
        """Return the decisions in order."""
        rows = self._checked(
            "SELECT key, kind, answer, seconds, a, b, score, time, edit, crc "
            "FROM decisions ORDER BY id"
        )
        return [
            Decision(key, kind, answer, seconds, int(a), int(b), score, when, edit)
            for key, kind, answer, seconds, a, b, score, when, edit in rows
        ]

    def write_memory(self, key: str, value: Any) -> None:
        """Keep a JSON value under a key."""
        self._write("REPLACE INTO memory VALUES (?, ?)", (key, json.dumps(value)))

    def read_memory(self) -> dict[str, Any]:
        """Return what is kept; a value that cannot be read is only a view, and dropped."""
        memory = {}
        for key, value in self._rows("SELECT key, value FROM memory"):
            try:
                memory[key] = json.loads(value)
            except ValueError:
                continue
        return memory

    # the connection

    def close(self) -> None:
        """Fold the write-ahead log into the database, so that one file holds everything."""
        connection = self._connection
        try:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error:
            # Read-only or damaged: nothing to fold.
            pass
        finally:
            connection.close()
            if self._copy is not None:
                self._copy.cleanup()

    def _rows(self, query: str) -> Generator[tuple[Any, ...], None, None]:
        try:
            yield from self._connection.execute(query)
        except sqlite3.Error as error:
            raise self._error(error) from error

    def _checked(self, query: str) -> Iterator[tuple[Any, ...]]:
        with closing(self._rows(query)) as rows:
            for row in rows:
                if _checksum(*row[:-1]) != row[-1]:
                    raise self._damaged(f"the row {row[:2]} is not as it was written")
                yield row[:-1]

    def _write(self, statement: str, values: tuple[Any, ...]) -> None:
        self._write_all([(statement, values)])

    def _write_all(self, steps: Iterable[tuple[str, tuple[Any, ...]]]) -> None:
        try:
            with Transaction(self._connection):
                for statement, values in steps:
                    self._connection.execute(statement, values)
        except sqlite3.Error as error:
            raise self._error(error) from error

    def _damaged(self, what: str) -> ProjectError:
        return ProjectError(
            f"{self.path} is damaged: {what}. {self._last} edits before that are readable.",
            "a session as it was written",
            "restore session.sqlite from a copy, or keep the readable part: "
            "neuropil repair PROJECT.",
        )

    def _error(self, error: sqlite3.Error) -> NeuropilError:
        code = getattr(error, "sqlite_errorname", "") or ""
        if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) or not isinstance(
            error, sqlite3.OperationalError
        ):
            return self._damaged(str(error))
        if "no such" in str(error) or ("unable to open" in str(error) and self.path.exists()):
            return self._damaged(str(error))
        return OutputError(
            f"{self.path} cannot be written: {error}. Nothing was changed.",
            "a folder that can be written, with free space",
            "free disk space, or copy the project to where it can be written; then try again.",
        )


def _checksum(*values: Any) -> int:
    """Return the CRC of a row's values."""
    return zlib.crc32(repr(values).encode())


def _edit_checksum(before: int, row: tuple[Any, ...]) -> int:
    """Return the CRC of an edit's row, going on from that of the edit before."""
    crc = zlib.crc32(repr((row[:6], row[7:9])).encode(), before)
    return crc if row[6] is None else zlib.crc32(row[6], crc)


def now() -> float:
    """Return seconds since 1970, to the millisecond: a log says no more."""
    return round(time.time(), 3)
