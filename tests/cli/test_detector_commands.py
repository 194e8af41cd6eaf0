"""``neuropil evaluate-detector`` and ``convert detector``: thin, and clear where facts lack."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from napari_neuropil.cli.app import run
from napari_neuropil.evaluation.detection import DetectionScores
from napari_neuropil.workflows.requests import Progress


def test_scores_of_a_detector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from napari_neuropil.workflows import evaluate_detector as workflow

    asked: list[tuple[Any, ...]] = []

    def measure(weights: Path, settings: Path, **options: Any) -> DetectionScores:
        options.pop("report")(Progress(stage="detect", done=1, total=1))
        asked.append((weights, settings, options))
        return DetectionScores(0.5, 0.25, 1 / 3, 0.2, 0.1, 1, 1, 3)

    monkeypatch.setattr(workflow, "evaluate_detector", measure)
    words = ["evaluate-detector", "d.safetensors", "--settings", "r.yaml", "--confidence", "0.4"]
    assert run([*words, "--data-root", str(tmp_path), "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["progress", "done"]
    assert events[-1]["scores"]["recall"] == 0.25
    assert asked == [
        (Path("d.safetensors"), Path("r.yaml"),
         {"data_root": tmp_path, "device": "auto", "confidence": 0.4})
    ]  # fmt: skip
    assert run(words) == 0
    assert "precision" in capsys.readouterr().out


def test_a_detector_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = tmp_path / "none.yaml"
    assert run(["evaluate-detector", "d.safetensors", "--settings", str(settings), "--json"]) == 2
    assert "none.yaml" in json.loads(capsys.readouterr().out.splitlines()[-1])["found"]


def test_a_detector_of_somebody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "tensors.pt", tmp_path / "d.safetensors"
    words = ["convert", "detector", str(source), str(out)]
    assert run([*words, "--classes", "dendrite, soma"]) == 2
    said = capsys.readouterr().err
    assert "--architecture, --image-side, --pixel-size is missing" in said
    taken: list[tuple[Any, ...]] = []

    def take(*given: Any, **facts: Any) -> None:
        taken.append((*given, facts))

    from napari_neuropil.prompts import detector_weights

    monkeypatch.setattr(detector_weights, "import_detector", take)
    facts = ["--architecture", "yolo26n", "--image-side", "512", "--pixel-size", "12"]
    assert run([*words, "--classes", "dendrite, soma", *facts]) == 0
    assert taken == [
        (source, out, {"architecture": "yolo26n", "classes": ["dendrite", "soma"],
                       "image_side": 512, "pixel_size": 12.0})
    ]  # fmt: skip
    out.touch()
    assert run([*words, "--classes", "dendrite", *facts]) == 2
    assert "exists" in capsys.readouterr().err
