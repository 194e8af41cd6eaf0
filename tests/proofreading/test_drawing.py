"""Drawings as edits: which voxels they take, what they leave, what they refuse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_neuropil.errors import EditRejectedError, OutputError, SettingsError
from napari_neuropil.geometry import Roi
from napari_neuropil.proofreading import (
    DrawingRules,
    DrawnFunction,
    DrawnRows,
    ProofreadingSession,
)
from napari_neuropil.segmentation.rag import build_rag

SHAPE = (4, 12, 16)
EXACT = DrawingRules(whole_share=1.0, sliver=0)


@pytest.fixture
def session(gapped: Path) -> Iterator[ProofreadingSession]:
    with ProofreadingSession.open(gapped) as opened:
        yield opened


def _labels(session: ProofreadingSession) -> np.ndarray:
    volume = session.segments()
    return volume.read(Roi.of_shape(volume.shape))


def _box(start: tuple[int, ...], stop: tuple[int, ...], shape: Any = SHAPE) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = True
    return mask


def _rows(mask: np.ndarray) -> list[tuple[int, int, int, np.ndarray]]:
    return [(z, 0, 0, plane) for z, plane in enumerate(mask) if plane.any()]


def _object(session: ProofreadingSession) -> int:
    return int(session.edits[-1].wish["segment"])


# which voxels


def test_fragments_mostly_inside_are_taken_whole_without_a_voxel_rewritten(
    session: ProofreadingSession,
) -> None:
    # Fragment 1 with 58 of 64 voxels, 2 with all of its.
    mask = _box((0, 0, 0), (4, 4, 8))
    mask[0, 0, :4] = mask[1, 0, :2] = False
    before = _labels(session)
    proposal = session.propose_drawing(_rows(mask))
    assert proposal.notices[0] == (
        "2 fragments are taken whole, 0 are cut, 0 voxels of background are new."
    )
    assert "6 voxels more than the mask and 0 fewer" in proposal.notices[1]
    assert len(session.edits) == 0
    edit = session.commit(proposal)
    assert edit.effect is not None
    assert edit.effect.splits == ()
    assert edit.effect.joined.tolist() == [[1, 2]]
    expected = before.copy()
    expected[:, :4, :8] = 10
    np.testing.assert_array_equal(_labels(session), expected)
    session.undo()
    np.testing.assert_array_equal(_labels(session), before)


@pytest.mark.parametrize(("depth", "cut"), [(58, False), (57, True)])
def test_the_share_is_exact(session: ProofreadingSession, depth: int, cut: bool) -> None:
    mask = np.zeros(SHAPE, bool)
    inner = np.zeros(64, bool)
    inner[:depth] = True
    mask[:, :4, :4] = inner.reshape(4, 4, 4)
    mask[:, :4, 4:8] = True
    edit = session.draw(_rows(mask), rules=DrawingRules(0.9, sliver=0))
    assert bool(edit.effect.splits) == cut  # 58 / 64 = 0.906, 57 / 64 = 0.891
    size = session.segment_size(_object(session))
    assert size == 64 + (depth if cut else 64)


def test_fragments_across_the_border_are_cut_to_the_voxel(session: ProofreadingSession) -> None:
    mask = _box((1, 2, 2), (4, 6, 7))
    before = _labels(session)
    edit = session.draw(_rows(mask), rules=EXACT)
    after = _labels(session)
    expected = np.where(mask, 10, before)
    np.testing.assert_array_equal(after, expected)
    assert edit.effect is not None
    assert sorted(s.parent for s in edit.effect.splits) == [1, 2, 4, 5]
    assert _object(session) == 10
    assert session.segment_size(10) == int(mask.sum())
    assert mask[edit.position]
    for segment in (1, 2, 4, 5):
        assert session.segment_size(segment) == int((after == segment).sum())
    session.undo()
    np.testing.assert_array_equal(_labels(session), before)
    assert session.segment_size(1) == 64
    session.redo()
    np.testing.assert_array_equal(_labels(session), expected)


def test_background_becomes_new_fragments(session: ProofreadingSession) -> None:
    mask = _box((0, 1, 12), (3, 11, 16))
    before = _labels(session)
    edit = session.draw(_rows(mask), rules=EXACT)
    assert edit.effect is not None
    (split,) = edit.effect.splits
    assert (split.parent, split.start, split.labels.shape) == (0, (0, 1, 12), (3, 10, 4))
    np.testing.assert_array_equal(_labels(session), np.where(mask, 10, before))
    assert session.fragment_at((0, 1, 13)) == 10
    assert session.fragment_at((0, 0, 13)) == 0, "background elsewhere stays"
    assert session.segment_roi(10) == Roi((0, 1, 12), (3, 11, 16))
    with pytest.raises(EditRejectedError, match="background"):
        session.merge((3, 1, 13), 1)
    session.undo()
    np.testing.assert_array_equal(_labels(session), before)
    assert session.fragment_at((0, 1, 13)) == 0
    session.redo()
    # What was drawn is a fragment like any other.
    session.merge(10, 3)
    session.split((0, 1, 13), (0, 10, 13))
    labels = _labels(session)
    assert labels[0, 1, 13] != labels[0, 10, 13]
    assert (labels > 0).sum() == (before > 0).sum() + mask.sum()


def test_drawn_over_everything_at_once(session: ProofreadingSession) -> None:
    """Whole fragments, cut ones and background; and drawn over again, on pieces of pieces."""
    before = _labels(session)
    first = _box((0, 0, 6), (4, 12, 14))
    session.draw(_rows(first), rules=EXACT)
    once = np.where(first, 10, before)
    np.testing.assert_array_equal(_labels(session), once)
    edit = session.edits[-1]
    assert edit.wish["whole"] == 3
    assert edit.wish["cut"] == 3
    assert edit.wish["new"] == 4 * 12 * 2
    second = _box((1, 3, 3), (3, 9, 15))
    session.draw(_rows(second), rules=EXACT)
    np.testing.assert_array_equal(_labels(session), np.where(second, 11, once))
    session.undo()
    np.testing.assert_array_equal(_labels(session), once)
    session.undo()
    np.testing.assert_array_equal(_labels(session), before)


def test_a_segment_grows(session: ProofreadingSession) -> None:
    session.merge(1, 2)
    before = _labels(session)
    # Partly over 1 itself, which keeps what the mask leaves out.
    mask = _box((0, 2, 2), (4, 6, 10))
    session.draw(_rows(mask), into=(0, 0, 0), rules=EXACT)
    np.testing.assert_array_equal(_labels(session), np.where(mask, 1, before))
    assert session.history()[-1].text == "draw into 1: 4 cut"
    assert len(session.members(1)) == 2 + 4
    with pytest.raises(EditRejectedError, match="in segment 1 already"):
        session.draw(_rows(_box((0, 0, 0), (4, 3, 8))), into=1, rules=EXACT)


def test_slivers_stay_with_the_side_that_holds_most(session: ProofreadingSession) -> None:
    # Of 2 one column of 16 voxels, of 1 all but one of 4, of 4 and 5 single voxels.
    mask = _box((0, 0, 0), (4, 4, 5))
    mask[0, :, 0] = False
    mask[2, 4, 2] = mask[2, 4, 6] = True
    rules = DrawingRules(whole_share=1.0, sliver=5)
    proposal = session.propose_drawing(_rows(mask), rules=rules)
    assert "4 voxels more than the mask and 2 fewer" in proposal.notices[1]
    session.commit(proposal)
    after = _labels(session)
    assert (after[:, :4, :5] == 10).all()
    assert (after[:, 4:8, :4] == 4).all()
    assert (after[:, 4:8, 4:8] == 5).all()
    assert sorted(s.parent for s in session.edits[-1].effect.splits) == [2]


def test_a_fragment_that_only_slivers_leave_is_not_cut(session: ProofreadingSession) -> None:
    mask = _box((0, 0, 0), (4, 4, 4))
    mask[::3, ::3, ::3] = False  # 8 corners, each a part of its own
    edit = session.draw(_rows(mask | _box((0, 0, 4), (4, 4, 8))), rules=DrawingRules(1.0, 2))
    assert edit.effect.splits == ()
    assert session.segment_size(_object(session)) == 128


def test_what_is_parted_gets_pieces_of_its_own(session: ProofreadingSession) -> None:
    """A bar through a cube leaves two parts of it, each to be clicked alone."""
    session.draw(_rows(_box((0, 0, 1), (4, 4, 3))), rules=EXACT)
    parts = {session.fragment_at((0, 0, x)) for x in (0, 1, 3)}
    assert len(parts) == 3
    assert len(session.members(1)) == 2
    session.detach((0, 0, 3))
    assert session.segment_at((0, 0, 0)) == 1
    assert session.segment_at((0, 0, 3)) not in (0, 1)


def test_fragments_of_a_deleted_segment_are_taken_and_left_as_background(
    session: ProofreadingSession,
) -> None:
    session.delete(5)
    before = _labels(session)
    mask = _box((0, 4, 5), (4, 8, 8))
    session.draw(_rows(mask), rules=EXACT)
    np.testing.assert_array_equal(_labels(session), np.where(mask, 10, before))
    session.undo()
    session.undo()
    assert session.segment_size(5) == 64


# contacts and decisions


def _agrees_with_a_pass_over_the_volume(session: ProofreadingSession) -> None:
    ids = session.fragments().read(Roi.of_shape(session.fragments().shape))
    whole = build_rag(ids, np.full((3, *ids.shape), 0.6, np.float32))
    found = session.graph.all()
    order = np.lexsort((found.b, found.a))
    np.testing.assert_array_equal(np.stack((found.a, found.b), 1)[order], whole.contacts)
    np.testing.assert_array_equal(found.area[order], whole.area)
    np.testing.assert_allclose(found.centroid[order], whole.centroid, atol=1e-4)


def test_contacts_are_those_of_the_whole_volume(session: ProofreadingSession) -> None:
    session.draw(_rows(_box((1, 2, 2), (4, 6, 14))), rules=EXACT)
    _agrees_with_a_pass_over_the_volume(session)
    session.draw(_rows(_box((0, 4, 4), (3, 10, 16))), rules=EXACT)
    _agrees_with_a_pass_over_the_volume(session)
    table = session.table
    ids = session.fragments().read(Roi.of_shape(SHAPE))
    for fragment in np.unique(ids[ids > 0]).tolist():
        assert table.size[fragment] == (ids == fragment).sum()


def test_what_was_drawn_together_holds_and_what_was_cut_stays_apart(
    session: ProofreadingSession,
) -> None:
    session.merge(1, 2)
    session.merge(1, 3)
    session.draw(_rows(_box((0, 0, 6), (4, 8, 10))), rules=EXACT)
    ten = session.graph.within(session.members(10))
    # Pieces of 1's three fragments, of 5 and of 6: three sources, so two contacts were decided.
    assert int((ten.decision > 0).sum()) == 2
    rest = session.graph.leaving(session.members(10))
    owner = session.lookup
    ends = np.stack([owner[e.astype(np.intp)] for e in (rest.a, rest.b)])
    other = np.where(ends[0] == 10, ends[1], ends[0])
    source = {int(s.parent): s.ids for s in session.edits[-1].effect.splits}
    for row in range(len(rest)):
        from_one = any(
            int(p) in source[f].tolist() for f in (2, 3) for p in (rest.a[row], rest.b[row])
        )
        if other[row] == 1 and from_one:
            assert rest.decision[row] == -1


def test_nothing_is_decided_on_fragments_that_pieces_replace(
    session: ProofreadingSession,
) -> None:
    session.merge(1, 2)
    effect = session.draw(_rows(_box((0, 0, 2), (4, 4, 8))), rules=EXACT).effect
    assert effect is not None
    assert [split.parent for split in effect.splits] == [1]
    pieces = effect.splits[0].ids.tolist()
    # Taken: 2 and a piece of 1, both of one segment before; left: the other piece.
    assert effect.joined.tolist() == []
    assert effect.cut.tolist() == [pieces]


# done


def test_segments_that_are_done_are_protected(session: ProofreadingSession) -> None:
    session.annotate(1, status="done")
    session.annotate(2, status="done")
    mask = _box((0, 0, 0), (4, 6, 6))  # all of 1, half of 2
    before = _labels(session)
    with pytest.raises(EditRejectedError, match=r"Segment 1, 2 is marked done.*") as refusal:
        session.draw(_rows(mask), rules=EXACT)
    assert refusal.value.forceable
    np.testing.assert_array_equal(_labels(session), before)
    spare = DrawingRules(1.0, 0, spare_done=True)
    proposal = session.propose_drawing(_rows(mask), rules=spare)
    assert "96 voxels of segments marked done are left out." in proposal.notices
    session.commit(proposal)
    expected = np.where(mask & ~np.isin(before, [1, 2]), 10, before)
    np.testing.assert_array_equal(_labels(session), expected)
    session.undo()
    session.draw(_rows(mask), rules=EXACT, force=True)
    np.testing.assert_array_equal(_labels(session), np.where(mask, 11, before))


def test_a_done_target_and_nothing_but_done_are_refused(session: ProofreadingSession) -> None:
    session.annotate(1, status="done")
    spare = DrawingRules(1.0, 0, spare_done=True)
    with pytest.raises(EditRejectedError, match="Segment 1 is marked done"):
        session.draw(_rows(_box((0, 0, 4), (4, 4, 8))), into=1, rules=spare)
    with pytest.raises(EditRejectedError, match="32 voxels of the mask belong to segments marked"):
        session.draw(_rows(_box((0, 0, 0), (4, 4, 2))), rules=spare)
    # A done neighbour that only a sliver touches is not touched.
    mask = _box((0, 0, 3), (4, 6, 8))
    session.draw(_rows(mask), rules=DrawingRules(1.0, 20))
    assert session.segment_size(1) == 64


# masks that do not fit


def test_masks_are_clipped_to_the_volume_and_it_is_said(session: ProofreadingSession) -> None:
    plane = np.ones((6, 6), bool)
    rows = [(z, -2, 12, plane) for z in (-1, 2, 3, 4)]
    proposal = session.propose_drawing(DrawnRows(rows, grid=SHAPE), rules=EXACT)
    assert proposal.effect.splits[0].roi == Roi((2, 0, 12), (4, 4, 16))
    lost = 2 * 36 + 2 * (36 - 16)
    assert f"{lost} voxels of the mask lie outside the volume and are left out." in proposal.notices


@pytest.mark.parametrize(
    ("drawn", "says"),
    [
        ([], "empty"),
        ([(0, 0, 0, np.zeros((3, 3), bool))], "empty"),
        ([(0, 0, 0, np.zeros((0, 3), bool))], "empty"),
        ([(9, 0, 0, np.ones((3, 3), bool))], "outside"),
        ([(0, 0, -9, np.ones((3, 3), bool))], "outside"),
        ([(0, 0, 0, np.ones((3, 3), np.uint8))], "type uint8"),
        ([(0, 0, 0, np.ones((3, 3, 3), bool))], "shape"),
        ([(0, 0.5, 0, np.ones((3, 3), bool))], "row of the drawing"),
        ([(0, 0, np.ones((3, 3), bool))], "row of the drawing"),
        (DrawnRows([(0, 0, 0, np.ones((3, 3), bool))], grid=(4, 24, 32)), "drawn on a volume"),
        (DrawnFunction(lambda roi: np.ones(3, bool), Roi.of_shape(SHAPE)), "shape"),
        (DrawnFunction(lambda roi: np.ones(roi.shape), Roi.of_shape(SHAPE)), "float64"),
        ([(z, 0, 0, np.ones((4, 4), bool)) for z in range(4)], "exactly segment 1"),
        ([(0, 0, 0, np.ones((1, 1), bool))], "Nothing would change"),
    ],
)
def test_impossible_drawings_are_refused(
    session: ProofreadingSession, drawn: Any, says: str
) -> None:
    before = session.lookup.copy()
    with pytest.raises(EditRejectedError, match=says):
        session.draw(DrawnRows(drawn) if isinstance(drawn, list) else drawn)
    np.testing.assert_array_equal(session.lookup, before)
    assert session.edits == []


@pytest.mark.parametrize("wrong", [{"whole_share": 0.5}, {"whole_share": 1.1}, {"sliver": -1}])
def test_rules_that_contradict_themselves(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        DrawingRules(**wrong)


def test_a_target_that_is_not_there(session: ProofreadingSession) -> None:
    with pytest.raises(EditRejectedError, match="no segment 99"):
        session.draw(_rows(_box((0, 0, 0), (4, 4, 8))), into=99)


def test_a_reader_may_look_and_not_draw(gapped: Path) -> None:
    with ProofreadingSession.open(gapped, read_only=True) as session:
        rows = _rows(_box((0, 0, 0), (4, 4, 8)))
        assert session.propose_drawing(rows).notices
        with pytest.raises(OutputError, match="read-only"):
            session.draw(rows)
