"""Everything below an embedding distance as one edit: groups, refusals, undo, replay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from napari_neuropil.errors import EditRejectedError
from napari_neuropil.geometry import Roi
from napari_neuropil.project import Project
from napari_neuropil.project.contact_distances import ContactDistances, write_distances
from napari_neuropil.proofreading import Decision, ProofreadingSession
from napari_neuropil.proofreading.graph import Contacts
from napari_neuropil.proofreading.log import export_log, replay_log
from napari_neuropil.proofreading.merge_order import kept_apart_by_answers, merge_order

MakeProject = Callable[..., Path]
Cubes = Callable[..., np.ndarray]

# Cubes 1 2 3 4 / 5 6 7 8 / 9 10 11 12: two groups below 1.5, and one contact just at it.
NEAR = {(1, 2): 0.4, (2, 3): 1.2, (6, 7): 0.9, (7, 11): 1.0, (3, 4): 1.5, (8, 12): 1.7}
FAR = 4.0


def give_distances(project: Path, known: dict[tuple[int, int], float], other: float = FAR) -> None:
    """Write distances of a project's contacts: those named, and `other` (NaN: not measured)."""
    contacts = Project.open(project).rag.contacts.tolist()
    distance = np.array([known.get((a, b), other) for a, b in contacts], np.float32)
    write_distances(project, ContactDistances(distance, np.isfinite(distance), "0" * 64))


@pytest.fixture
def near(project: Path) -> Iterator[ProofreadingSession]:
    """Return a session on the 12 cubes with the distances of `NEAR`."""
    give_distances(project, NEAR)
    with ProofreadingSession.open(project) as opened:
        yield opened


def groups(session: ProofreadingSession) -> set[frozenset[int]]:
    every = {frozenset(session.members(int(s)).tolist()) for s in session.segment_ids()}
    return {group for group in every if len(group) > 1}


def labels(session: ProofreadingSession) -> np.ndarray:
    volume = session.segments()
    return volume.read(Roi.of_shape(volume.shape))


def test_one_edit_joins_all_groups_below(near: ProofreadingSession) -> None:
    before = labels(near)
    edit = near.merge_below()
    assert groups(near) == {frozenset({1, 2, 3}), frozenset({6, 7, 11})}
    assert edit.kind == "merge"
    assert edit.effect is not None
    assert sorted(edit.effect.joined.tolist()) == [[1, 2], [2, 3], [6, 7], [7, 11]]
    assert near.history()[-1].text == "merge 6 segments into 2: embedding distance below 1.5"
    assert edit.wish["distance"] == 1.5
    assert len(near.edits) == 1
    near.undo()
    np.testing.assert_array_equal(labels(near), before)
    near.redo()
    assert len(groups(near)) == 2


def test_the_largest_of_each_group_keeps_its_id(near: ProofreadingSession) -> None:
    near.merge(7, 8)
    near.merge_below()
    assert near.members(7).tolist() == [6, 7, 8, 11], "7 had two cubes, 6 and 11 one each"
    assert near.members(1).tolist() == [1, 2, 3], "of equal ones the smaller id"


def test_what_it_joined_is_decided(near: ProofreadingSession) -> None:
    near.merge_below()
    inner = near.graph.within(near.members(1))
    assert dict(zip(zip(inner.a.tolist(), inner.b.tolist(), strict=True), inner.decision.tolist(),
                    strict=True)) == {(1, 2): 1, (2, 3): 1}  # fmt: skip
    near.undo()
    assert not near.graph.all().decision.any()


def test_the_proposal_says_what_would_be(near: ProofreadingSession) -> None:
    proposal = near.propose_merge_below(1.1)
    assert [side.tolist() for side in proposal.sides] == [[6, 7, 11], [1, 2]]
    assert proposal.position is not None
    assert near.edits == []
    assert near.propose_merge_below(1.8).effect.joined.tolist()[-2:] == [[3, 4], [8, 12]]


