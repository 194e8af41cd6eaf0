"""What becomes of each fragment below a drawing: taken whole, cut, or left as it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.proofreading.block_reader import BlockReader
from napari_neuropil.proofreading.drawings import Drawing, DrawingRules
from napari_neuropil.proofreading.drawn_pieces import INSIDE, Carver, DrawnPieces, in_place_order
from napari_neuropil.proofreading.drawn_survey import Survey
from napari_neuropil.proofreading.proposals import Desk


@dataclass(frozen=True, eq=False)
class Drawn:
    """What a drawing takes.

    Parameters
    ----------
    segment : int
        What it becomes, or grows.
    whole : NDArray[np.uint64]
        Fragments taken whole, those that are there already left out.
    pieces : DrawnPieces
        Of fragments that are cut, and of background.
    spared : int
        Voxels in the mask left to segments that are done.
    missed : int
        Other voxels in the mask that are not in the segment afterwards.
    added : int
        Voxels taken that are not in the mask.
    """

    segment: int
    whole: NDArray[np.uint64]
    pieces: DrawnPieces
    spared: int
    missed: int
    added: int

    @property
    def new(self) -> int:
        """Voxels of background taken."""
        return int(self.pieces.size[self.pieces.parent == 0].sum())


def take_drawn(
    desk: Desk,
    reader: BlockReader,
    drawing: Drawing,
    found: Survey,
    segment: int,
    rules: DrawingRules,
    spared: NDArray[np.uint64],
) -> Drawn:
    """Decide what becomes of each fragment below a mask, and cut those that are to be cut.

    Parameters
    ----------
    desk : Desk
        State.
    reader : BlockReader
        Fragments.
    drawing : Drawing
        The mask.
    found : Survey
        What lies below it.
    segment : int
        What the drawing becomes, or grows: its own fragments stay as they are.
    rules : DrawingRules
        When a fragment is whole.
    spared : NDArray[np.uint64]
        Segments that keep all of their voxels.
    """
    rows = found.fragments.astype(np.intp)
    owner, size, inside = desk.state.lookup[rows], desk.state.table.size[rows], found.inside
    kept = np.isin(owner, spared)
    there = owner == np.uint64(segment)
    whole = inside >= rules.whole_share * size
    whole |= (size - inside < rules.sliver) & (2 * inside > size)
    few = (inside < rules.sliver) & (2 * inside <= size)
    carver = Carver(
        reader, drawing, desk.state.table, first=desk.next_fragment, sliver=rules.sliver
    )
    crossed = ~(kept | there | whole | few)
    at = np.flatnonzero(crossed)
    for i in in_place_order(desk.state.table, found.fragments[at]):
        row = int(at[i])
        side = carver.cut(int(found.fragments[row]), int(inside[row]))
        crossed[row] = side == 0
        whole[row] = side == INSIDE
    for roi in found.background:
        carver.fill(roi)
    pieces = carver.pieces()
    whole &= ~(kept | there)
    taken = int(size[whole].sum() + pieces.size[pieces.drawn].sum() + inside[there].sum())
    # A sliver of a cut fragment is given across, so both are counted from the whole and the pieces.
    in_pieces = _drawn_in_mask(pieces, drawing)
    covered = int(inside[whole].sum() + inside[there].sum()) + in_pieces
    left = int(inside[kept].sum())
    return Drawn(
        segment,
        found.fragments[whole],
        pieces,
        left,
        found.voxels - left - covered,
        taken - covered,
    )


def _drawn_in_mask(pieces: DrawnPieces, drawing: Drawing) -> int:
    """Return the voxels of drawn pieces that lie in the mask."""
    count, row = 0, 0
    for split in pieces.splits:
        drawn = np.concatenate(([False], pieces.drawn[row : row + split.count]))
        count += int(np.count_nonzero(drawn[split.labels] & drawing.read(split.roi)))
        row += split.count
    return count
