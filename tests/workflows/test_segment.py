"""The main job: a project from an image, resumed, cancelled, refused."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from napari_neuropil.errors import (
    CancelledError,
    CheckpointError,
    NeuropilError,
    OutputError,
    ProjectError,
    SettingsError,
    VolumeFormatError,
    VolumeNotFoundError,
)
from napari_neuropil.project import Project
from napari_neuropil.project.affinities import AffinityStore
from napari_neuropil.volumes import open_volume
from napari_neuropil.workflows.evaluate import evaluate_files
from napari_neuropil.workflows.export import export_segmentation
from napari_neuropil.workflows.plan import plan_segmentation
from napari_neuropil.workflows.requests import Progress, SegmentRequest
from napari_neuropil.workflows.segment import segment

_BLOCKS = (8, 32, 32)


@pytest.fixture
def wish(tiny_checkpoint: Path, small_image: Path, tmp_path: Path) -> dict[str, Any]:
    """Return a request's fields, to be changed by a test."""
    return {
        "image": f"{small_image}/image",
        "project": str(tmp_path / "out.neuropil"),
        "checkpoint": str(tiny_checkpoint),
        "device": "cpu",
        "block_shape": _BLOCKS,
        "settings": {"smallest_fragment": 8, "seed_sigma": 1.0, "beta": 0.6},
    }


def _segment(wish: dict[str, Any], **changes: Any) -> Project:
    return segment(SegmentRequest(**{**wish, **changes}))


def _affinities(project: Project) -> np.ndarray[Any, Any]:
    return np.asarray(AffinityStore.open(project.path / "affinities.zarr").array[:])


def test_project_holds_what_it_promises(wish: dict[str, Any]) -> None:
    heard: list[Progress] = []
    project = segment(SegmentRequest(**wish), report=heard.append)
    fragments = np.asarray(project.fragments.array[:, :, :])
    assert fragments.shape == (10, 70, 54)
    np.testing.assert_array_equal(
        np.unique(fragments), np.arange(1, project.info.fragment_count + 1)
    )
    assert project.lookup[0] == 0
    assert (project.lookup[project.lookup] == project.lookup).all()  # named after a member
    project.rag.validate(project.info.fragment_count)
    assert project.rag.centroid[:, 1].max() > 40  # places are those of the whole volume
    segments = project.segments()
    np.testing.assert_array_equal(segments.array[3:5, :, 7], project.lookup[fragments[3:5, :, 7]])
    assert project.info.voxel_size == (30, 12, 12)
    assert len(project.info.fingerprint) == 32
    stages = {"affinities", "fragments", "contacts", "segments", "sizes"}
    assert {p.stage for p in heard} == stages
    assert (project.path / "fragments.npz").is_file()
    assert all(0 <= p.done <= p.total for p in heard)


