"""Fixtures of the dock's tests: a fake prompt worker, and a dock over an image without a window."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from napari_neuropil.plugin.dendrites.dendrites_widget import DendritesWidget

SOURCES = Path(__file__).resolve().parents[3] / "src"
FAKE = Path(__file__).with_name("fake_prompts.py")


@pytest.fixture
def fake_prompts(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let the dock run fake_prompts.py; call it to choose the behaviour."""
    from napari_neuropil.plugin import worker

    monkeypatch.setenv("PYTHONPATH", str(SOURCES))
    monkeypatch.setenv("FAKE_SHAPE", "8,40,60")
    monkeypatch.setattr(worker, "cli_command", lambda: [sys.executable, str(FAKE)])

    def choose(behaviour: str) -> None:
        monkeypatch.setenv("FAKE_PROMPTS", behaviour)

    choose("work")
    return choose


@pytest.fixture
def idle(qtbot: Any, brain: Path, fake_prompts: Callable[[str], None]) -> Iterator[DendritesWidget]:
    """Return a dock over the image of `brain`, in section 3, nothing started."""
    from napari.components import ViewerModel

    from napari_neuropil.plugin.dendrites.dendrites_widget import DendritesWidget
    from napari_neuropil.plugin.layers import layer_from_volume
    from napari_neuropil.volumes import open_volume

    viewer = ViewerModel()
    data, attributes, _ = layer_from_volume(open_volume(brain.parent / "brain.zarr"))
    viewer.add_image(data, **attributes)
    viewer.dims.set_point(0, 90)
    dock = DendritesWidget(viewer)
    qtbot.addWidget(dock)
    dock.show()
    dock.source.choose_segmenter("watershed")
    yield dock
    dock.stop()


@pytest.fixture
def dock(idle: DendritesWidget, qtbot: Any) -> DendritesWidget:
    """Return the same with the fake worker ready."""
    start(idle, qtbot)
    return idle


def start(dock: DendritesWidget, qtbot: Any) -> None:
    dock.source.start_button.click()
    qtbot.waitUntil(lambda: dock.refiner.link.ready is not None, timeout=60_000)
