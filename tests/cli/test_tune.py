"""``neuropil tune``: its plan, its end, and what a stop leaves."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_neuropil.cli.app import run

needs_sam = pytest.mark.skipif(
    importlib.util.find_spec("segment_anything") is None, reason="segment_anything is not installed"
)


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """Return a command line for bright squares in six sections, with a base before training."""
    from napari_neuropil.networks.compact_sam import CompactSam
    from napari_neuropil.networks.sam_spec import SamSpec, save_sam

    labels = np.zeros((6, 64, 64), np.uint8)
    for number, (y, x) in enumerate(((4, 4), (4, 40), (40, 4), (40, 40)), start=1):
        labels[:, y : y + 20, x : x + 16] = number
    noise = np.random.default_rng(0).integers(0, 60, labels.shape)
    np.save(tmp_path / "labels.npy", labels)
    np.save(tmp_path / "image.npy", np.where(labels, 180, 20) + noise.astype(np.uint8))
    arguments: dict[str, Any] = {
        "width": 32, "encoder_widths": (16,) * 5, "encoder_blocks": (1,) * 4
    }  # fmt: skip
    torch.manual_seed(0)
    save_sam(
        tmp_path / "base.safetensors",
        CompactSam(input_side=64, **arguments),
        SamSpec(network="compact-sam", arguments=arguments),
    )
    return [
        "tune", str(tmp_path / "image.npy"), "--labels", str(tmp_path / "labels.npy"),
        "--base", str(tmp_path / "base.safetensors"), "--out", str(tmp_path / "t.safetensors"),
        "--voxel-size", "30,6,6", "--device", "cpu",
    ]  # fmt: skip


def _events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@needs_sam
def test_a_dry_run_shows_what_is_held_out(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tmp_path.iterdir())
    assert run([*words, "--pseudo", "4", "--dry-run", "--json"]) == 0
    events = _events(capsys.readouterr().out)
    plan = events[-1]
    assert {event["event"] for event in events[:-1]} == {"progress"}
    assert plan["event"] == "plan"
    assert plan["held_out_sections"] == [4, 5]
    assert plan["training_sections"] == [0, 1, 2]
    assert (plan["training_objects"], plan["held_out_objects"]) == (9, 6)
    assert plan["pseudo_objects"] == 3
    assert plan["request"]["parts"] == "decoder"
    assert sorted(tmp_path.iterdir()) == before
    assert run([*words, "--dry-run"]) == 0
    shown = capsys.readouterr().err
    assert "held out 8 cross-sections of 4 segments, 2 sections from 4 to 5" in shown
    assert "by heart" in shown  # too few to learn from


@needs_sam
def test_events_and_what_came_of_it(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*words, "--steps", "2", "--learning-rate", "1e-9", "--json"]) == 0
    events = _events(capsys.readouterr().out)
    kinds = [event["event"] for event in events]
    assert kinds.count("plan") == kinds.count("done") == 1
    assert kinds[-1] == "done"
    curve = [event for event in events if event.get("stage") == "held-out"]
    assert [event["done"] for event in curve] == [2]
    assert 0 < curve[0]["values"]["held_out"] < 1
    done = events[-1]
    assert (done["accepted"], done["verdict"], done["checkpoint"]) == (
        False, "no clear gain", None
    )  # fmt: skip
    assert done["before"] == pytest.approx(done["after"], abs=1e-3)
    assert done["reason"].startswith("The tuned network is not used")
    assert not (tmp_path / "t.safetensors").exists()
    assert run([*words, "--steps", "2", "--learning-rate", "1e-9"]) == 0
    assert "not used" in capsys.readouterr().out


@needs_sam
def test_a_stop_keeps_the_state(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "t.run" / "state.pt"

    def stop() -> None:
        until = time.monotonic() + 300
        while not state.exists() and time.monotonic() < until:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    code = run([*words, "--steps", "100000", "--json"])
    thread.join()
    assert code == 130
    events = _events(capsys.readouterr().out)
    assert "goes on" in events[-1]["message"]
    assert run([*words, "--steps", "100000", "--json", "--dry-run"]) == 0
    plan = _events(capsys.readouterr().out)[-1]
    assert plan["done_steps"] >= 20


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ([], "either a project or labels"),
        (["--labels", "l.npy", "--share", "2"], "share"),
        (["--labels", "l.npy", "--base", "box"], "cannot learn"),
        (["--labels", "l.npy", "--out", "t.pt"], "no name"),
    ],
)
def test_what_cannot_be(
    more: list[str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = np.zeros((3, 8, 8), np.uint8)
    image[1] = 9
    np.save(tmp_path / "i.npy", image)
    words = ["tune", str(tmp_path / "i.npy"), "--out", str(tmp_path / "t.safetensors")]
    assert run([*words, "--voxel-size", "30,6,6", *more, "--json"]) == 2
    event = _events(capsys.readouterr().out)[-1]
    assert event["event"] == "error"
    assert text in event["found"]


@needs_sam
@pytest.mark.usefixtures("words")  # makes the files
def test_a_settings_file_says_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, out = tmp_path / "tune.yaml", tmp_path / "by_file.safetensors"
    lines = ["image: image.npy", "labels: labels.npy", "base: base.safetensors", "steps: 2"]
    settings.write_text("\n".join([*lines, "voxel_size: [30, 6, 6]", "trainer: own"]))
    monkeypatch.chdir(tmp_path.parent)  # paths start from the file's folder
    command = ["train", "sam", "--settings", str(settings), "--out", str(out), "--device", "cpu"]
    assert run([*command, "--json"]) == 0
    events = _events(capsys.readouterr().out)
    plan = next(event for event in events if event["event"] == "plan")
    assert plan["request"]["image"] == str(tmp_path / "image.npy")
    assert (plan["steps"], plan["trainer"], plan["device"]) == (2, "own", "cpu")
    assert events[-1]["steps"] == 2
    assert events[-1]["accepted"] == out.exists()
    settings.write_text("\n".join([*lines, "stepz: 3"]))
    assert run([*command, "--json"]) == 2
    assert "stepz" in capsys.readouterr().out
