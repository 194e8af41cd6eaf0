"""Import, export, log, replay, repair and info of projects, as typed."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_neuropil.cli.app import run
from napari_neuropil.geometry import Roi
from napari_neuropil.project import Project
from napari_neuropil.proofreading import ProofreadingSession
from napari_neuropil.volumes import open_volume


@pytest.fixture(scope="module")
def imported(volumes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project imported from the tiny volume's labels and image."""
    path = tmp_path_factory.mktemp("imported") / "labels.neuropil"
    words = [
        "import",
        str(volumes / "labels.h5"),
        str(path),
        "--image",
        str(volumes / "image.zarr"),
    ]
    assert run(words) == 0
    return path


@pytest.fixture
def project(imported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(imported, tmp_path / "p.neuropil"))


@pytest.fixture
def edited(project: Path) -> Path:
    """Two merges, one of them undone, and a split."""
    with ProofreadingSession.open(project) as session:
        contacts = session.graph.all()
        a, b = int(contacts.a[0]), int(contacts.b[0])
        session.merge(int(session.lookup[a]), int(session.lookup[b]), seconds=2.5)
        c, d = next(
            (int(c), int(d))
            for c, d in zip(contacts.a, contacts.b, strict=True)
            if session.lookup[int(c)] != session.lookup[int(d)]
        )
        session.merge(int(session.lookup[c]), int(session.lookup[d]))
        session.undo()
        session.split(a, b)
    return project


