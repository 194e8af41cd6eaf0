"""Candidates of a few segments, found anew after an edit: the cost is their contacts' number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.proofreading.candidates import (
    Candidate,
    Candidates,
    CandidateSettings,
    FragmentFacts,
    apply_answers,
    find_in_arrays,
    join_candidates,
)
from napari_neuropil.proofreading.graph import Contacts
from napari_neuropil.proofreading.pairs import SegmentMeasures, measure_segments
from napari_neuropil.proofreading.weak_links import tree_sides

if TYPE_CHECKING:
    from napari_neuropil.proofreading.session import ProofreadingSession

_MOST: Final = 5000
"""Candidates kept of one refresh; those beyond it expect next to nothing."""


class LocalFinder:
    """Finds candidates of single segments of a session.

    Parameters
    ----------
    session : ProofreadingSession
        Open.
    settings : CandidateSettings
        What to look for.
    measurements : Mapping[str, NDArray], optional
        Of fragments, by name, for scorers.
    """

    def __init__(
        self,
        session: ProofreadingSession,
        settings: CandidateSettings,
        measurements: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        self._session = session
        self._settings = settings
        self._measurements = measurements or {}
        self._outer: NDArray[np.bool_] = np.zeros(0, bool)
        self._total = 0.0
        self._base: SegmentMeasures | None = None
        self._changed: dict[int, SegmentMeasures] = {}

    def reset(self, measures: SegmentMeasures | None) -> None:
        """Start from what was measured of all segments; None: measure it when first needed."""
        self._base = measures
        self._changed.clear()

    def cost(self, segments: Iterable[int]) -> int:
        """Return the number of fragments in some segments."""
        return sum(len(self._session.members(segment)) for segment in segments)

    def find(self, segments: NDArray[np.uint64]) -> Candidates:
        """Return the candidates of some segments; ids that are gone have none."""
        members = [self._session.members(int(segment)) for segment in segments]
        fragments = np.concatenate([np.zeros(0, np.uint64), *members])
        if not len(fragments):
            return join_candidates([])
        facts = self._facts()
        contacts = self._contacts(fragments)
        measures = self._measures(facts, contacts, fragments)
        found = find_in_arrays(
            facts, contacts, self._settings, total=self._total, measures=measures
        )
        return found[:_MOST]

    def sides(self, candidate: Candidate) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Return the fragments on both sides of a merge error's link, a's first."""
        return tree_sides(self._within(candidate), candidate.a, candidate.b)

    def seeds(self, candidate: Candidate) -> tuple[list[int], list[int]]:
        """Return fragments that force a split between exactly the two sides.

        Those at the border between the sides: every way from one side to the other leads through
        them, so no other cut is smaller.
        """
        contacts = self._within(candidate)
        first = tree_sides(contacts, candidate.a, candidate.b)[0]
        if not len(first):
            return [candidate.a], [candidate.b]
        ends = np.stack((contacts.a, contacts.b), axis=1)
        mine = np.isin(ends, first)
        border = mine[:, 0] != mine[:, 1]
        across, side = ends[border], mine[border]
        return (
            [int(f) for f in np.unique(across[side])],
            [int(f) for f in np.unique(across[~side])],
        )

    # parts

    def _within(self, candidate: Candidate) -> Contacts:
        segment = int(self._session.lookup[candidate.a])
        contacts = self._session.graph.within(self._session.members(segment))
        return apply_answers(contacts, self._session.decisions())

    def _contacts(self, fragments: NDArray[np.uint64]) -> Contacts:
        return apply_answers(self._session.graph.contacts_of(fragments), self._session.decisions())

    def _facts(self) -> FragmentFacts:
        session = self._session
        table, known = session.table, len(self._outer)
        if known < len(table):
            shape = np.array(session.fragments().shape)
            start, stop = table.start[known:], table.stop[known:]
            outer = (start <= 0).any(axis=1) | (stop >= shape).any(axis=1)
            self._outer = np.concatenate((self._outer, outer))
            if known == 0:
                self._total = float(table.size[session.lookup > 0].sum())
        return FragmentFacts(
            lookup=session.lookup,
            size=table.size,
            outer=self._outer[: len(table)],
            voxel_um3=session.info.voxel_size_nm.volume_um3,
            measurements=self._measurements,
        )

    def _measures(
        self, facts: FragmentFacts, contacts: Contacts, fragments: NDArray[np.uint64]
    ) -> SegmentMeasures:
        """Measure the segments of `fragments` and look up those they meet.

        Neighbours keep what was measured when the whole was; only their surface can have changed
        since, by what two neighbours' merge hides.
        """
        mine = measure_segments(facts.lookup, contacts, facts.size, facts.outer, fragments)
        for row, segment in enumerate(mine.ids.tolist()):
            self._changed[segment] = mine.take(np.array([row]))
        if self._base is None:
            self._base = measure_segments(
                facts.lookup, self._session.graph.all(), facts.size, facts.outer
            )
        ends = np.concatenate((contacts.a, contacts.b)).astype(np.intp)
        met = np.unique(facts.lookup[ends])
        met = met[met > 0]
        changed = [self._changed[s] for s in met.tolist() if s in self._changed]
        known = np.array([s for s in met.tolist() if s not in self._changed], np.uint64)
        rows = np.searchsorted(self._base.ids, known)
        parts = [self._base.take(rows), *changed]
        order = np.argsort(np.concatenate([part.ids for part in parts]))
        return SegmentMeasures(
            *(
                np.concatenate([getattr(part, name) for part in parts])[order]
                for name in ("ids", "size", "surface", "inside")
            )
        )
