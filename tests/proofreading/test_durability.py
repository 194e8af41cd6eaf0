"""What a kill, a full disk, a locked folder and flipped bits may do: never lose silently."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sqlite3
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from napari_neuropil.errors import OutputError, ProjectError
from napari_neuropil.proofreading import ProofreadingSession
from napari_neuropil.proofreading.database import DATABASE
from napari_neuropil.proofreading.effects import Effect, FragmentSplit
from napari_neuropil.proofreading.encoding import pack_effect, unpack_effect
from napari_neuropil.proofreading.log import export_log, replay_log
from napari_neuropil.proofreading.receipt import RECEIPT
from napari_neuropil.proofreading.repair import repair_log

ROOT = Path(__file__).parents[2]


def _kill_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "kill_session", ROOT / "benchmarks" / "kill_session.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the script forks")
def test_fifty_kills_lose_nothing(tmp_path: Path) -> None:
    acknowledged, lost = _kill_script().run_rounds(tmp_path, 50, seed=11, longest=0.12)
    assert lost == 0
    assert acknowledged > 20, "the children must have got somewhere, or nothing was tested"


def _edited(project: Path, count: int = 8) -> None:
    with ProofreadingSession.open(project) as session:
        for other in range(2, 2 + count):
            session.merge(1, other, force=True)


def test_a_log_replayed_gives_the_same_lookup(project: Path, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh.neuropil"
    shutil.copytree(project, fresh)
    with ProofreadingSession.open(project) as session:
        session.merge(1, 2)
        session.split((1, 1, 0), (1, 1, 3))
        session.undo()
        session.split((1, 1, 0), (1, 3, 3))
        session.merge(1, 5)
        session.jump(1)
        session.redo()
        lines = [json.loads(json.dumps(line)) for line in export_log(session)]
        with ProofreadingSession.open(fresh) as other:
            assert replay_log(lines, other) == len(session.edits)
            np.testing.assert_array_equal(other.lookup, session.lookup)
            with pytest.raises(ProjectError, match="edits of its own"):
                replay_log(lines, other)


def test_a_log_of_another_project_is_refused(session: ProofreadingSession) -> None:
    session.merge(1, 2)
    lines = list(export_log(session))
    lines[0] = {**lines[0], "fingerprint": "0" * 32}
    with pytest.raises(ProjectError, match=r"0000.*holds"):
        replay_log(lines, session)


def test_a_flipped_bit_in_an_edit_is_named_and_the_rest_saved(project: Path) -> None:
    _edited(project)
    with sqlite3.connect(project / DATABASE) as connection:
        (effect,) = connection.execute("SELECT effect FROM edits WHERE id = 5").fetchone()
        flipped = bytes([*effect[:-3], effect[-3] ^ 4, *effect[-2:]])
        connection.execute("UPDATE edits SET effect = ? WHERE id = 5", (flipped,))
    connection.close()
    with pytest.raises(ProjectError, match=r"edit 5 .* 4 edits before"):
        ProofreadingSession.open(project)
    with ProofreadingSession.open(project, read_only=True) as session:
        assert len(session.edits) == 4
        assert "damaged" in session.notices[0]
    result = repair_log(project)
    assert (result.kept, result.lost) == (4, 4)
    assert result.backup is not None
    assert result.backup.exists()
    with ProofreadingSession.open(project) as session:
        assert set(session.members(1).tolist()) == {1, 2, 3, 4, 5}
        session.merge(1, 6, force=True)
    assert repair_log(project).backup is None


def test_a_lost_row_is_noticed(project: Path) -> None:
    _edited(project)
    with sqlite3.connect(project / DATABASE) as connection:
        connection.execute("DELETE FROM edits WHERE id = 3")
    connection.close()
    with pytest.raises(ProjectError, match="edit 3"):
        ProofreadingSession.open(project)


def test_a_lost_tail_is_noticed(project: Path) -> None:
    """As when only the database is copied, and its write-ahead log is not."""
    _edited(project)
    with sqlite3.connect(project / DATABASE) as connection:
        connection.execute("DELETE FROM edits WHERE id > 6")
    connection.close()
    with pytest.raises(ProjectError, match="edits 7 to 8 are missing"):
        ProofreadingSession.open(project)
    assert repair_log(project).lost == 2


@pytest.mark.parametrize("keep", [0, 50, 100, 4096, 9000])
def test_truncated_databases_are_refused(project: Path, keep: int) -> None:
    _edited(project)
    file = project / DATABASE
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ProjectError):
        ProofreadingSession.open(project)
    result = repair_log(project)
    assert result.backup is not None
    assert result.kept + result.lost == 8
    with ProofreadingSession.open(project) as session:
        assert len(session.edits) == result.kept


def test_random_flips_never_pass_unnoticed(project: Path) -> None:
    """Either the session is refused, or it says exactly what was logged."""
    _edited(project)
    with ProofreadingSession.open(project) as session:
        session.annotate(1, comment="one")
        lookup = session.lookup.copy()
    file = project / DATABASE
    whole = file.read_bytes()
    rng = np.random.default_rng(3)
    refused = 0
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[int(rng.integers(len(whole)))] ^= 1 << int(rng.integers(8))
        file.write_bytes(damaged)
        try:
            with ProofreadingSession.open(project, read_only=False) as session:
                np.testing.assert_array_equal(session.lookup, lookup)
                assert session.annotation(1).comment == "one"
        except (ProjectError, OutputError):
            refused += 1
        for extra in project.glob("session.sqlite-*"):
            extra.unlink()
    assert refused > 0


def test_a_newer_session_is_refused_by_name(project: Path) -> None:
    _edited(project)
    with sqlite3.connect(project / DATABASE) as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE key = 'format'")
    connection.close()
    with pytest.raises(ProjectError, match="format 99"):
        ProofreadingSession.open(project)


def test_a_full_disk_refuses_the_edit_and_keeps_the_rest(project: Path) -> None:
    with ProofreadingSession.open(project) as session:
        session.merge(1, 2)
        connection = session._database._connection
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
        steps = [lambda: session.split((1, 1, 9), (1, 1, 11)), session.undo]
        full = ""
        while not full:
            before, made = session.lookup.copy(), len(session.edits)
            try:
                steps[0]()
            except OutputError as error:
                full = str(error)
            steps.reverse()
        assert "full" in full
        assert "Nothing was changed" in full
        np.testing.assert_array_equal(session.lookup, before)
        assert len(session.edits) == made
        count = len(session.edits)
        connection.execute("PRAGMA max_page_count = 1000000")
        session.merge(3, 4)
    with ProofreadingSession.open(project) as session:
        assert len(session.edits) == count + 1


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root writes anywhere")
def test_a_folder_that_cannot_be_written_is_read(project: Path) -> None:
    _edited(project)
    project.chmod(0o500)
    try:
        with ProofreadingSession.open(project) as session:
            assert session.read_only
            assert len(session.edits) == 8
    finally:
        project.chmod(0o700)


def test_a_log_left_open_is_read_where_nothing_can_be_written(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write-ahead log of a killed session counts, also for a reader of a read-only folder."""
    session = ProofreadingSession.open(project)
    session.merge(1, 2)
    copy = tmp_path / "copy.neuropil"
    shutil.copytree(project, copy)
    session.close()
    (copy / f"{DATABASE}-shm").unlink()
    monkeypatch.setattr("napari_neuropil.proofreading.database.can_write", lambda _folder: False)
    with ProofreadingSession.open(copy, read_only=True) as reader:
        assert len(reader.edits) == 1
    assert not (copy / f"{DATABASE}-shm").exists()


