"""Splitting a segment: the cheapest set of contacts that parts two groups of its fragments.

`cut_capacity` says what a contact costs; `min_cut` finds the sides exactly, `split_sides` also
without the last step, for a preview. Both contract the graph first (`graph_cuts`).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import EditRejectedError, VolumeFormatError
from napari_neuropil.segmentation.graph_cuts import SINK, SOURCE, cut_graph

_SURE: Final = 0.01
_POWER: Final = 4
_JOINED: Final = 1e10
_LEAST, _MOST = 1e-100, 1e100


def cut_capacity(
    score: NDArray[np.floating[Any]],
    area: NDArray[np.integer[Any]],
    decision: NDArray[np.integer[Any]] | None = None,
) -> NDArray[np.float64]:
    """Return what it costs to cut each contact.

    ``area * (s / (1 - s)) ** 4`` with s the score limited to [0.01, 0.99]: 1e-8 for each voxel pair
    at score 0, 1 at 0.5, 1e8 at 1. The odds of belonging together make many doubtful contacts
    cheaper than one sure contact, so that the cut does not run around a seed instead of along the
    border; the area alone, or the logarithm of the odds, does run around it. Powers 3 to 8 did
    equally well on automatic segments of electron microscopy against hand-made labels, 1 clearly
    worse; an exponent on the area did not help.

    Parameters
    ----------
    score : NDArray[np.float32]
        (C,) in [0, 1].
    area : NDArray[np.int64]
        (C,) voxel pairs, at least 1.
    decision : NDArray[np.int8], optional
        (C,) what the user decided: 1 joined (dearer than any open contact of a hundred times its
        area), -1 kept apart (0: free, and it holds nothing together), 0 open.

    Returns
    -------
    NDArray[np.float64]
        (C,) capacities, at least 0.

    Raises
    ------
    VolumeFormatError
        If lengths differ, a score is not a number in [0, 1] or an area is below 1.
    """
    count = len(score)
    if area.shape != (count,) or (decision is not None and decision.shape != (count,)):
        raise VolumeFormatError(
            f"{count} scores, areas of shape {area.shape}", "one area and one decision per score"
        )
    # NaN fails both comparisons.
    if not bool(np.all((score >= 0) & (score <= 1))):
        raise VolumeFormatError(
            "scores outside [0, 1] or not numbers", "numbers in [0, 1]", "segment the volume again"
        )
    if count and int(area.min()) < 1:
        raise VolumeFormatError(f"a contact of {int(area.min())} voxel pairs", "areas >= 1")
    limited = np.clip(score.astype(np.float64), _SURE, 1.0 - _SURE)
    capacity: NDArray[np.float64] = area * (limited / (1.0 - limited)) ** _POWER
    if decision is not None:
        capacity = np.where(decision > 0, _JOINED * area, capacity)
        capacity[decision < 0] = 0.0
    return capacity


def min_cut(
    node_count: int,
    ends: NDArray[np.int64],
    capacity: NDArray[np.float64],
    side_a: NDArray[np.int64],
    side_b: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Find the two sides of a minimum cut between two groups of seeds.

    Parameters
    ----------
    node_count : int
        Nodes 0..node_count - 1.
    ends : NDArray[np.int64]
        (E, 2) nodes of each contact, in any order; doubles add up, loops are ignored.
    capacity : NDArray[np.float64]
        (E,) 0, or between 1e-100 and 1e100; contacts of capacity 0 hold nothing together.
    side_a, side_b : NDArray[np.int64]
        Seeds of each side; at least one each, none in both.

    Returns
    -------
    NDArray[np.bool_]
        (node_count,) True on side A. Every node is connected to a seed of its side by contacts
        within that side. Where seeds are in different connected parts, nothing needs to be cut: a
        part with seeds of one side only goes there, one without seeds stays with A. The capacity
        of the contacts cut is the least possible, to 2**-29 of it for each contact. The same input
        gives the same sides.

    Raises
    ------
    EditRejectedError
        If a side is empty, or a seed is on both sides or no node.
    VolumeFormatError
        If shapes do not fit, an end is no node, or a capacity is out of bounds.
    """
    return split_sides(ends, capacity, node_count, side_a, side_b, exact=True)


