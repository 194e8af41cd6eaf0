from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_neuropil.errors import EditRejectedError
from napari_neuropil.geometry import Roi
from napari_neuropil.proofreading import ProofreadingSession
from napari_neuropil.proofreading.answers import fit_shift
from napari_neuropil.proofreading.candidates import CandidateSettings, find_candidates
from napari_neuropil.proofreading.open_candidates import CandidateFilter, OpenCandidates
from napari_neuropil.proofreading.queue import CandidateQueue, QueueProgress

MakeProject = Callable[..., Path]


def varied(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    """Affinities that differ from contact to contact."""
    return np.random.default_rng(seed).uniform(0.3, 0.9, (3, *shape)).astype(np.float32)


@pytest.fixture
def folder(make_project: MakeProject, cubes: Callable[..., NDArray[np.uint64]]) -> Path:
    """4 x 5 cubes; rows 0 and 1 are one segment each, the other cubes stand alone."""
    fragments = cubes(4, 5)
    lookup = np.arange(21, dtype=np.uint64)
    lookup[1:6], lookup[6:11] = 1, 6
    return make_project(fragments, lookup, varied(fragments.shape))


def keys(queue: CandidateQueue) -> list[str]:
    found = []
    for _ in range(len(queue.candidates())):
        candidate = queue.next()
        assert candidate is not None
        found.append(candidate.key)
    return found


def test_comes_in_the_order_of_expected_gain(folder: Path) -> None:
    with ProofreadingSession.open(folder) as session:
        expected = [c.key for c in find_candidates(session)]
        queue = CandidateQueue(session)
        assert len(expected) > 15
        assert keys(queue) == expected
        assert {k.split(":")[0] for k in expected} == {"split_error", "merge_error"}
        # Passed over, not answered: they come again.
        again = queue.next()
        assert again is not None
        assert again.key == expected[0]


def test_the_following_one_is_known_beforehand(folder: Path) -> None:
    with ProofreadingSession.open(folder) as session:
        queue = CandidateQueue(session)
        assert queue.current is None
        for _ in range(6):
            following = queue.following
            assert following == queue.next() == queue.current
            queue.reject(1.0)


def test_previous_and_forward_again(folder: Path) -> None:
    with ProofreadingSession.open(folder) as session:
        queue = CandidateQueue(session)
        shown = [queue.next() for _ in range(4)]
        assert queue.previous() == shown[2]
        assert queue.previous() == shown[1]
        assert queue.next() == shown[2]
        assert queue.next() == shown[3]
        new = queue.next()
        assert new not in shown
        for _ in range(4):
            queue.previous()
        assert queue.current == shown[0]
        assert queue.previous() is None
        assert queue.current == shown[0]


def test_jump(folder: Path) -> None:
    with ProofreadingSession.open(folder) as session:
        queue = CandidateQueue(session)
        first = queue.next()
        wanted = queue.candidates()[7]
        assert queue.jump(wanted.key) == wanted == queue.current
        assert queue.previous() == first
        assert queue.next() == wanted
        assert queue.jump("split_error:1:20") is None
        assert queue.current == wanted
        with pytest.raises(EditRejectedError):
            queue.jump("nonsense")
        assert wanted.key not in keys_until_end(queue, len(queue.candidates()) - 2)


def keys_until_end(queue: CandidateQueue, count: int) -> list[str]:
    return [c.key for c in (queue.next() for _ in range(count)) if c is not None]


def first_of(queue: CandidateQueue, kind: str) -> str:
    return next(c.key for c in queue.candidates() if c.kind == kind)


def test_yes_to_a_split_error_merges(folder: Path) -> None:
    with ProofreadingSession.open(folder) as session:
        queue = CandidateQueue(session)
        candidate = queue.jump(first_of(queue, "split_error"))
        assert candidate is not None
        sides = queue.sides(candidate)
        assert [int(session.lookup[int(s[0])]) for s in sides] == [
            candidate.segment_a,
            candidate.segment_b,
        ]
        decision = queue.accept(seconds=2.5)
        assert session.lookup[candidate.a] == session.lookup[candidate.b]
        assert decision.answer == "merge"
        assert decision.seconds == 2.5
        assert decision.edit_id == session.edits[-1].id
        assert decision.score == pytest.approx(candidate.probability)
        assert session.decisions() == [decision]


def test_yes_to_a_merge_error_cuts_between_the_sides_shown(folder: Path) -> None:
    with ProofreadingSession.open(folder) as session:
        queue = CandidateQueue(session)
        candidate = queue.jump(first_of(queue, "merge_error"))
        assert candidate is not None
        first, second = queue.sides(candidate)
        assert candidate.a in first
        assert candidate.b in second
        assert sorted([*first, *second]) == session.members(candidate.segment_a).tolist()
        assert queue.accept(seconds=1.0).answer == "split"
        parts = [set(session.lookup[side.astype(int)].tolist()) for side in (first, second)]
        assert [len(part) for part in parts] == [1, 1]
        assert parts[0] != parts[1]


def test_no_is_logged_and_not_asked_again(folder: Path) -> None:
    with ProofreadingSession.open(folder) as session:
        queue = CandidateQueue(session)
        before = session.lookup.copy()
        asked = set()
        for kind, answer in (("split_error", "apart"), ("merge_error", "merge")):
            candidate = queue.jump(first_of(queue, kind))
            assert candidate is not None
            assert queue.reject(1.0).answer == answer
            asked.add(candidate.key)
        assert np.array_equal(session.lookup, before)
        assert not session.edits
        assert not asked & set(keys(queue))
        queue.rebuild()
        assert not asked & {c.key for c in queue.candidates()}


def test_a_merge_error_denied_reveals_the_next_weakest_link(folder: Path) -> None:
    with ProofreadingSession.open(folder) as session:
        settings = CandidateSettings(split_errors=False, depth=1, wrong_answers=0)
        queue = CandidateQueue(session, settings)
        links = set()
        while (candidate := queue.next()) is not None:
            assert candidate.key not in links
            links.add(candidate.key)
            queue.reject(1.0)
        # Two segments of five cubes in a row have four links each.
        assert len(links) == 8


def test_answers_by_the_word(folder: Path) -> None:
    with ProofreadingSession.open(folder) as session:
        queue = CandidateQueue(session)
        with pytest.raises(EditRejectedError, match="No candidate"):
            queue.answer("merge")
        queue.jump(first_of(queue, "split_error"))
        with pytest.raises(EditRejectedError, match="split"):
            queue.answer("split")
        assert queue.answer("merge", 1.0).edit_id == 1
        queue.refresh()
        queue.jump(first_of(queue, "merge_error"))
        with pytest.raises(EditRejectedError, match="apart"):
            queue.answer("apart")
        assert queue.answer("merge", 1.0).edit_id is None
        queue.next()
        assert queue.answer("unsure", 1.0).answer == "unsure"
        queue.next()
        assert queue.answer("later", 1.0).answer == "later"
        queue.jump(first_of(queue, "split_error"))
        assert queue.answer("apart", 1.0).answer == "apart"
        assert [d.answer for d in session.decisions()] == [
            "merge", "merge", "unsure", "later", "apart",
        ]  # fmt: skip


def test_later_comes_at_the_end(folder: Path) -> None:
    with ProofreadingSession.open(folder) as session:
        queue = CandidateQueue(session)
        put_off = queue.next()
        assert put_off is not None
        queue.later(1.0)
        count = len(queue.candidates())
        order = []
        while (candidate := queue.next()) is not None:
            order.append(candidate.key)
            queue.reject(1.0)
            if candidate.key == put_off.key:
                break
        assert order[-1] == put_off.key
        assert len(order) >= count
        assert queue.next() is None


def test_a_refused_edit_logs_nothing(folder: Path) -> None:
    with ProofreadingSession.open(folder) as session:
        queue = CandidateQueue(session)
        queue.filter = CandidateFilter(hide_done=False)
        candidate = queue.jump(first_of(queue, "split_error"))
        assert candidate is not None
        session.annotate(candidate.segment_a, status="done")
        with pytest.raises(EditRejectedError) as caught:
            queue.accept(1.0)
        assert caught.value.forceable
        assert session.decisions() == []
        assert queue.current == candidate
        assert queue.accept(1.0, force=True).edit_id == 1


def test_edits_elsewhere_change_what_is_asked(folder: Path) -> None:
    with ProofreadingSession.open(folder) as session:
        queue = CandidateQueue(session)
        queue.next()
        session.merge(11, 16)
        session.merge(11, 12)
        assert queue.pending > 0
        queue.refresh()
        assert queue.pending == 0
        open_now = queue.candidates()
        again = find_candidates(session)
        assert sorted(c.key for c in open_now) == sorted(c.key for c in again)
        by_key = {c.key: c for c in open_now}
        for candidate in again:
            same = by_key[candidate.key]
            assert same.probability == pytest.approx(candidate.probability, rel=1e-4)
            assert same.change == pytest.approx(candidate.change, rel=1e-4)
            assert {same.segment_a, same.segment_b} == {candidate.segment_a, candidate.segment_b}
        session.undo()
        session.undo()
        queue.refresh()
        assert {c.key for c in queue.candidates()} == {c.key for c in find_candidates(session)}


def test_an_answer_that_was_undone_is_asked_again(folder: Path) -> None:
    with ProofreadingSession.open(folder) as session:
        queue = CandidateQueue(session)
        candidate = queue.jump(first_of(queue, "split_error"))
        assert candidate is not None
        queue.accept(1.0)
        queue.refresh()
        assert candidate.key not in {c.key for c in queue.candidates()}
        session.undo()
        queue.refresh()
        assert candidate.key in {c.key for c in queue.candidates()}


def test_large_edits_wait_for_refresh(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_neuropil.proofreading.queue._AT_ONCE", 3)
    with ProofreadingSession.open(folder) as session:
        queue = CandidateQueue(session, background=True)
        session.merge(1, 6)
        shown = queue.next()
        assert shown is not None
        assert queue.pending > 0
        assert int(session.lookup[1]) not in (shown.segment_a, shown.segment_b)
        queue.refresh()
        touched = {s for c in queue.candidates() for s in (c.segment_a, c.segment_b)}
        assert int(session.lookup[1]) in touched


def test_filters(folder: Path) -> None:
    with ProofreadingSession.open(folder) as session:
        queue = CandidateQueue(session)
        everything = list(queue.candidates())
        wanted: list[tuple[CandidateFilter, Callable[..., bool]]] = [
            (CandidateFilter(kind="merge_error"), lambda c: c.kind == "merge_error"),
            (CandidateFilter(scorer="affinity"), lambda c: c.parts["affinity"] > 0),
            (CandidateFilter(segment=6), lambda c: 6 in (c.segment_a, c.segment_b)),
            (
                CandidateFilter(roi=Roi((0, 0, 0), (4, 7, 9))),
                lambda c: c.position[1] < 7 and c.position[2] < 9,
            ),
        ]  # fmt: skip
        for chosen, holds in wanted:
            queue.filter = chosen
            found = list(queue.candidates())
            expected = [c for c in everything if holds(c)]
            assert 0 < len(found) < len(everything)
            assert found == expected
            assert queue.progress.total == len(found)
            assert queue.remaining_gain() == pytest.approx(sum(c.gain for c in found), rel=0.1)
        # Cubes have 64 voxels: of the split errors only that between both rows has larger pieces.
        queue.filter = CandidateFilter(smallest=65, kind="split_error")
        assert [{c.segment_a, c.segment_b} for c in queue.candidates()] == [{1, 6}]
        queue.filter = CandidateFilter(segment=999)
        assert queue.next() is None
        queue.filter = CandidateFilter()
        assert list(queue.candidates()) == everything


def test_done_segments_are_hidden(folder: Path) -> None:
    with ProofreadingSession.open(folder) as session:
        queue = CandidateQueue(session)
        before = len(queue.candidates())
        session.annotate(6, status="done")
        left = queue.candidates()
        assert 0 < len(left) < before
        assert not (left.segments == 6).any()
        assert queue.progress.total == len(left)
        session.annotate(6, status="todo")
        assert len(queue.candidates()) == before
        assert queue.progress.total == before


def test_stop_line_falls_as_the_work_goes_on(folder: Path) -> None:
    with ProofreadingSession.open(folder) as session:
        queue = CandidateQueue(session)
        whole = queue.remaining_gain()
        assert whole == pytest.approx(float(queue.candidates().gain.sum()), rel=0.1)
        assert queue.progress == QueueProgress(0, len(queue.candidates()))
        answered = 0
        while queue.next() is not None:
            queue.reject(1.0)
            answered += 1
        assert queue.remaining_gain() == pytest.approx(0, abs=1e-9)
        assert queue.progress == QueueProgress(answered, answered)


def test_answers_teach_the_probabilities(folder: Path) -> None:
    with ProofreadingSession.open(folder) as session:
        queue = CandidateQueue(session)
        queue.filter = CandidateFilter(kind="split_error")
        for _ in range(4):
            queue.next()
            queue.reject(1.0)
        assert queue.shifts["split_error"] < 0
        assert queue.shifts["merge_error"] == 0
        shifts = queue.shifts
        left = queue.candidates()
        assert queue.remaining_gain() < float(left.gain.sum())
        assert CandidateQueue(session).shifts == shifts


def test_resumes_where_it_was(folder: Path) -> None:
    with ProofreadingSession.open(folder) as session:
        queue = CandidateQueue(session)
        done, passed, put_off = queue.next(), None, None
        queue.reject(1.0)
        put_off = queue.next()
        queue.later(1.0)
        passed = queue.next()
        current = queue.next()
        queue.close()
    assert done is not None
    assert put_off is not None
    assert passed is not None
    with ProofreadingSession.open(folder) as session:
        queue = CandidateQueue(session)
        assert queue.progress.answered == 1
        assert queue.next() == current
        rest = keys_until_end(queue, len(queue.candidates()) - 3)
        assert not {done.key, put_off.key, passed.key} & set(rest)
        at_the_end = keys_until_end(queue, 2)
        assert {put_off.key, passed.key} <= {*at_the_end, *keys_until_end(queue, 40)}
        assert done.key not in {c.key for c in queue.candidates()}


@pytest.mark.parametrize("kept", [3, {"current": 5}, {"skipped": ["a:b:c", 7], "current": "x"}])
def test_a_damaged_place_is_ignored(folder: Path, kept: object) -> None:
    with ProofreadingSession.open(folder) as session:
        session.remember("queue", kept)
        expected = find_candidates(session)[0]
        assert CandidateQueue(session).next() == expected


def test_seconds_are_measured(folder: Path) -> None:
    now = [100.0]
    with ProofreadingSession.open(folder) as session:
        queue = CandidateQueue(session, clock=lambda: now[0])
        queue.next()
        now[0] = 103.5
        assert queue.reject().seconds == 3.5


def test_tells_that_it_changed(folder: Path) -> None:
    heard: list[int] = []
    with ProofreadingSession.open(folder) as session:
        queue = CandidateQueue(session)
        queue.changed.connect(lambda: heard.append(1))
        queue.next()
        assert heard
        heard.clear()
        session.merge(11, 12)
        assert heard
        queue.close()
        heard.clear()
        session.merge(11, 13)
        assert not heard


def test_read_only_sessions_can_look(folder: Path) -> None:
    with ProofreadingSession.open(folder, read_only=True) as session:
        queue = CandidateQueue(session)
        assert queue.next() is not None
        queue.close()


@pytest.mark.parametrize("seed", range(3))
def test_open_candidates_against_a_plain_list(folder: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    with ProofreadingSession.open(folder, read_only=True) as session:
        found = find_candidates(session)
    open_ = OpenCandidates()
    open_.load(found)
    left = {c.key: c for c in found}
    shifts = {"split_error": 0.7, "merge_error": -0.4}

    def gain(key: str) -> float:
        candidate = left[key]
        odds = np.log(candidate.probability / (1 - candidate.probability))
        chance = 1 / (1 + np.exp(-odds - shifts[candidate.kind]))
        return float(chance * candidate.change - (1 - chance) * candidate.loss)

    for _ in range(12):
        place = open_.best(shifts)
        if place is None:
            break
        best = open_[place]
        of_kind = [[k for k in left if k.startswith(kind)] for kind in shifts]
        kinds = [max(ks, key=lambda k: left[k].gain) for ks in of_kind if ks]
        assert best.key == max(kinds, key=gain)
        assert open_.count == len(left)
        assert open_.gain(shifts) == pytest.approx(sum(gain(k) for k in left), rel=0.1)
        if random.random() < 0.4:
            segment = best.segment_a
            gone = [c for c in left.values() if segment in (c.segment_a, c.segment_b)]
            open_.drop_segments(np.array([segment], np.uint64))
            back = [c.key for c in gone if random.random() < 0.5]
            for c in gone:
                del left[c.key]
            rows = [row for row, c in enumerate(found) if c.key in back]
            open_.add(found.take(np.array(rows, int)))
            left.update({found[row].key: found[row] for row in rows})
        else:
            open_.settle(place)
            del left[best.key]


def test_shift_fits_the_answers() -> None:
    assert fit_shift([]) == 0.0
    assert fit_shift([(0.5, True)] * 50) > 1.0
    assert fit_shift([(0.5, True)] * 50, spread=0.1) < fit_shift([(0.5, True)] * 50)
    assert fit_shift([(0.5, True), (0.5, False)] * 20) == pytest.approx(0, abs=1e-6)
    # Half of many answers at 0.2 were yes: the odds rise from 1/4 towards 1.
    wide = fit_shift([(0.2, True), (0.2, False)] * 500, spread=10)
    assert wide == pytest.approx(np.log(4), abs=0.01)
