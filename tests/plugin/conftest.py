"""Fixtures of the plugin's tests: a display, a viewer with the plugin, a fake command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SOURCES = Path(__file__).resolve().parents[2] / "src"
FAKE = Path(__file__).with_name("fake_cli.py")


@pytest.fixture
def display() -> None:
    """Skip where no window can be drawn (napari's canvas needs OpenGL)."""
    if os.environ.get("QT_QPA_PLATFORM") == "offscreen":
        pytest.skip("the offscreen Qt platform has no OpenGL; run under xvfb-run")
    if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
        pytest.skip("no display; run under xvfb-run")


@pytest.fixture
def plugin(npe2pm: Any) -> Iterator[Any]:
    """Register this plugin, and only this one, with npe2."""
    manifest = SOURCES / "napari_neuropil" / "napari.yaml"
    with npe2pm.tmp_plugin(manifest=str(manifest)):
        yield npe2pm


@pytest.fixture
def viewer(display: None, plugin: Any, request: pytest.FixtureRequest) -> Any:
    """Return a real viewer, hidden."""
    return request.getfixturevalue("make_napari_viewer")()


@pytest.fixture
def fake_cli(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let worker processes run tests/plugin/fake_cli.py; call it to choose the behaviour."""
    from napari_neuropil.plugin import segment_widget, worker

    monkeypatch.setenv("PYTHONPATH", str(SOURCES))
    monkeypatch.setattr(worker, "cli_command", lambda: [sys.executable, str(FAKE)])
    monkeypatch.setattr(segment_widget, "_machine_facts", {})

    def choose(behaviour: str) -> None:
        monkeypatch.setenv("FAKE_CLI", behaviour)

    choose("work")
    return choose


@pytest.fixture
def image() -> Any:
    """Return a small grey volume whose voxels are all different along x."""
    z, y, x = np.mgrid[:6, :20, :24]
    return (z * 40 + y + x).astype(np.uint8)
