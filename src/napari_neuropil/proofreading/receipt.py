"""A note beside the database: the number of the last acknowledged edit.

SQLite drops a damaged tail of its write-ahead log without a word, and a copy of the database alone
lacks that log; the receipt is how either is noticed. It is written after the commit and not
synced, so it never runs ahead of what is durable.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

RECEIPT: Final = "session.receipt"


def read_receipt(folder: Path) -> int:
    """Return the number of the last edit acknowledged in a project; 0 if nothing says."""
    try:
        text = (folder / RECEIPT).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return 0
    return int(text) if text.isdecimal() and len(text) < 19 else 0


def write_receipt(folder: Path, number: int) -> None:
    """Note the number of the edit that was just made durable."""
    file = folder / RECEIPT
    try:
        # Fixed width, so that the file is overwritten in place and never empty.
        with file.open("r+b" if file.exists() else "wb") as opened:
            opened.write(b"%018d\n" % number)
    except OSError:
        # The edit is durable; a missing receipt only weakens the check for lost tails.
        return
