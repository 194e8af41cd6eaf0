"""The ledger of finished blocks: what a resumed run need not do again.

One small JSON file per finished block, put in place by a rename, so that a kill at any moment
leaves a block either done with its result or not done. A block is entered after its data have
been written, never before; work on a block must give the same bytes when repeated.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from napari_neuropil.errors import OutputError


class Ledger:
    """Finished blocks of one stage.

    Parameters
    ----------
    folder : Path
        Where the entries lie; made if absent.

    Raises
    ------
    OutputError
        If the folder cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{folder} cannot be made: {error}", "a folder that can be written", ""
            ) from error

    def result_of(self, index: int) -> dict[str, Any] | None:
        """Return what block `index` left, or None while it is not done."""
        try:
            entry: dict[str, Any] = json.loads((self.folder / f"{index}.json").read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return entry

    def enter(self, index: int, result: dict[str, Any]) -> None:
        """Mark block `index` as done; durable when this returns.

        Raises
        ------
        OutputError
            If the entry cannot be written (disk full, read-only).
        """
        partial = self.folder / f"{index}.partial"
        try:
            with partial.open("w") as file:
                json.dump(result, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self.folder / f"{index}.json")
        except OSError as error:
            raise OutputError(
                f"Block {index} cannot be entered in {self.folder}: {error}",
                "",
                "free disk space, then go on with --resume.",
            ) from error

    def count(self) -> int:
        """Return how many blocks are done."""
        return sum(1 for _ in self.folder.glob("*.json"))
