from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_neuropil.cli.app import run
from napari_neuropil.project import Project
from napari_neuropil.volumes import open_volume


@pytest.fixture
def words(volumes: Path, checkpoint: Path, tmp_path: Path) -> list[str]:
    image, project = volumes / "image.zarr", tmp_path / "new.neuropil"
    return [
        "segment", str(image), str(project), "--checkpoint", str(checkpoint), "--device", "cpu",
    ]  # fmt: skip


def events_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_json_carries_plan_progress_done_and_nothing_else(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*words, "--json"]) == 0
    events = events_of(capsys.readouterr().out)
    kinds = [event["event"] for event in events]
    assert kinds[0] == "plan"
    assert kinds[-1] == "done"
    assert set(kinds[1:-1]) <= {"progress", "notice"}
    assert events[0]["blocks"] == 1
    assert events[0]["memory_bytes"] > 0
    stages = {event["stage"] for event in events if event["event"] == "progress"}
    assert {"affinities", "fragments", "contacts", "segments"} <= stages
    project = Project.open(tmp_path / "new.neuropil")
    assert events[-1]["project"] == str(project.path)
    assert events[-1]["fragments"] == project.info.fragment_count
    assert events[-1]["segments"] == len(np.unique(project.lookup[1:]))


def test_dry_run_shows_the_plan_and_makes_nothing(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*words, "--dry-run"]) == 0
    shown = capsys.readouterr().err
    for word in ("30 x 8 x 8 nm", "1 blocks", "memory", "disk", "cpu"):
        assert word in shown
    assert not (tmp_path / "new.neuropil").exists()


def test_an_existing_project_is_kept_unless_overwritten(
    project: Path, volumes: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (project / "project.json").read_bytes()
    words = ["segment", str(volumes / "image.zarr"), str(project), "--checkpoint", str(checkpoint)]
    assert run([*words, "--json"]) == 2
    error = events_of(capsys.readouterr().out)[-1]
    assert error["event"] == "error"
    assert error["type"] == "OutputError"
    assert str(project) in error["found"]
    assert "--overwrite" in error["cure"]
    assert (project / "project.json").read_bytes() == before


def test_roi_and_voxel_size_are_used(
    volumes: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "roi.neuropil"
    words = ["segment", str(volumes / "image.npy"), str(out), "--checkpoint", str(checkpoint)]
    assert run([*words, "--roi", "1:5,0:48,8:56"]) == 2
    assert "voxel" in capsys.readouterr().err.lower()
    assert run([*words, "--roi", "1:5,0:48,8:56", "--voxel-size", "30,8,8"]) == 0
    fragments = open_volume(out / "fragments.zarr")
    assert fragments.shape == (4, 48, 48)
    assert fragments.translation == (30.0, 0.0, 64.0)


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["--set", "betta=0.3"], "did you mean beta?"),
        (["--set", "beta=7"], "beta: "),
        (["--set", "beta"], "--set name=value"),
        (["--set", "partition=magic"], "'multicut' or 'mean-affinity'"),
        (["--method", "magic"], "segneuron"),
        (["--voxel-size", "0,6,6"], "positive"),
        (["--voxel-size", "thick"], "z,y,x"),
        (["--roi", "0:9,0:9,0:900"], "Roi"),
        (["--checkpoint", "absent.safetensors"], "absent.safetensors"),
    ],
)
def test_a_bad_option_is_named_and_leaves_nothing(
    words: list[str],
    extra: list[str],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run([*words, *extra]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert "Traceback" not in captured.err
    assert not (tmp_path / "new.neuropil").exists()


def test_a_missing_image_is_a_user_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["segment", str(tmp_path / "no.tif"), str(tmp_path / "p.neuropil"), "--json"]) == 2
    (event,) = events_of(capsys.readouterr().out)
    assert event["type"] == "VolumeNotFoundError"
    assert "no.tif" in event["found"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send")
def test_an_interrupted_run_ends_with_130_and_goes_on(words: list[str], tmp_path: Path) -> None:
    # Many tiles, so that there is a middle to interrupt also on a fast machine.
    words = [*words, "--set", "overlap=0.75"]
    command = [sys.executable, "-m", "napari_neuropil.cli", *words, "--json"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COV")}
    worker = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    assert worker.stdout is not None
    for line in worker.stdout:
        if json.loads(line)["event"] == "progress":
            break
    worker.send_signal(signal.SIGINT)
    out, err = worker.communicate(timeout=60)
    kinds = [json.loads(line)["event"] for line in out.splitlines()]
    assert worker.returncode == 130, err
    assert "done" not in kinds
    assert "Traceback" not in err
    assert run([*words, "--resume"]) == 0
    assert Project.open(tmp_path / "new.neuropil").info.state == "finished"
