"""One list of boxes from those of overlapping tiles.

A tile cuts the objects at its edges. Suppression by overlap cannot mend that: the two halves of a
cut object overlap little, so both stay. So a box that touches an inner edge is joined with its
*continuation*, the box of a neighbouring tile that reaches across this edge and agrees with it
where both tiles look. A box that no edge cuts has at most one *twin* in another tile, and the
better of the two stays. Both are found tile against tile: within one tile the detector has already
decided what is one object, so boxes within boxes live.

With a perfect detector in each tile of real sections this finds nearly every object once, and
with a trembling one nearly as many (`benchmarks/bench_box_merging.py`, beside suppression alone).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from napari_neuropil.prompts.boxes import Boxes, box_areas, box_overlaps
from napari_neuropil.prompts.detector import Detections
from napari_neuropil.prompts.section_tiles import TileBox

EDGE_TOLERANCE: Final = 4.0
"""Pixels: detectors end a cut object's box near the tile's edge, seldom on it."""

AGREEMENT: Final = 0.3
"""Least overlap of two halves in the common part of their tiles. Of perfect boxes, lower values
join neighbours and higher ones miss objects that bend within the overlap."""

TWINS: Final = 0.4
"""Least overlap of an object's whole boxes in two tiles. Low, for small boxes tremble."""

SAME_OBJECT: Final = 0.7
"""Overlap above which any two boxes are one object; dendrites within each other stay below (the
usual 0.5 costs them)."""


@dataclass(frozen=True, eq=False, slots=True)
class TileDetections:
    """What was found in one tile.

    Parameters
    ----------
    tile : TileBox
        Where it lies.
    found : Detections
        In pixels of the section, not of the tile.
    """

    tile: TileBox
    found: Detections


def no_detections() -> Detections:
    """Return an empty list of boxes."""
    return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))


def suppress_duplicates(found: Detections, most: float = SAME_OBJECT) -> Detections:
    """Keep the better of two boxes that overlap: non-maximum suppression.

    Parameters
    ----------
    found : Detections
        In any order.
    most : float
        Overlap (intersection over union) that two boxes may have.

    Returns
    -------
    Detections
        Highest score first; of equal scores the larger box first. O(kept x all) time.
    """
    order = np.lexsort((-box_areas(found.boxes), -found.scores))
    kept: list[int] = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(int(best))
        overlaps = box_overlaps(found.boxes[best : best + 1], found.boxes[order])[0]
        order = order[overlaps <= most]
    return Detections(found.boxes[kept], found.scores[kept])


def merge_tiles(
    parts: Sequence[TileDetections],
    shape: tuple[int, int],
    *,
    tolerance: float = EDGE_TOLERANCE,
    agreement: float = AGREEMENT,
    twins: float = TWINS,
    most: float = SAME_OBJECT,
) -> Detections:
    """Return the boxes of a section from those of its tiles.

    Parameters
    ----------
    parts : sequence of TileDetections
        Tiles that cover the section and overlap by more than `tolerance`.
    shape : tuple of int
        Of the section, (Y, X).
    tolerance : float
        Pixels from a tile's inner edge within which a box counts as cut.
    agreement : float
        Least overlap of a cut box with its continuation, both limited to what the two tiles
        have in common.
    twins : float
        Least overlap of two whole boxes, each other's best in two tiles, that are one object.
    most : float
        As `suppress_duplicates`, which follows.

    Returns
    -------
    Detections
        Highest score first. A joined box covers its parts and has their highest score.
    """
    if not parts:
        return no_detections()
    cut = [_cut_sides(part, shape, tolerance) for part in parts]
    firsts = np.cumsum([0, *(len(part.found) for part in parts)])
    pairs: list[tuple[int, int]] = []
    for one, other in itertools.permutations(range(len(parts)), 2):
        found = list(_continuations(parts[one], cut[one], parts[other], agreement))
        if one < other:
            rows = [np.flatnonzero(~cut[n].any(axis=1)) for n in (one, other)]
            found += _twins(parts[one].found.boxes, parts[other].found.boxes, rows, twins)
        pairs += [(int(firsts[one]) + a, int(firsts[other]) + b) for a, b in found]
    joined = _join(
        np.concatenate([part.found.boxes for part in parts]),
        np.concatenate([part.found.scores for part in parts]),
        np.concatenate([sides.any(axis=1) for sides in cut]),
        pairs,
    )
    return suppress_duplicates(joined, most)


