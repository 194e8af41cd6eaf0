"""Scores against truth at every point of a session's history. No Qt.

Counted once on the fragments as segmented; then each edit costs the fragments it moved, and a cut
fragment the voxels of its box.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_neuropil.evaluation.contingency import EditedScores, count_contingency

if TYPE_CHECKING:
    from napari_neuropil.evaluation.scores import SegmentationScores
    from napari_neuropil.proofreading import Edit, ProofreadingSession
    from napari_neuropil.proofreading.edits import FragmentSplit


class ScoreHistory:
    """Follows a session through its history.

    Making one counts all voxels: call it beside the window.

    Parameters
    ----------
    session : ProofreadingSession
        Its fragments and lookup as segmented are read.
    labels : LazyArray
        (Z, Y, X) truth, 0 where there is none.
    offset : tuple of int
        Voxel of the fragments' grid at which voxel 0 of `labels` lies.
    report : callable, optional
        Receives blocks done and all blocks.
    stop : callable, optional
        Asked before each block; True ends the work.

    Raises
    ------
    VolumeFormatError
        If truth and segmentation do not overlap, or there is no truth.
    CancelledError
        If `stop` said so.
    """

    def __init__(
        self,
        session: ProofreadingSession,
        labels: Any,
        offset: tuple[int, int, int] = (0, 0, 0),
        *,
        report: Callable[[int, int], None] | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> None:
        project = session.project
        self._labels = labels
        self._offset = offset
        table = count_contingency(
            project.fragments.array, labels, offset=offset, report=report, stop=stop
        )
        self._scores = EditedScores(table, project.lookup)
        self._counted: set[int] = set()
        self._way: list[int] = []
        self._known: dict[int, SegmentationScores] = {0: self._scores.scores()}

    @property
    def first(self) -> SegmentationScores:
        """Scores as segmented."""
        return self._known[0]

    @property
    def now(self) -> SegmentationScores:
        """Scores at the point that `follow` went to."""
        return self._known[self._way[-1] if self._way else 0]

    @property
    def curve(self) -> list[SegmentationScores]:
        """Scores after 0, 1, 2, ... edits on the way to the present."""
        return [self._known[number] for number in (0, *self._way)]

    def follow(self, edits: Sequence[Edit], cursor: int) -> None:
        """Go to a point of the history.

        Parameters
        ----------
        edits : sequence of Edit
            The log.
        cursor : int
            The edit to go to; 0 is the result as segmented.
        """
        goal: list[int] = []
        at = cursor
        # Down to where the two ways meet: an edit's parent has a smaller id.
        while at:
            while self._way and self._way[-1] > at:
                self._step(edits, self._way.pop(), forward=False)
            if self._way and self._way[-1] == at:
                break
            goal.append(at)
            at = edits[at - 1].parent
        while self._way and self._way[-1] > at:
            self._step(edits, self._way.pop(), forward=False)
        for number in reversed(goal):
            self._step(edits, number, forward=True)
            self._way.append(number)
            if number not in self._known:
                self._known[number] = self._scores.scores()

    def _step(self, edits: Sequence[Edit], number: int, *, forward: bool) -> None:
        effect = edits[number - 1].effect
        if effect is None:
            return
        if number not in self._counted:
            self._counted.add(number)
            for split in effect.splits:
                self._count_pieces(split)
        # What was drawn over background is not born: its voxels were counted as segment 0.
        cut = [split for split in effect.splits if split.parent]
        pieces = frozenset(int(i) for split in cut for i in split.ids)
        parents = frozenset(split.parent for split in cut)
        before, after = (effect.before, effect.after)
        if forward:
            self._scores.move(effect.fragments, before, after, born=pieces, gone=parents)
        else:
            self._scores.move(effect.fragments, after, before, born=parents, gone=pieces)

    def _count_pieces(self, split: FragmentSplit) -> None:
        """Count the pieces of a cut fragment where there is truth."""
        pairs = list(zip(split.start, split.labels.shape, self._offset, strict=True))
        low = [max(s, o) for s, _, o in pairs]
        high = [min(s + n, o + m) for (s, n, o), m in zip(pairs, self._labels.shape, strict=True)]
        ids = np.zeros(split.labels.shape, np.uint64)
        inside = split.labels > 0
        ids[inside] = split.labels[inside].astype(np.uint64) + np.uint64(split.first - 1)
        truth = np.zeros(ids.shape, np.uint64)
        if all(a < b for a, b in zip(low, high, strict=True)):
            here = tuple(
                slice(a - s, b - s) for a, b, s in zip(low, high, split.start, strict=True)
            )
            there = tuple(
                slice(a - o, b - o) for a, b, o in zip(low, high, self._offset, strict=True)
            )
            truth[here] = np.asarray(self._labels[there])
        self._scores.add_pieces(ids, truth)
