"""Work out splits: a minimum cut between two sides, and, where one fragment holds both, its pieces.

The cut runs through contacts of low score and small area. A fragment with seeds of both sides is
first cut itself, by a seeded watershed in its box; its pieces then take part in the cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import EditRejectedError
from napari_neuropil.geometry import Roi
from napari_neuropil.proofreading.edits import Effect, FragmentSplit, Point, Proposal
from napari_neuropil.proofreading.evidence import Evidence
from napari_neuropil.proofreading.graph import Contacts, join_contacts
from napari_neuropil.proofreading.pieces import PiecedFragments, lay_pieces
from napari_neuropil.proofreading.proposals import Desk
from napari_neuropil.proofreading.requests import Pick, as_picks
from napari_neuropil.segmentation.fragment_splitting import measure_pieces, split_fragment
from napari_neuropil.segmentation.rag import Rag, merge_rags
from napari_neuropil.segmentation.splitting import cut_capacity, split_sides

_LARGEST_BOX: Final = 1 << 28
"""Voxels of a fragment's box that are read into memory to cut it (about 5 GB of work arrays)."""


@dataclass(frozen=True)
class _Cut:
    """Fragments to cut, and what comes of it."""

    splits: tuple[FragmentSplit, ...]
    links: Rag
    side_a: NDArray[np.uint64]
    side_b: NDArray[np.uint64]


def propose_split(
    desk: Desk,
    ids: PiecedFragments,
    evidence: Evidence,
    sides: tuple[Any, Any],
    *,
    force: bool,
    quick: bool,
) -> Proposal:
    """Propose to split a segment between two sets of picks.

    Parameters
    ----------
    desk : Desk
        State and graph.
    ids : PiecedFragments
        Fragment ids, live.
    evidence : Evidence
        For cutting a fragment.
    sides : tuple
        Two, each a fragment id, a point, or several.
    force : bool
        Also where the segment is done.
    quick : bool
        Look for the cut in a corridor between the sides only.

    Raises
    ------
    EditRejectedError
        Sides empty, in different segments, or one fragment on both without a point to cut it by.
    """
    picks = tuple(as_picks(side) for side in sides)
    own = tuple(desk.resolver.fragments(side) for side in picks)
    segment = _one_segment(desk, own)
    desk.resolver.check_unprotected([segment], force=force)
    cut = _cut_fragments(desk, ids, evidence, picks, own)
    members = np.setdiff1d(
        desk.members(segment), np.array([s.parent for s in cut.splits], np.uint64)
    )
    pieces = np.concatenate([np.zeros(0, np.uint64), *(s.ids for s in cut.splits)])
    contacts = _contacts(desk, members, pieces, cut.links)
    nodes = np.concatenate((members, pieces))
    order = np.argsort(nodes)
    nodes = nodes[order]
    ends = np.stack([np.searchsorted(nodes, e) for e in (contacts.a, contacts.b)], axis=1)
    on_a = split_sides(
        ends.astype(np.int64),
        cut_capacity(contacts.score, contacts.area, contacts.decision),
        len(nodes),
        np.searchsorted(nodes, cut.side_a),
        np.searchsorted(nodes, cut.side_b),
        exact=not quick,
    )
    crossing = on_a[ends[:, 0]] != on_a[ends[:, 1]]
    parts = nodes[on_a], nodes[~on_a]
    effect = _effect(desk, segment, parts, cut, contacts[crossing])
    return Proposal(
        "split",
        {
            "segment": segment,
            "side_a": [_plain(p) for p in picks[0]],
            "side_b": [_plain(p) for p in picks[1]],
            "force": force,
        },
        effect,
        desk.base,
        parts,
        _where(contacts[crossing], picks, cut),
        _notices(cut, contacts[crossing], parts),
    )


