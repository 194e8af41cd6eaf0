"""One writer for a project: a lock of the operating system, and a note of who holds it.

The lock is released by the system when its owner dies, so a dead owner is taken over by itself.
On file systems without locks (some network shares) the note alone decides: its owner counts as
alive on another machine, and on this one while its process runs.
"""

from __future__ import annotations

import getpass
import json
import os
import socket
import time
from pathlib import Path
from typing import Any, Final

import psutil
from filelock import FileLock, Timeout

_LOCK: Final = "session.lock"
_NOTE: Final = "session.owner"


class WriterLock:
    """The right to write into a project.

    Parameters
    ----------
    folder : Path
        The project folder.
    """

    def __init__(self, folder: Path) -> None:
        self._note = folder / _NOTE
        # A session may be opened by one thread and closed by another.
        self._lock = FileLock(folder / _LOCK, timeout=0, thread_local=False)
        self._held = False

    def acquire(self) -> str:
        """Take the lock.

        Returns
        -------
        str
            Empty if it is ours now; else who has it, for people.

        Raises
        ------
        OSError
            If the folder cannot be written.
        """
        try:
            self._lock.acquire()
        except Timeout:
            return self._owner() or "another program"
        except NotImplementedError:
            owner = self._living_owner()
            if owner:
                return owner
        self._held = True
        note = {
            "user": _user(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": psutil.Process().create_time(),
            "since": time.strftime("%Y-%m-%d %H:%M"),
        }
        self._note.write_text(json.dumps(note))
        return ""

    def release(self) -> None:
        """Give the lock back; may be called twice."""
        if self._held:
            self._held = False
            self._note.unlink(missing_ok=True)
            self._lock.release()

    def _read(self) -> dict[str, Any]:
        try:
            note = json.loads(self._note.read_text())
        except (OSError, ValueError):
            return {}
        return note if isinstance(note, dict) else {}

    def _owner(self) -> str:
        note = self._read()
        if not note:
            return ""
        return (
            f"{note.get('user', '?')} on {note.get('host', '?')} "
            f"(process {note.get('pid', '?')}, since {note.get('since', '?')})"
        )

    def _living_owner(self) -> str:
        note = self._read()
        if note.get("host") == socket.gethostname():
            try:
                process = psutil.Process(int(note.get("pid", -1)))
                same = abs(process.create_time() - float(note.get("started", 0))) < 2
            except (psutil.Error, ValueError, TypeError):
                return ""
            return self._owner() if same else ""
        return self._owner()


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "somebody"
