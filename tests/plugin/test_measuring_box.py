"""Measuring embedding distances from the dock: the job, Cancel, errors, and who hears of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_neuropil.geometry import Roi
from napari_neuropil.plugin import worker
from napari_neuropil.plugin.measuring_box import MeasuringBox, measure_words, view_box
from napari_neuropil.plugin.proofread_controller import ProofreadController
from napari_neuropil.plugin.queue_feed import QueueFeed
from napari_neuropil.proofreading import ProofreadingSession

FAKE = Path(__file__).with_name("fake_distances.py")
SOURCES = Path(__file__).resolve().parents[2] / "src"
PATIENCE = 60_000


@pytest.fixture
def behave(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let the worker be fake_distances.py; call it to choose the behaviour."""
    monkeypatch.setenv("PYTHONPATH", str(SOURCES))
    monkeypatch.setattr(worker, "cli_command", lambda: [sys.executable, str(FAKE)])
    monkeypatch.setenv("FAKE_CLI", "work")
    return lambda behaviour: monkeypatch.setenv("FAKE_CLI", behaviour)


@pytest.fixture
def box(live: ProofreadController, behave: Callable[[str], None], qtbot: Any) -> MeasuringBox:
    made = MeasuringBox(live)
    qtbot.addWidget(made)
    made.show()
    return made


@pytest.fixture
def said(live: ProofreadController) -> list[tuple[str, bool]]:
    """Return the list that gets the lines below the tabs."""
    lines: list[tuple[str, bool]] = []
    live.message.connect(lambda text, error: lines.append((text, error)))
    return lines


def session_of(live: ProofreadController) -> ProofreadingSession:
    assert live.session is not None
    return live.session


def test_words() -> None:
    assert measure_words(Path("p.neuropil")) == ["distances", "p.neuropil", "--json"]
    box = Roi((0, 2, 3), (4, 5, 6))
    assert measure_words(Path("p"), box) == ["distances", "p", "--near", "0:4,2:5,3:6", "--json"]


def test_measure_all(
    live: ProofreadController, box: MeasuringBox, said: list[tuple[str, bool]], qtbot: Any
) -> None:
    session = session_of(live)
    assert box.state.text() == "Distance known of 0 of 7 contacts"
    assert box.progress.isHidden()
    with qtbot.waitSignal(live.distances_changed, timeout=PATIENCE):
        box.all_button.click()
        assert box.buttons.isHidden()
        assert not box.progress.isHidden()
        assert box.state.text() == "Loading the network ..."
    np.testing.assert_allclose(session.graph.distance, np.arange(7) / 2)
    assert box.progress.isHidden()
    assert box.state.text() == "Distance known of 7 of 7 contacts"
    assert ("7 contacts measured, 3 of them below 1.5.", False) in said


def test_measure_around_the_view_asks_for_the_box(
    live: ProofreadController, box: MeasuringBox, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The whole of so small a volume is around the view, so the crop is made smaller.
    monkeypatch.setattr(
        "napari_neuropil.plugin.measuring_box.crop_roi",
        lambda shape, centre, size: Roi((0, 0, 0), (8, 40, 30)),
    )
    assert view_box(live) == Roi((0, 0, 0), (8, 40, 30))
    with qtbot.waitSignal(live.distances_changed, timeout=PATIENCE):
        box.near_button.click()
    near = session_of(live).graph.all().centroid[:, 2] < 30
    assert near.any()
    assert not near.all()
    np.testing.assert_array_equal(np.isfinite(session_of(live).graph.distance), near)


def test_cancel_keeps_what_was_measured(
    live: ProofreadController,
    box: MeasuringBox,
    behave: Callable[[str], None],
    said: list[tuple[str, bool]],
    qtbot: Any,
) -> None:
    behave("slow")
    box.all_button.click()
    qtbot.waitUntil(lambda: "3 of 7" in box.state.text(), timeout=PATIENCE)
    with qtbot.waitSignal(live.distances_changed, timeout=PATIENCE):
        box.cancel_button.click()
        assert box.state.text() == "Cancelling ..."
    assert np.isfinite(session_of(live).graph.distance).sum() == 1
    assert said[-1] == ("Cancelled; what was measured is kept.", False)
    assert not box.buttons.isHidden()


def test_errors_are_shown_like_all_others(
    live: ProofreadController,
    box: MeasuringBox,
    behave: Callable[[str], None],
    said: list[tuple[str, bool]],
    qtbot: Any,
) -> None:
    behave("refuse")
    box.all_button.click()
    qtbot.waitUntil(lambda: bool(said), timeout=PATIENCE)
    assert said == [("no weights\nExpected: a file\nCure: wait", True)]
    assert not box.buttons.isHidden()


def test_closing_the_project_stops_the_job(
    live: ProofreadController,
    box: MeasuringBox,
    behave: Callable[[str], None],
    said: list[tuple[str, bool]],
    qtbot: Any,
) -> None:
    behave("slow")
    box.all_button.click()
    qtbot.waitUntil(lambda: "3 of 7" in box.state.text(), timeout=PATIENCE)
    live.close_project()
    qtbot.waitUntil(lambda: box.progress.isHidden(), timeout=PATIENCE)
    assert said == []
    assert not box.all_button.isEnabled()


def test_without_an_image_the_buttons_say_why(
    live: ProofreadController, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_of(live)
    bare = session.info.model_copy(update={"image_source": ""})
    monkeypatch.setattr(type(session), "info", property(lambda _self: bare))
    box = MeasuringBox(live)
    qtbot.addWidget(box)
    assert not box.all_button.isEnabled()
    assert "--image" in box.near_button.toolTip()


def test_the_queue_ranks_anew(live: ProofreadController, box: MeasuringBox, qtbot: Any) -> None:
    feed = QueueFeed(live)
    with qtbot.waitSignal(feed.built, timeout=PATIENCE):
        feed.build()
    queue = feed.queue
    assert queue is not None
    parts = queue.candidates().parts
    assert not parts["embedding"].any()
    with qtbot.waitSignal(live.distances_changed, timeout=PATIENCE):
        box.all_button.click()
    qtbot.waitUntil(lambda: bool(queue.candidates().parts["embedding"].any()), timeout=PATIENCE)
