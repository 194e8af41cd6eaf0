"""The history is a tree: an edit after an undo begins a branch, and nothing is ever forgotten.

The log holds edits and moves. An edit's parent is where the history stood; a move (undo, redo,
jump) says where it stands afterwards. The state at an edit is the fold of the effects on the way
from the root to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from napari_neuropil.errors import ProjectError
from napari_neuropil.proofreading.edits import Edit, HistoryRow


class History:
    """The edits, and where we stand among them.

    Parameters
    ----------
    edits : iterable of Edit
        The log, in order.

    Raises
    ------
    ProjectError
        If an edit stands on one that is not there.
    """

    def __init__(self, edits: Iterable[Edit] = ()) -> None:
        self.edits: list[Edit] = []
        self.cursor = 0
        self._latest: dict[int, int] = {}
        for edit in edits:
            self.append(edit)

    def check(self, edit: Edit) -> None:
        """Refuse a line that cannot come next."""
        number = len(self.edits) + 1
        on = self.cursor if edit.kind != "move" else edit.target
        known = on == 0 or (isinstance(on, int) and 0 < on < number and self[on].kind != "move")
        if edit.id != number or edit.parent != self.cursor or not known:
            raise ProjectError(
                f"Edit {edit.id} of the log stands on {edit.parent} and leads to {edit.target}.",
                f"edit {number}, on {self.cursor}",
                "restore the log from a copy.",
            )

    def append(self, edit: Edit) -> None:
        """Take in the next line of the log."""
        number = len(self.edits) + 1
        if edit.kind != "move" and edit.id == number and edit.parent == self.cursor:
            # The common line, on top of the last one; opening a session meets 10^5 of them.
            self.edits.append(edit)
            self._latest[edit.parent] = self.cursor = number
            return
        self.check(edit)
        self.edits.append(edit)
        self.cursor = edit.id if edit.kind != "move" else int(edit.target or 0)
        # Redo follows the branch that was last walked: on the way to where we stand, each edit
        # is its parent's latest child.
        for child in self.way(edit.parent, self.cursor)[1]:
            self._latest[self.parent_of(child)] = child

    def __getitem__(self, number: int) -> Edit:
        """Return an edit by its id."""
        return self.edits[number - 1]

    def parent_of(self, number: int) -> int:
        """Return the edit that an edit was made upon."""
        return self[number].parent

    def child_of(self, number: int) -> int | None:
        """Return the edit that redo leads to from `number`."""
        return self._latest.get(number)

    def path_to(self, number: int) -> list[int]:
        """Return the edits from the root to `number`, it included."""
        path = []
        while number:
            path.append(number)
            number = self.parent_of(number)
        return path[::-1]

    def way(self, start: int, goal: int) -> tuple[list[int], list[int]]:
        """Return the edits to revert, and then to apply, to come from `start` to `goal`.

        An edit's parent has a smaller id, so whichever end has the larger one climbs: the cost is
        the length of the way, not the depth of the history.
        """
        back, forth = [], []
        while start != goal:
            if start > goal:
                back.append(start)
                start = self.parent_of(start)
            else:
                forth.append(goal)
                goal = self.parent_of(goal)
        return back, forth[::-1]

    def rows(self) -> list[HistoryRow]:
        """Return the edits (not the moves) in the order they were made."""
        active = set(self.path_to(self.cursor))
        return [
            HistoryRow(
                edit.id,
                edit.kind,
                describe(edit),
                edit.time,
                edit.seconds,
                edit.position,
                active=edit.id in active,
                current=edit.id == self.cursor,
            )
            for edit in self.edits
            if edit.kind != "move"
        ]


def describe(edit: Edit) -> str:
    """Return in a few words what an edit did."""
    if edit.kind == "draw":
        return _describe_drawing(edit.wish)
    effect = edit.effect
    if effect is None:
        return f"go to edit {edit.target}" if edit.target else "go to the result as segmented"
    sources = sorted({int(s) for s in effect.before if s})
    goals = sorted({int(s) for s in effect.after if s})
    count = len(effect.fragments)
    if edit.kind == "merge":
        return _describe_merge(edit, sources, goals)
    if edit.kind == "split":
        pieces = f", {len(effect.splits)} fragment cut" if effect.splits else ""
        return f"split {_ids(sources)}: {_ids([g for g in goals if g not in sources])}{pieces}"
    if edit.kind == "delete":
        return f"delete {_ids(sources)}"
    if edit.kind == "assign":
        return f"assign {count} fragment{'s' * (count != 1)} to {_ids(goals)}"
    return f"{edit.kind} {count} fragment{'s' * (count != 1)} of {_ids(sources)}: {_ids(goals)}"


def _describe_merge(edit: Edit, sources: list[int], goals: list[int]) -> str:
    # Looked for in the text: a long history is read row by row, and few of them have it.
    below = edit.wish.get("distance") if '"distance"' in edit.wish_text else None
    if below is None:
        return f"merge {_ids(sources)} into {_ids(goals)}"
    why = f"embedding distance below {below:g}"
    if len(goals) == 1:
        return f"merge {_ids(sources)} into {goals[0]}: {why}"
    return f"merge {len(sources) + len(goals)} segments into {len(goals)}: {why}"


def _describe_drawing(wish: dict[str, Any]) -> str:
    # From the wish: unpacking the voxels of each drawing of a long history would fill the memory.
    whole, cut, new = (int(wish.get(name, 0)) for name in ("whole", "cut", "new"))
    parts = [
        *([f"{whole} fragment{'s' * (whole != 1)}"] if whole else []),
        *([f"{cut} cut"] if cut else []),
        *([f"{new} voxels of background"] if new else []),
    ]
    where = "draw" if wish.get("into") is None else "draw into"
    return f"{where} {wish.get('segment')}: {', '.join(parts)}"


def _ids(ids: list[int]) -> str:
    if len(ids) > 3:
        return f"{len(ids)} segments"
    return ", ".join(str(i) for i in ids) or "background"