def split_sides(
    ends: NDArray[np.int64],
    capacity: NDArray[np.float64],
    node_count: int,
    side_a: NDArray[np.int64],
    side_b: NDArray[np.int64],
    *,
    exact: bool,
) -> NDArray[np.bool_]:
    """Find two sides: the exact ones of `min_cut`, or without its slowest step.

    The quick way ends with the best cut along the path that joins the seeds in a maximum spanning
    tree (see `graph_cuts`): never cheaper than the exact cut, most often the same. It leaves out
    the maximum flow, whose time has no good bound; the rest is O(E log E).

    Cutting only a corridor or a ball around the seeds was tried and is not faster: finding it
    costs as much as the contractions, and neurites are connected around it too often.

    Parameters
    ----------
    ends, capacity, node_count, side_a, side_b
        As in `min_cut`.
    exact : bool
        False: for a preview.

    Returns
    -------
    NDArray[np.bool_]
        (node_count,) True on side A, connected as in `min_cut`.

    Raises
    ------
    EditRejectedError, VolumeFormatError
        As in `min_cut`.
    """
    _check_graph(node_count, ends, capacity)
    _check_seeds(node_count, side_a, side_b)
    free = np.ones(node_count, bool)
    free[side_a] = False
    free[side_b] = False
    node = np.cumsum(free) + 1
    node[side_a] = SOURCE
    node[side_b] = SINK
    lower, upper = node[ends[:, 0]], node[ends[:, 1]]
    holding = capacity > 0
    if not holding.all():
        lower, upper, capacity = lower[holding], upper[holding], capacity[holding]
    count = 2 + int(np.count_nonzero(free))
    side: NDArray[np.bool_] = cut_graph(count, lower, upper, capacity, exact=exact)[node]
    return side


def _check_graph(node_count: int, ends: NDArray[np.int64], capacity: NDArray[np.float64]) -> None:
    if ends.ndim != 2 or ends.shape[1] != 2 or capacity.shape != (len(ends),):
        raise VolumeFormatError(
            f"contacts of shape {ends.shape} with capacities of shape {capacity.shape}",
            "shapes (E, 2) and (E,)",
        )
    if len(ends) and not (int(ends.min()) >= 0 and int(ends.max()) < node_count):
        raise VolumeFormatError(
            f"contacts that name nodes {int(ends.min())} to {int(ends.max())}",
            f"nodes 0 to {node_count - 1}",
        )
    # NaN fails all comparisons.
    if not bool(np.all((capacity == 0) | ((capacity >= _LEAST) & (capacity <= _MOST)))):
        raise VolumeFormatError(
            "capacities that are negative, not numbers, or too large or small to be added up",
            f"0, or numbers between {_LEAST:g} and {_MOST:g}",
            "compute them with cut_capacity",
        )


def _check_seeds(node_count: int, side_a: NDArray[np.int64], side_b: NDArray[np.int64]) -> None:
    for name, side in (("A", side_a), ("B", side_b)):
        if len(side) == 0:
            raise EditRejectedError(
                f"no seed on side {name}", "at least one seed on each side", "click both neurons"
            )
        if int(side.min()) < 0 or int(side.max()) >= node_count:
            raise EditRejectedError(
                f"a seed of side {name} outside the segment",
                "seeds on fragments of the segment that is split",
                "move the seed onto the segment",
            )
    both = np.intersect1d(side_a, side_b)
    if len(both):
        raise EditRejectedError(
            f"{len(both)} fragment(s) with seeds of both sides",
            "each fragment on one side",
            "move one seed to another fragment, or split that fragment first",
        )
