"""Meter and evaluation in the window; scores at every point of the history; the curve."""

from __future__ import annotations

import csv
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_neuropil.evaluation.scores import evaluate_segmentation
from napari_neuropil.plugin.curve_widget import CurveWidget, nice_step
from napari_neuropil.plugin.measure_panel import MeasurePanel
from napari_neuropil.plugin.meter_box import reading_texts
from napari_neuropil.plugin.proofread_controller import ProofreadController
from napari_neuropil.plugin.score_history import ScoreHistory
from napari_neuropil.proofreading import Decision
from napari_neuropil.proofreading.meter import MeterReading


@pytest.fixture
def panel(live: ProofreadController, qtbot: Any) -> MeasurePanel:
    made = MeasurePanel(live)
    qtbot.addWidget(made)
    made.show()
    return made


@pytest.fixture
def truth() -> NDArray[np.uint16]:
    """Two neurons that share fragment 6, and a stripe without labels."""
    labels = np.ones((8, 40, 60), np.uint16)
    labels[:, 20:, 45:] = 2
    labels[:, 18:20] = 0
    return labels


def segments(live: ProofreadController) -> NDArray[np.uint64]:
    return np.asarray(live.session.segments().array[0:8, 0:40, 0:60])


def agree(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(astuple(found), astuple(expected), rtol=1e-9, atol=1e-12)


def add_truth(live: ProofreadController, labels: NDArray[Any], **place: Any) -> Any:
    place = {"scale": (30, 8, 8), "units": ("nm",) * 3} | place
    return live.viewer.add_labels(labels, name="truth", **place)


def choose(panel: MeasurePanel, name: str = "truth") -> None:
    panel.evaluation.combo.setCurrentText(name)


def evaluated(panel: MeasurePanel, qtbot: Any, value: float) -> None:
    qtbot.waitUntil(
        lambda: panel.evaluation.cells["voi"][1].text() == f"{value:.4f}", timeout=10_000
    )


def test_scores_now_and_as_segmented(
    live: ProofreadController, panel: MeasurePanel, truth: Any, qtbot: Any
) -> None:
    first = evaluate_segmentation(segments(live), truth)
    live.session.merge(1, 4)
    add_truth(live, truth)
    choose(panel)
    now = evaluate_segmentation(segments(live), truth)
    evaluated(panel, qtbot, now.voi)
    cells = panel.evaluation.cells
    assert cells["voi_split"][0].text() == f"{first.voi_split:.4f}"
    assert cells["adapted_rand_error"][1].text() == f"{now.adapted_rand_error:.4f}"
    live.session.merge(1, 3)
    evaluated(panel, qtbot, evaluate_segmentation(segments(live), truth).voi)
    lines = {name: values for name, _, values in panel.evaluation.curve.lines}
    assert len(lines["VI split"]) == 3
    assert lines["VI split"][0] == pytest.approx(first.voi_split)
    live.session.undo()
    evaluated(panel, qtbot, now.voi)
    assert len(panel.evaluation.curve.lines[0][2]) == 2


def test_scores_at_every_point_of_a_branched_history_with_cut_fragments(
    live: ProofreadController, truth: Any
) -> None:
    session = live.session
    history = ScoreHistory(session, truth)
    agree(history.now, evaluate_segmentation(segments(live), truth))
    cut = session.split((3, 22, 42), (3, 38, 54))
    assert cut.effect.splits
    session.merge(1, 3)
    session.undo()
    session.detach([5])
    piece = int(cut.effect.splits[0].ids[0])
    session.merge(session.lookup[piece].item(), 1, force=True)
    session.delete(3)
    for goal in (0, 1, 2, 4, 1, 6, 2, 5, 0, 6):
        session.jump(goal)
        history.follow(session.edits, session.cursor)
        agree(history.now, evaluate_segmentation(segments(live), truth))
    assert len(history.curve) == 5
    late = ScoreHistory(session, truth)
    late.follow(session.edits, session.cursor)
    for one, other in zip(late.curve, history.curve, strict=True):
        agree(one, other)


def test_truth_of_a_part_of_the_volume(
    live: ProofreadController, panel: MeasurePanel, truth: Any, qtbot: Any
) -> None:
    part = np.ascontiguousarray(truth[2:6, 15:, 40:])
    add_truth(live, part, translate=(60, 120, 320))
    choose(panel)
    session = live.session
    edit = session.split((3, 22, 42), (3, 38, 54))
    assert edit.effect.splits
    evaluated(panel, qtbot, evaluate_segmentation(segments(live)[2:6, 15:, 40:], part).voi)


def test_truth_on_another_grid_is_refused(
    live: ProofreadController, panel: MeasurePanel, truth: Any, qtbot: Any
) -> None:
    layer = add_truth(live, truth, scale=(30, 8, 9))
    choose(panel)
    assert "same voxel size" in panel.evaluation.message.text()
    live.viewer.layers.remove(layer)
    assert panel.evaluation.message.text() == ""
    empty = add_truth(live, np.zeros_like(truth))
    choose(panel)
    qtbot.waitUntil(lambda: "without an object" in panel.evaluation.message.text(), timeout=5_000)
    assert panel.evaluation.layer is empty


def test_only_labels_from_elsewhere_are_offered(
    live: ProofreadController, panel: MeasurePanel, truth: Any
) -> None:
    live.select([1])
    combo = panel.evaluation.combo
    assert combo.count() == 1
    add_truth(live, truth)
    assert combo.count() == 2
    choose(panel)
    live.close_project()
    add_truth(live, truth)
    assert panel.evaluation.cells["voi"][1].text() == "–"


def test_meter(live: ProofreadController, panel: MeasurePanel, qtbot: Any, tmp_path: Path) -> None:
    edit = live.session.merge(1, 3, seconds=2.0)
    live.session.decide(Decision("k", "split_error", "merge", 2.0, 2, 3, 0.5, edit_id=edit.id))
    live.session.decide(Decision("l", "split_error", "apart", 4.0, 1, 4, 0.5))
    labels = panel.meter.labels
    qtbot.waitUntil(lambda: labels["decisions"].text().startswith("2 · "), timeout=5_000)
    assert labels["pace"].text() == "3.0 s median · 3.0 s mean"
    volume = 8 * 40 * 60 * 30 * 8 * 8e-9
    assert labels["edits"].text() == f"1 · {1 / volume:.3g} per µm³"
    path = tmp_path / "meter.csv"
    with qtbot.waitSignal(live.message, timeout=5_000):
        panel.meter.export_csv(path)
    with path.open(newline="", encoding="utf-8") as file:
        assert [row["answer"] for row in csv.DictReader(file)] == ["merge", "apart"]
    live.close_project()
    assert labels["decisions"].text() == "–"


def test_meter_without_work() -> None:
    texts = reading_texts(MeterReading(0, 0, 0.0, None, None, None, 0.0, 1.0))
    assert texts == {
        "decisions": "0", "pace": "–", "edits": "0 · 0 per µm³", "worked": "–",
    }  # fmt: skip


def test_curve_paints_its_lines(qtbot: Any) -> None:
    curve = CurveWidget("edits")
    qtbot.addWidget(curve)
    curve.resize(300, 160)
    before = curve.grab().toImage()
    curve.show_lines([("VI", "#ff0000", [1.5, 1.0, 0.8]), ("one", "#00ff00", [0.0] * 3)])
    after = curve.grab().toImage()
    red = [
        (x, y)
        for x in range(after.width())
        for y in range(24, after.height())
        if after.pixelColor(x, y).red() > 200 and after.pixelColor(x, y).green() < 80
    ]
    assert red
    left, right = min(red), max(red)
    assert left[1] < right[1]
    assert before != after
    curve.show_lines([("flat", "#ff0000", [0.0])])
    assert not curve.grab().isNull()


@pytest.mark.parametrize(
    ("highest", "step"), [(1.45, 0.5), (0.9, 0.5), (0.4, 0.1), (7.0, 2.0), (0.0, 0.25)]
)
def test_steps_are_round(highest: float, step: float) -> None:
    assert nice_step(highest) == pytest.approx(step)
