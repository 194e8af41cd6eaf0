"""Work out the merge of many groups of segments at once: everything nearer than a distance."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from napari_neuropil.errors import EditRejectedError
from napari_neuropil.proofreading.edits import Effect, Point, Proposal
from napari_neuropil.proofreading.graph import Contacts
from napari_neuropil.proofreading.merge_order import MergeOrder
from napari_neuropil.proofreading.proposals import Desk

_MOST_NAMES: Final = 5


def propose_merge_below(
    desk: Desk,
    order: MergeOrder,
    distance: float,
    *,
    done: NDArray[np.uint64],
    wish: dict[str, Any],
    force: bool,
) -> Proposal:
    """Propose to join whatever contacts below a distance connect, each group into its largest.

    Parameters
    ----------
    desk : Desk
        What it is worked out on.
    order : MergeOrder
        Of the contacts to look at, on the desk's present state.
    distance : float
        Of mean embeddings; contacts below it join.
    done : NDArray[np.uint64]
        Segments marked done, ascending.
    wish : dict
        What was asked, JSON.
    force : bool
        Also change segments that are done.

    Returns
    -------
    Proposal
        Its sides are the groups, the largest first.

    Raises
    ------
    EditRejectedError
        If nothing lies below, or what does would change a segment that is done (forceable).
    """
    below = order.below(distance)
    rows = np.flatnonzero(order.joins[:below])
    if not len(rows):
        raise _nothing(order, below, distance)
    segments, group = _groups(order.ends[rows])
    touched = segments[np.isin(segments, done)]
    if len(touched) and not force:
        raise EditRejectedError(
            f"Segment {_names(touched)} is marked done.",
            "segments that are not done",
            "leave those that are done out, set their status to in work, or force the edit.",
            forceable=True,
        )
    fragments, row = _members(desk.state.lookup, segments)
    size = np.bincount(row, desk.state.table.size[fragments.astype(np.intp)], len(segments))
    kept = _largest(segments, group, size)
    before, after = segments[row], kept[group[row]]
    moved = before != after
    contacts = order.contacts[rows]
    return Proposal(
        "merge",
        wish,
        Effect(
            fragments[moved],
            before[moved],
            after[moved],
            joined=np.stack((contacts.a, contacts.b), axis=1),
        ),
        desk.base,
        _sides(fragments, group[row], np.bincount(group, size)),
        _place(contacts),
        _notices(order, below),
    )


def _groups(ends: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.intp]]:
    """Return the segments (n,) that pairs of them (k, 2) name, and the group of each."""
    segments, at = np.unique(ends, return_inverse=True)
    pairs = at.reshape(-1, 2)
    links = coo_matrix(
        (np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(len(segments),) * 2
    )
    _, group = connected_components(links, directed=False)
    return segments, group.astype(np.intp)


def _members(
    lookup: NDArray[np.uint64], segments: NDArray[np.uint64]
) -> tuple[NDArray[np.uint64], NDArray[np.intp]]:
    """Return the fragments of segments, ascending, and the row of each one's segment.

    One sweep over the lookup: thousands of segments at once cost less so than one by one.
    """
    at = np.minimum(np.searchsorted(segments, lookup), len(segments) - 1)
    fragments = np.flatnonzero(segments[at] == lookup)
    return fragments.astype(np.uint64), at[fragments]


def _largest(
    segments: NDArray[np.uint64], group: NDArray[np.intp], size: NDArray[Any]
) -> NDArray[np.uint64]:
    """Return the segment that each group goes into; of equal ones that of the smaller id."""
    order = np.lexsort((segments, -size, group))
    first = np.flatnonzero(np.diff(group[order], prepend=-1))
    return segments[order[first]]


def _sides(
    fragments: NDArray[np.uint64], group: NDArray[np.intp], size: NDArray[Any]
) -> tuple[NDArray[np.uint64], ...]:
    order = np.argsort(group, kind="stable")
    parts = np.split(fragments[order], np.cumsum(np.bincount(group))[:-1])
    return tuple(parts[i] for i in np.argsort(-size, kind="stable"))


def _place(contacts: Contacts) -> Point:
    """Return the middle of the largest contact."""
    z, y, x = (round(float(v)) for v in contacts.centroid[int(np.argmax(contacts.area))])
    return z, y, x


def _notices(order: MergeOrder, below: int) -> tuple[str, ...]:
    found = []
    for count, why in (
        (int(order.apart[:below].sum()), "would join what was kept apart"),
        (int(order.done[:below].sum()), "touch segments marked done"),
    ):
        if count:
            text = why if count > 1 else why.replace("touch ", "touches ")
            found.append(
                f"{count} contact{'s' * (count > 1)} below {'are' if count > 1 else 'is'} left "
                f"out: {'they' if count > 1 else 'it'} {text}."
            )
    return tuple(found)


def _nothing(order: MergeOrder, below: int, distance: float) -> EditRejectedError:
    if not len(order):
        return EditRejectedError(
            f"No distance is known here, of {order.unknown} contacts between segments.",
            "contacts whose embedding distance was measured",
            "measure them: neuropil distances PROJECT, or the buttons in the tab Contacts.",
        )
    why = " ".join(_notices(order, below))
    return EditRejectedError(
        f"Nothing is to be merged below {distance:g}. {why}".rstrip(),
        "contacts between two segments that are nearer",
        f"raise the distance: the nearest is {float(order.contacts.distance[0]):.3g}."
        if not below
        else "",
    )


def _names(segments: NDArray[np.uint64]) -> str:
    names = ", ".join(str(s) for s in segments[:_MOST_NAMES].tolist())
    more = len(segments) - _MOST_NAMES
    return f"{names} and {more} more" if more > 0 else names
