"""Work out merges, detachments, assignments and deletions, without making them.

All refusals happen here, before anything has changed. Splits, which need a cut, are in
`split_proposals`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from napari_neuropil.errors import EditRejectedError
from napari_neuropil.proofreading.edits import Effect, Point, Proposal
from napari_neuropil.proofreading.graph import ContactGraph, Contacts
from napari_neuropil.proofreading.requests import Pick, Resolver, as_picks
from napari_neuropil.proofreading.state import ProofreadingState
from napari_neuropil.segmentation.rag import Rag


@dataclass(frozen=True)
class Desk:
    """What a proposal is worked out on.

    Parameters
    ----------
    state : ProofreadingState
        Live.
    graph : ContactGraph
        Live.
    resolver : Resolver
        Turns picks into ids.
    base : int
        Last edit of the log.
    next_segment, next_fragment : int
        First ids never used.
    """

    state: ProofreadingState
    graph: ContactGraph
    resolver: Resolver
    base: int
    next_segment: int
    next_fragment: int

    def size_of(self, fragments: NDArray[np.uint64]) -> int:
        """Return voxels of fragments."""
        return int(self.state.table.size[fragments.astype(np.intp)].sum())

    def members(self, segment: int) -> NDArray[np.uint64]:
        """Return a segment's fragments."""
        return self.state.members.of(segment)


def propose_merge(desk: Desk, picks: Sequence[Pick], *, force: bool) -> Proposal:
    """Propose to make one segment of several; the largest keeps its id."""
    segments = list(dict.fromkeys(desk.resolver.segment(pick) for pick in picks))
    if len(segments) < 2:
        raise EditRejectedError(
            f"Both are segment {segments[0]} already." if segments else "Nothing is picked.",
            "two different segments",
            "pick the other one.",
        )
    desk.resolver.check_unprotected(segments, force=force)
    sizes = {s: desk.size_of(desk.members(s)) for s in segments}
    kept = max(segments, key=lambda s: (sizes[s], -s))
    others = [s for s in segments if s != kept]
    joined, links, position, notices = _connect(desk, kept, others, picks, force=force)
    fragments = np.concatenate([desk.members(s) for s in others])
    before = np.concatenate([np.full(len(desk.members(s)), s, np.uint64) for s in others])
    return Proposal(
        "merge",
        {"segments": segments, "picks": [_plain(p) for p in picks], "force": force},
        Effect(fragments, before, np.full_like(fragments, kept), joined=joined, links=links),
        desk.base,
        tuple(desk.members(s) for s in segments),
        position,
        notices,
    )


def _connect(
    desk: Desk, kept: int, others: list[int], picks: Sequence[Pick], *, force: bool
) -> tuple[NDArray[np.uint64], Rag, Point | None, tuple[str, ...]]:
    """Find the contacts that hold the merged segment together, one for each that joins."""
    # From the smaller segments outwards: a merge into a huge one costs the small one.
    fragments = np.concatenate([desk.members(s) for s in others])
    contacts = desk.graph.contacts_of(fragments)
    lookup = desk.state.lookup
    ends = [lookup[contacts.a.astype(np.intp)], lookup[contacts.b.astype(np.intp)]]
    chosen = np.array([kept, *others], np.uint64)
    between = (ends[0] != ends[1]) & np.isin(ends[0], chosen) & np.isin(ends[1], chosen)
    contacts = contacts[between]
    ends = [e[between] for e in ends]
    # The strongest first; each that joins two parts not yet joined is one we need.
    strength = contacts.score * np.sqrt(contacts.area)
    order = np.argsort(-strength, kind="stable")
    parts = {int(s): {int(s)} for s in chosen}
    needed = []
    for row in order.tolist():
        left, right = parts[int(ends[0][row])], parts[int(ends[1][row])]
        if left is not right:
            needed.append(row)
            left |= right
            for segment in right:
                parts[segment] = left
            if len(left) == len(chosen):
                break
    joined = np.stack([contacts.a[needed], contacts.b[needed]], axis=1)
    position = _point(contacts.centroid[needed[0]]) if needed else None
    loose = [s for s in others if parts[s] is not parts[kept]]
    if not loose:
        return joined, Rag.empty(), position, ()
    names = ", ".join(str(s) for s in loose)
    if not force:
        raise EditRejectedError(
            f"Segment {names} does not touch {kept}.",
            "segments that touch, or touch others that are picked",
            "pick the piece between them too, or force the merge.",
            forceable=True,
        )
    links, middle = _links(desk, kept, loose, picks)
    return (
        np.concatenate((joined, links.contacts)),
        links,
        position or middle,
        (f"Segment {names} does not touch {kept}.",),
    )


