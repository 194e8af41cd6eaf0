"""Candidates: places worth a look, ranked by what an answer is expected to bring.

Two kinds. A possible *split error* is a pair of segments that meet and may be one neuron; a
possible *merge error* is a weak link within a segment that may be two. Each has a probability of
being an error (`scorers`) and a change of the variation of information (VI) if it is one; their
product, the expected gain, ranks them: large pieces before crumbs, likely errors before unlikely.

People err now and then, and a wrong yes to two large neurons costs as much as many right answers
bring. With a share w of wrong answers asking is worth p (1 - w) change - (1 - p) w change: so a
place that is hardly ever an error is not asked about at all, however large it is. A small w also
guards against probabilities that are too high for the largest pieces. The default was chosen among
0, 0.01, 0.02, 0.03 and 0.05 by the oracle curves of two volumes; on AC4, with one wrong answer in
twenty, w = 0 made VI worse, on FIB-25 the choice mattered less than which answers were wrong.

All steps work on arrays of contacts: a graph of a million segments and ten million contacts takes
seconds. Candidates stay rows of arrays until somebody looks at one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from napari_neuropil.errors import SettingsError
from napari_neuropil.proofreading.candidate_table import Candidate, Candidates, join_candidates
from napari_neuropil.proofreading.edits import Decision
from napari_neuropil.proofreading.fragment_evidence import query_measurements
from napari_neuropil.proofreading.graph import Contacts
from napari_neuropil.proofreading.pairs import (
    ContactArrays,
    Pairs,
    SegmentMeasures,
    measure_segments,
    pool_contacts,
)
from napari_neuropil.proofreading.scorers import PURITIES, SCORERS, judge
from napari_neuropil.proofreading.weak_links import WeakLinks

if TYPE_CHECKING:
    from napari_neuropil.proofreading.session import ProofreadingSession

__all__ = [
    "Candidate",
    "CandidateSettings",
    "Candidates",
    "FragmentFacts",
    "apply_answers",
    "change_of_vi",
    "facts_of",
    "find_candidates",
    "find_in_arrays",
    "join_candidates",
]


class CandidateSettings(BaseModel):
    """What to look for, and how much each scorer counts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    split_errors: bool = Field(
        default=True,
        title="Split errors",
        description="Look for two segments that may be one.",
    )
    merge_errors: bool = Field(
        default=True,
        title="Merge errors",
        description="Look for segments that may be two.",
    )
    weights: dict[str, float] = Field(
        default_factory=dict,
        title="Weights",
        description="Factor on a scorer's usual weight, by name: 0 switches it off, 1 is usual.",
    )
    smallest_probability: float = Field(
        default=0.01,
        ge=0.0,
        lt=1.0,
        title="Smallest probability",
        description="Places less likely to be an error are left out.",
    )
    wrong_answers: float = Field(
        default=0.02,
        ge=0.0,
        lt=0.5,
        title="Wrong answers",
        description="Share of answers that are expected to be wrong. Where a wrong one costs more "
        "than a right one is expected to bring, nothing is asked.",
    )
    depth: int = Field(
        default=3,
        ge=1,
        le=20,
        title="Links per segment",
        description="How often a segment is cut at its weakest link, and the parts again, to find "
        "several merge errors in one segment.",
    )
    bottlenecks: int = Field(
        default=64,
        ge=0,
        le=100_000,
        title="Shapes",
        description="So many of the largest fragments are looked at for narrow necks, where two "
        "neurites may touch; 0 leaves shape out.",
    )
    limit: int = Field(
        default=1_000_000,
        ge=1,
        title="Longest queue",
        description="Only so many candidates of highest expected gain are kept of each kind.",
    )

    def check(self) -> None:
        """Refuse weights of scorers that do not exist.

        Raises
        ------
        SettingsError
            Naming them and those there are.
        """
        unknown = sorted(set(self.weights) - set(SCORERS))
        if unknown:
            raise SettingsError(
                f"Weights for {', '.join(unknown)}.", f"scorers: {', '.join(SCORERS)}", ""
            )


