"""What a session is made of, as frozen data: proposals, edits, answers, notes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.geometry import Roi
from napari_neuropil.proofreading.effects import Effect, FragmentSplit, Point
from napari_neuropil.proofreading.encoding import pack_effect, unpack_effect

EditKind = Literal["merge", "split", "detach", "isolate", "assign", "delete", "draw", "move"]
Status = Literal["todo", "in work", "done", "wrong"]
Answer = Literal["merge", "split", "apart", "later", "unsure"]

FIRST_FORMAT: Final = 1
DRAWING_FORMAT: Final = 2
"""Of sessions and logs that hold a drawing: pieces may lie over background."""

STATUSES: Final[tuple[Status, ...]] = ("todo", "in work", "done", "wrong")
__all__ = [
    "ANSWERS",
    "STATUSES",
    "Annotation",
    "Decision",
    "Delta",
    "Edit",
    "Effect",
    "FragmentSplit",
    "HistoryRow",
    "Point",
    "Proposal",
    "Snapshot",
]

ANSWERS: Final[tuple[Answer, ...]] = ("merge", "split", "apart", "later", "unsure")


@dataclass(frozen=True, eq=False)
class Proposal:
    """An edit that has been worked out and not been made: what a preview shows.

    Parameters
    ----------
    kind : str
        Of the edit.
    wish : dict
        What was asked, JSON.
    effect : Effect
        What would change.
    base : int
        Last edit of the log it was worked out on; refused after a later one.
    sides : tuple of NDArray[np.uint64]
        The fragments on each side: of a merge the segments, of a split the parts.
    position : tuple of int, optional
        Where to look, voxels.
    notices : tuple of str
        What the user should know.
    """

    kind: EditKind
    wish: dict[str, Any]
    effect: Effect
    base: int
    sides: tuple[NDArray[np.uint64], ...]
    position: Point | None = None
    notices: tuple[str, ...] = ()


class EditRow(NamedTuple):
    """An edit as the log stores it; see `Edit`."""

    id: int
    time: float
    kind: EditKind
    parent: int
    target: int | None
    wish_text: str
    packed: bytes | None
    seconds: float | None = None
    place: str | None = None


class Edit(EditRow):
    """One line of the log.

    A tuple, since opening a session makes one for each edit of its life; what is in it is read
    when asked for.

    Attributes
    ----------
    id : int
        1, 2, ... in the order of the log.
    time : float
        Seconds since 1970, UTC.
    kind : str
        "move" is undo, redo or a jump; it changes nothing but where the history stands.
    parent : int
        The edit it was made upon, 0 for the result as segmented; for a move, where it began.
    target : int or None
        Of a move: the edit on which the history stands afterwards.
    wish_text : str
        What was asked, JSON; `wish` reads it.
    packed : bytes or None
        What it changed; None for a move; `effect` reads it.
    seconds : float or None
        The user's time for it, where known.
    place : str or None
        Where, "z,y,x" in voxels; `position` reads it.
    """

    @classmethod
    def of_proposal(
        cls, proposal: Proposal, number: int, time: float, parent: int, seconds: float | None
    ) -> Edit:
        """Return the edit that a proposal becomes."""
        return cls(
            number,
            time,
            proposal.kind,
            parent,
            None,
            json.dumps(proposal.wish),
            pack_effect(proposal.effect),
            None if seconds is None else float(seconds),
            None if proposal.position is None else ",".join(map(str, proposal.position)),
        )

    @classmethod
    def move(cls, number: int, time: float, parent: int, target: int) -> Edit:
        """Return the line of an undo, a redo or a jump."""
        return cls(number, time, "move", parent, target, "{}", None, None, None)

    @property
    def format(self) -> int:
        """The first format of sessions that has edits of this kind."""
        return DRAWING_FORMAT if self.kind == "draw" else FIRST_FORMAT

    @property
    def position(self) -> Point | None:
        """Where, voxels."""
        if self.place is None:
            return None
        z, y, x = map(int, self.place.split(","))
        return z, y, x

    @property
    def wish(self) -> dict[str, Any]:
        """What was asked."""
        wish: dict[str, Any] = json.loads(self.wish_text)
        return wish

    @cached_property
    def effect(self) -> Effect | None:
        """What it changed; None for a move.

        Raises
        ------
        ProjectError
            If it is damaged.
        """
        return None if self.packed is None else unpack_effect(self.packed)


@dataclass(frozen=True, eq=False)
class Delta:
    """What changed on screen by one line of the log.

    Parameters
    ----------
    edit : Edit
        The line.
    segments : tuple of int
        Touched, before and after.
    fragments : NDArray[np.uint64]
        Whose segment changed; pieces and their parents among them.
    roi : Roi or None
        Box of all of these, voxels.
    """

    edit: Edit
    segments: tuple[int, ...]
    fragments: NDArray[np.uint64]
    roi: Roi | None


@dataclass(frozen=True)
class Decision:
    """One answer to a candidate.

    Parameters
    ----------
    key : str
        The candidate's stable name.
    kind : str
        The candidate's kind: split_error or merge_error.
    answer : str
        One of `ANSWERS`.
    seconds : float
        From shown to answered.
    a, b : int
        The fragments on both sides.
    score : float
        The candidate's probability when shown.
    time : float
        Seconds since 1970; 0 is now.
    edit_id : int or None
        The edit that the answer led to.
    """

    key: str
    kind: str
    answer: Answer
    seconds: float
    a: int
    b: int
    score: float
    time: float = 0.0
    edit_id: int | None = None


@dataclass(frozen=True)
class Annotation:
    """What the user noted on a segment."""

    name: str = ""
    status: Status = "todo"
    comment: str = ""


@dataclass(frozen=True)
class Snapshot:
    """A named point of the history."""

    name: str
    edit_id: int
    time: float


@dataclass(frozen=True)
class HistoryRow:
    """One edit as a table shows it; moves are not rows, they decide what is active.

    Parameters
    ----------
    id, kind, time, seconds, position
        As in `Edit`.
    text : str
        What was done, for people.
    active : bool
        On the branch that leads to the present state (not undone).
    current : bool
        The edit the history stands on.
    """

    id: int
    kind: EditKind
    text: str
    time: float
    seconds: float | None
    position: Point | None
    active: bool
    current: bool
