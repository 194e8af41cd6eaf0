"""What leaves a project carries its edits: labels, scores, meshes, skeletons, tables."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from napari_neuropil.errors import MissingExtraError, NeuropilError, OutputError, SettingsError
from napari_neuropil.geometry import Roi
from napari_neuropil.project import Project
from napari_neuropil.proofreading import ProofreadingSession
from napari_neuropil.volumes import open_volume
from napari_neuropil.workflows.evaluate import evaluate_files
from napari_neuropil.workflows.export import export_segmentation
from napari_neuropil.workflows.export_objects import export_meshes, export_skeletons
from napari_neuropil.workflows.import_inputs import ImportRequest
from napari_neuropil.workflows.import_labels import import_labels
from napari_neuropil.workflows.project_facts import describe_project
from napari_neuropil.workflows.results import choose_segments, open_edited
from napari_neuropil.workflows.statistics import COLUMNS, write_statistics

SHAPE = (6, 12, 40)
SIZE = (30.0, 10.0, 10.0)


def rods() -> NDArray[np.uint16]:
    """Four rods along x, 2 and 3 each a half of one; 7 lies alone and touches no border."""
    labels = np.zeros(SHAPE, np.uint16)
    labels[:, :4, :] = 1
    labels[:, 4:8, :20] = 2
    labels[:, 4:8, 20:] = 3
    labels[2:4, 9:11, 5:15] = 7
    return labels


@pytest.fixture
def project(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "rods.h5", "w") as file:
        file["labels"] = rods()
        file["truth"] = np.where(rods() == 3, 2, rods())
        file["labels"].attrs["translation_nm"] = (1000.0, 2000.0, 3000.0)
    request = ImportRequest(
        labels=f"{tmp_path}/rods.h5/labels",
        project=str(tmp_path / "rods.neuropil"),
        voxel_size=SIZE,
    )
    return import_labels(request).path


@pytest.fixture
def edited(project: Path) -> Path:
    """The project with 2 and 3 merged into 2."""
    with ProofreadingSession.open(project) as session:
        session.merge(2, 3)
        session.annotate(2, name="long rod", status="done", comment='quoted "text", comma')
    return project


def whole(path: Path) -> NDArray[Any]:
    volume = open_volume(path)
    return volume.read(Roi.of_shape(volume.shape))


def test_labels_are_exported_with_their_edits(edited: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    export_segmentation(edited, out)
    with open_edited(edited) as session:
        merged = int(session.segment_at((0, 5, 0)))
        assert merged == session.segment_at((0, 5, 39))
    expected = np.where((rods() == 2) | (rods() == 3), merged, rods())
    np.testing.assert_array_equal(whole(out), expected)
    np.testing.assert_array_equal(
        Project.open(edited).segments().read(Roi.of_shape(SHAPE)), rods()
    )  # as segmented: the edits lie beside it
    export_segmentation(edited, tmp_path / "some.tif", segments="1,7")
    np.testing.assert_array_equal(
        whole(tmp_path / "some.tif"), np.where(np.isin(rods(), (1, 7)), rods(), 0)
    )


def test_undone_edits_do_not_leave(edited: Path, tmp_path: Path) -> None:
    with ProofreadingSession.open(edited) as session:
        session.undo()
    export_segmentation(edited, tmp_path / "out.h5")
    np.testing.assert_array_equal(whole(tmp_path / "out.h5"), rods())


def test_export_while_another_program_edits(edited: Path, tmp_path: Path) -> None:
    with ProofreadingSession.open(edited) as session:
        session.undo()
        export_segmentation(edited, tmp_path / "out.h5")
        session.redo()
    np.testing.assert_array_equal(whole(tmp_path / "out.h5"), rods())


def test_scores_are_those_of_the_proofread_segments(project: Path, tmp_path: Path) -> None:
    truth = tmp_path / "rods.h5" / "truth"
    before = evaluate_files(project, truth).as_dict()
    assert before["voi_split"] > 0.1
    with ProofreadingSession.open(project) as session:
        session.merge(2, 3)
    after = evaluate_files(project, truth).as_dict()
    assert after["voi_split"] == pytest.approx(0, abs=1e-9)
    assert after["voi_merge"] == pytest.approx(0, abs=1e-9)


def test_a_damaged_session_is_not_exported_in_part(edited: Path, tmp_path: Path) -> None:
    for name in ("session.sqlite", "session.sqlite-wal"):
        file = edited / name
        if file.exists():
            file.write_bytes(file.read_bytes()[:100] + b"\0" * 5000)
    with pytest.raises(NeuropilError, match="repair"):
        export_segmentation(edited, tmp_path / "out.h5")
    assert not (tmp_path / "out.h5").exists()


def test_segments_are_chosen_by_id_status_or_all(edited: Path) -> None:
    with open_edited(edited) as session:
        assert choose_segments(session, "7,1, 7").tolist() == [1, 7]
        assert choose_segments(session, "all").tolist() == session.segment_ids().tolist()
        assert choose_segments(session, "done").tolist() == [2]
        bad = {"1,99": "99", "wrong": "status", "a,b": "--segments", "-1": "--segments -1"}
        for words, says in bad.items():
            with pytest.raises(SettingsError, match=says):
                choose_segments(session, words)


@pytest.mark.parametrize("form", ["glb", "ply"])
def test_meshes_lie_at_their_place_in_nm(edited: Path, tmp_path: Path, form: Any) -> None:
    import trimesh

    heard: list[tuple[int, int]] = []
    folder = tmp_path / "meshes"
    files = export_meshes(
        edited, folder, "1,2", form=form, report=lambda done, total: heard.append((done, total))
    )
    assert [file.name for file in files] == [f"1.{form}", f"2.{form}"]
    assert heard[-1] == (2, 2)
    mesh = trimesh.load(files[1], force="mesh")
    assert mesh.is_watertight
    # Both halves of the merged rod: x 0 to 39, y 4 to 7, z 0 to 5 voxels, half a voxel around.
    low = np.array([3000 - 5, 2000 + 35, 1000 - 15])
    high = np.array([3000 + 395, 2000 + 75, 1000 + 165])
    np.testing.assert_allclose(mesh.bounds, [low, high], atol=0.5)
    assert mesh.volume == pytest.approx(math.prod(high - low), rel=0.08)
    with pytest.raises(OutputError, match="--overwrite"):
        export_meshes(edited, folder, "1", form=form)
    export_meshes(edited, folder, "1", form=form, overwrite=True, voxels=50)
    pooled = trimesh.load(files[0], force="mesh")
    assert 0 < len(pooled.faces) < len(mesh.faces)


@pytest.mark.parametrize("method", ["teasar", "kimimaro"])
@pytest.mark.parametrize("unit", ["um", "nm"])
def test_skeletons_follow_the_rod(edited: Path, tmp_path: Path, method: str, unit: Any) -> None:
    if method == "kimimaro":
        pytest.importorskip("kimimaro")
    (file,) = export_skeletons(edited, tmp_path / "swc", "2", method=method, unit=unit)
    header = [line for line in file.read_text().splitlines() if line.startswith("#")]
    assert ("micrometre" if unit == "um" else "nanometre") in header[0]
    assert any("long rod" in line for line in header)
    table = np.loadtxt(file, ndmin=2)
    factor = 1e3 if unit == "um" else 1
    x, y, z = table[:, 2:5].T * factor
    assert x.min() < 3000 + 60
    assert x.max() > 3000 + 340
    assert 2000 + 30 <= y.min() <= y.max() <= 2000 + 80
    assert 1000 - 15 <= z.min() <= z.max() <= 1000 + 165
    parents = table[:, 6].astype(int)
    assert (parents == -1).sum() == 1
    assert (parents < table[:, 0]).all()


def test_a_missing_extra_names_the_pip_line(
    edited: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "kimimaro", None)
    with pytest.raises(MissingExtraError, match=r"napari-neuropil\[skeletons\]"):
        export_skeletons(edited, tmp_path / "swc", "1", method="kimimaro")


def read_rows(file: Path) -> dict[int, dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as opened:
        return {int(row["id"]): row for row in csv.DictReader(opened)}


def test_statistics_equal_a_naive_count(edited: Path, tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    assert write_statistics(edited, file) == 3
    rows = read_rows(file)
    assert tuple(rows[1]) == COLUMNS
    with open_edited(edited) as session:
        labels = session.segments().read(Roi.of_shape(SHAPE))
    assert sorted(rows) == sorted(int(i) for i in np.unique(labels[labels > 0]))
    for segment, row in rows.items():
        place = np.argwhere(labels == segment)
        assert int(row["voxels"]) == len(place)
        assert float(row["volume_um3"]) == pytest.approx(len(place) * 3000 * 1e-9)
        box = [int(row[f"{axis}_{end}"]) for end in ("start", "stop") for axis in "zyx"]
        assert box == [*place.min(0), *(place.max(0) + 1)]
        faces, neighbours = 0, set()
        for axis in range(3):
            a, b = (np.moveaxis(labels, axis, 0)[s] for s in (slice(1, None), slice(None, -1)))
            for near, far in ((a, b), (b, a)):
                other = far[(near == segment) & (far > 0) & (far != segment)]
                faces += len(other)
                neighbours |= set(other.tolist())
        assert int(row["contact_area_faces"]) == faces
        assert int(row["contacts"]) == len(neighbours)
        border = (place.min(0) == 0).any() or (place.max(0) + 1 == np.array(SHAPE)).any()
        assert row["touches_border"] == ("yes" if border else "no")
    assert rows[7]["touches_border"] == "no"
    assert rows[2]["fragments"] == "2"
    assert (rows[2]["name"], rows[2]["status"]) == ("long rod", "done")
    assert rows[2]["comment"] == 'quoted "text", comma'
    assert rows[1]["status"] == "todo"
    with pytest.raises(OutputError, match="exists"):
        write_statistics(edited, file)
    assert write_statistics(edited, file, segments="7", overwrite=True) == 1
    assert list(read_rows(file)) == [7]


def test_statistics_of_a_split_fragment(project: Path, tmp_path: Path) -> None:
    with ProofreadingSession.open(project) as session:
        session.split((3, 1, 2), (3, 1, 37))  # both in one fragment
        labels = session.segments().read(Roi.of_shape(SHAPE))
    write_statistics(project, tmp_path / "table.csv")
    rows = read_rows(tmp_path / "table.csv")
    assert len(rows) == 5
    ids, counts = np.unique(labels[labels > 0], return_counts=True)
    found = {segment: int(row["voxels"]) for segment, row in rows.items()}
    assert found == dict(zip(ids.tolist(), counts.tolist(), strict=True))
    assert all(row["fragments"] == "1" for row in rows.values())


def test_facts_of_a_project(project: Path) -> None:
    facts = describe_project(project)
    assert (facts["edits"], facts["segments"], facts["fragments"]) == (0, 4, 4)
    with ProofreadingSession.open(project) as session:
        session.merge(2, 3)
        session.undo()
        session.annotate(1, status="wrong")
    facts = describe_project(project)
    assert (facts["edits"], facts["active_edits"], facts["segments"]) == (1, 0, 4)
    assert facts["kinds"] == {"merge": 1}
    assert facts["statuses"] == {"wrong": 1}


def test_real_fragments(real_data: Path, tmp_path: Path) -> None:
    box = np.s_[:24, :80, :80]
    with h5py.File(real_data / "fib25_sample2.h5") as source:
        with h5py.File(tmp_path / "fib.h5", "w") as file:
            for name in ("fragments", "labels"):
                file[name] = source[name][box]
        request = ImportRequest(
            labels=f"{tmp_path}/fib.h5/fragments",
            project=str(tmp_path / "fib.neuropil"),
            voxel_size=(8, 8, 8),
        )
        project = import_labels(request).path
    before = evaluate_files(project, tmp_path / "fib.h5" / "labels").voi
    with h5py.File(tmp_path / "fib.h5") as file:
        labels = file["labels"][...]
    with ProofreadingSession.open(project) as session:
        fragments = session.fragments().read(Roi.of_shape(labels.shape))
        contacts = session.graph.all()
        strongest = contacts[np.argsort(-contacts.area)[:40]]
        truth = {
            int(f): int(np.bincount(labels[fragments == f]).argmax())
            for f in np.unique(np.stack([strongest.a, strongest.b]))
        }
        for a, b in zip(strongest.a.tolist(), strongest.b.tolist(), strict=True):
            if truth[a] == truth[b] and session.lookup[a] != session.lookup[b]:
                session.merge(int(session.lookup[a]), int(session.lookup[b]))
        merged = int(session.segment_ids()[0])
    assert evaluate_files(project, tmp_path / "fib.h5" / "labels").voi < before
    (file_,) = export_skeletons(project, tmp_path / "swc", str(merged))
    assert len(np.loadtxt(file_, ndmin=2)) >= 1
    assert write_statistics(project, tmp_path / "t.csv") == describe_project(project)["segments"]
