"""Drawings larger than a block, and drawings in the log: reopened, replayed, refused by the old."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_neuropil.errors import EditRejectedError, ProjectError
from napari_neuropil.geometry import Roi
from napari_neuropil.proofreading import (
    DrawingRules,
    DrawnFunction,
    ProofreadingSession,
    block_reader,
    database,
    drawn_pieces,
    log,
)
from napari_neuropil.proofreading.candidates import find_candidates
from napari_neuropil.proofreading.encoding import pack_effect, unpack_effect
from napari_neuropil.proofreading.log import export_log, replay_log
from napari_neuropil.proofreading.queue import CandidateQueue
from napari_neuropil.proofreading.repair import repair_log
from napari_neuropil.segmentation.rag import build_rag
from napari_neuropil.volumes import open_volume
from napari_neuropil.workflows.export import export_segmentation

MakeProject = Callable[..., Path]

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


def _agrees_with_a_pass_over_the_volume(session: ProofreadingSession) -> None:
    ids = session.fragments().read(Roi.of_shape(session.fragments().shape))
    whole = build_rag(ids, np.full((3, *ids.shape), 0.6, np.float32))
    found = session.graph.all()
    order = np.lexsort((found.b, found.a))
    np.testing.assert_array_equal(np.stack((found.a, found.b), 1)[order], whole.contacts)
    np.testing.assert_array_equal(found.area[order], whole.area)
    np.testing.assert_allclose(found.centroid[order], whole.centroid, atol=1e-4)


# blocks


@pytest.mark.parametrize("seed", range(3))
def test_any_blocks_give_the_same_voxels(
    make_project: MakeProject, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Fragments larger than a block, a mask of all of it; the mask is asked for small boxes."""
    rng = np.random.default_rng(seed)
    shape = (24, 40, 50)
    coarse = rng.integers(0, 9, (3, 4, 5))
    coarse.reshape(-1)[:9] = np.arange(9)
    fragments = coarse.repeat(8, 0).repeat(10, 1).repeat(10, 2).astype(np.uint64)
    z, y, x = np.mgrid[:24, :40, :50]
    mask = (z - 12) ** 2 + ((y - 20) / 1.5) ** 2 + ((x - 26) / 2) ** 2 < 81
    mask &= rng.random(shape) > 0.02
    monkeypatch.setattr(block_reader, "_BLOCK_VOXELS", 5000)
    monkeypatch.setattr(block_reader, "_KEPT_BYTES", 50_000)
    monkeypatch.setattr(drawn_pieces, "_ONE_BOX", 3000)
    asked: list[int] = []

    def mask_in(roi: Roi) -> np.ndarray:
        asked.append(roi.size)
        return mask[roi.slices]

    path = make_project(fragments)
    with ProofreadingSession.open(path) as session:
        # Chunks may be larger than the blocks of this test; then a chunk is a block.
        monkeypatch.setattr(session._pieced, "chunks", (8, 16, 16))
        before = _labels(session)
        session.draw(DrawnFunction(mask_in, Roi((1, 2, 3), shape)), rules=EXACT)
        mask[0], mask[:, :2], mask[..., :3] = False, False, False
        np.testing.assert_array_equal(_labels(session), np.where(mask, 9, before))
        assert max(asked) <= 5000
        _agrees_with_a_pass_over_the_volume(session)
        pieces = session.edits[-1].effect.splits
        assert max(split.labels.size for split in pieces) <= 5000
        assert len({s.parent for s in pieces}) < len(pieces), "a fragment with several boxes"
        labels = _labels(session)
        session.undo()
        np.testing.assert_array_equal(_labels(session), before)
        session.redo()
    with ProofreadingSession.open(path) as session:
        np.testing.assert_array_equal(_labels(session), labels)