def _one_segment(desk: Desk, sides: tuple[NDArray[np.uint64], ...]) -> int:
    segments = np.unique(desk.state.lookup[np.concatenate(sides).astype(np.intp)])
    if len(segments) > 1 or not segments[0]:
        names = " and ".join(str(s) for s in segments[:4]) if len(segments) > 1 else "background"
        raise EditRejectedError(
            f"The two sides lie in {names}.",
            "two places in one segment",
            "set the seeds of both sides inside the segment to split.",
        )
    return int(segments[0])


def _cut_fragments(
    desk: Desk,
    ids: PiecedFragments,
    evidence: Evidence,
    picks: tuple[list[Any], ...],
    own: tuple[NDArray[np.uint64], ...],
) -> _Cut:
    """Cut every fragment that holds seeds of both sides."""
    shared = np.intersect1d(own[0], own[1])
    splits: list[FragmentSplit] = []
    sides = [np.setdiff1d(side, shared) for side in own]
    first = desk.next_fragment
    for fragment in shared.tolist():
        seeds = tuple(_points_in(desk, side, fragment) for side in picks)
        split = _cut_fragment(desk, ids, evidence, fragment, seeds, first)
        splits.append(split)
        first += split.count
        sides = [np.append(side, piece) for side, piece in zip(sides, split.ids, strict=True)]
    links = [_links_of(ids, evidence, split, splits) for split in splits]
    return _Cut(tuple(splits), merge_links(links), sides[0], sides[1])


def _points_in(desk: Desk, picks: Iterable[Pick], fragment: int) -> list[Point]:
    points = [desk.resolver.point(p) for p in picks if not isinstance(p, int | np.integer)]
    points = [p for p in points if desk.resolver.fragment(p) == fragment]
    if not points:
        raise EditRejectedError(
            f"The fragment {fragment} is on both sides.",
            "a point inside it for each side, to cut the fragment itself",
            "give (z, y, x) points instead of its id.",
        )
    return points


