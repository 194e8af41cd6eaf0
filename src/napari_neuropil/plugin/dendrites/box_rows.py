"""Boxes as shapes of a layer, both ways. No Qt.

A pixel's centre has whole coordinates in napari, so a box [y0, y1) is drawn from y0 - 0.5 to
y1 - 0.5.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.plugin.dendrites.cross_section import Box
from napari_neuropil.plugin.dendrites.records import Proposal
from napari_neuropil.plugin.dendrites.work import Work

SMALLEST: Final = 2.0
"""Pixels: a shape that is thinner was a click that slipped."""
MOST_SHOWN: Final = 400
"""Shapes drawn at once: a layer of thousands takes seconds at each change."""
_MOVED: Final = 0.01


@dataclass(frozen=True)
class DrawnBox:
    """A rectangle of the layer.

    Parameters
    ----------
    id : int
        Of its proposal; 0: it is new.
    z : int
        Section.
    box : tuple of float
        y0, x0, y1, x1.
    """

    id: int
    z: int
    box: Box


def shape_of_box(z: int, box: Box) -> NDArray[np.float64]:
    """Return the four corners, (4, 3), of a box in a section."""
    y0, x0, y1, x1 = (value - 0.5 for value in box)
    return np.array([[z, y0, x0], [z, y0, x1], [z, y1, x1], [z, y1, x0]], np.float64)


def read_shapes(
    shapes: Sequence[NDArray[Any]], ids: Iterable[int], shape: tuple[int, int, int]
) -> list[DrawnBox]:
    """Return the boxes that a user's shapes mean, inside the volume.

    Parameters
    ----------
    shapes : sequence of NDArray, (n, 3)
        Corners; any closed shape stands for the box around it.
    ids : iterable of int
        Of each: its proposal, 0 if new. One that comes twice (a copied shape) is new.
    shape : tuple of int
        Of the volume. What lies outside is cut off, what is left empty or thin is left out.
    """
    found: list[DrawnBox] = []
    used: set[int] = set()
    depth, height, width = shape
    for corners, number in zip(shapes, ids, strict=True):
        points = np.asarray(corners, float)
        z = round(float(points[:, 0].mean()))
        y0, x0 = (points[:, 1:].min(axis=0) + 0.5).clip(0)
        y1, x1 = np.minimum(points[:, 1:].max(axis=0) + 0.5, (height, width))
        if not 0 <= z < depth or y1 - y0 < SMALLEST or x1 - x0 < SMALLEST:
            continue
        number = 0 if number in used else int(number)
        used.add(number)
        found.append(DrawnBox(number, z, (float(y0), float(x0), float(y1), float(x1))))
    return found


def shown_proposals(work: Work, z: int) -> list[Proposal]:
    """Return the proposals whose boxes are drawn: all, or of one section where they are many."""
    rows = [p for p in work.proposals.values() if p.box is not None and p.state != "rejected"]
    return rows if len(rows) <= MOST_SHOWN else [p for p in rows if p.z == z]


def apply_boxes(work: Work, drawn: Iterable[DrawnBox], shown: Iterable[int]) -> Work:
    """Return the work after the user changed the layer.

    Parameters
    ----------
    work : Work
        Before.
    drawn : iterable of DrawnBox
        What the layer holds now.
    shown : iterable of int
        The proposals that it held: one that is missing now was deleted.
    """
    held = set(shown)
    rows = [_recognised(row, work, held) for row in drawn]
    gone = held - {row.id for row in rows}
    if gone & set(work.proposals):
        work = work.without(gone)
    for row in rows:
        known = work.proposals.get(row.id)
        if known is None:
            work = work.with_new_box(row.z, row.box)
        elif known.box is not None and (
            known.z != row.z
            or max(abs(a - b) for a, b in zip(known.box, row.box, strict=True)) > _MOVED
        ):
            work = work.with_box(row.id, row.z, row.box)
    return work


def _recognised(row: DrawnBox, work: Work, held: set[int]) -> DrawnBox:
    """Give a box that was read already, but not drawn again since, the number of its proposal."""
    if row.id:
        return row
    for known in work.proposals.values():
        if known.id not in held and known.z == row.z and known.box == row.box:
            return replace(row, id=known.id)
    return row


def box_label(proposal: Proposal) -> str:
    """Return what is written beside a box."""
    return "" if proposal.found is None else f"{proposal.found:.2f}"
