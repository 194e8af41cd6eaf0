"""Proposals on a session's present state: what an edit would change, and why it is refused."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import EditRejectedError
from napari_neuropil.geometry import Roi
from napari_neuropil.project import Project
from napari_neuropil.project.fragment_table import FragmentTable
from napari_neuropil.proofreading.database import SessionDatabase
from napari_neuropil.proofreading.draw_proposals import propose_drawing
from napari_neuropil.proofreading.drawings import Drawing, DrawingRules, DrawnRow, as_drawing
from napari_neuropil.proofreading.edits import FragmentSplit, Proposal
from napari_neuropil.proofreading.evidence import Evidence
from napari_neuropil.proofreading.group_merges import propose_merge_below
from napari_neuropil.proofreading.history import History
from napari_neuropil.proofreading.merge_order import (
    MergeOrder,
    kept_apart_by_answers,
    merge_order,
)
from napari_neuropil.proofreading.noted_project import NotedProject
from napari_neuropil.proofreading.proposals import (
    Desk,
    propose_assign,
    propose_delete,
    propose_detach,
    propose_merge,
)
from napari_neuropil.proofreading.requests import Pick, Resolver
from napari_neuropil.proofreading.split_proposals import propose_split
from napari_neuropil.segmentation.metric_offsets import HALF_WAY


class ProposingProject(NotedProject):
    """A project with its edits and notes, on which edits can be worked out.

    Parameters
    ----------
    project : Project
        As segmented.
    table : FragmentTable
        Sizes and boxes of its fragments.
    database : SessionDatabase
        Where notes go.
    """

    def __init__(self, project: Project, table: FragmentTable, database: SessionDatabase) -> None:
        super().__init__(project, table, database)
        self._history = History()
        # Above every fragment too, since an id in a merge may name either.
        self._next_segment = max(int(project.lookup.max(initial=0)) + 1, len(project.lookup))
        self._next_fragment = len(project.lookup)
        self._evidence = Evidence(project)
        self._resolver = Resolver(self._state, self.fragment_at, self._annotations)

    def propose_merge(self, a: Pick, b: Pick, *, force: bool = False) -> Proposal:
        """Work out the merge of two segments, each an id or a (z, y, x) point in voxels.

        Raises
        ------
        EditRejectedError
            One segment twice, background, no contact, or one is done (the last two forceable).
        """
        return self.propose_merge_many([a, b], force=force)

    def propose_merge_many(self, picks: Iterable[Pick], *, force: bool = False) -> Proposal:
        """Work out the merge of several segments into the largest."""
        with self._turn:
            return propose_merge(self._desk(), list(picks), force=force)

    def merge_order(
        self,
        *,
        roi: Roi | None = None,
        segments: Iterable[int] | None = None,
        leave_done: bool = False,
    ) -> MergeOrder:
        """Return the contacts between segments by embedding distance, and what each would join.

        Costs the number of contacts looked at.

        Parameters
        ----------
        roi : Roi, optional
            Only contacts whose centroid lies in this box, voxels.
        segments : iterable of int, optional
            Only contacts of these segments.
        leave_done : bool
            Leave out the contacts of segments marked done.
        """
        with self._turn:
            lookup = self.lookup.copy()
            if segments is None:
                contacts = self.graph.all()
            else:
                members = [self.members(segment) for segment in segments]
                contacts = self.graph.leaving(np.concatenate([np.zeros(0, np.uint64), *members]))
            pairs, decided = self._state.decided()
            apart = np.concatenate((pairs[decided < 0], kept_apart_by_answers(self.decisions())))
            done = self._done() if leave_done else None
        return merge_order(lookup, contacts, apart, roi=roi, done=done)

    def propose_merge_below(
        self,
        distance: float = HALF_WAY,
        *,
        roi: Roi | None = None,
        segments: Iterable[int] | None = None,
        leave_done: bool = False,
        force: bool = False,
    ) -> Proposal:
        """Work out one merge of whatever contacts with an embedding distance below this connect.

        What an edit or an answer kept apart stays apart, also where other contacts would join it
        by way of a third segment.

        Parameters
        ----------
        distance : float
            Of the mean embeddings on both sides; above 0.
        roi, segments, leave_done
            See `merge_order`.
        force : bool
            Also where segments that are done would change.

        Raises
        ------
        EditRejectedError
            If nothing is to be merged, or a segment is done (forceable).
        """
        if not 0 < distance < np.inf:
            raise EditRejectedError(f"The distance {distance}.", "a number above 0", "")
        wanted = None if segments is None else [int(segment) for segment in segments]
        wish = {
            "distance": float(distance),
            "roi": None if roi is None else str(roi),
            "segments": wanted,
            "leave_done": leave_done,
            "force": force,
        }
        while True:
            # Seconds for 10^6 contacts, so edits are let in meanwhile; then it is done again.
            base = len(self._history.edits)
            order = self.merge_order(roi=roi, segments=wanted, leave_done=leave_done)
            with self._turn:
                if base == len(self._history.edits):
                    return propose_merge_below(
                        self._desk(), order, distance, done=self._done(), wish=wish, force=force
                    )

    def _done(self) -> NDArray[np.uint64]:
        done = [s for s, note in self.annotations().items() if note.status == "done"]
        return np.array(sorted(done), np.uint64)

    def propose_split(
        self, side_a: Any, side_b: Any, *, force: bool = False, quick: bool = False
    ) -> Proposal:
        """Work out the split of a segment between two sides.

        Parameters
        ----------
        side_a, side_b : pick or iterable of picks
            Fragment ids or (z, y, x) points in voxels; points may lie in one fragment.
        force : bool
            Also where the segment is done.
        quick : bool
            Only a corridor between the sides is searched: for a preview.

        Raises
        ------
        EditRejectedError
            If the sides are not two places in one segment.
        """
        with self._turn:
            return propose_split(
                self._desk(),
                self._pieced,
                self._evidence,
                (side_a, side_b),
                force=force,
                quick=quick,
            )

    def propose_detach(self, fragments: Any, *, force: bool = False) -> Proposal:
        """Work out taking fragments out of their segment, as one new segment."""
        with self._turn:
            return propose_detach(self._desk(), fragments, isolate=False, force=force)

    def propose_isolate(self, fragments: Any, *, force: bool = False) -> Proposal:
        """Work out detaching fragments, and whatever hung on the segment only through them."""
        with self._turn:
            return propose_detach(self._desk(), fragments, isolate=True, force=force)

    def propose_assign(self, fragments: Any, segment: Pick, *, force: bool = False) -> Proposal:
        """Work out moving fragments to a segment that exists."""
        with self._turn:
            return propose_assign(self._desk(), fragments, segment, force=force)

    def propose_delete(self, segment: Pick, *, force: bool = False) -> Proposal:
        """Work out making a segment background."""
        with self._turn:
            return propose_delete(self._desk(), segment, force=force)

    def propose_drawing(
        self,
        drawn: Drawing | Iterable[DrawnRow],
        into: Pick | None = None,
        *,
        rules: DrawingRules | None = None,
        force: bool = False,
    ) -> Proposal:
        """Work out making a drawn object a segment: fragments, parts of them, and background.

        Cost: the blocks that the mask meets and the boxes of the fragments that it cuts, about a
        second for two million voxels; memory of some blocks, and of the pieces.

        Parameters
        ----------
        drawn : Drawing or iterable of (z, y0, x0, mask)
            `DrawnRows`, `DrawnFunction`, or masks (h, w) bool of sections; voxels of the
            fragments' grid.
        into : pick, optional
            The segment that it grows; without, it becomes one of its own.
        rules : DrawingRules, optional
            When a fragment is taken whole, what is a sliver, whether to spare segments that are
            done.
        force : bool
            Also change segments that are done.

        Raises
        ------
        EditRejectedError
            If the mask is empty, outside, of another grid or too large; if nothing would change; or
            a segment it takes from is done (forceable).
        """
        with self._turn:
            return propose_drawing(
                self._desk(),
                self._pieced,
                self._evidence,
                as_drawing(drawn),
                into,
                rules=rules or DrawingRules(),
                done=self._done(),
                force=force,
            )

    def _desk(self) -> Desk:
        return Desk(
            self._state,
            self.graph,
            self._resolver,
            len(self._history.edits),
            self._next_segment,
            self._next_fragment,
        )

    def _reserve(self, segments: NDArray[np.uint64], splits: Iterable[FragmentSplit]) -> None:
        """Never give out again the segments, nor the pieces."""
        self._next_segment = max(self._next_segment, int(segments.max(initial=0)) + 1)
        for split in splits:
            self._next_fragment = max(self._next_fragment, split.first + split.count)
