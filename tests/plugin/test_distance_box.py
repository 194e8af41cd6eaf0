"""Merge by distance: histogram, line, count, preview, one edit, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt

from napari_neuropil.errors import EditRejectedError
from napari_neuropil.plugin.distance_box import DistanceBox
from napari_neuropil.plugin.distance_histogram import DistanceHistogram
from napari_neuropil.plugin.layers import facts_of
from napari_neuropil.plugin.proofread_controller import ProofreadController
from napari_neuropil.project import Project
from napari_neuropil.project.contact_distances import ContactDistances, write_distances
from napari_neuropil.proofreading import ProofreadingSession

PATIENCE = 20_000
# Between segments 1 = {1, 2}, 3 = {3} and 4 = {4, 5, 6}; 1-2 lies inside a segment.
KNOWN = {(1, 2): 0.1, (2, 3): 0.7, (1, 4): 2.5, (2, 5): 2.25}


@pytest.fixture
def brain(brain: Path) -> Path:
    """Return the project of all panel tests, with distances of four of its seven contacts."""
    contacts = Project.open(brain).rag.contacts.tolist()
    distance = np.array([KNOWN.get((a, b), np.nan) for a, b in contacts], np.float32)
    write_distances(brain, ContactDistances(distance, np.isfinite(distance), "0" * 64))
    return brain


@pytest.fixture
def panel(live: ProofreadController, qtbot: Any) -> DistanceBox:
    made = DistanceBox(live)
    qtbot.addWidget(made)
    with qtbot.waitSignal(made.form.counted, timeout=PATIENCE):
        made.show()
    return made


def session_of(live: ProofreadController) -> ProofreadingSession:
    assert live.session is not None
    return live.session


def previewed(live: ProofreadController) -> np.ndarray | None:
    """Return the middle section of the preview's colours; None where nothing is shown."""
    for layer in live.viewer.layers:
        if facts_of(layer).get("overlay") == "Proposed edit" and layer.visible:
            return np.asarray(layer.data[3])
    return None


def preview(panel: DistanceBox, qtbot: Any, text: str) -> None:
    if not panel.preview_button.isChecked():
        panel.preview_button.click()
    qtbot.waitUntil(lambda: panel.text.text().startswith(text), timeout=PATIENCE)


def test_counts_follow_the_line(panel: DistanceBox, qtbot: Any) -> None:
    form = panel.form
    assert form.histogram.counts.sum() == 3, "1-2 is inside a segment, 3-6 was not measured"
    assert form.count.text() == "1 merge below"
    assert "1 more contacts" in form.count.toolTip()
    form.threshold.setValue(2.3)
    assert form.count.text() == "2 merges below"
    assert form.histogram.threshold == 2.3
    form.threshold.setValue(0.5)
    assert form.count.text() == "0 merges below"
    assert not panel.apply_button.isEnabled()
    form.histogram.setFocus()
    qtbot.keyClick(form.histogram, Qt.Key.Key_PageUp)
    assert form.threshold.value() == 1.0
    assert panel.apply_button.isEnabled()


def test_preview_then_one_edit_that_undo_takes_back(
    live: ProofreadController, panel: DistanceBox, qtbot: Any
) -> None:
    session = session_of(live)
    before = session.lookup.copy()
    preview(panel, qtbot, "2 segments become 1.")
    shown, segments = previewed(live), np.asarray(live.segments_layer.data[3])
    assert shown is not None
    np.testing.assert_array_equal(shown > 0, np.isin(segments, [1, 3]))
    assert live.layers.others == "dimmed", "what stays as it is steps back"
    assert not session.edits
    panel.form.threshold.setValue(3.0)
    preview(panel, qtbot, "3 segments become 1.")
    panel.apply_button.click()
    qtbot.waitUntil(lambda: len(session.edits) == 1, timeout=PATIENCE)
    assert set(session.lookup[1:].tolist()) == {4}
    assert not panel.preview_button.isChecked()
    assert previewed(live) is None
    assert live.layers.others == "shown"
    live.undo()
    np.testing.assert_array_equal(session.lookup, before)


def test_apply_without_a_preview(live: ProofreadController, panel: DistanceBox, qtbot: Any) -> None:
    said: list[str] = []
    live.message.connect(lambda text, _error: said.append(text))
    panel.apply_button.click()
    assert not panel.apply_button.isEnabled(), "nobody should do it twice"
    qtbot.waitUntil(lambda: bool(said), timeout=PATIENCE)
    assert said == ["2 segments become 1. U takes it back."]
    assert [e.wish["distance"] for e in session_of(live).edits] == [1.5]
    qtbot.waitUntil(lambda: panel.form.count.text() == "0 merges below", timeout=PATIENCE)
    assert not panel.apply_button.isEnabled()


def test_a_preview_follows_edits_and_the_line(
    live: ProofreadController, panel: DistanceBox, qtbot: Any
) -> None:
    preview(panel, qtbot, "2 segments")
    session_of(live).merge(1, 3)
    preview(panel, qtbot, "Nothing lies below")
    assert previewed(live) is None
    panel.form.threshold.setValue(2.4)
    preview(panel, qtbot, "2 segments become 1.")
    assert previewed(live) is not None


def test_done_is_refused_and_can_be_forced_or_left_out(
    live: ProofreadController, panel: DistanceBox, qtbot: Any
) -> None:
    session = session_of(live)
    session.annotate(3, status="done")
    refused: list[tuple[EditRejectedError, Any]] = []
    live.refused.connect(lambda error, forced: refused.append((error, forced)))
    panel.apply_button.click()
    qtbot.waitUntil(lambda: bool(refused), timeout=PATIENCE)
    assert "Segment 3 is marked done" in str(refused[0][0])
    assert not session.edits
    with qtbot.waitSignal(panel.form.counted, timeout=PATIENCE):
        panel.form.done_box.click()
    assert panel.form.count.text() == "0 merges below"
    with qtbot.waitSignal(panel.form.counted, timeout=PATIENCE):
        panel.form.done_box.click()
    refused[0][1]()
    qtbot.waitUntil(lambda: len(session.edits) == 1, timeout=PATIENCE)
    assert session.lookup[3] == session.lookup[1]