def test_replay_and_reopening_give_identical_labels(
    near: ProofreadingSession, make_project: MakeProject, cubes: Cubes
) -> None:
    near.merge(4, 8)
    near.merge_below(1.8)
    near.undo()
    near.redo()
    expected = labels(near)
    copy = make_project(cubes(), name="copy.neuropil")
    with ProofreadingSession.open(copy) as other:
        # The copy knows no distances: the effects are carried out, nothing is computed again.
        replay_log(export_log(near), other)
        np.testing.assert_array_equal(labels(other), expected)
    path = near.path
    near.close()
    with ProofreadingSession.open(path) as again:
        np.testing.assert_array_equal(labels(again), expected)


def test_done_is_refused_with_its_name_left_out_or_forced(near: ProofreadingSession) -> None:
    near.annotate(11, status="done")
    with pytest.raises(EditRejectedError, match="Segment 11 is marked done") as refusal:
        near.merge_below()
    assert refusal.value.forceable
    assert near.edits == []
    proposal = near.propose_merge_below(leave_done=True)
    assert [side.tolist() for side in proposal.sides] == [[1, 2, 3], [6, 7]]
    assert proposal.notices == (
        "1 contact below is left out: it touches segments marked done.",
    )  # fmt: skip
    near.merge_below(force=True)
    assert frozenset({6, 7, 11}) in groups(near)


def test_a_done_segment_elsewhere_hinders_nobody(near: ProofreadingSession) -> None:
    near.annotate(10, status="done")
    near.annotate(1, status="in work")
    near.merge_below()
    assert len(groups(near)) == 2


def test_what_an_edit_cut_stays_apart(near: ProofreadingSession) -> None:
    near.merge(2, 3)
    near.split(2, 3)
    proposal = near.propose_merge_below()
    assert [side.tolist() for side in proposal.sides] == [[6, 7, 11], [1, 2]]
    assert proposal.notices == (
        "1 contact below is left out: it would join what was kept apart.",
    )  # fmt: skip


def test_what_was_answered_apart_stays_apart_also_through_a_third(
    near: ProofreadingSession, project: Path
) -> None:
    # 1 and 3 do not touch, and 2 lies between: its farther contact is left out.
    near.decide(Decision("k", "split_error", "apart", 1.0, 3, 1, 0.5))
    near.merge_below()
    assert frozenset({1, 2}) in groups(near)
    near.undo()
    near.decide(Decision("k", "split_error", "unsure", 1.0, 3, 1, 0.5))
    near.merge_below()
    assert frozenset({1, 2, 3}) in groups(near), "the last answer counts"


def test_a_box_or_some_segments_only(near: ProofreadingSession) -> None:
    near.merge_below(1.5, Roi((0, 0, 0), (4, 4, 16)))
    assert groups(near) == {frozenset({1, 2, 3})}
    assert near.edits[-1].wish["roi"] == "0:4,0:4,0:16"
    near.undo()
    near.merge_below(segments=[7])
    assert groups(near) == {frozenset({6, 7, 11})}
    near.undo()
    near.merge_below(segments=[2], distance=1.0)
    assert groups(near) == {frozenset({1, 2})}
    assert near.history()[-1].text == "merge 2 into 1: embedding distance below 1"


def test_the_impossible_is_refused(near: ProofreadingSession, project: Path) -> None:
    for distance, says in (
        (0.3, "raise the distance: the nearest is 0.4"),
        (0.0, "distance 0.0"),
        (float("nan"), "distance nan"),
        (float("inf"), "distance inf"),
    ):
        with pytest.raises(EditRejectedError, match=says):
            near.merge_below(distance)
    near.merge_below()
    with pytest.raises(EditRejectedError, match=r"Nothing is to be merged below 1\.5"):
        near.merge_below()
    give_distances(project, {}, float("nan"))
    near.reread_distances()
    with pytest.raises(EditRejectedError, match="No distance is known"):
        near.merge_below()


def test_a_read_only_session_can_look_but_not_merge(near: ProofreadingSession) -> None:
    with ProofreadingSession.open(near.path, read_only=True) as reader:
        assert len(reader.propose_merge_below().sides) == 2
        with pytest.raises(Exception, match="read-only"):
            reader.merge_below()


def test_pieces_have_no_distance_and_nothing_breaks(near: ProofreadingSession) -> None:
    near.split((1, 1, 0), (1, 1, 3))
    near.merge_below()
    # The contact 1-2 went with the fragment 1.
    assert {2, 3} in [set(group) for group in groups(near)]


