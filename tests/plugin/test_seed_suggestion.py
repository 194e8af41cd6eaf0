"""Suggested seeds in Split mode: placed like seeds set by hand, before anything is split."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from napari_neuropil.plugin import worker
from napari_neuropil.plugin.edit_panel import EditPanel
from napari_neuropil.plugin.proofread_controller import ProofreadController
from napari_neuropil.plugin.seed_layers import BLUE, RED

FAKE = Path(__file__).with_name("fake_embeddings_cli.py")
IN_1, IN_2 = (3, 5, 5), (5, 5, 25)
Answer = Callable[..., None]


@pytest.fixture
def answer(fake_cli: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> Answer:
    """Return a function that chooses what suggest-split answers."""
    monkeypatch.setattr(worker, "cli_command", lambda: [sys.executable, str(FAKE)])

    def choose(**facts: Any) -> None:
        monkeypatch.setenv("FAKE_SPLIT", json.dumps(facts))

    choose(two_objects=True, distance=3.21, red=IN_1, blue=IN_2)
    return choose


@pytest.fixture
def panel(live: ProofreadController, qtbot: Any, answer: Answer) -> EditPanel:
    made = EditPanel(live)
    qtbot.addWidget(made)
    made.show()
    return made


@pytest.fixture
def said(live: ProofreadController) -> list[tuple[str, bool]]:
    heard: list[tuple[str, bool]] = []
    live.message.connect(lambda text, error: heard.append((text, error)))
    return heard


def test_the_button_is_there_in_split_mode_only(
    live: ProofreadController, panel: EditPanel
) -> None:
    button = panel.suggestion.button
    assert not button.isVisible()
    live.begin_mode("merge")
    assert not button.isVisible()
    live.begin_mode("split")
    assert button.isVisible()
    assert not button.isEnabled()
    assert "Select the segment first" in button.toolTip()
    live.select([1])
    assert button.isEnabled()
    live.leave_mode()
    assert not button.isVisible()


def test_suggested_seeds_are_seen_changed_and_committed(
    live: ProofreadController, panel: EditPanel, said: list[tuple[str, bool]], qtbot: Any
) -> None:
    session = live.session
    assert session is not None
    live.select([1])
    live.begin_mode("split")
    seeds = live.layers.seeds
    seeds.add([(3, 12, 30)])
    panel.suggestion.button.click()
    assert panel.suggestion.row.isVisible()
    assert not panel.suggestion.button.isEnabled()
    qtbot.waitUntil(lambda: bool(seeds.points(BLUE)), timeout=30_000)
    assert (seeds.points(RED), seeds.points(BLUE)) == ((IN_1,), (IN_2,))
    assert seeds.side == RED
    assert live.selected == [1]
    assert "3.2 apart. The blue seed is on section 5." in said[-1][0]
    assert not said[-1][1]
    assert live.viewer.dims.point[0] == 3 * 30, "on the section of the red seed"
    assert not panel.suggestion.row.isVisible()
    qtbot.waitUntil(lambda: live.proposal is not None and live.proposal_exact, timeout=20_000)
    assert not session.edits
    seeds.add([(3, 15, 8)])
    assert live.wish.red == (IN_1, (3, 15, 8))
    qtbot.waitUntil(lambda: live.proposal is not None and live.proposal_exact, timeout=20_000)
    live.commit()
    assert session.segment_at(IN_1) != session.segment_at(IN_2)


@pytest.mark.parametrize(
    ("distance", "patches", "text"),
    [
        (0.42, 3, "looks like one neuron: its parts' embeddings are 0.4 apart"),
        (None, 1, "looks like one neuron."),
        (None, 0, "is too small to compare"),
    ],
)
def test_one_neuron_leaves_the_seeds_alone(
    live: ProofreadController,
    panel: EditPanel,
    said: list[tuple[str, bool]],
    answer: Answer,
    qtbot: Any,
    distance: float | None,
    patches: int,
    text: str,
) -> None:
    answer(two_objects=False, distance=distance, red=None, blue=None, patches=patches)
    live.select([3])
    live.begin_mode("split")
    live.layers.seeds.add([(3, 5, 50)])
    panel.suggestion.button.click()
    qtbot.waitUntil(lambda: not panel.suggestion.row.busy, timeout=30_000)
    assert said[-1][0].startswith("Segment 3")
    assert text in said[-1][0]
    assert live.layers.seeds.points(RED) == ((3, 5, 50),)
    assert panel.suggestion.button.isEnabled()


def test_errors_are_said_and_leaving_the_mode_ends_the_search(
    live: ProofreadController,
    panel: EditPanel,
    said: list[tuple[str, bool]],
    fake_cli: Callable[[str], None],
    answer: Answer,
    qtbot: Any,
) -> None:
    row = panel.suggestion.row
    live.select([1])
    live.begin_mode("split")
    fake_cli("refuse")
    panel.suggestion.button.click()
    qtbot.waitUntil(lambda: not row.busy, timeout=30_000)
    assert said[-1] == ("no weights\nExpected: some\nCure: get them", True)
    fake_cli("slow")
    panel.suggestion.button.click()
    qtbot.waitUntil(lambda: row.stage.text() == "Patches 1 of 4", timeout=30_000)
    row.cancel_button.click()
    qtbot.waitUntil(lambda: not row.busy, timeout=10_000)
    assert said[-1] == ("Cancelled.", False)
    panel.suggestion.button.click()
    qtbot.waitUntil(lambda: row.stage.text() == "Patches 1 of 4", timeout=30_000)
    before = list(said)
    live.leave_mode()
    assert not row.busy
    assert said == before
    assert not live.layers.seeds.points(BLUE)
