"""The commands that come after `segment`: export, evaluate, convert, train, info."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_neuropil.cli.app import run
from napari_neuropil.evaluation.scores import evaluate_segmentation
from napari_neuropil.geometry import Roi
from napari_neuropil.project import Project
from napari_neuropil.volumes import open_volume


@pytest.mark.parametrize("name", ["out.zarr", "out.tif", "out.h5", "out.h5/neurons"])
def test_an_export_holds_the_segments_and_their_voxel_size(
    name: str, project: Path, tmp_path: Path
) -> None:
    assert run(["export", str(project), str(tmp_path / name)]) == 0
    written = open_volume(tmp_path / name)
    segments = Project.open(project).segments()
    box = Roi.of_shape(segments.shape)
    np.testing.assert_array_equal(written.read(box), segments.read(box))
    assert written.voxel_size is not None
    assert tuple(written.voxel_size) == pytest.approx((30, 8, 8))


def test_an_export_keeps_what_is_there(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.tif"
    out.write_bytes(b"precious")
    assert run(["export", str(project), str(out), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["type"] == "OutputError"
    assert out.read_bytes() == b"precious"
    assert run(["export", str(project), str(out), "--overwrite", "--json"]) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last == {"event": "done", "labels": str(out)}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on file sizes")
@pytest.mark.parametrize("name", ["out.h5", "out.tif"])
def test_a_full_disk_ends_the_process_with_2(name: str, project: Path, tmp_path: Path) -> None:
    # A process of its own: HDF5 may fall over unwritten chunks as late as its exit.
    script = (
        "import resource, sys\n"
        "from napari_neuropil.cli.app import run\n"
        "hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))\n"
        "sys.exit(run(sys.argv[1:]))\n"
    )
    words = ["export", str(project), str(tmp_path / name)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COV")}
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_evaluate_writes_the_six_scores(
    project: Path, volumes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(project), str(volumes / "labels.h5")]
    assert run([*words, "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    box = Roi((0, 0, 0), (6, 64, 64))
    expected = evaluate_segmentation(
        Project.open(project).segments().read(box),
        open_volume(volumes / "labels.h5").read(box).astype(np.uint64),
    )
    assert scores == pytest.approx(expected.as_dict())
    assert {"voi_split", "voi_merge", "voi", "adapted_rand_error", "precision", "recall"} <= set(
        scores
    )
    assert run(words) == 0
    shown = capsys.readouterr().out
    assert f"{scores['voi']:.4f}" in shown
    assert "bits" in shown


def test_labels_against_themselves_are_perfect(
    volumes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = str(volumes / "labels.h5") + "/labels"
    assert run(["evaluate", labels, labels, "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["voi"] == pytest.approx(0, abs=1e-9)
    assert scores["adapted_rand_error"] == pytest.approx(0, abs=1e-9)


def test_convert_refuses_what_is_no_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.ckpt"
    bad.write_bytes(b"nothing of the kind")
    out = tmp_path / "out.safetensors"
    assert run(["convert", "segneuron", str(bad), str(out)]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert not out.exists()


def test_convert_takes_the_authors_layout(tmp_path: Path) -> None:
    import torch

    from napari_neuropil.networks import load_checkpoint
    from napari_neuropil.networks.mnet import MNet

    torch.manual_seed(0)
    state = MNet().state_dict()
    published = tmp_path / "theirs.ckpt"
    torch.save({"model_weights": {f"module.{k}": v for k, v in state.items()}}, published)
    out = tmp_path / "ours.safetensors"
    assert run(["convert", "segneuron", str(published), str(out)]) == 0
    network, spec = load_checkpoint(out, "segneuron")
    assert spec.network == "segneuron"
    assert all(torch.equal(state[k], v) for k, v in network.state_dict().items())


def test_train_refuses_bad_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = tmp_path / "recipe.yaml"
    assert run(["train", "segneuron", "--settings", str(settings)]) == 2
    settings.write_text("nonsense: 3\n")
    assert run(["train", "segneuron", "--settings", str(settings)]) == 2
    assert "nonsense" in capsys.readouterr().err
    assert run(["train", "magic", "--settings", str(settings)]) == 2


def test_info_names_devices_and_why_some_are_missing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    devices = {device["device"]: device["why_unavailable"] for device in facts["devices"]}
    assert devices["cpu"] is None
    assert all(reason is None or reason for reason in devices.values())
    assert facts["packages"]["torch"]
    assert facts["memory"]["total"] >= facts["memory"]["available"] > 0
    names = {setting["name"] for setting in facts["methods"][0]["settings"]}
    assert {"beta", "overlap"} <= names
    assert run(["info"]) == 0
    assert "device cpu" in capsys.readouterr().out


def test_info_lists_every_setting_with_its_bounds(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["info", "methods"]) == 0
    full = capsys.readouterr().out
    assert "overlap" in full
    assert "<= 0.75" in full
    assert run(["segment", "--help"]) == 0
    brief = capsys.readouterr().out
    assert "beta" in brief
    assert "overlap" not in brief
    assert run(["info", "weather"]) == 2
