"""Pieces that a drawing makes: parts of the fragments that it cuts, and of background below it.

The work goes block by block, so its memory does not depend on the drawing's size; what the pieces
themselves take in the log has a limit. A fragment whose box is large gets pieces that end at the
borders of blocks, as fragments end at the borders of the blocks they were made in: the next drawing
beside it then touches a block's worth of it, not the whole again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import EditRejectedError
from napari_neuropil.geometry import Roi
from napari_neuropil.project.fragment_table import FragmentTable
from napari_neuropil.proofreading.block_reader import BlockReader
from napari_neuropil.proofreading.drawings import Drawing, meeting
from napari_neuropil.proofreading.drawn_survey import tight_box
from napari_neuropil.proofreading.effects import FragmentSplit, Point
from napari_neuropil.segmentation.side_pieces import number_pieces, without_slivers

INSIDE: Final = 1
OUTSIDE: Final = 2

_ONE_BOX: Final = 1 << 20
"""Voxels of a fragment's box from which on its pieces end at the borders of blocks."""

_LARGEST_PATCH: Final = 1 << 28
"""Voxels of all pieces' boxes in one edit: they stay in memory as long as the session is open."""


@dataclass(frozen=True, eq=False)
class DrawnPieces:
    """The pieces of an edit, one row each.

    Parameters
    ----------
    splits : tuple of FragmentSplit
        Their voxels.
    ids : NDArray[np.uint64]
        (K,) ascending.
    parent : NDArray[np.uint64]
        (K,) the fragment that each is a part of, 0 for background.
    drawn : NDArray[np.bool_]
        (K,) in the mask, or the rest of a fragment.
    size : NDArray[np.int64]
        (K,) voxels.
    """

    splits: tuple[FragmentSplit, ...]
    ids: NDArray[np.uint64]
    parent: NDArray[np.uint64]
    drawn: NDArray[np.bool_]
    size: NDArray[np.int64]

    @property
    def parents(self) -> NDArray[np.uint64]:
        """(P,) fragments that pieces replace."""
        parents = np.unique(self.parent)
        return parents[parents > 0]


