"""The error family: each message names what was found, what was expected and the cure.

The command line turns any `NeuropilError` into exit code 2 (the user can mend it); everything
else is a defect and keeps its traceback.
"""

from __future__ import annotations

from functools import partial
from typing import Any


class NeuropilError(Exception):
    """Base of every error a user can mend.

    Parameters
    ----------
    found : str
        What was met.
    expected : str
        What would have been right.
    cure : str
        What to do about it.
    """

    def __init__(self, found: str, expected: str = "", cure: str = "") -> None:
        self.found = found
        self.expected = expected
        self.cure = cure
        parts = [found]
        if expected:
            parts.append(f"Expected: {expected}")
        if cure:
            parts.append(f"Cure: {cure}")
        super().__init__("\n".join(parts))

    def __str__(self) -> str:
        """Return the whole message (``OSError`` and ``KeyError`` would shorten it)."""
        return "\n".join(str(arg) for arg in self.args)

    def __reduce__(self) -> tuple[Any, ...]:
        """Rebuild from the three facts, so that errors cross process borders whole."""
        return type(self), (self.found, self.expected, self.cure)


class VolumeNotFoundError(NeuropilError, FileNotFoundError):
    """No file, folder or dataset at the given path."""


class VolumeFormatError(NeuropilError, ValueError):
    """A volume that cannot be read, or whose shape, type or content does not fit."""


class SettingsError(NeuropilError, ValueError):
    """A setting, voxel size or roi out of its bounds."""


class CheckpointError(NeuropilError, ValueError):
    """A checkpoint that is unsafe, damaged or belongs to another network."""


class ProjectError(NeuropilError, ValueError):
    """A project folder that is unfinished, newer, locked or built on other data."""


class EditRejectedError(NeuropilError, ValueError):
    """An edit that is impossible, or that would touch what is protected; nothing was changed.

    Parameters
    ----------
    found, expected, cure : str
        As everywhere.
    forceable : bool
        The same request with ``force=True`` would go through.
    """

    def __init__(
        self, found: str, expected: str = "", cure: str = "", *, forceable: bool = False
    ) -> None:
        super().__init__(found, expected, cure)
        self.forceable = forceable

    def __reduce__(self) -> tuple[Any, ...]:
        """Rebuild whole."""
        make = partial(type(self), forceable=self.forceable)
        return make, (self.found, self.expected, self.cure)


class OutputError(NeuropilError, OSError):
    """An output that exists already, a folder that cannot be written or a full disk."""


class MissingExtraError(NeuropilError, ImportError):
    """An optional package is absent; names the extra and the line that installs it."""


class BlockFailedError(NeuropilError, RuntimeError):
    """A block's function raised; `__cause__` holds the original error."""


class CancelledError(NeuropilError):
    """The user asked to stop; finished blocks are kept and a resume goes on from them."""