def _cut_fragment(
    desk: Desk,
    ids: PiecedFragments,
    evidence: Evidence,
    fragment: int,
    seeds: tuple[list[Point], ...],
    first: int,
) -> FragmentSplit:
    table = desk.state.table
    start, stop = table.start[fragment].tolist(), table.stop[fragment].tolist()
    roi = Roi((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
    if roi.size > _LARGEST_BOX:
        raise EditRejectedError(
            f"The fragment {fragment} spans {roi.shape} voxels.",
            f"at most {_LARGEST_BOX} voxels in its box",
            "segment anew with smaller blocks: fragments end at their borders.",
        )
    both = sorted(set(seeds[0]) & set(seeds[1]))
    if both:
        raise EditRejectedError(
            f"The voxel {both[0]} is a seed of both sides.", "a side for each seed", "move one."
        )
    mask = ids.read(roi) == fragment
    markers = np.zeros(roi.shape, np.int32)
    for value, points in enumerate(seeds, start=1):
        for point in points:
            z, y, x = (p - s for p, s in zip(point, roi.start, strict=True))
            markers[z, y, x] = value
    labels = split_fragment(
        mask, markers, boundary=evidence.boundary(roi), voxel_size=evidence.voxel_size
    )
    return FragmentSplit(fragment, roi.start, labels, first)


def _links_of(
    ids: PiecedFragments, evidence: Evidence, split: FragmentSplit, splits: Sequence[FragmentSplit]
) -> Rag:
    """Measure the contacts of a fragment's pieces, with all new pieces laid in."""
    roi = split.roi.grown((1, 1, 1), ids.shape)
    now = ids.read(roi)
    for each in splits:
        lay_pieces(now, roi, each)
    return measure_pieces(now, split.ids, evidence.affinities(roi), roi.start)


def merge_links(links: Sequence[Rag]) -> Rag:
    """Put links together; a contact between pieces of two fragments was measured from both."""
    if not links:
        return Rag.empty()
    if len(links) == 1:
        return links[0]
    taken = np.zeros((0, 2), np.uint64)
    parts = []
    for rag in links:
        known = (rag.contacts[:, None] == taken[None]).all(axis=2).any(axis=1)
        parts.append(Rag(*(getattr(rag, name)[~known] for name in rag.__dataclass_fields__)))
        taken = np.concatenate((taken, rag.contacts))
    return merge_rags(parts)


def _contacts(
    desk: Desk, members: NDArray[np.uint64], pieces: NDArray[np.uint64], links: Rag
) -> Contacts:
    """Return the contacts among members and new pieces."""
    known = desk.graph.within(members)
    nodes = np.concatenate((members, pieces))
    mine = np.isin(links.contacts, nodes).all(axis=1)
    return join_contacts([known, Contacts.undecided(links)[mine]])


def _effect(
    desk: Desk,
    segment: int,
    parts: tuple[NDArray[np.uint64], NDArray[np.uint64]],
    cut: _Cut,
    crossing: Contacts,
) -> Effect:
    """Give the smaller part a new id; pieces appear, their parents vanish."""
    sizes = {int(i): int(s) for split in cut.splits for i, s in _piece_sizes(split)}

    def size(part: NDArray[np.uint64]) -> int:
        old = part[part < len(desk.state.lookup)]
        return desk.size_of(old) + sum(sizes.get(int(p), 0) for p in part[len(old) :])

    leaving = 0 if size(parts[0]) < size(parts[1]) else 1
    pieces = np.array(sorted(sizes), np.uint64)
    parents = np.array([s.parent for s in cut.splits], np.uint64)
    old = parts[leaving][~np.isin(parts[leaving], pieces)]
    piece_after = np.where(np.isin(pieces, parts[leaving]), desk.next_segment, segment)
    return Effect(
        np.concatenate((old, pieces, parents)),
        np.concatenate(
            (np.full_like(old, segment), np.zeros_like(pieces), np.full_like(parents, segment))
        ),
        np.concatenate(
            (
                np.full_like(old, desk.next_segment),
                piece_after.astype(np.uint64),
                np.zeros_like(parents),
            )
        ),
        cut=np.stack([crossing.a, crossing.b], axis=1),
        splits=cut.splits,
        links=cut.links,
    )


def _piece_sizes(split: FragmentSplit) -> list[tuple[int, int]]:
    counts = np.bincount(split.labels.reshape(-1), minlength=split.count + 1)[1:]
    return list(zip(split.ids.tolist(), counts.tolist(), strict=True))


def _where(crossing: Contacts, picks: tuple[list[Any], ...], cut: _Cut) -> Point | None:
    if len(crossing):
        z, y, x = (round(float(v)) for v in crossing.centroid[int(np.argmax(crossing.area))])
        return z, y, x
    for pick in [*picks[0], *picks[1]]:
        if not isinstance(pick, int | np.integer):
            z, y, x = (round(float(v)) for v in pick)
            return z, y, x
    return cut.splits[0].start if cut.splits else None


def _notices(
    cut: _Cut, crossing: Contacts, parts: tuple[NDArray[np.uint64], NDArray[np.uint64]]
) -> tuple[str, ...]:
    notices = []
    for part, other, seeds in zip(parts, parts[::-1], (cut.side_a, cut.side_b), strict=True):
        # One in twenty cuts with a single click a side, measured on AC4: rarely what was meant.
        if len(part) == len(seeds) and len(other) > len(part) + 1:
            notices.append("One side is only what was clicked: more seeds there may help.")
    if cut.splits:
        names = ", ".join(str(s.parent) for s in cut.splits)
        notices.append(f"Fragment {names} holds seeds of both sides and is cut itself.")
    if (crossing.decision > 0).any():
        notices.append("The cut runs through a contact that was merged by hand.")
    return tuple(notices)


def _plain(pick: Pick) -> Any:
    return int(pick) if isinstance(pick, int | np.integer) else [round(float(v)) for v in pick]
