"""Undo and redo of what was done in the dock before it is committed. No Qt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from napari_neuropil.plugin.dendrites.work import Work

_MOST: Final = 300


class WorkHistory:
    """A list of states; states share their parts, so a step costs little.

    Parameters
    ----------
    work : Work
        To begin with.
    """

    def __init__(self, work: Work | None = None) -> None:
        self._past: list[Work] = []
        self._future: list[Work] = []
        self.now = work or Work()

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to take back."""
        return bool(self._past)

    @property
    def can_redo(self) -> bool:
        """Whether a step was taken back that can be made again."""
        return bool(self._future)

    def push(self, work: Work) -> bool:
        """Make a step that can be undone; return whether it changes anything."""
        if work is self.now:
            return False
        self._past = [*self._past[1 - _MOST :], self.now]
        self._future = []
        self.now = work
        return True

    def amend(self, change: Callable[[Work], Work]) -> bool:
        """Change the present state without a step: answers of the worker, and what is selected."""
        work = change(self.now)
        changed = work is not self.now
        self.now = work
        return changed

    def undo(self) -> bool:
        """Take the last step back."""
        if not self._past:
            return False
        self._future.append(self.now)
        self.now = self._past.pop()
        return True

    def redo(self) -> bool:
        """Make the step again that was taken back last."""
        if not self._future:
            return False
        self._past.append(self.now)
        self.now = self._future.pop()
        return True
