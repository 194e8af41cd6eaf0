"""SQLite connections and transactions, and where a database can be read."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path


class Transaction:
    """BEGIN IMMEDIATE ... COMMIT, rolled back on any error."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            try:
                self._connection.execute("COMMIT")
                return
            except sqlite3.Error:
                self._rollback()
                raise
        self._rollback()

    def _rollback(self) -> None:
        # SQLite has rolled back by itself after some errors, a full disk among them.
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


def connect(path: str, *, uri: bool = False) -> sqlite3.Connection:
    """Open a connection whose transactions are begun by hand."""
    # A session is opened by one thread and used by another, never by two at once.
    return sqlite3.connect(
        path, timeout=5.0, isolation_level=None, check_same_thread=False, uri=uri
    )


def quoted(path: Path) -> str:
    """Return a path as it stands in a ``file:`` address."""
    return path.resolve().as_uri().removeprefix("file:")


def can_write(folder: Path) -> bool:
    """Try whether a file can be made in a folder."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