def test_the_receipt_is_not_ahead_of_the_log(project: Path) -> None:
    _edited(project, 3)
    assert int((project / RECEIPT).read_text()) == 3


def test_bytes_that_are_no_effect_are_refused() -> None:
    """An exported log comes from anywhere: what is in it may be refused, never more."""
    rng = np.random.default_rng(5)
    good = pack_effect(
        Effect(
            np.arange(1, 90, dtype=np.uint64),
            np.ones(89, np.uint64),
            np.full(89, 2, np.uint64),
            splits=(FragmentSplit(3, (0, 0, 0), np.ones((2, 2, 2), np.uint8), 99),),
        )
    )
    refused = 0
    for _ in range(400):
        data = bytearray(good)
        for place in rng.integers(len(data), size=3):
            data[place] = int(rng.integers(256))
        cut = bytes(data[: int(rng.integers(len(data) + 1))])
        for bad in (bytes(data), cut, rng.bytes(40)):
            try:
                unpack_effect(bad)
            except ProjectError:
                refused += 1
    assert refused > 600


def test_an_effect_comes_back_as_it_was() -> None:
    effect = Effect(
        np.array([3, 7], np.uint64),
        np.array([3, 0], np.uint64),
        np.array([2**60, 5], np.uint64),
        joined=np.array([[3, 7]], np.uint64),
        splits=(FragmentSplit(3, (1, 2, 3), np.arange(8, dtype=np.uint8).reshape(2, 2, 2), 9),),
    )
    back = unpack_effect(pack_effect(effect))
    for name in ("fragments", "before", "after", "joined", "cut"):
        np.testing.assert_array_equal(getattr(back, name), getattr(effect, name))
    assert back.splits[0].start == (1, 2, 3)
    np.testing.assert_array_equal(back.splits[0].labels, effect.splits[0].labels)