def test_the_order_counts_as_the_edit_merges(near: ProofreadingSession) -> None:
    order = near.merge_order()
    assert np.all(np.diff(order.contacts.distance) >= 0)
    assert [order.merges_below(d) for d in (0.4, 0.41, 1.5, 1.51, 2.0, 9.0)] == [0, 1, 4, 5, 6, 11]
    assert order.unknown == 0
    before = len(near.segment_ids())
    near.merge_below(2.0)
    assert len(near.segment_ids()) == before - 6


@pytest.mark.parametrize("seed", range(12))
def test_random_graphs_against_a_plain_reference(seed: int) -> None:
    rng = np.random.default_rng(seed)
    fragments = 14
    lookup = np.concatenate(([0], rng.integers(0, 10, fragments))).astype(np.uint64)
    every = np.array(list(combinations(range(1, fragments + 1), 2)), np.uint64)
    pairs = every[np.sort(rng.permutation(len(every))[:40])]
    # Few different values, so that equal ones meet; some unknown.
    distance = rng.choice([0.2, 0.5, 0.5, 1.0, 1.4, 2.0, np.nan], len(pairs)).astype(np.float32)
    apart = every[rng.permutation(len(every))[:4]]
    contacts = Contacts(
        pairs[:, 0],
        pairs[:, 1],
        np.zeros(len(pairs), np.float32),
        np.zeros(len(pairs), np.float32),
        np.ones(len(pairs), np.int64),
        np.zeros((len(pairs), 3), np.float32),
        np.zeros(len(pairs), np.int8),
        distance,
    )
    done = np.array([4], np.uint64)
    order = merge_order(lookup, contacts, apart, done=done)
    for threshold in (0.3, 0.6, 1.2, 5.0):
        part = _plain_groups(lookup, pairs, distance, apart, 4, threshold)
        segments = {int(s) for s in lookup if s}
        assert order.merges_below(threshold) == len(segments) - len(part)
        rows = np.flatnonzero(order.joins[: order.below(threshold)])
        joined = _connected(segments, order.ends[rows].tolist())
        assert joined == part
    assert not (order.joins & (order.apart | order.done)).any()


def _plain_groups(
    lookup: np.ndarray,
    pairs: np.ndarray,
    distance: np.ndarray,
    apart: np.ndarray,
    done: int,
    threshold: float,
) -> set[frozenset[int]]:
    """Join sets one after the other, nearest first, unless the union holds a forbidden pair."""
    of = [int(s) for s in lookup]
    forbidden = [{of[a], of[b]} for a, b in apart.tolist() if of[a] != of[b] and of[a] and of[b]]
    part = {frozenset({s}) for s in of if s}
    rows = [r for r in range(len(pairs)) if distance[r] < threshold]
    for row in sorted(rows, key=lambda r: (float(distance[r]), r)):
        a, b = (of[int(f)] for f in pairs[row])
        if not a or not b or done in (a, b):
            continue
        mine = next(group for group in part if a in group)
        other = next(group for group in part if b in group)
        union = mine | other
        if mine != other and not any(pair <= union for pair in forbidden):
            part = (part - {mine, other}) | {union}
    return part


def _connected(segments: set[int], links: list[list[int]]) -> set[frozenset[int]]:
    part = {frozenset({s}) for s in segments}
    for a, b in links:
        mine, other = (next(group for group in part if s in group) for s in (a, b))
        part = (part - {mine, other}) | {mine | other}
    return part


def test_answers_of_other_kinds_keep_nothing_apart() -> None:
    made = [
        Decision("a", "split_error", "apart", 1.0, 2, 1, 0.5),
        Decision("b", "merge_error", "split", 1.0, 3, 4, 0.5),
        Decision("c", "split_error", "apart", 1.0, 5, 6, 0.5),
        Decision("c", "split_error", "merge", 1.0, 5, 6, 0.5),
    ]
    assert kept_apart_by_answers(made).tolist() == [[1, 2]]
    assert kept_apart_by_answers([]).shape == (0, 2)
