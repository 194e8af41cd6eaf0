"""The edit modes: what a click picks, and which proposal the picks make. No Qt, no napari.

A mode is one row of `MODES`; the panel's buttons, the keys, the status line and the previews are
made from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from napari_neuropil.proofreading import ProofreadingSession, Proposal

Point = tuple[int, int, int]
"""(z, y, x) voxel of the fragments' grid."""


@dataclass(frozen=True)
class Pick:
    """One click of an edit mode.

    Parameters
    ----------
    point : tuple of int
        The voxel.
    fragment, segment : int
        What lay there when it was clicked.
    """

    point: Point
    fragment: int
    segment: int


@dataclass(frozen=True)
class Wish:
    """What the user has picked so far, in the order of the clicks.

    Parameters
    ----------
    mode : str
        A key of `MODES`.
    picks : tuple of Pick
        Of every mode but split.
    red, blue : tuple of tuple of int
        Seeds of a split, voxels.
    force : bool
        The user said "do it anyway".
    """

    mode: str
    picks: tuple[Pick, ...] = ()
    red: tuple[Point, ...] = ()
    blue: tuple[Point, ...] = ()
    force: bool = False


@dataclass(frozen=True)
class EditMode:
    """One row of the table.

    Parameters
    ----------
    name, title : str
        Stable name; the button's text.
    key : str
        The key that begins it; empty where only the button does.
    hint : str
        What to click, for the status line.
    verb : str
        What Enter does.
    propose : callable
        Called with a session, a `Wish` that `ready` accepts and whether a quick answer is
        enough; runs beside the window.
    ready : callable
        Whether the picks suffice.
    one_shot : bool
        The mode ends with its first edit.
    seeds : bool
        Clicks are red and blue seeds, not picks.
    slow : bool
        Ask for a quick proposal first, then for the exact one.
    """

    name: str
    title: str
    key: str
    hint: str
    verb: str
    propose: Callable[[ProofreadingSession, Wish, bool], Proposal]
    ready: Callable[[Wish], bool]
    one_shot: bool = False
    seeds: bool = False
    slow: bool = False


def _segments(picks: Sequence[Pick]) -> list[int]:
    return list(dict.fromkeys(pick.segment for pick in picks))


def _fragments(picks: Sequence[Pick]) -> list[int]:
    return list(dict.fromkeys(pick.fragment for pick in picks))


def _merge(session: ProofreadingSession, wish: Wish, quick: bool) -> Proposal:
    segments = _segments(wish.picks)
    if len(segments) == 2:
        # Points, not ids: where two segments touch twice, the clicked contact is the one meant.
        by_segment = {pick.segment: pick.point for pick in wish.picks}
        a, b = (by_segment[segment] for segment in segments)
        return session.propose_merge(a, b, force=wish.force)
    return session.propose_merge_many(segments, force=wish.force)


def _split(session: ProofreadingSession, wish: Wish, quick: bool) -> Proposal:
    return session.propose_split(list(wish.red), list(wish.blue), force=wish.force, quick=quick)


def _detach(session: ProofreadingSession, wish: Wish, quick: bool) -> Proposal:
    return session.propose_detach(_fragments(wish.picks), force=wish.force)


def _isolate(session: ProofreadingSession, wish: Wish, quick: bool) -> Proposal:
    return session.propose_isolate(_fragments(wish.picks), force=wish.force)


def _assign(session: ProofreadingSession, wish: Wish, quick: bool) -> Proposal:
    target, *rest = wish.picks
    return session.propose_assign(_fragments(rest), target.segment, force=wish.force)


def _delete(session: ProofreadingSession, wish: Wish, quick: bool) -> Proposal:
    return session.propose_delete(wish.picks[-1].segment, force=wish.force)


def _any_pick(wish: Wish) -> bool:
    return bool(wish.picks)


_MODES: Final = (
    EditMode(
        "merge",
        "Merge",
        "G",
        "click two or more segments",
        "merges",
        _merge,
        lambda wish: len(_segments(wish.picks)) > 1,
    ),
    EditMode(
        "split",
        "Split",
        "K",
        "click seeds, Shift + drag draws · K other colour",
        "splits",
        _split,
        lambda wish: bool(wish.red and wish.blue),
        seeds=True,
        slow=True,
    ),
    EditMode(
        "detach",
        "Detach",
        "",
        "click the fragments that leave their segment",
        "detaches",
        _detach,
        _any_pick,
        one_shot=True,
    ),
    EditMode(
        "isolate",
        "Isolate",
        "",
        "click the fragments that become segments of their own",
        "isolates",
        _isolate,
        _any_pick,
        one_shot=True,
    ),
    EditMode(
        "assign",
        "Assign",
        "",
        "click the segment that grows, then the fragments it gets",
        "assigns",
        _assign,
        lambda wish: len(wish.picks) > 1,
        one_shot=True,
    ),
    EditMode(
        "delete",
        "Delete",
        "",
        "click the segment that becomes background",
        "deletes",
        _delete,
        _any_pick,
        one_shot=True,
    ),
)

MODES: Final[dict[str, EditMode]] = {mode.name: mode for mode in _MODES}
