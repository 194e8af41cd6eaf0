"""Edits through a session: what they change, what they refuse, and what survives a restart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_neuropil.errors import EditRejectedError, OutputError, ProjectError
from napari_neuropil.geometry import Roi
from napari_neuropil.proofreading import Decision, Delta, ProofreadingSession

MakeProject = Callable[..., Path]
Cubes = Callable[..., np.ndarray]


def _labels(session: ProofreadingSession) -> np.ndarray:
    volume = session.segments()
    return volume.read(Roi.of_shape(volume.shape))


def _groups(session: ProofreadingSession) -> set[frozenset[int]]:
    return {frozenset(session.members(int(s)).tolist()) for s in session.segment_ids()}


def test_merge_joins_and_keeps_the_larger_id(session: ProofreadingSession) -> None:
    session.merge(1, 2)
    edit = session.merge(5, 2)
    assert set(session.members(1).tolist()) == {1, 2, 5}
    assert session.segment_size(1) == 3 * 64
    assert edit.position is not None
    assert not len(session.members(2))
    labels = _labels(session)
    assert set(np.unique(labels[:, :4, :8]).tolist()) == {1}


def test_merge_by_points_and_by_a_fragment_of_a_merged_segment(
    session: ProofreadingSession,
) -> None:
    session.merge((0, 0, 0), (0, 0, 5))
    session.merge(2, 3)
    assert set(session.members(1).tolist()) == {1, 2, 3}


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        (1, 1, "already"),
        (1, 99, "no segment 99"),
        (1, 12, "does not touch"),
        ((0, 0, 0), (9, 0, 0), "outside"),
        ((0, 0, 0), (0, 0, float("nan")), "no place"),
    ],
)
def test_impossible_merges_are_refused(
    session: ProofreadingSession, a: object, b: object, says: str
) -> None:
    before = session.lookup.copy()
    with pytest.raises(EditRejectedError, match=says):
        session.merge(a, b)  # type: ignore[arg-type]
    np.testing.assert_array_equal(session.lookup, before)
    assert session.edits == []


def test_forced_merge_of_what_does_not_touch_can_be_split_again(
    session: ProofreadingSession,
) -> None:
    session.merge(1, 12, force=True)
    assert set(session.members(1).tolist()) == {1, 12}
    assert len(session.graph.within(session.members(1))) == 1
    session.split(1, 12)
    assert len(_groups(session)) == 12


def test_split_by_fragments_cuts_the_weak_contact(make_project: MakeProject, cubes: Cubes) -> None:
    fragments = cubes(1, 4)
    affinity = np.full((3, *fragments.shape), 0.9, np.float32)
    affinity[2, :, :, 8] = 0.1
    path = make_project(fragments, np.array([0, 1, 1, 1, 1], np.uint64), affinity)
    with ProofreadingSession.open(path) as session:
        proposal = session.propose_split(1, 4)
        assert sorted(map(len, proposal.sides)) == [2, 2]
        assert session.edits == []
        edit = session.commit(proposal)
        assert _groups(session) == {frozenset({1, 2}), frozenset({3, 4})}
        assert edit.effect is not None
        assert edit.effect.cut.tolist() == [[2, 3]]
        assert int(session.lookup[3]) == 5, "a new id, used by nothing before"


def test_a_cut_that_frees_only_the_seed_says_so(make_project: MakeProject, cubes: Cubes) -> None:
    fragments = cubes(1, 4)
    affinity = np.full((3, *fragments.shape), 0.9, np.float32)
    path = make_project(fragments, np.array([0, 1, 1, 1, 1], np.uint64), affinity)
    with ProofreadingSession.open(path) as session:
        alone = session.propose_split(1, 2)
        assert "only what was clicked" in " ".join(alone.notices)
        assert session.propose_split([1, 2], [3, 4]).notices == ()


def test_split_inside_one_fragment_makes_pieces(session: ProofreadingSession) -> None:
    edit = session.split((1, 1, 0), (1, 1, 3))
    assert edit.effect is not None
    pieces = edit.effect.splits[0].ids
    labels = _labels(session)
    assert len(np.unique(labels[:, :4, :4])) == 2
    assert labels[1, 1, 0] != labels[1, 1, 3]
    assert session.segment_size(int(labels[1, 1, 0])) + session.segment_size(
        int(labels[1, 1, 3])
    ) == 64  # fmt: skip
    with pytest.raises(EditRejectedError, match="cut into pieces"):
        session.detach(1)
    around = session.graph.contacts_of(pieces)
    assert {2, 5} <= set(np.concatenate((around.a, around.b)).tolist())
    assert 1 not in np.concatenate((session.graph.all().a, session.graph.all().b))
    session.undo()
    assert set(np.unique(_labels(session)[:, :4, :4]).tolist()) == {1}
    assert 1 in session.graph.all().a


def test_pieces_can_be_merged_and_cut_again(session: ProofreadingSession, cubes: Cubes) -> None:
    session.split((1, 1, 0), (1, 1, 3))
    session.merge((1, 1, 3), (1, 1, 4))
    session.split((1, 0, 0), (1, 3, 0))
    labels = _labels(session)
    assert labels[1, 1, 3] == labels[1, 1, 4]
    assert labels[1, 0, 0] != labels[1, 3, 0]
    while session.can_undo:
        session.undo()
    np.testing.assert_array_equal(_labels(session), cubes())


def test_detach_isolate_assign_delete(session: ProofreadingSession) -> None:
    for other in (2, 3, 4):
        session.merge(1, other)
    session.detach(4)
    assert frozenset({1, 2, 3}) in _groups(session)
    session.isolate([2])
    assert {frozenset({1}), frozenset({2}), frozenset({3})} <= _groups(session)
    session.assign(4, 3)
    assert frozenset({3, 4}) in _groups(session)
    session.delete(3)
    assert int(session.lookup[3]) == 0
    assert _labels(session)[0, 0, 9] == 0
    with pytest.raises(EditRejectedError, match="background"):
        session.merge((0, 0, 9), 5)
    session.undo()
    assert frozenset({3, 4}) in _groups(session)


def test_done_protects_until_forced(session: ProofreadingSession) -> None:
    session.annotate(1, status="done", name="axon")
    with pytest.raises(EditRejectedError, match="marked done") as refusal:
        session.merge(1, 2)
    assert refusal.value.forceable
    session.merge(1, 2, force=True)
    assert session.annotation(1).name == "axon"


def test_undo_redo_and_branches(session: ProofreadingSession) -> None:
    session.merge(1, 2)
    session.merge(3, 4)
    session.undo()
    session.undo()
    assert len(_groups(session)) == 12
    assert not session.can_undo
    with pytest.raises(EditRejectedError, match="nothing to undo"):
        session.undo()
    session.redo()
    session.merge(5, 6)
    assert not session.can_redo
    assert _groups(session) >= {frozenset({1, 2}), frozenset({5, 6}), frozenset({3})}
    session.jump(2)
    assert _groups(session) >= {frozenset({1, 2}), frozenset({3, 4}), frozenset({5})}
    session.undo()
    session.redo()
    assert session.cursor == 2, "redo follows the branch last walked"
    assert [r.id for r in session.history() if r.active] == [1, 2]


def test_snapshots(session: ProofreadingSession) -> None:
    session.merge(1, 2)
    session.take_snapshot("good")
    session.merge(1, 3)
    session.restore_snapshot("good")
    assert frozenset({1, 2}) in _groups(session)
    with pytest.raises(EditRejectedError, match="no snapshot"):
        session.restore_snapshot("bad")


def test_everything_survives_a_restart(project: Path) -> None:
    with ProofreadingSession.open(project) as session:
        session.merge(1, 2, seconds=3)
        session.split((1, 1, 9), (1, 1, 11))
        session.merge(5, 6)
        session.undo()
        session.annotate(1, comment="spiny")
        session.decide(Decision("contact:1:2", "split_error", "merge", 2.5, 1, 2, 0.7, edit_id=1))
        session.take_snapshot("s")
        session.remember("view", {"zoom": 2})
        labels, groups = _labels(session), _groups(session)
    moved = project.rename(project.with_name("moved.neuropil"))
    with ProofreadingSession.open(moved) as session:
        np.testing.assert_array_equal(_labels(session), labels)
        assert _groups(session) == groups
        assert session.edits[0].seconds == 3.0
        assert session.annotation(1).comment == "spiny"
        assert session.decisions()[0].answer == "merge"
        assert session.snapshots()[0].edit_id == 2
        assert session.recall("view") == {"zoom": 2}
        assert session.can_redo
        session.redo()
        assert frozenset({5, 6}) in _groups(session)


def test_listeners_hear_what_changed(session: ProofreadingSession) -> None:
    heard: list[Delta] = []
    session.edited.connect(heard.append)
    session.merge(1, 2)
    session.undo()
    assert [d.edit.kind for d in heard] == ["merge", "move"]
    assert heard[0].segments == (1, 2)
    assert heard[1].fragments.tolist() == [2]
    assert heard[0].roi == Roi((0, 0, 4), (4, 4, 8))


def test_a_stale_proposal_is_refused(session: ProofreadingSession) -> None:
    proposal = session.propose_merge(1, 2)
    session.merge(3, 4)
    with pytest.raises(EditRejectedError, match="Another edit"):
        session.commit(proposal)


def test_a_second_opener_reads_and_is_told_who_writes(project: Path) -> None:
    with ProofreadingSession.open(project) as first:
        first.merge(1, 2)
        with ProofreadingSession.open(project) as second:
            assert second.read_only
            assert "process" in second.owner
            assert frozenset({1, 2}) in _groups(second)
            with pytest.raises(OutputError, match="read-only"):
                second.merge(3, 4)
    with ProofreadingSession.open(project) as third:
        assert not third.read_only


def test_other_fragments_are_refused(project: Path) -> None:
    with ProofreadingSession.open(project) as session:
        session.merge(1, 2)
    info = json.loads((project / "project.json").read_text())
    (project / "project.json").write_text(json.dumps({**info, "fingerprint": "other"}))
    with pytest.raises(ProjectError, match="made on the fragments"):
        ProofreadingSession.open(project)


def test_ids_above_32_bits(make_project: MakeProject, cubes: Cubes) -> None:
    big = 2**40
    path = make_project(cubes(1, 2), np.array([0, big, big + 7], np.uint64))
    with ProofreadingSession.open(path) as session:
        session.merge(big, big + 7)
        assert set(np.unique(_labels(session)).tolist()) == {big}
        session.split(1, 2)
        assert int(session.segment_ids().max()) == big + 8
