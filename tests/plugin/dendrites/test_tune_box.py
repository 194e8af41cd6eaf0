"""The tab "Fine-tune" over a fake command line: plan, run, stop, go on, use, back, ask again."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_neuropil.plugin.dendrites.box_rows import shape_of_box
from napari_neuropil.plugin.dendrites.layer_making import BOXES
from napari_neuropil.plugin.dendrites.tune_box import TuneBox

if TYPE_CHECKING:
    from napari_neuropil.plugin.dendrites.dendrites_widget import DendritesWidget
    from napari_neuropil.plugin.dendrites.tuning_group import TuningGroup

FAKE = Path(__file__).with_name("fake_tuning.py")
BOX = (5.0, 5.0, 15.0, 17.0)
AREA, SMALLER = 120, 80
WAIT = 30_000


class Log:
    """The commands that were started."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def of(self, name: str) -> list[list[str]]:
        lines = self._path.read_text(encoding="utf-8").splitlines()
        return [words for words in map(json.loads, lines) if words[0] == name]


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


@pytest.fixture
def log(
    tmp_path: Path, fake_prompts: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> Log:
    """Let processes run fake_tuning.py."""
    from napari_neuropil.plugin import worker

    path = tmp_path / "commands.jsonl"
    path.touch()
    monkeypatch.setenv("FAKE_LOG", str(path))
    monkeypatch.setattr(worker, "cli_command", lambda: [sys.executable, str(FAKE)])
    return Log(path)


@pytest.fixture
def dock(qtbot: Any, brain: Path, log: Log) -> Iterator[DendritesWidget]:
    """Return a dock over the project `brain`, the segmenter a file, nothing started."""
    from napari.components import ViewerModel

    from napari_neuropil.plugin.dendrites.dendrites_widget import DendritesWidget
    from napari_neuropil.plugin.reader import get_reader

    viewer = ViewerModel()
    reader = get_reader(str(brain))
    assert reader is not None
    for data, attributes, kind in reader(str(brain)):
        getattr(viewer, f"add_{kind}")(data, **attributes)
    viewer.dims.set_point(0, 90)
    dock = DendritesWidget(viewer)
    qtbot.addWidget(dock)
    dock.show()
    dock.source.choose_segmenter("plain.safetensors")
    yield dock
    dock.stop()


def click(widget: Any) -> None:
    assert widget.isEnabled(), widget.toolTip()
    button, plain = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    QTest.mouseClick(widget, button, plain, widget.rect().center())


def planned(group: TuningGroup, qtbot: Any) -> None:
    group.plan_button.click()
    qtbot.waitUntil(group.start_button.isEnabled, timeout=WAIT)


def ended(group: TuningGroup, qtbot: Any) -> None:
    group.start_button.click()
    qtbot.waitUntil(lambda: not group.busy, timeout=WAIT)


def ready(dock: DendritesWidget, qtbot: Any) -> None:
    qtbot.waitUntil(lambda: dock.refiner.link.ready is not None, timeout=WAIT)


def areas(dock: DendritesWidget) -> list[int]:
    masks = [p.section.mask for p in dock.refiner.work.proposals.values()]
    return [0 if mask is None else mask.area for mask in masks]


def test_from_the_plan_to_masks_asked_again(dock: DendritesWidget, log: Log, qtbot: Any) -> None:
    refiner, tune, group = dock.refiner, dock.tune, dock.tune.tuning
    click(dock.source.start_button)
    ready(dock, qtbot)
    for z, x in ((2, 5.0), (3, 5.0), (3, 30.0)):
        box = (BOX[0], x, BOX[2], x + 12)
        number = len(refiner.work.proposals)
        refiner.viewer.layers[BOXES].add(shape_of_box(z, box), shape_type="rectangle")
        qtbot.waitUntil(lambda n=number: len(refiner.work.proposals) == n + 1, timeout=WAIT)
        refiner.select(number + 1)
        qtbot.waitUntil(lambda n=number: areas(dock)[n] == AREA, timeout=WAIT)
        # A shape has its row's number once it is drawn; the next one comes after.
        qtbot.waitUntil(lambda: not refiner._drawing.isActive(), timeout=WAIT)
    refiner.accept()
    dock.tabs.setCurrentWidget(tune)
    assert tune.again_button.text() == "Ask again where nobody edited (2)"

    assert not group.start_button.isEnabled()
    click(group.plan_button)
    qtbot.waitUntil(group.start_button.isEnabled, timeout=WAIT)
    text = group.plan_text.text()
    assert "Learns from 30 cross-sections of 2 segments (1, 4) in 4 sections (0-3)" in text
    assert "Measured on 8 cross-sections" in text
    assert not group.job.curve.isVisible(), "nothing has begun"

    click(group.start_button)
    qtbot.waitUntil(lambda: not group.busy and group.use_button.isVisible(), timeout=WAIT)
    curve, losses = group.job.curve.lines
    assert (curve[0], losses[0]) == ("held-out IoU", "loss")
    assert curve[2][0] == pytest.approx(0.6)
    assert curve[2][40] == pytest.approx(0.7)
    assert len(curve[2]) == 41
    assert len(losses[2]) == 42
    assert "by a box: 0.600 → 0.700" in group.result.text()
    dry, run = log.of("tune")
    assert dry == [*run, "--dry-run"]
    out = option(run, "--out")
    assert Path(out).name == "brain-tuned-1.safetensors"
    assert option(run, "--base") == "plain.safetensors"
    assert option(run, "--segments") == "done"

    tune.ensureWidgetVisible(group.use_button)
    click(group.use_button)
    assert refiner.link.ready is None
    ready(dock, qtbot)
    assert option(log.of("prompts")[-1], "--segmenter") == out
    assert areas(dock) == [AREA] * 3, "the old masks are kept"
    tune.ensureWidgetVisible(tune.again_button)
    click(tune.again_button)
    qtbot.waitUntil(lambda: areas(dock) == [SMALLER, SMALLER, AREA], timeout=WAIT)
    qtbot.waitUntil(lambda: not refiner.desk.waiting and tune.again.left == 0, timeout=WAIT)
    assert refiner.work.dendrites[1].masks[3].area == AREA, "what was accepted stays"
    refiner.undo()
    assert areas(dock) == [AREA] * 3

    click(group.back_button)
    ready(dock, qtbot)
    assert option(log.of("prompts")[-1], "--segmenter") == "plain.safetensors"
    assert not group.back_button.isVisible()
    planned(group, qtbot)
    assert option(log.of("tune")[-1], "--out").endswith("tuned-2.safetensors")


def test_no_better_is_rolled_back(
    dock: DendritesWidget, log: Log, monkeypatch: pytest.MonkeyPatch, qtbot: Any
) -> None:
    monkeypatch.setenv("FAKE_TUNING", "reject")
    group = dock.tune.tuning
    dock.tabs.setCurrentWidget(dock.tune)
    planned(group, qtbot)
    ended(group, qtbot)
    assert group.result.text().startswith("Not better (no clear gain)")
    assert "the one in use stays" in group.result.text()
    assert not group.use_button.isVisible()
    assert dock.source.models[0] == "plain.safetensors"
    assert not log.of("prompts")


def test_stop_keeps_the_state_and_go_on_uses_it(
    dock: DendritesWidget, log: Log, monkeypatch: pytest.MonkeyPatch, qtbot: Any
) -> None:
    monkeypatch.setenv("FAKE_TUNING", "slow")
    group = dock.tune.tuning
    dock.tabs.setCurrentWidget(dock.tune)
    planned(group, qtbot)
    group.start_button.click()
    qtbot.waitUntil(lambda: len(group.job.run.curve) == 2, timeout=WAIT)
    assert "Training: step 21 of 40, loss 0.300" in group.job.text.text()
    assert not dock.tune.form.isEnabled()
    group.job.stop_button.click()
    qtbot.waitUntil(lambda: not group.busy, timeout=WAIT)
    assert "Go on begins from the last saved state" in group.result.text()
    assert group.start_button.text() == "Go on"
    monkeypatch.setenv("FAKE_TUNING", "accept")
    ended(group, qtbot)
    assert [step for step, _ in group.job.run.curve] == [0, 20, 40], "the curve is whole"
    assert group.job.run.losses[0][0] == 21
    assert group.use_button.isVisible()
    first, second = log.of("tune")[1:]
    assert first == second


def test_a_stopped_run_on_other_objects_is_replaced(
    dock: DendritesWidget, log: Log, brain: Path, qtbot: Any
) -> None:
    group = dock.tune.tuning
    planned(group, qtbot)
    folder = Path(option(log.of("tune")[0], "--out")).with_suffix(".run")
    folder.mkdir()
    dock.tune.form.steps.setValue(250)
    assert not group.start_button.isEnabled(), "another form, another plan"
    planned(group, qtbot)
    assert "it is replaced" in group.plan_text.text()
    ended(group, qtbot)
    words = log.of("tune")[-1]
    assert "--overwrite" in words
    assert option(words, "--steps") == "250"
    assert folder.with_suffix(".safetensors").exists()


def test_the_detector_learns_the_same_way(dock: DendritesWidget, log: Log, qtbot: Any) -> None:
    group = dock.tune.detecting
    dock.tabs.setCurrentWidget(dock.tune)
    dock.tune.source.source.setCurrentIndex(3)
    group.plan_button.click()
    qtbot.waitUntil(lambda: "No segments are named" in group.result.text(), timeout=WAIT)
    dock.tune.source.ids.setText("1, 4")
    planned(group, qtbot)
    assert "sections 0-4" in group.plan_text.text()
    ended(group, qtbot)
    assert "average precision: 0.500 → 0.600" in group.result.text()
    words = log.of("tune-detector")[-1]
    assert option(words, "--segments") == "1,4"
    before = dock.source.models[1]
    group.use_button.click()
    assert dock.source.models[1] == option(words, "--out")
    assert not log.of("prompts"), "no worker ran, none is started"
    click(dock.source.start_button)
    ready(dock, qtbot)
    assert option(log.of("prompts")[-1], "--detector") == option(words, "--out")
    group.back_button.click()
    ready(dock, qtbot)
    assert dock.source.models[1] == before
    assert "--detector" not in log.of("prompts")[-1]


def test_without_ultralytics_the_line_is_shown(
    dock: DendritesWidget, monkeypatch: pytest.MonkeyPatch, qtbot: Any
) -> None:
    monkeypatch.setenv("FAKE_TUNING", "yolo")
    group = dock.tune.detecting
    planned(group, qtbot)
    ended(group, qtbot)
    assert 'pip install "napari-neuropil[yolo]"' in group.result.text()
    assert group.start_button.text() == "Train detector on these"
    assert group.start_button.isEnabled(), "after it was installed"


def test_what_is_missing_is_said(dock: DendritesWidget) -> None:
    group = dock.tune.tuning
    dock.source.choose_segmenter("watershed")
    assert not group.plan_button.isEnabled()
    assert "segmenter with a network" in group.plan_button.toolTip()
    assert dock.tune.detecting.plan_button.isEnabled()
    dock.source.image.setCurrentIndex(1)
    assert "Choose a project" in dock.tune.detecting.plan_button.toolTip()
    assert isinstance(dock.tabs.widget(2), TuneBox)


def test_the_run_ends_with_the_dock(
    dock: DendritesWidget, monkeypatch: pytest.MonkeyPatch, qtbot: Any
) -> None:
    monkeypatch.setenv("FAKE_TUNING", "slow")
    group = dock.tune.tuning
    planned(group, qtbot)
    group.start_button.click()
    qtbot.waitUntil(lambda: len(group.job.run.curve) == 2, timeout=WAIT)
    worker = group.job._worker
    assert worker is not None
    dock.close()
    assert not worker.running
