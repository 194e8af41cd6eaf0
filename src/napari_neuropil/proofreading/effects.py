"""What an edit changed: an `Effect`, exactly invertible.

An effect names every fragment that changed its segment, with the segment before and after, so it
can be carried out and taken back without computing anything again. The log of effects is the truth
of a session; lookup, graph and pieces follow from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.geometry import Roi
from napari_neuropil.segmentation.rag import Rag

Point = tuple[int, int, int]
"""(z, y, x) voxel of the fragments' grid."""

NO_PAIRS: Final = np.zeros((0, 2), np.uint64)
NO_LINKS: Final = Rag.empty()


@dataclass(frozen=True, eq=False)
class FragmentSplit:
    """One fragment replaced by pieces with ids of their own; voxels on disk stay as they are.

    A fragment of many voxels may have several splits in one effect, each with the pieces in a part
    of it; together they hold all of its voxels. Of background only the voxels in pieces are taken.

    Parameters
    ----------
    parent : int
        The fragment (or piece) that is replaced; 0: the pieces lie over background.
    start : tuple of int
        Voxel of ``labels[0, 0, 0]``.
    labels : NDArray[np.uint8]
        (Z, Y, X); k at voxels of piece k, 0 elsewhere.
    first : int
        Id of piece 1; piece k has id ``first + k - 1``.
    """

    parent: int
    start: Point
    labels: NDArray[np.uint8]
    first: int

    @property
    def count(self) -> int:
        """Number of pieces."""
        return int(self.labels.max())

    @property
    def ids(self) -> NDArray[np.uint64]:
        """Ids of the pieces."""
        return np.arange(self.first, self.first + self.count, dtype=np.uint64)

    @property
    def roi(self) -> Roi:
        """The box of the pieces."""
        return Roi.of_shape(self.labels.shape).shifted(self.start)


@dataclass(frozen=True, eq=False)
class Effect:
    """What an edit changed, exactly invertible.

    Parameters
    ----------
    fragments : NDArray[np.uint64]
        (M,) fragments whose segment changed, without repeats.
    before, after : NDArray[np.uint64]
        (M,) their segments; 0 is background, also for pieces that did not exist before and for
        a parent that pieces replaced.
    joined, cut : NDArray[np.uint64]
        (J, 2) and (K, 2) contacts a < b that this edit decided: one object, or two.
    splits : tuple of FragmentSplit
        Fragments it replaced by pieces, and pieces it laid over background, in this order.
    links : Rag
        Contacts it added: those of the pieces, and of segments merged without touching.
    """

    fragments: NDArray[np.uint64]
    before: NDArray[np.uint64]
    after: NDArray[np.uint64]
    joined: NDArray[np.uint64] = field(default_factory=lambda: NO_PAIRS)
    cut: NDArray[np.uint64] = field(default_factory=lambda: NO_PAIRS)
    splits: tuple[FragmentSplit, ...] = ()
    links: Rag = field(default_factory=lambda: NO_LINKS)

    @property
    def segments(self) -> tuple[int, ...]:
        """Segments touched, before and after, ascending, without background."""
        ids = np.unique(np.concatenate((self.before, self.after)))
        return tuple(int(s) for s in ids if s)
