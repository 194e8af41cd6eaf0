"""Work out a drawing: fragments that agree with a mask as they are, parts of others, new voxels.

A fragment that lies in the mask to the larger part of what the rules ask is taken whole, so that
the drawing mostly is a merge and costs no voxels; one that the border of the mask crosses is cut;
background in the mask becomes fragments of its own. All of it is one effect.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import minimum_spanning_tree

from napari_neuropil.errors import EditRejectedError
from napari_neuropil.proofreading.block_reader import BlockReader
from napari_neuropil.proofreading.draw_decisions import Drawn, take_drawn
from napari_neuropil.proofreading.drawings import Drawing, DrawingRules, clipped_boxes
from napari_neuropil.proofreading.drawn_survey import survey
from napari_neuropil.proofreading.edits import Effect, Proposal
from napari_neuropil.proofreading.evidence import Evidence
from napari_neuropil.proofreading.graph import Contacts, join_contacts
from napari_neuropil.proofreading.piece_contacts import measure_contacts
from napari_neuropil.proofreading.pieces import PiecedFragments
from napari_neuropil.proofreading.proposals import Desk
from napari_neuropil.proofreading.requests import Pick
from napari_neuropil.segmentation.rag import Rag

_MOST_NAMES: Final = 5
_ALONE: Final = np.uint64(1 << 63)


def propose_drawing(
    desk: Desk,
    ids: PiecedFragments,
    evidence: Evidence,
    drawing: Drawing,
    into: Pick | None,
    *,
    rules: DrawingRules,
    done: NDArray[np.uint64],
    force: bool,
) -> Proposal:
    """Propose to make a drawn object a segment, or a part of one.

    Parameters
    ----------
    desk : Desk
        State and graph.
    ids : PiecedFragments
        Fragment ids, live.
    evidence : Evidence
        For the contacts of what is cut.
    drawing : Drawing
        The mask.
    into : pick or None
        The segment that it grows; None: it becomes one of its own.
    rules : DrawingRules
        How it meets the fragments.
    done : NDArray[np.uint64]
        Segments marked done.
    force : bool
        Also change segments that are done.

    Returns
    -------
    Proposal
        Its sides are the segment afterwards, and what is left of those that it takes from.

    Raises
    ------
    EditRejectedError
        If the mask is empty, outside, of another grid or too large; if nothing would change; or a
        segment it takes from is done (forceable).
    """
    segment = desk.next_segment if into is None else desk.resolver.segment(into)
    boxes = clipped_boxes(drawing, ids.shape)
    reader = BlockReader(ids)
    found = survey(reader, drawing, boxes)
    spared = done[:0] if force or not rules.spare_done else done[done != np.uint64(segment)]
    drawn = take_drawn(desk, reader, drawing, found, segment, rules, spared)
    effect = _effect(desk, drawn, measure_contacts(reader, evidence, drawn.pieces.splits))
    _check_change(desk, drawn, effect)
    _check_done(np.append(effect.before, np.uint64(segment)), done, force=force)
    return Proposal(
        "draw",
        {
            "into": None if into is None else segment,
            "segment": segment,
            "voxels": found.voxels,
            "whole": len(drawn.whole),
            "cut": len(drawn.pieces.parents),
            "new": drawn.new,
            **asdict(rules),
            "force": force,
        },
        effect,
        desk.base,
        _sides(desk, drawn, effect),
        found.place,
        _notices(drawn, drawing.outside(ids.shape)),
    )


def _effect(desk: Desk, drawn: Drawn, links: Rag) -> Effect:
    lookup, pieces = desk.state.lookup, drawn.pieces
    target = np.uint64(drawn.segment)
    whole, parents = drawn.whole, pieces.parents
    piece_owner = lookup[pieces.parent.astype(np.intp)]
    piece_after = np.where(pieces.drawn, target, piece_owner)
    no_one = np.zeros_like
    # As long as the lookup: cheaper than searching the ends of all contacts.
    before = np.concatenate((lookup, np.zeros(desk.next_fragment - len(lookup), np.uint64)))
    before = np.concatenate((before, piece_owner))
    after = before.copy()
    after[whole.astype(np.intp)] = target
    after[pieces.ids.astype(np.intp)] = piece_after
    contacts = _contacts(desk, whole, parents, links)
    rows = contacts.a.astype(np.intp), contacts.b.astype(np.intp)
    within = (after[rows[0]] == target) & (after[rows[1]] == target)
    joined = _spanning(contacts[within], before)
    parted = (before[rows[0]] == before[rows[1]]) & (before[rows[0]] > 0)
    parted &= after[rows[0]] != after[rows[1]]
    return Effect(
        np.concatenate((whole, pieces.ids, parents)),
        np.concatenate((before[whole.astype(np.intp)], no_one(pieces.ids), before[parents])),
        np.concatenate((np.full_like(whole, target), piece_after, no_one(parents))),
        joined=joined,
        cut=np.stack((contacts.a[parted], contacts.b[parted]), axis=1),
        splits=pieces.splits,
        links=links,
    )


def _contacts(
    desk: Desk, whole: NDArray[np.uint64], parents: NDArray[np.uint64], links: Rag
) -> Contacts:
    """Return the contacts of what the drawing takes, as they are afterwards."""
    known = desk.graph.contacts_of(whole)
    gone = np.isin(known.a, parents) | np.isin(known.b, parents)
    return join_contacts([known[~gone], Contacts.undecided(links)])


def _spanning(contacts: Contacts, before: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the strongest contacts that hold together what came from different segments."""
    ends = []
    for side in (contacts.a, contacts.b):
        owner = before[side.astype(np.intp)]
        # What came from no segment stands for itself.
        ends.append(np.where(owner > 0, owner, side + _ALONE))
    pairs = np.sort(np.stack(ends, axis=1), axis=1)
    order = np.argsort(-contacts.score * np.sqrt(contacts.area), kind="stable")
    order = order[pairs[order, 0] != pairs[order, 1]]
    if not len(order):
        return np.zeros((0, 2), np.uint64)
    # The strongest of each two segments, and of these a spanning tree.
    _, first = np.unique(pairs[order], axis=0, return_index=True)
    best = order[np.sort(first)]
    names, nodes = np.unique(pairs[best], return_inverse=True)
    a, b = nodes.reshape(-1, 2).T
    cost = np.arange(1, len(best) + 1, dtype=np.float64)
    tree = minimum_spanning_tree(coo_matrix((cost, (a, b)), shape=(len(names),) * 2)).tocoo()
    chosen = best[np.sort(tree.data.astype(np.intp)) - 1]
    return np.stack((contacts.a[chosen], contacts.b[chosen]), axis=1)


