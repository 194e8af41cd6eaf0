from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from skimage.io import imread

from napari_neuropil.cli import demo as command
from napari_neuropil.cli.app import run
from napari_neuropil.evaluation.scores import SegmentationScores
from napari_neuropil.project import Project
from napari_neuropil.workflows import demo
from napari_neuropil.workflows.requests import SegmentPlan


@pytest.fixture
def _quick_demo(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the tiny project in the place of the segmented sample (the examples' test runs that)."""
    scores = SegmentationScores(0.25, 0.5, 0.75, 0.125, 0.875, 0.9375)
    plan = SegmentPlan.model_validate(Project.open(project).info.plan)
    result = demo.DemoResult(Path("image.zarr"), Path("labels"), project, scores, 65.0, plan)
    monkeypatch.setattr(demo, "run_demo", lambda _folder, report: result)


@pytest.mark.usefixtures("_quick_demo")
def test_the_demo_prints_scores_and_time(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["demo", "--no-window", "--folder", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    for text in ("1 min 5 s", "0.7500", "0.1250", str(project)):
        assert text in shown


@pytest.mark.usefixtures("_quick_demo")
def test_with_a_display_the_window_opens_in_its_own_process(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []

    def start(line: list[str], **_options: object) -> subprocess.CompletedProcess[str]:
        started.append(line)
        return subprocess.CompletedProcess(line, 0)

    monkeypatch.setattr(command, "has_display", lambda: True)
    monkeypatch.setattr(command.subprocess, "run", start)
    assert run(["demo", "--folder", str(tmp_path)]) == 0
    assert started == [[sys.executable, "-m", "napari_neuropil.plugin.window", str(project)]]


@pytest.mark.usefixtures("_quick_demo")
def test_without_display_and_xvfb_the_cure_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "has_display", lambda: False)
    monkeypatch.setattr(command.shutil, "which", lambda _name: None)
    assert run(["demo", "--folder", str(tmp_path)]) == 2
    assert "apt-get install xvfb" in capsys.readouterr().err


@pytest.mark.usefixtures("_quick_demo")
def test_without_qt_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda _name: None)
    assert run(["demo", "--folder", str(tmp_path)]) == 2
    assert "napari-neuropil[gui]" in capsys.readouterr().err


def _is_installed() -> bool:
    return any(e.name == "napari-neuropil" for e in metadata.entry_points(group="napari.manifest"))


@pytest.mark.skipif(not _is_installed(), reason="not installed, so napari cannot find the plugin")
@pytest.mark.skipif(shutil.which("xvfb-run") is None, reason="no xvfb-run")
@pytest.mark.skipif(importlib.util.find_spec("PyQt6") is None, reason="no Qt")
@pytest.mark.usefixtures("_quick_demo")
def test_without_a_display_the_window_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert run(["demo", "--folder", str(tmp_path)]) == 0
    picture = imread(tmp_path / "window.png")
    assert picture.shape[:2] == (1000, 1400)
    # A canvas that was never drawn is one flat grey.
    canvas = picture[300:700, 500:900, :3]
    assert canvas.std() > 5
    assert "window.png" in capfd.readouterr().out