def _links(
    desk: Desk, kept: int, loose: list[int], picks: Sequence[Pick]
) -> tuple[Rag, Point | None]:
    """Make a contact to each segment that does not touch: at the picks, or between near boxes."""
    own = _picked(desk, kept, picks)
    rows: dict[tuple[int, int], NDArray[np.float32]] = {}
    middle: Point | None = None
    table = desk.state.table
    centres = (table.start + table.stop) / 2
    for segment in loose:
        other = _picked(desk, segment, picks)
        mine = desk.members(kept) if own is None else np.array([own], np.uint64)
        theirs = desk.members(segment) if other is None else np.array([other], np.uint64)
        # The nearest pair of box centres; a k-d tree keeps thousands of fragments quick.
        tree = cKDTree(centres[mine.astype(np.intp)])
        found = tree.query(centres[theirs.astype(np.intp)])
        distance, at = np.asarray(found[0]), np.asarray(found[1])
        best = int(np.argmin(distance))
        a, b = int(mine[at[best]]), int(theirs[best])
        rows[min(a, b), max(a, b)] = ((centres[a] + centres[b]) / 2).astype(np.float32)
        middle = middle or _point(rows[min(a, b), max(a, b)])
    pairs = np.array(sorted(rows), np.uint64).reshape(-1, 2)
    count = len(pairs)
    return Rag(
        contacts=pairs,
        affinity=np.zeros(count, np.float32),
        area=np.ones(count, np.int64),
        boundary_length=np.zeros(count, np.float32),
        centroid=np.array([rows[int(a), int(b)] for a, b in pairs], np.float32).reshape(-1, 3),
        score=np.zeros(count, np.float32),
    ), middle


def _picked(desk: Desk, segment: int, picks: Sequence[Pick]) -> int | None:
    for pick in picks:
        if not isinstance(pick, int | np.integer):
            fragment = desk.resolver.fragment(pick)
            if int(desk.state.lookup[fragment]) == segment:
                return fragment
    return None


def propose_detach(
    desk: Desk, picks: Pick | Iterable[Pick], *, isolate: bool, force: bool
) -> Proposal:
    """Propose to take fragments out of their segment, as a new one.

    With `isolate`, what hung on the segment only through them becomes segments of its own too.
    """
    fragments = desk.resolver.fragments(picks)
    segment = _one_segment(desk, fragments)
    desk.resolver.check_unprotected([segment], force=force)
    members = desk.members(segment)
    rest = np.setdiff1d(members, fragments, assume_unique=True)
    if not len(rest):
        raise EditRejectedError(
            f"These are all fragments of segment {segment}.",
            "some of its fragments",
            "delete the segment, or split the fragment with points on both sides.",
        )
    contacts = desk.graph.leaving(fragments)
    inner = desk.state.lookup[contacts.a.astype(np.intp)] == segment
    inner &= desk.state.lookup[contacts.b.astype(np.intp)] == segment
    contacts = contacts[inner]
    groups = [fragments]
    parts = _parts(desk, rest)
    notices: tuple[str, ...] = ()
    if isolate:
        groups += parts[1:]
    elif len(parts) > 1:
        notices = (f"What is left of segment {segment} has {len(parts)} parts.",)
    moved = np.concatenate(groups)
    after = np.concatenate(
        [np.full(len(g), desk.next_segment + i, np.uint64) for i, g in enumerate(groups)]
    )
    return Proposal(
        "isolate" if isolate else "detach",
        {"fragments": fragments.tolist(), "force": force},
        Effect(moved, np.full_like(moved, segment), after, cut=_pairs(contacts)),
        desk.base,
        (fragments, rest),
        _middle(contacts) or _centre(desk, fragments),
        notices,
    )