@dataclass(frozen=True)
class FragmentFacts:
    """What is known of fragments.

    Parameters
    ----------
    lookup : NDArray[np.uint64]
        (F + 1,) segment of each, 0 for none.
    size : NDArray
        (F + 1,) voxels.
    outer : NDArray[np.bool_]
        (F + 1,) touches a face of the volume.
    voxel_um3 : float
        Volume of a voxel, cubic micrometres.
    measurements : Mapping[str, NDArray]
        Further ones by name, for scorers.
    """

    lookup: NDArray[np.uint64]
    size: NDArray[Any]
    outer: NDArray[np.bool_]
    voxel_um3: float = 1e-6
    measurements: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def change_of_vi(
    first: NDArray[Any] | float, second: NDArray[Any] | float, total: float
) -> NDArray[np.float64]:
    """Return by how much VI falls when two pieces of one neuron are joined, or of two parted.

    With H(S|T) = H(S,T) - H(T), only the entries of both pieces change in H(S,T): a/N and b/N
    become (a+b)/N. So VI split falls by ((a+b) log2(a+b) - a log2 a - b log2 b) / N, and VI merge,
    H(S,T) - H(S), stays. Parting pieces of two neurons gives the same with the roles exchanged.
    If the answer is wrong VI rises by as much. Source: Meila 2007, Comparing clusterings,
    property 8: VI between a clustering and its refinement is the weighted entropy of the split.

    Parameters
    ----------
    first, second : NDArray or float
        (n,) voxels a and b of the pieces.
    total : float
        Foreground voxels N of the volume.

    Returns
    -------
    NDArray[np.float64]
        (n,) bits.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)

    def weighted(n: NDArray[np.float64]) -> NDArray[np.float64]:
        logs: NDArray[np.float64] = np.log2(np.maximum(n, 1.0))
        return n * logs

    change: NDArray[np.float64] = (weighted(a + b) - weighted(a) - weighted(b)) / max(total, 1.0)
    return change


def find_in_arrays(
    facts: FragmentFacts,
    contacts: ContactArrays,
    settings: CandidateSettings,
    *,
    total: float | None = None,
    measures: SegmentMeasures | None = None,
) -> Candidates:
    """Find and rank candidates.

    Parameters
    ----------
    facts : FragmentFacts
        Of all fragments.
    contacts : ContactArrays
        All contacts; or all of some segments, and then `measures` is needed.
    settings : CandidateSettings
        What to look for.
    total : float, optional
        Foreground voxels; by default those of all fragments in segments.
    measures : SegmentMeasures, optional
        Of all segments met.

    Returns
    -------
    Candidates
        Highest expected gain first.

    Raises
    ------
    SettingsError
        If a weight names no scorer.
    """
    settings.check()
    if total is None:
        total = float(facts.size[facts.lookup > 0].sum())
    found: list[Candidates] = []
    if measures is None:
        measures = measure_segments(facts.lookup, contacts, facts.size, facts.outer)
    if settings.split_errors:
        pairs = pool_contacts(facts.lookup, contacts, measures)
        found.append(_rank(pairs, facts, settings, total))
    if settings.merge_errors:
        links = WeakLinks(facts.lookup, contacts, facts.size, facts.outer)
        for step in range(settings.depth):
            ranked = _rank(links.measure(), facts, settings, total)
            # The best link of each tree; what is left is looked at with that link cut.
            _, best = np.unique(links.trees(ranked.fragments[:, 0]), return_index=True)
            chosen = ranked.take(np.sort(best))
            found.append(chosen)
            if len(chosen) == 0 or step + 1 == settings.depth:
                break
            links.cut(chosen.fragments[:, 0])
    return replace(join_candidates(found), measures=measures)


def _rank(
    pairs: Pairs, facts: FragmentFacts, settings: CandidateSettings, total: float
) -> Candidates:
    pairs = replace(pairs, voxel_um3=facts.voxel_um3, measurements=facts.measurements)
    judgement = judge(pairs, settings.weights)
    promised = change_of_vi(pairs.size[:, 0], pairs.size[:, 1], total).astype(np.float32)
    wrong = np.float32(settings.wrong_answers)
    change = (1 - wrong) * np.float32(PURITIES[pairs.kind]) * promised
    loss = wrong * promised
    gain = judgement.probability * change - (1 - judgement.probability) * loss
    rows = np.flatnonzero((judgement.probability >= settings.smallest_probability) & (gain > 0))
    if len(rows) > settings.limit:
        rows = rows[np.argpartition(-gain[rows], settings.limit)[: settings.limit]]
    rows = rows[np.argsort(-gain[rows], kind="stable")]
    return Candidates(
        merge=np.full(len(rows), pairs.kind == "merge_error"),
        fragments=pairs.fragments[rows],
        segments=pairs.segments[rows],
        position=pairs.position[rows].astype(np.float32),
        probability=judgement.probability[rows],
        change=change[rows],
        loss=loss[rows],
        smaller=pairs.size[rows].min(axis=1).astype(np.float32),
        parts={name: part[rows] for name, part in judgement.parts.items()},
    )


_MARKS: Final[Mapping[tuple[str, str], int]] = {
    ("split_error", "apart"): -1,
    ("merge_error", "merge"): 1,
    ("split_error", "unsure"): 2,
    ("merge_error", "unsure"): 2,
}
"""Answers without an edit, as decisions of contacts; 2 only keeps a contact from being asked."""


def apply_answers(contacts: Contacts, decisions: Iterable[Decision]) -> Contacts:
    """Mark contacts that answers settled without an edit, so that they are not asked again.

    The last answer to a contact counts. Answers that led to an edit need no mark: the edit speaks,
    and where it was undone the question is open again.

    Parameters
    ----------
    contacts : Contacts
        As the graph gives them.
    decisions : iterable of Decision
        All answers, oldest first.

    Returns
    -------
    Contacts
    """
    marks = {(min(d.a, d.b), max(d.a, d.b)): _MARKS.get((d.kind, d.answer), 0) for d in decisions}
    marks = {pair: mark for pair, mark in marks.items() if mark}
    if not marks or not len(contacts):
        return contacts
    pairs = np.array(sorted(marks), np.uint64)
    values = np.array([marks[int(a), int(b)] for a, b in pairs], np.int8)
    # As in the graph: ids stay below 2**32.
    keys = pairs[:, 0] << np.uint64(32) | pairs[:, 1]
    wanted = contacts.a << np.uint64(32) | contacts.b
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    hit = (keys[at] == wanted) & (contacts.decision == 0)
    decision = contacts.decision.copy()
    decision[hit] = values[at[hit]]
    return replace(contacts, decision=decision)


def facts_of(
    session: ProofreadingSession, measurements: Mapping[str, NDArray[Any]] | None = None
) -> FragmentFacts:
    """Return what a session knows of its fragments, as they are now."""
    table, shape = session.table, session.fragments().shape
    outer = (table.start <= 0).any(axis=1) | (table.stop >= np.array(shape)).any(axis=1)
    return FragmentFacts(
        lookup=session.lookup.copy(),
        size=table.size,
        outer=np.asarray(outer),
        voxel_um3=session.info.voxel_size_nm.volume_um3,
        measurements=measurements or {},
    )


def find_candidates(
    session: ProofreadingSession,
    settings: CandidateSettings | None = None,
    *,
    measurements: Mapping[str, NDArray[Any]] | None = None,
) -> Candidates:
    """Find the candidates of a session, as its segments are now.

    Takes seconds on large graphs: call it beside the window's thread. What answers and edits have
    settled is left out.

    Parameters
    ----------
    session : ProofreadingSession
        Open; may be read-only.
    settings : CandidateSettings, optional
        What to look for.
    measurements : Mapping[str, NDArray], optional
        Of fragments, by name, for scorers that need more than contacts; None reads what the project
        has of its queries.

    Returns
    -------
    Candidates
    """
    if measurements is None:
        measurements = query_measurements(session)
    facts = facts_of(session, measurements)
    contacts = apply_answers(session.graph.all(), session.decisions())
    return find_in_arrays(facts, contacts, settings or CandidateSettings())