def _sides(desk: Desk, drawn: Drawn, effect: Effect) -> tuple[NDArray[np.uint64], ...]:
    pieces = drawn.pieces
    own = np.concatenate((desk.members(drawn.segment), drawn.whole, pieces.ids[pieces.drawn]))
    sources = [int(s) for s in np.unique(effect.before) if s and s != drawn.segment]
    members = np.concatenate([np.zeros(0, np.uint64), *(desk.members(s) for s in sources)])
    gone = np.concatenate((drawn.whole, pieces.parents))
    rest = np.concatenate((members[~np.isin(members, gone)], pieces.ids[~pieces.drawn]))
    return (own, rest) if len(rest) else (own,)


def _check_change(desk: Desk, drawn: Drawn, effect: Effect) -> None:
    """Refuse a drawing that takes nothing, or a whole segment and nothing else."""
    sources = np.unique(effect.before[: len(drawn.whole)])
    if not len(effect.fragments):
        what = "Nothing would change"
        if drawn.spared:
            what += f": {drawn.spared} voxels of the mask belong to segments marked done"
        elif len(desk.members(drawn.segment)):
            what += f": what the mask takes is in segment {drawn.segment} already"
        raise EditRejectedError(
            f"{what}.",
            "a mask that takes something new",
            "draw more, or ask for smaller slivers.",
        )
    alone = not len(drawn.pieces.ids) and len(sources) == 1 and int(sources[0]) > 0
    members = desk.members(int(sources[0])) if alone else np.zeros(0, np.uint64)
    if alone and not len(desk.members(drawn.segment)) and len(members) == len(drawn.whole):
        raise EditRejectedError(
            f"The mask takes exactly segment {int(sources[0])}.",
            "a mask that differs from what is there",
            "",
        )


def _check_done(segments: NDArray[np.uint64], done: NDArray[np.uint64], *, force: bool) -> None:
    touched = np.intersect1d(segments, done).tolist()
    if touched and not force:
        names = ", ".join(str(s) for s in touched[:_MOST_NAMES])
        more = len(touched) - _MOST_NAMES
        raise EditRejectedError(
            f"Segment {names}{f' and {more} more' if more > 0 else ''} is marked done.",
            "segments that are not done",
            "spare what is done, set their status to in work, or force the edit.",
            forceable=True,
        )


def _notices(drawn: Drawn, outside: int | None) -> tuple[str, ...]:
    whole, cut = len(drawn.whole), len(drawn.pieces.parents)
    parts: list[Any] = [
        f"{whole} fragment{'s' * (whole != 1)} {'are' if whole != 1 else 'is'} taken whole",
        f"{cut} {'are' if cut != 1 else 'is'} cut",
        f"{_voxels(drawn.new)} of background {'are' if drawn.new != 1 else 'is'} new",
    ]
    found = [f"{', '.join(parts)}."]
    if drawn.added or drawn.missed:
        found.append(
            f"The result has {_voxels(drawn.added)} more than the mask and {drawn.missed} fewer: "
            "whole fragments and slivers."
        )
    if drawn.spared:
        found.append(f"{_voxels(drawn.spared)} of segments marked done are left out.")
    if outside is None:
        found.append("The mask's box leaves the volume; what lies outside is left out.")
    elif outside:
        found.append(f"{_voxels(outside)} of the mask lie outside the volume and are left out.")
    return tuple(found)


def _voxels(count: int) -> str:
    return f"{count} voxel{'s' * (count != 1)}"