def propose_assign(
    desk: Desk, picks: Pick | Iterable[Pick], target: Pick, *, force: bool
) -> Proposal:
    """Propose to move fragments to a segment that exists."""
    fragments = desk.resolver.fragments(picks)
    segment = desk.resolver.segment(target)
    before = desk.state.lookup[fragments.astype(np.intp)]
    moved = fragments[before != segment]
    if not len(moved):
        raise EditRejectedError(
            f"These fragments are in segment {segment} already.", "fragments of another", ""
        )
    before = before[before != segment]
    touched = [segment, *(int(s) for s in np.unique(before) if s)]
    desk.resolver.check_unprotected(touched, force=force)
    contacts = desk.graph.leaving(moved)
    ends = [desk.state.lookup[e.astype(np.intp)] for e in (contacts.a, contacts.b)]
    # A fragment that came from `segment`'s outside touches it through one end.
    joins = contacts[(ends[0] == segment) | (ends[1] == segment)]
    if not len(joins) and not force:
        raise EditRejectedError(
            f"These fragments do not touch segment {segment}.",
            "fragments that touch it",
            "assign what lies between too, or force it.",
            forceable=True,
        )
    inside = np.isin(contacts.a, moved)
    sources = np.where(inside, ends[0], ends[1])
    leaves = contacts[(ends[0] == ends[1]) & (sources > 0)]
    return Proposal(
        "assign",
        {"fragments": fragments.tolist(), "segment": segment, "force": force},
        Effect(
            moved,
            before,
            np.full_like(moved, segment),
            joined=_pairs(_strongest(joins)),
            cut=_pairs(leaves),
        ),
        desk.base,
        (moved, desk.members(segment)),
        _middle(joins) or _centre(desk, moved),
    )


def propose_delete(desk: Desk, pick: Pick, *, force: bool) -> Proposal:
    """Propose to make a segment background; its fragments stay and can be assigned again."""
    segment = desk.resolver.segment(pick)
    desk.resolver.check_unprotected([segment], force=force)
    members = desk.members(segment).copy()
    return Proposal(
        "delete",
        {"segment": segment, "force": force},
        Effect(members, np.full_like(members, segment), np.zeros_like(members)),
        desk.base,
        (members,),
        _centre(desk, members),
    )


def _one_segment(desk: Desk, fragments: NDArray[np.uint64]) -> int:
    segments = np.unique(desk.state.lookup[fragments.astype(np.intp)])
    if len(segments) != 1 or not segments[0]:
        raise EditRejectedError(
            f"The fragments belong to {', '.join(str(s) for s in segments[:5])}.",
            "fragments of one segment",
            "pick them in one segment.",
        )
    return int(segments[0])


def _parts(desk: Desk, fragments: NDArray[np.uint64]) -> list[NDArray[np.uint64]]:
    """Return the connected parts of some fragments, largest first."""
    contacts = desk.graph.within(fragments)
    rows, columns = (np.searchsorted(fragments, e) for e in (contacts.a, contacts.b))
    count = len(fragments)
    adjacency = coo_matrix((np.ones(len(contacts), np.int8), (rows, columns)), shape=(count, count))
    parts, label = connected_components(adjacency, directed=False)
    groups = [fragments[label == k] for k in range(parts)]
    return sorted(groups, key=lambda g: (-desk.size_of(g), int(g[0])))


def _strongest(contacts: Contacts) -> Contacts:
    """Return the one contact that holds best; the others stay open to a later cut."""
    return contacts[np.argsort(-contacts.score * np.sqrt(contacts.area), kind="stable")[:1]]


def _pairs(contacts: Contacts) -> NDArray[np.uint64]:
    return np.stack([contacts.a, contacts.b], axis=1)


def _middle(contacts: Contacts) -> Point | None:
    return _point(contacts.centroid[int(np.argmax(contacts.area))]) if len(contacts) else None


def _centre(desk: Desk, fragments: NDArray[np.uint64]) -> Point:
    rows = fragments.astype(np.intp)
    largest = int(rows[np.argmax(desk.state.table.size[rows])])
    table = desk.state.table
    return _point((table.start[largest] + table.stop[largest] - 1) / 2)


def _point(values: NDArray[Any]) -> Point:
    z, y, x = (round(float(v)) for v in values)
    return z, y, x


def _plain(pick: Pick) -> Any:
    return (
        [int(v) for v in as_picks(pick)[0]] if not isinstance(pick, int | np.integer) else int(pick)
    )