class Carver:
    """Makes pieces, and keeps them until they are asked for.

    Parameters
    ----------
    reader : BlockReader
        Fragments.
    drawing : Drawing
        The mask.
    table : FragmentTable
        Sizes and boxes of the fragments.
    first : int
        Id of the first piece.
    sliver : int
        Voxels: smaller parts of a fragment stay with the side that holds most of it.
    """

    def __init__(
        self,
        reader: BlockReader,
        drawing: Drawing,
        table: FragmentTable,
        *,
        first: int,
        sliver: int,
    ) -> None:
        self._reader = reader
        self._drawing = drawing
        self._table = table
        self._next = first
        self._sliver = sliver
        self._splits: list[FragmentSplit] = []
        self._sides: list[NDArray[np.uint8]] = []
        self._stored = 0

    def cut(self, fragment: int, inside: int) -> int:
        """Cut a fragment along the mask.

        Parameters
        ----------
        fragment : int
            Partly in the mask.
        inside : int
            Its voxels there.

        Returns
        -------
        int
            `INSIDE` or `OUTSIDE` if all that lay on the other side were slivers: the fragment is
            whole then, and belongs there. 0 if it was cut.
        """
        majority = INSIDE if 2 * inside > self._table.size[fragment] else OUTSIDE
        minority = INSIDE + OUTSIDE - majority
        box = self._box(fragment)
        cells = self._cells(box)
        drawn = [bool(meeting(self._drawing.boxes, cell).any()) for cell in cells]
        near = [cell for cell, here in zip(cells, drawn, strict=True) if here]
        parts = [self._part(fragment, box, cell, minority) for cell in near]
        if majority == INSIDE or any((sides == minority).any() for _, sides in parts):
            far = [cell for cell, here in zip(cells, drawn, strict=True) if not here]
            parts += [self._part(fragment, box, cell, minority) for cell in far]
        if not any((sides == minority).any() for _, sides in parts):
            self._account(-sum(sides.size for _, sides in parts))
            return majority
        for start, sides in parts:
            if sides.any():
                self._add(fragment, start, sides)
        return 0

    def fill(self, roi: Roi) -> None:
        """Make pieces of the background in the mask in a box."""
        sides = (self._drawing.read(roi) & (self._reader.read(roi) == 0)).view(np.uint8)
        self._account(sides.size)
        self._add(0, roi.start, sides)

    def pieces(self) -> DrawnPieces:
        """Return what was made."""
        counts = [len(sides) for sides in self._sides]
        size = [
            np.bincount(split.labels.reshape(-1), minlength=count + 1)[1:]
            for split, count in zip(self._splits, counts, strict=True)
        ]
        parent = np.array([split.parent for split in self._splits], np.uint64)
        return DrawnPieces(
            tuple(self._splits),
            np.concatenate([np.zeros(0, np.uint64), *(split.ids for split in self._splits)]),
            np.repeat(parent, counts),
            np.concatenate([np.zeros(0, np.uint8), *self._sides]) == INSIDE,
            np.concatenate([np.zeros(0, np.int64), *size]),
        )

    def _box(self, fragment: int) -> Roi:
        start, stop = self._table.start[fragment].tolist(), self._table.stop[fragment].tolist()
        return Roi((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))

    def _cells(self, box: Roi) -> list[Roi]:
        """Return the boxes whose parts of a fragment become pieces: one, or one for each block."""
        if box.size <= _ONE_BOX:
            return [box]
        blocks = self._reader.blocks_of(np.array([[box.start, box.stop]], np.int64))
        return [cell for cell in (block.intersection(box) for block in blocks) if cell is not None]

    def _part(
        self, fragment: int, box: Roi, cell: Roi, minority: int
    ) -> tuple[Point, NDArray[np.uint8]]:
        """Return where a fragment begins in a cell of its box, and its sides there."""
        mine = self._reader.read(cell) == fragment
        tight = tight_box(mine)
        if tight is None:
            return cell.start, np.zeros((1, 1, 1), np.uint8)
        mine, roi = mine[tight.slices], tight.shifted(cell.start)
        sides = np.where(self._drawing.read(roi), np.uint8(INSIDE), np.uint8(OUTSIDE))
        sides = np.where(mine, sides, np.uint8(0))
        self._account(sides.size)
        if (sides == minority).any():
            faces = _open_faces(roi, cell, box)
            sides = without_slivers(sides, minority, self._sliver, faces)
        return roi.start, sides

    def _add(self, parent: int, start: Point, sides: NDArray[np.uint8]) -> None:
        labels, side = number_pieces(sides, self._sliver)
        self._splits.append(FragmentSplit(parent, start, labels, self._next))
        self._sides.append(side)
        self._next += len(side)

    def _account(self, voxels: int) -> None:
        self._stored += voxels
        if self._stored > _LARGEST_PATCH:
            raise EditRejectedError(
                "The drawing cuts fragments, or fills background, in too large a space.",
                f"at most {_LARGEST_PATCH} voxels in the boxes of all pieces",
                "draw the object in parts, or call more a sliver: large fragments stay whole then.",
            )


def _open_faces(roi: Roi, cell: Roi, box: Roi) -> list[tuple[int, int]]:
    """Return the faces of `roi` at which a cell ends and the fragment's box does not."""
    ends = ((0, roi.start, cell.start, box.start), (-1, roi.stop, cell.stop, box.stop))
    return [
        (axis, plane)
        for plane, own, cells, whole in ends
        for axis in range(3)
        if own[axis] == cells[axis] != whole[axis]
    ]


def in_place_order(table: FragmentTable, fragments: NDArray[np.uint64]) -> Iterator[int]:
    """Give the rows of fragments so that neighbours follow each other, which spares reading."""
    start = table.start[fragments.astype(np.intp)] // 256
    yield from np.lexsort((start[:, 0], start[:, 2], start[:, 1])).tolist()