def test_a_project_finds_its_image_from_anywhere(
    wish: dict[str, Any], small_image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(small_image.parent)
    project = _segment(wish, image=f"{small_image.name}/image")
    monkeypatch.chdir(tmp_path)
    assert open_volume(project.path / project.info.image_source).shape == (10, 70, 54)


def test_blocks_change_neither_affinities_nor_coverage(
    wish: dict[str, Any], tmp_path: Path
) -> None:
    blocked = _segment(wish)
    whole = _segment(wish, project=str(tmp_path / "whole.neuropil"), block_shape=None)
    difference = np.abs(_affinities(blocked).astype(int) - _affinities(whole))
    assert difference.max() <= 1  # rounding to 1/255
    assert (difference > 0).mean() < 0.01
    assert blocked.rag.area.sum() != 0


def test_same_twice(wish: dict[str, Any], tmp_path: Path) -> None:
    first = _segment(wish)
    second = _segment(wish, project=str(tmp_path / "again.neuropil"))
    assert first.info.fingerprint == second.info.fingerprint
    np.testing.assert_array_equal(first.lookup, second.lookup)


@pytest.mark.parametrize("stop_after", [1, 9, 20])
def test_cancelled_run_goes_on_to_the_same_result(
    wish: dict[str, Any], tmp_path: Path, stop_after: int
) -> None:
    wanted = _segment(wish, project=str(tmp_path / "wanted.neuropil"))
    asked = itertools.count()
    with pytest.raises(CancelledError):
        segment(SegmentRequest(**wish), cancelled=lambda: next(asked) >= stop_after)
    with pytest.raises(ProjectError, match="unfinished"):
        Project.open(wish["project"])
    with pytest.raises(OutputError, match="exists"):
        _segment(wish)
    with pytest.raises(ProjectError, match=r"overlap was"):
        _segment(wish, resume=True, settings={**wish["settings"], "overlap": 0.5})
    found = _segment(wish, resume=True)
    assert found.info.fingerprint == wanted.info.fingerprint
    np.testing.assert_array_equal(found.lookup, wanted.lookup)


def test_roi_lies_where_it_was_cut(wish: dict[str, Any]) -> None:
    project = _segment(wish, roi="2:9,10:50,4:44")
    assert project.fragments.shape == (7, 40, 40)
    assert project.info.translation == (60, 120, 48)
    assert project.segments().translation == (60, 120, 48)


def test_fine_pixels_are_pooled_and_come_back(wish: dict[str, Any]) -> None:
    project = _segment(wish, voxel_size=(30, 6, 6))
    assert project.info.plan["factors"] == [1, 2, 2]
    fragments = np.asarray(project.fragments.array[:, :, :])
    assert fragments.shape == (10, 70, 54)
    np.testing.assert_array_equal(fragments[:, ::2, ::2], fragments[:, 1::2, 1::2])
    assert _affinities(project).shape == (4, 10, 35, 27)
    assert project.rag.centroid[:, 1].max() > 40
    assert _segment(
        wish, voxel_size=(30, 6, 6), overwrite=True, settings={"resample": False}
    ).info.plan["factors"] == [1, 1, 1]


def test_export_and_evaluate(wish: dict[str, Any], tmp_path: Path) -> None:
    project = _segment(wish)
    truth = np.asarray(project.segments().array[:, :, :])
    for name in ("out.zarr", "out.tif", "out.h5"):
        export_segmentation(project.path, tmp_path / name)
        scores = evaluate_files(tmp_path / name, tmp_path / name)
        assert scores.voi == pytest.approx(0, abs=1e-9)
        assert scores.adapted_rand_error == pytest.approx(0, abs=1e-9)
    with pytest.raises(OutputError):
        export_segmentation(project.path, tmp_path / "out.tif")
    with h5py.File(tmp_path / "part.h5", "w") as file:
        file["labels"] = truth
    part = _segment(wish, project=str(tmp_path / "part.neuropil"), roi="0:10,0:40,0:54")
    assert evaluate_files(part.path, tmp_path / "part.h5").voi > 0  # the roi is cut from the truth


def test_tiny_volume(wish: dict[str, Any], tmp_path: Path) -> None:
    with h5py.File(tmp_path / "tiny.h5", "w") as file:
        file["image"] = np.random.default_rng(0).integers(0, 255, (1, 9, 5), dtype=np.uint8)
    project = _segment(wish, image=f"{tmp_path}/tiny.h5", voxel_size=(30, 12, 12))
    assert project.fragments.shape == (1, 9, 5)
    assert any("little context" in notice for notice in project.info.notices)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"image": "/nowhere/a.tif"}, VolumeNotFoundError, "nowhere"),
        ({"roi": "0:11,0:9,0:9"}, SettingsError, "leaves the volume"),
        ({"roi": "5:5,0:9,0:9"}, SettingsError, "empty"),
        ({"voxel_size": (0, 6, 6)}, SettingsError, "Voxel size along z is 0"),
        ({"voxel_size": (29, -6, 6)}, SettingsError, "along y is -6"),
        ({"checkpoint": "/nowhere/a.safetensors"}, CheckpointError, "No checkpoint"),
        ({"settings": {"beta": 2}}, SettingsError, "'beta'"),
        ({"settings": {"bta": 0.5}}, SettingsError, "'bta'"),
        ({"method": "watershed"}, SettingsError, "no method"),
        ({"device": "cuda"}, SettingsError, "cuda"),
    ],
)
def test_bad_wishes_leave_nothing(
    wish: dict[str, Any], change: dict[str, Any], error: type[NeuropilError], words: str
) -> None:
    import torch

    if change.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(error, match=words):
        _segment(wish, **change)
    assert not Path(wish["project"]).exists()


def test_unknown_voxel_size_is_asked_for(wish: dict[str, Any], tmp_path: Path) -> None:
    with h5py.File(tmp_path / "bare.h5", "w") as file:
        file["image"] = np.random.default_rng(0).integers(0, 255, (4, 40, 40), dtype=np.uint8)
    with pytest.raises(SettingsError, match=r"(?s)does not state its voxel size.*--voxel-size"):
        _segment(wish, image=f"{tmp_path}/bare.h5")


@pytest.mark.parametrize("fill", [0, np.nan])
def test_nothing_to_segment(wish: dict[str, Any], tmp_path: Path, fill: float) -> None:
    with h5py.File(tmp_path / "flat.h5", "w") as file:
        file["image"] = np.full((4, 40, 40), fill, np.float32)
    with pytest.raises(VolumeFormatError, match=r"constant|NaN"):
        _segment(wish, image=f"{tmp_path}/flat.h5", voxel_size=(30, 12, 12))


def test_nothing_but_projects_is_overwritten(wish: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter.txt").write_text("years of work")
    with pytest.raises(ProjectError, match="no project"):
        _segment(wish, project=str(folder), overwrite=True)
    assert (folder / "chapter.txt").read_text() == "years of work"


def test_full_disk_is_seen_before_the_work(
    wish: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda _p: type("U", (), {"free": 1000})())
    with pytest.raises(OutputError, match=r"(?s)are free.*GB for this"):
        _segment(wish)
    assert not Path(wish["project"]).exists()


def test_plan_promises_what_the_run_does(wish: dict[str, Any]) -> None:
    plan = plan_segmentation(SegmentRequest(**wish))
    assert plan.blocks == 2 * 3 * 2
    assert plan.tiles >= plan.blocks
    assert plan.coverage > 1
    assert plan.seconds > 0
    assert not Path(wish["project"]).exists()
    assert plan == type(plan).model_validate_json(plan.model_dump_json())