def _cut_sides(part: TileDetections, shape: tuple[int, int], tolerance: float) -> NDArray[np.bool_]:
    """Return the sides (y0, x0, y1, x1) at which each box ends at an inner edge, (n, 4)."""
    inner = [part.tile[side] not in (0, shape[side % 2]) for side in range(4)]
    near: NDArray[np.bool_] = np.abs(part.found.boxes - np.array(part.tile)) <= tolerance
    cut: NDArray[np.bool_] = near & np.array(inner)
    return cut


def _continuations(
    part: TileDetections,
    cut: NDArray[np.bool_],
    other: TileDetections,
    agreement: float,
) -> Iterator[tuple[int, int]]:
    """Give the cut boxes of one tile with the boxes of another that go on beyond the edge."""
    common = _limit(np.array([part.tile], np.float32), other.tile)[0]
    boxes = other.found.boxes
    if not len(boxes) or not box_areas(common[None])[0]:
        return
    shared = box_overlaps(_limit(part.found.boxes, common), _limit(boxes, common))
    for side in range(4):
        edge, axis = part.tile[side], side % 2
        if not other.tile[axis] < edge < other.tile[axis + 2]:
            continue  # the other tile does not see beyond this edge
        crosses = (boxes[:, axis] < edge) & (boxes[:, axis + 2] > edge)
        agreeing = np.where(crosses, shared, -1.0)
        for row in np.flatnonzero(cut[:, side]):
            best = int(agreeing[row].argmax())
            if agreeing[row, best] >= agreement:
                yield int(row), best


def _twins(
    first: Boxes, second: Boxes, whole: Sequence[NDArray[np.intp]], least: float
) -> list[tuple[int, int]]:
    """Return the pairs of whole boxes of two tiles that are each other's best."""
    rows, columns = whole
    if not len(rows) or not len(columns):
        return []
    overlaps = box_overlaps(first[rows], second[columns])
    best, back = overlaps.argmax(axis=1), overlaps.argmax(axis=0)
    return [
        (int(rows[a]), int(columns[b]))
        for a, b in enumerate(best)
        if back[b] == a and overlaps[a, b] >= least
    ]


def _limit(boxes: Boxes, region: Sequence[float] | NDArray[np.float32]) -> Boxes:
    """Return what of the boxes lies in a region; those outside get no area."""
    limits = np.asarray(region, np.float32)
    low, high = np.maximum(boxes[:, :2], limits[:2]), np.minimum(boxes[:, 2:], limits[2:])
    return np.concatenate([low, np.maximum(high, low)], axis=1)


def _join(
    boxes: Boxes,
    scores: NDArray[np.float32],
    cut: NDArray[np.bool_],
    pairs: Sequence[tuple[int, int]],
) -> Detections:
    """Make one box of those that pairs connect: their union if one is cut, else the best."""
    if not len(boxes):
        return no_detections()
    first, second = np.array(pairs, np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(first), np.uint8), (first, second)), shape=(len(boxes),) * 2)
    count, group = connected_components(graph, directed=False)
    # Of each group the last one counts where whole boxes are written one over another.
    order = np.argsort(scores, kind="stable")
    joined, best = np.empty((count, 4), np.float32), np.empty(count, np.float32)
    joined[group[order]], best[group[order]] = boxes[order], scores[order]
    in_parts = np.zeros(count, np.bool_)
    in_parts[group[cut]] = True
    united = in_parts[group]
    np.minimum.at(joined[:, :2], group[united], boxes[united, :2])
    np.maximum.at(joined[:, 2:], group[united], boxes[united, 2:])
    return Detections(joined, best)