def test_slivers_do_not_depend_on_where_blocks_end(
    make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of 6 voxels across the border of two blocks is not two parts of 3."""
    path = make_project(np.ones((2, 10, 40), np.uint64))
    monkeypatch.setattr(block_reader, "_BLOCK_VOXELS", 200)
    monkeypatch.setattr(drawn_pieces, "_ONE_BOX", 100)
    mask = _box((0, 5, 7), (1, 6, 13), (2, 10, 40))
    mask[1, 2, 12:16] = mask[1, 2, 33:37] = True
    with ProofreadingSession.open(path) as session:
        monkeypatch.setattr(session._pieced, "chunks", (2, 10, 10))
        session.draw(_rows(mask), rules=DrawingRules(1.0, sliver=5))
        labels = _labels(session)
        assert (labels[0, 5, 7:13] == 2).all()
        assert (labels == 2).sum() == 6


def test_a_large_fragment_that_only_slivers_touch_is_not_read_whole(
    make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    fragments = np.ones((2, 20, 400), np.uint64)
    fragments[:, :, :10] = 2
    fragments[:, :, 10:14] = 3
    path = make_project(fragments)
    monkeypatch.setattr(block_reader, "_BLOCK_VOXELS", 400)
    monkeypatch.setattr(drawn_pieces, "_ONE_BOX", 100)
    mask = _box((0, 0, 0), (2, 20, 14), fragments.shape)
    mask[:, ::4, 14:17] = True  # 30 voxels of fragment 1, in parts of 6
    with ProofreadingSession.open(path) as session:
        monkeypatch.setattr(session._pieced, "chunks", (2, 20, 10))
        read: list[Roi] = []
        inner = session._pieced.read
        monkeypatch.setattr(session._pieced, "read", lambda roi: (read.append(roi), inner(roi))[1])
        proposal = session.propose_drawing(_rows(mask), rules=DrawingRules(sliver=8))
        assert proposal.effect.splits == ()
        assert sum(roi.size for roi in read) <= 2 * 400, "two blocks of forty"


def test_a_patch_beyond_what_memory_should_hold_is_refused(
    session: ProofreadingSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawn_pieces, "_LARGEST_PATCH", 100)
    with pytest.raises(EditRejectedError, match="at most 100 voxels"):
        session.draw(_rows(_box((1, 2, 2), (4, 6, 7))), rules=EXACT)
    assert session.edits == []


# the log


def test_drawings_survive_reopening_replay_and_repair(gapped: Path, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh.neuropil"
    shutil.copytree(gapped, fresh)
    with ProofreadingSession.open(gapped) as session:
        session.draw(_rows(_box((0, 2, 2), (4, 6, 14))), rules=EXACT, seconds=4)
        session.draw(_rows(_box((0, 8, 8), (2, 12, 16))), rules=EXACT)
        session.undo()
        session.draw(_rows(_box((1, 0, 0), (3, 12, 16))), into=10, rules=EXACT)
        session.split((1, 0, 0), (1, 11, 15))
        labels, lookup = _labels(session), session.lookup.copy()
        lines = [json.loads(json.dumps(line)) for line in export_log(session)]
        assert session.history()[0].text == "draw 10: 6 cut, 32 voxels of background"
    assert (labels != _initial(fresh)).any()
    with ProofreadingSession.open(gapped) as session:
        np.testing.assert_array_equal(_labels(session), labels)
        used = max(int(s.ids.max()) for e in session.edits if e.effect for s in e.effect.splits)
        session.draw(_rows(_box((0, 0, 13), (1, 1, 15))), rules=EXACT)
        assert session.edits[-1].effect.splits[0].first == used + 1, "never an id twice"
        session.undo()
    with ProofreadingSession.open(fresh) as session:
        replay_log(lines, session)
        np.testing.assert_array_equal(session.lookup, lookup)
        np.testing.assert_array_equal(_labels(session), labels)
    (fresh / database.DATABASE).write_bytes(
        (fresh / database.DATABASE).read_bytes() + b"junk that is no page"
    )
    repair_log(fresh)
    with ProofreadingSession.open(fresh) as session:
        np.testing.assert_array_equal(_labels(session), labels)


def _initial(path: Path) -> np.ndarray:
    with ProofreadingSession.open(path, read_only=True) as session:
        return _labels(session)


def test_an_older_program_is_told_and_reads_what_it_can(
    gapped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ProofreadingSession.open(gapped) as session:
        session.merge(1, 2)
        plain = list(export_log(session))
    older = pytest.MonkeyPatch()
    for module in (database, log):
        older.setattr(module, "SESSION_FORMAT", 1)
    with ProofreadingSession.open(gapped) as session:
        assert session.segment_size(1) == 128, "nothing drawn: the old format"
    older.undo()
    with ProofreadingSession.open(gapped) as session:
        session.draw(_rows(_box((0, 1, 13), (3, 11, 16))), rules=EXACT)
        session.undo()
        drawn = list(export_log(session))
    assert (plain[0]["format"], drawn[0]["format"]) == (1, 2)
    fresh = tmp_path / "fresh.neuropil"
    shutil.copytree(gapped, fresh)
    for file in fresh.glob("session.*"):
        file.unlink()
    for module in (database, log):
        monkeypatch.setattr(module, "SESSION_FORMAT", 1)
    with pytest.raises(ProjectError, match=r"(?s)has format 2.*newer"):
        ProofreadingSession.open(gapped)
    with ProofreadingSession.open(fresh) as session:
        with pytest.raises(ProjectError, match=r"(?s)has format 2.*newer"):
            replay_log(drawn, session)
        replay_log(plain, session)


def test_a_drawing_that_cannot_be_written_has_changed_nothing(
    session: ProofreadingSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The format and the edit are one step: a failure between them leaves neither."""
    found: list[str] = []
    execute = session._database._write_all

    def fail(steps: Any) -> None:
        broken = [*list(steps)[:1], ("UPDATE nothing_there SET a = 1", ())]
        found.extend(s for s, _ in broken)
        execute(broken)

    before = _labels(session)
    monkeypatch.setattr(session._database, "_write_all", fail)
    with pytest.raises(ProjectError):
        session.draw(_rows(_box((0, 1, 13), (3, 11, 16))), rules=EXACT)
    assert len(found) == 2
    np.testing.assert_array_equal(_labels(session), before)
    monkeypatch.undo()
    session.merge(1, 2)
    assert session._database._format == 1


def test_an_effect_over_background_is_packed_exactly(session: ProofreadingSession) -> None:
    effect = session.propose_drawing(_rows(_box((0, 2, 2), (4, 6, 14))), rules=EXACT).effect
    again = unpack_effect(pack_effect(effect))
    for one, other in zip(effect.splits, again.splits, strict=True):
        assert (one.parent, one.start, one.first) == (other.parent, other.start, other.first)
        np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_array_equal(effect.links.area, again.links.area)


def test_a_piece_of_a_fragment_that_is_not_there_is_refused(
    session: ProofreadingSession,
) -> None:
    effect = session.propose_drawing(_rows(_box((0, 2, 2), (4, 6, 14))), rules=EXACT).effect
    session._state.check(effect)
    splits = tuple(replace(split, parent=split.parent and 99) for split in effect.splits)
    bad = replace(effect, splits=splits)
    with pytest.raises(ProjectError, match="cuts the fragment 99"):
        session._state.check(bad)


# elsewhere


def test_what_was_drawn_is_exported(gapped: Path, tmp_path: Path) -> None:
    with ProofreadingSession.open(gapped) as session:
        session.draw(_rows(_box((1, 2, 2), (4, 6, 15))), rules=EXACT)
        labels = _labels(session)
        drawn = int(session.edits[-1].wish["segment"])
        export_segmentation(gapped, tmp_path / "all.zarr")
    export_segmentation(gapped, tmp_path / "one.zarr", segments=str(drawn))
    whole = open_volume(tmp_path / "all.zarr").read(Roi.of_shape(SHAPE))
    np.testing.assert_array_equal(whole, labels)
    one = open_volume(tmp_path / "one.zarr").read(Roi.of_shape(SHAPE))
    np.testing.assert_array_equal(one, np.where(_box((1, 2, 2), (4, 6, 15)), drawn, 0))


def test_listeners_hear_what_was_drawn(session: ProofreadingSession) -> None:
    heard: list[Any] = []
    session.edited.connect(heard.append)
    session.draw(_rows(_box((0, 0, 4), (4, 8, 14))), rules=EXACT)
    session.undo()
    assert heard[0].segments == (2, 3, 5, 6, 10)
    assert heard[1].segments == (2, 3, 5, 6, 10)
    assert heard[0].roi == Roi((0, 0, 4), (4, 8, 14))


def test_the_queue_asks_about_what_was_drawn(session: ProofreadingSession) -> None:
    queue = CandidateQueue(session)
    session.draw(_rows(_box((0, 0, 5), (4, 8, 14))), rules=EXACT)
    queue.refresh()
    expected = {c.key for c in find_candidates(session)}
    assert {c.key for c in queue.candidates()} == expected
    pieces = {int(i) for split in session.edits[-1].effect.splits for i in split.ids}
    asked = queue.next()
    while asked is not None and not {asked.a, asked.b} & pieces:
        asked = queue.next()
    assert asked is not None
    queue.accept(1.0)
    assert session.lookup[asked.a] == session.lookup[asked.b]


def test_a_stale_drawing_is_refused(session: ProofreadingSession) -> None:
    proposal = session.propose_drawing(_rows(_box((0, 0, 4), (4, 8, 14))))
    session.merge(1, 2)
    with pytest.raises(EditRejectedError, match="Another edit"):
        session.commit(proposal)