def test_a_forced_preview_is_what_apply_makes(
    live: ProofreadController, panel: DistanceBox, qtbot: Any
) -> None:
    session = session_of(live)
    session.annotate(3, status="done")
    refused: list[Any] = []
    live.refused.connect(lambda _error, forced: refused.append(forced))
    panel.preview_button.click()
    qtbot.waitUntil(lambda: bool(refused), timeout=PATIENCE)
    assert not panel.preview_button.isChecked()
    refused[0]()
    preview(panel, qtbot, "2 segments become 1.")
    panel.apply_button.click()
    assert len(session.edits) == 1


def test_scopes(live: ProofreadController, panel: DistanceBox, qtbot: Any) -> None:
    form = panel.form
    form.threshold.setValue(3.0)
    with qtbot.waitSignal(form.counted, timeout=PATIENCE):
        form.scope.setCurrentIndex(1)
    assert form.histogram.empty_text.startswith("Select a segment")
    assert form.count.text() == "0 merges below"
    with qtbot.waitSignal(form.counted, timeout=PATIENCE):
        live.select([3])
    assert form.count.text() == "1 merge below"
    with qtbot.waitSignal(form.counted, timeout=PATIENCE):
        form.scope.setCurrentIndex(2)
    assert form.count.text() == "2 merges below"
    assert form.wish().roi is not None
    with qtbot.waitSignal(form.counted, timeout=PATIENCE):
        live.viewer.scene.camera.zoom = 3.0
    panel.hide()
    assert not form._listening


def test_modes_and_tabs_take_the_preview_away(
    live: ProofreadController, panel: DistanceBox, qtbot: Any
) -> None:
    live.begin_mode("merge")
    preview(panel, qtbot, "2 segments")
    assert live.mode == ""
    live.begin_mode("merge")
    assert not panel.preview_button.isChecked()
    assert previewed(live) is None
    preview(panel, qtbot, "2 segments")
    panel.hide()
    assert previewed(live) is None
    panel.show()
    live.close_project()
    assert not panel.apply_button.isEnabled()
    assert panel.form.count.text() == ""


@pytest.fixture
def histogram(qtbot: Any) -> DistanceHistogram:
    made = DistanceHistogram()
    qtbot.addWidget(made)
    made.resize(330, 140)
    made.show_distances(np.array([0.0, 0.09, 1.49, 1.5, 1.5, 2.95, 40.0] * 30, np.float32))
    return made


def test_bars_are_a_tenth_wide_and_the_last_takes_the_rest(histogram: DistanceHistogram) -> None:
    assert histogram.longest == 12.0
    assert len(histogram.counts) == 120
    assert {i: int(n) for i, n in enumerate(histogram.counts) if n} == {
        0: 60, 14: 30, 15: 60, 29: 30, 119: 30,
    }  # fmt: skip
    histogram.show_distances(np.array([0.2, 0.3], np.float32))
    assert histogram.longest == 3.0


def test_the_line_is_dragged(histogram: DistanceHistogram, qtbot: Any) -> None:
    heard: list[float] = []
    histogram.threshold_changed.connect(heard.append)
    histogram.set_threshold(2.0)
    assert heard == []
    middle = round(histogram._x_of(6.0))
    qtbot.mousePress(histogram, Qt.MouseButton.LeftButton, pos=QPoint(middle, 60))
    assert heard[-1] == pytest.approx(6.0, abs=0.05)
    qtbot.mousePress(histogram, Qt.MouseButton.LeftButton, pos=QPoint(5000, 60))
    assert heard[-1] == 12.0
    qtbot.mousePress(histogram, Qt.MouseButton.LeftButton, pos=QPoint(0, 60))
    assert heard[-1] == 0.01


def test_the_line_is_moved_by_keys(histogram: DistanceHistogram, qtbot: Any) -> None:
    heard: list[float] = []
    histogram.threshold_changed.connect(heard.append)
    for key in (Qt.Key.Key_Right, Qt.Key.Key_Up, Qt.Key.Key_Left, Qt.Key.Key_PageUp,
                Qt.Key.Key_PageDown, Qt.Key.Key_Home, Qt.Key.Key_G):  # fmt: skip
        qtbot.keyClick(histogram, key)
    assert heard == [1.55, 1.6, 1.55, 2.05, 1.55, 1.5]


def test_bars_below_the_line_are_painted_in_full(histogram: DistanceHistogram) -> None:
    histogram.show_distances(np.array([0.25] * 9 + [2.75] * 9, np.float32))
    picture = histogram.grab().toImage()
    ratio = picture.devicePixelRatio()
    bottom = histogram._box.bottom() - 5

    def alike(distance: float) -> tuple[int, int, int]:
        at = picture.pixelColor(round(histogram._x_of(distance) * ratio), round(bottom * ratio))
        return at.red(), at.green(), at.blue()

    below, nothing = alike(0.25), alike(1.25)
    assert below != nothing
    full = alike(2.75)
    histogram.set_threshold(3.0)
    picture = histogram.grab().toImage()
    assert alike(0.25) == below
    assert alike(2.75) != full


def test_an_empty_histogram_says_why(histogram: DistanceHistogram) -> None:
    histogram.show_distances(np.zeros(0, np.float32), empty_text="measure first")
    assert len(histogram.counts) == 0
    assert not histogram.grab().isNull()
