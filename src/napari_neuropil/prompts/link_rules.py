"""Which masks of neighbouring sections are one object: rules on areas and overlaps alone.

Two rules, both measured on the truth of a 30 nm and an 8 nm volume (sections that no figure is
reported on):

- **Continuation**: each is the other's best partner, and their intersection over union is at
  least 0.2. 999 of 1000 such pairs are one object.
- **Branch**: a mask without a partner on one side (a child) lies mostly inside a larger one there
  (its parent), and *does not grow* away from it. A branch leaves its parent at full size; what
  grows is the tip of another neurite that pushes in. Of children that go on for four sections or
  more, 350 of 361 were branches where they did not grow to 1.2 times their size from the first
  section to the second, 11 of 233 where they did. A mask
  that is in one section only shows no growth: it must lie inside by more.

A chain of continuations becomes the child of one parent only. One that lies inside two different
objects at its two ends would join them, and that is a merge error more often than a loop. Overlap
over the smaller area, the obvious measure for branches, joins everything to everything within some
tens of sections.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

_SINGLE: Final = 0.85
"""Share of a mask of a single section that must lie inside its parent."""


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """How masks are linked.

    Parameters
    ----------
    min_overlap : float
        Intersection over union of a continuation.
    branch_overlap : float
        From this intersection over union on, a child needs not lie inside its parent.
    min_containment : float
        Share of a child that lies inside its parent.
    max_growth : float
        Area of the child's next section over that of its first one.
    same_segment, other_segment : float
        Share of their pixels that two masks have in common segments: from the first on, half
        `min_overlap` is enough; below the second, `overlap_across` is wanted.
    overlap_across : float
        Intersection over union of masks in different segments.
    bridge : bool
        Whether objects go on over one section without their mask.
    align : bool
        Whether shifts between sections are estimated from the masks and taken out.
    """

    min_overlap: float = 0.2
    branch_overlap: float = 0.3
    min_containment: float = 0.7
    max_growth: float = 1.2
    same_segment: float = 0.5
    other_segment: float = 0.1
    overlap_across: float = 0.3
    bridge: bool = True
    align: bool = True


@dataclass(frozen=True, eq=False, slots=True)
class MaskPairs:
    """Pairs of masks that overlap, the first in the lower section.

    Parameters
    ----------
    first, second : NDArray[np.intp], (P,)
        Masks, numbered over all sections.
    shared : NDArray[np.int64], (P,)
        Pixels in both.
    agreement : NDArray[np.float64], (P,)
        Share of their pixels in common segments; NaN where nothing is known.
    over : NDArray of bool, (P,)
        Pairs over a section that is there, where neither has a partner and nobody lies between.
    """

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    shared: NDArray[np.int64]
    agreement: NDArray[np.float64]
    over: NDArray[np.bool_]


@dataclass(frozen=True, eq=False, slots=True)
class Verdict:
    """What the rules say of each pair.

    Parameters
    ----------
    overlap : NDArray[np.float64], (P,)
        Intersection over union.
    linked : NDArray of bool, (P,)
        One object.
    support : NDArray[np.float64], (P,)
        Rough share of such pairs that are one object, as counted on truth.
    doubtful : NDArray of bool, (P,)
        Worth a look.
    """

    overlap: NDArray[np.float64]
    linked: NDArray[np.bool_]
    support: NDArray[np.float64]
    doubtful: NDArray[np.bool_]


def judge_pairs(areas: NDArray[np.int64], pairs: MaskPairs, settings: LinkSettings) -> Verdict:
    """Apply the rules.

    Parameters
    ----------
    areas : NDArray[np.int64], (M,)
        Of all masks.
    pairs : MaskPairs
        All that overlap.
    settings : LinkSettings
        Thresholds.
    """
    a, b = pairs.first, pairs.second
    overlap = pairs.shared / (areas[a] + areas[b] - pairs.shared)
    mutual = _mutual(overlap, a, b, ~pairs.over)
    apart = (pairs.agreement < settings.other_segment) & (overlap < settings.overlap_across)
    same = pairs.agreement >= settings.same_segment
    lowest = np.where(same, settings.min_overlap / 2, settings.min_overlap)
    goes_on = mutual & (overlap >= lowest) & ~apart

    after, before = np.full(len(areas), -1), np.full(len(areas), -1)
    after[a[goes_on]], before[b[goes_on]] = b[goes_on], a[goes_on]
    upward = areas[a] >= areas[b]  # the child is the second one
    child = np.where(upward, b, a)
    free = np.where(upward, before[child], after[child]) < 0
    single = np.where(upward, after[child], before[child]) < 0
    inside = pairs.shared / areas[child]
    growth = np.where(upward, _growth(areas, after, child), _growth(areas, before, child))
    steady = growth < settings.max_growth
    near = (overlap >= settings.branch_overlap) & steady
    contained = inside >= np.where(single, _SINGLE, settings.min_containment)
    could = ~goes_on & ~pairs.over & free & (near | (contained & steady))
    branch = np.zeros(len(a), np.bool_)
    chain = chains(a[goes_on], b[goes_on], len(areas))
    # Overlap first, then how far it lies inside; masks of one section come last.
    worth = np.where(overlap >= settings.branch_overlap, 2.0, 0.0) + inside - single
    branch[_best_of_each(chain[child], worth, np.flatnonzero(could & ~apart))] = True

    linked = goes_on | branch
    top, bottom = np.zeros(len(areas), np.bool_), np.zeros(len(areas), np.bool_)
    top[a[linked]], bottom[b[linked]] = True, True
    bridge = _mutual(overlap, a, b, pairs.over) & ~top[a] & ~bottom[b] & ~apart
    # Two tips that end and begin at one place taper off; an object whose mask is missing does not.
    below, above = a[branch], b[branch]
    after[below] = np.where(after[below] < 0, above, after[below])
    before[above] = np.where(before[above] < 0, below, before[above])
    tapers = np.maximum(_growth(areas, before, a), _growth(areas, after, b))
    bridge &= (overlap >= lowest) & (tapers < settings.max_growth)
    linked |= bridge

    support = np.full(len(a), 0.02)
    weak = (mutual | bridge) & ~goes_on
    for low, value in ((0.05, 0.5), (0.1, 0.85)):
        support[weak & (overlap >= low)] = value
    for low, value in ((0.0, 0.9), (0.2, 0.975), (0.3, 0.99), (0.5, 0.9995)):
        support[goes_on & (overlap >= low)] = value
    support[could] = np.where(branch, np.where(single, 0.9, 0.96), 0.5)[could]
    support[apart & (mutual | could)] = 0.5
    doubtful = (linked & (support < 0.999)) | (~linked & (support >= 0.5))
    return Verdict(overlap, linked, support, doubtful)


def chains(first: NDArray[np.intp], second: NDArray[np.intp], masks: int) -> NDArray[np.int32]:
    """Return the group of each mask, (masks,), from 0, after joining pairs."""
    graph = coo_array((np.ones(len(first), np.int32), (first, second)), shape=(masks, masks))
    group: NDArray[np.int32] = connected_components(graph, directed=False)[1]
    return group


def _growth(
    areas: NDArray[np.int64], partner: NDArray[np.intp], masks: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return the area of each mask's partner over its own; 0 without one."""
    there = partner[masks]
    growth: NDArray[np.float64] = np.where(there < 0, 0.0, areas[there] / areas[masks])
    return growth


def _mutual(
    overlap: NDArray[np.float64],
    first: NDArray[np.intp],
    second: NDArray[np.intp],
    among: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Return the pairs among some that are each other's best, one for each mask and side."""
    chosen = np.zeros(len(overlap), np.bool_)
    # Equal overlaps: the first pair wins, so that a mask never goes on in two.
    rows = np.flatnonzero(among)
    up = _best_of_each(first, overlap, rows)
    down = _best_of_each(second, overlap, rows)
    chosen[np.intersect1d(up, down)] = True
    return chosen


def _best_of_each(
    keys: NDArray[np.generic], worth: NDArray[np.float64], rows: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Return of each key the row with the highest worth, the first of equal ones."""
    order = rows[np.argsort(-worth[rows], kind="stable")]
    _, found = np.unique(keys[order], return_index=True)
    return order[found]