def labels_of(path: Path) -> Any:
    with ProofreadingSession.open(path, read_only=True) as session:
        volume = session.segments()
        return volume.read(Roi.of_shape(volume.shape))


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_import_tells_what_came_out(
    volumes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.neuropil"
    words = ["import", str(volumes / "labels.h5"), str(path), "--json"]
    assert run(words) == 0
    events = lines(capsys)
    done = events[-1]
    labels = open_volume(volumes / "labels.h5")
    truth = labels.read(Roi.of_shape(labels.shape))
    assert done["event"] == "done"
    assert done["segments"] == len(np.unique(truth[truth > 0]))
    assert done["fragments"] >= done["segments"]
    assert done["scores"] == "none"
    assert {e["stage"] for e in events if e["event"] == "progress"} == {"fragments", "contacts"}
    assert any("0.5" in e["message"] for e in events if e["event"] == "notice")
    np.testing.assert_array_equal(labels_of(path), truth)
    assert tuple(Project.open(path).info.voxel_size) == pytest.approx((30, 8, 8))
    assert run(words) == 2
    assert lines(capsys)[-1]["type"] == "OutputError"
    assert run([*words, "--overwrite", "--voxel-size", "40,4,4"]) == 0
    assert Project.open(path).info.voxel_size == (40, 4, 4)


def test_import_refuses_what_it_cannot_use(
    volumes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "a.neuropil")
    labels = str(volumes / "labels.h5")
    for words in (
        [labels, path, "--image", str(volumes / "nothing.tif")],
        [labels, path, "--voxel-size", "1,2"],
        [labels, path, "--affinities", str(volumes / "image.zarr")],
        [str(volumes / "image.zarr"), path],
    ):
        assert run(["import", *words]) == 2
        assert "Traceback" not in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    np.save(tmp_path / "labels.npy", np.arange(256**3, dtype=np.uint32).reshape((256,) * 3) // 999)
    words = ["import", "labels.npy", "out.neuropil", "--voxel-size", "8,8,8", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "napari_neuropil.cli", *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert "progress" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert [p.name for p in tmp_path.iterdir()] == ["labels.npy"]


def test_export_writes_what_is_asked_for(
    edited: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    ids = np.unique(labels_of(edited))[1:3]
    words = ["export", str(edited), str(tmp_path / "o.tif"), "--segments", f"{ids[0]},{ids[1]}"]
    words += ["--meshes", str(tmp_path / "m"), "--format", "ply"]
    words += ["--skeletons", str(tmp_path / "s"), "--swc-unit", "nm"]
    words += ["--statistics", str(tmp_path / "t.csv"), "--json"]
    assert run(words) == 0
    done = lines(capsys)[-1]
    assert done["labels"] == str(tmp_path / "o.tif")
    assert done["segments"] == 2
    for folder, suffix in (("m", "ply"), ("s", "swc")):
        names = sorted(p.name for p in (tmp_path / folder).iterdir())
        assert names == sorted(f"{i}.{suffix}" for i in ids)
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 3
    written = open_volume(tmp_path / "o.tif")
    found = written.read(Roi.of_shape(written.shape))
    np.testing.assert_array_equal(np.unique(found), [0, *ids])


def test_export_asks_for_what_is_missing(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", str(project)]) == 2
    assert "--statistics" in capsys.readouterr().err
    assert run(["export", str(project), "--meshes", str(tmp_path / "m")]) == 2
    assert "--segments" in capsys.readouterr().err
    assert run(["export", str(project), "--meshes", str(tmp_path / "m"), "--segments", "9999"]) == 2
    assert "no segment 9999" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


def test_segmenting_anew_does_not_delete_edits(
    edited: Path, volumes: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["segment", str(volumes / "image.zarr"), str(edited), "--checkpoint", str(checkpoint)]
    assert run([*words, "--device", "cpu", "--overwrite"]) == 2
    assert "holds 4 edits" in capsys.readouterr().err
    with ProofreadingSession.open(edited, read_only=True) as session:
        assert len(session.edits) == 4


def test_log_is_a_table_and_replays_onto_the_raw_result(
    edited: Path, imported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run(["log", str(edited)]) == 0
    shown = capsys.readouterr().out
    for word in ("merge", "split", "undone", "2.5 s", "3 edits, 2 of them active"):
        assert word in shown
    assert run(["log", str(edited), "--json"]) == 0
    text = capsys.readouterr().out
    entries = [json.loads(line) for line in text.splitlines()]
    assert [e.get("kind") for e in entries] == [None, "merge", "merge", "move", "split"]
    log = tmp_path / "log.jsonl"
    log.write_text(text)
    for name, source in (("from-file", log), ("from-project", edited)):
        raw = shutil.copytree(imported, tmp_path / name)
        assert not np.array_equal(labels_of(raw), labels_of(edited))
        assert run(["replay", str(source), str(raw), "--json"]) == 0
        assert lines(capsys)[-1] == {"event": "done", "project": str(raw), "replayed": 4}
        np.testing.assert_array_equal(labels_of(raw), labels_of(edited))
        assert run(["replay", str(source), str(raw)]) == 2  # it has edits now
        assert "edits of its own" in capsys.readouterr().err


def test_replay_refuses_other_fragments_with_both_fingerprints(
    edited: Path, volumes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = open_volume(volumes / "labels.h5")
    turned = labels.read(Roi.of_shape(labels.shape))[:, ::-1]
    np.save(tmp_path / "turned.npy", turned)
    other = tmp_path / "other.neuropil"
    words = ["import", str(tmp_path / "turned.npy"), str(other), "--voxel-size", "30,8,8"]
    assert run(words) == 0
    capsys.readouterr()
    assert run(["log", str(edited), "--json"]) == 0
    fingerprint = lines(capsys)[0]["fingerprint"]
    assert run(["replay", str(edited), str(other), "--json"]) == 2
    error = lines(capsys)[-1]
    assert error["type"] == "ProjectError"
    assert fingerprint in error["found"]
    assert not np.array_equal(labels_of(other), labels_of(edited))
    with ProofreadingSession.open(other, read_only=True) as session:
        assert session.edits == []


@pytest.mark.parametrize("text", ["", "not json\n", "[1]\n", '{"id": 1}\n', "\xff\xfe"])
def test_replay_refuses_what_is_no_log(
    project: Path, tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.jsonl"
    log.write_bytes(text.encode("latin-1"))
    assert run(["replay", str(log), str(project)]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert run(["replay", str(tmp_path / "absent"), str(project)]) == 2


def test_replay_waits_for_no_other_writer(
    edited: Path, project: Path, imported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = shutil.copytree(imported, tmp_path / "raw.neuropil")
    script = (
        "import sys\n"
        "from napari_neuropil.proofreading import ProofreadingSession\n"
        f"session = ProofreadingSession.open({str(raw)!r})\n"
        "print(session.read_only, flush=True)\n"
        "sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == "False"
        assert run(["replay", str(edited), str(raw)]) == 2
        assert "has this project open" in capsys.readouterr().err
    finally:
        holder.communicate("")


def test_repair_saves_the_readable_beginning(
    edited: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run(["repair", str(edited), "--json"]) == 0
    events = lines(capsys)
    assert "Nothing is damaged" in events[0]["message"]
    assert events[-1]["kept"] == 4
    with ProofreadingSession.open(edited) as session:
        for _ in range(2):
            session.undo()
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(edited / "session.sqlite")) as database, database:
        database.execute("UPDATE edits SET time = time + 1 WHERE id = 4")
    assert run(["log", str(edited)]) == 0  # what is readable is shown, and that it is not all
    shown = capsys.readouterr()
    assert "2 edits" in shown.out
    assert "note:" in shown.err
    assert run(["repair", str(edited), "--json"]) == 0
    done = lines(capsys)[-1]
    assert (done["kept"], done["lost"]) == (3, 3)
    assert Path(done["backup"]).is_file()
    assert run(["log", str(edited)]) == 0
    assert "2 edits, 1 of them active" in capsys.readouterr().out


def test_info_tells_of_a_project_and_its_edits(
    edited: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ProofreadingSession.open(edited) as session:
        session.annotate(int(session.segment_ids()[0]), status="done")
    capsys.readouterr()
    assert run(["info", str(edited), "--json"]) == 0
    facts = lines(capsys)[0]
    assert facts["method"] == "import"
    assert (facts["edits"], facts["active_edits"]) == (3, 2)
    assert facts["statuses"] == {"done": 1}
    assert run(["info", str(edited)]) == 0
    shown = capsys.readouterr().out
    assert "2 merge, 1 split" in shown
    assert "1 done" in shown
    assert run(["info", str(edited.parent / "nothing")]) == 2
