"""A session in a real window, by clicks and keys: from a box to an edit of a project, and back."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_neuropil.plugin.dendrites.dendrites_widget import DendritesWidget
from napari_neuropil.plugin.dendrites.layer_making import BOXES, MASK, POINTS

LEFT = Qt.MouseButton.LeftButton
NONE = Qt.KeyboardModifier.NoModifier
SCALE = (30, 8, 8)


class Hand:
    """Clicks, drags and types like a user."""

    def __init__(self, viewer: Any) -> None:
        self.viewer = viewer
        self.canvas = viewer.window._qt_viewer.canvas.native

    def pixel(self, y: float, x: float) -> QPoint:
        camera = self.viewer.scene.camera
        down = (y * SCALE[1] - camera.center[-2]) * camera.zoom
        right = (x * SCALE[2] - camera.center[-1]) * camera.zoom
        return QPoint(
            round(self.canvas.width() / 2 + right), round(self.canvas.height() / 2 + down)
        )

    def click(self, y: float, x: float) -> None:
        self.move(self.pixel(y, x), Qt.MouseButton.NoButton)
        QTest.mouseClick(self.canvas, LEFT, NONE, self.pixel(y, x))

    def drag(self, a: tuple[float, float], b: tuple[float, float]) -> None:
        begin, end = self.pixel(*a), self.pixel(*b)
        self.move(begin, Qt.MouseButton.NoButton)
        QTest.mousePress(self.canvas, LEFT, NONE, begin)
        for step in range(1, 6):
            # vispy drops moves that come within 10 ms of each other.
            QTest.qWait(15)
            self.move(begin + (end - begin) * step / 5, LEFT)
        QTest.mouseRelease(self.canvas, LEFT, NONE, end)

    def move(self, at: QPoint, button: Any) -> None:
        place = QPointF(at)
        event = QMouseEvent(
            QEvent.Type.MouseMove, place, QPointF(self.canvas.mapToGlobal(at)), button, button, NONE
        )
        QApplication.sendEvent(self.canvas, event)

    def key(self, letter: str) -> None:
        QTest.keyClick(self.canvas, getattr(Qt.Key, f"Key_{letter}"), NONE)


@pytest.fixture
def viewer(display: None, plugin: Any, request: pytest.FixtureRequest) -> Any:
    """Return a viewer whose window is shown: a hidden canvas has no size to click into."""
    return request.getfixturevalue("make_napari_viewer")(show=True)


@pytest.fixture
def dock(
    viewer: Any, brain: Path, fake_prompts: Callable[[str], None], qtbot: Any
) -> DendritesWidget:
    """Return the dock as a user opens it, on the project, in section 3, the worker ready."""
    viewer.window.resize(1400, 960)
    viewer.open(str(brain), plugin="napari-neuropil")
    _, made = viewer.window.add_plugin_dock_widget("napari-neuropil", "Refine dendrites")
    dock: DendritesWidget = made
    scene = viewer.window._qt_viewer.canvas._scene_canvas
    canvas = viewer.window._qt_viewer.canvas.native
    qtbot.waitUntil(
        lambda: canvas.width() == scene.size[0] and canvas.height() == scene.size[1],
        timeout=20_000,
    )
    viewer.dims.set_point(0, 90)
    viewer.scene.camera.zoom = 1.2
    viewer.scene.camera.center = (90, 160, 240)
    dock.source.choose_segmenter("watershed")
    dock.source.start_button.click()
    qtbot.waitUntil(lambda: dock.refiner.link.ready is not None, timeout=60_000)
    qtbot.waitUntil(lambda: BOXES in viewer.layers, timeout=10_000)
    qtbot.wait(100)
    return dock


def known(dock: DendritesWidget) -> bool:
    return dock.refiner.mask is not None and not dock.refiner.desk.waiting


def test_from_a_box_to_a_segment_and_back(
    viewer: Any, dock: DendritesWidget, brain: Path, qtbot: Any
) -> None:
    hand, refiner = Hand(viewer), dock.refiner
    assert dock.source.image.currentText() == "brain (project)"
    assert viewer.layers[BOXES].mode == "add_rectangle"
    hand.drag((4.5, 4.5), (14.5, 16.5))
    qtbot.waitUntil(lambda: known(dock), timeout=20_000)
    assert refiner.mask is not None
    drawn = refiner.mask.box
    np.testing.assert_allclose(drawn, (5, 5, 15, 17), atol=1)
    before = refiner.mask.area

    hand.key("K")
    dock.tools.tools["point"].click()
    qtbot.wait(100)
    hand.click(10, 10)
    qtbot.waitUntil(lambda: refiner.mask is not None and refiner.mask.area < before, timeout=20_000)
    assert refiner.mask.area == before - 9
    assert viewer.layers[POINTS].features["positive"].tolist() == [False]
    assert len(viewer.layers[POINTS].data) == 1
    hand.key("K")
    qtbot.wait(100)
    hand.click(13, 15)
    qtbot.waitUntil(lambda: len(viewer.layers[POINTS].data) == 2, timeout=10_000)
    assert viewer.layers[POINTS].features["positive"].tolist() == [False, True]
    qtbot.waitUntil(lambda: known(dock) and len(refiner.work.proposals) == 1, timeout=10_000)

    hand.key("Q")
    assert refiner.work.dendrite == 1
    dock.tabs.setCurrentIndex(1)
    hand.key("G")
    qtbot.waitUntil(
        lambda: refiner.desk.long is None and len(refiner.work.dendrites[1].masks) == 8,
        timeout=20_000,
    )
    assert int((np.asarray(viewer.layers[MASK].data) == 1).sum()) == before - 9

    dock.commit.commit_button.click()
    qtbot.waitUntil(lambda: dock.commit.make_button.isVisible(), timeout=30_000)
    owner = dock.project.controller_of(brain)
    assert owner is not None, "the Proofread dock has it open"
    session = owner.session
    assert session is not None
    lookup = session.lookup.copy()
    place = (3, 6, 6)
    assert session.segment_at(place) == 1
    summary = dock.commit.summary.text()
    assert "voxels drawn, takes from 1." in summary
    assert "1 is cut" in summary
    picture = os.environ.get("NEUROPIL_PICTURE")
    if picture:
        qtbot.wait(1500)
        viewer.screenshot(picture, canvas_only=False, flash=False)
    dock.commit.make_button.click()
    qtbot.waitUntil(lambda: len(session.edits) == 1, timeout=20_000)
    new = session.segment_at(place)
    assert new not in (0, 1)
    assert session.segment_at((3, 10, 10)) == 1, "where the negative point was"
    assert session.segment_at((0, 6, 6)) == session.segment_at((7, 6, 6)) == new
    assert session.segment_at((3, 2, 2)) == 1
    assert f"segment {new} of the project" in dock.message.text()
    assert "in the project" in dock.follow.text.text()

    dock.commit.undo_button.click()
    qtbot.waitUntil(lambda: len(session.edits) == 2, timeout=20_000)
    assert session.segment_at(place) == 1
    np.testing.assert_array_equal(session.lookup[: len(lookup)], lookup)
    assert "out of the project" in dock.message.text()
    assert not dock.commit.undo_button.isVisible()
    owner.redo()
    assert session.segment_at(place) == new
    assert "in the project" in dock.follow.text.text()
    assert dock.commit.undo_button.isVisible()


def test_a_box_that_is_clicked_is_the_row_selected(
    viewer: Any, dock: DendritesWidget, qtbot: Any
) -> None:
    hand, refiner = Hand(viewer), dock.refiner
    for number, x in enumerate((4.5, 30.5), 1):
        hand.drag((4.5, x), (14.5, x + 12))
        qtbot.waitUntil(lambda n=number: refiner.work.current == n and known(dock), timeout=20_000)
        qtbot.wait(100)
    centre = tuple(viewer.scene.camera.center)
    hand.click(9, 8)
    qtbot.wait(100)
    assert refiner.work.current in (2, None), "with a tool that draws, a click picks nothing"
    dock.tools.tools["move"].click()
    qtbot.wait(100)
    hand.click(9, 36)
    qtbot.waitUntil(lambda: refiner.work.current == 2, timeout=10_000)
    hand.click(9, 8)
    qtbot.waitUntil(lambda: refiner.work.current == 1, timeout=10_000)
    assert dock.proposals.table.selected_rows == [0]
    assert tuple(viewer.scene.camera.center) == centre
    hand.click(30, 8)
    qtbot.wait(100)
    assert refiner.work.current == 1, "beside the boxes"


def test_done_segments_are_spared_or_refuse(
    viewer: Any, dock: DendritesWidget, brain: Path, qtbot: Any
) -> None:
    refiner = dock.refiner
    Hand(viewer).drag((4.5, 4.5), (24.5, 16.5))
    qtbot.waitUntil(lambda: known(dock), timeout=20_000)
    dock.proposals.accept_button.click()
    dock.tabs.setCurrentIndex(1)
    dock.commit.commit_button.click()
    qtbot.waitUntil(lambda: dock.commit.make_button.isVisible(), timeout=30_000)
    owner = dock.project.controller_of(brain)
    assert owner is not None
    assert owner.session is not None
    dock.commit.leave_button.click()
    assert not dock.commit.make_button.isVisible()
    owner.session.annotate(4, status="done")
    dock.commit.commit_button.click()
    qtbot.waitUntil(lambda: dock.commit.make_button.isVisible(), timeout=30_000)
    assert "marked done are left out" in dock.commit.summary.text()
    dock.commit.leave_button.click()
    dock.commit.spare.setChecked(False)
    dock.commit.commit_button.click()
    qtbot.waitUntil(lambda: "Segment 4 is marked done" in dock.message.text(), timeout=30_000)
    assert not dock.commit.make_button.isVisible()
    assert not owner.session.edits
    # What is shown as an edit is left when the dendrite changes.
    dock.commit.spare.setChecked(True)
    dock.commit.commit_button.click()
    qtbot.waitUntil(lambda: dock.commit.make_button.isVisible(), timeout=30_000)
    refiner.undo()
    assert not dock.commit.make_button.isVisible()


def test_the_keys_are_free_in_every_layer(viewer: Any, dock: DendritesWidget) -> None:
    from napari import layers

    assert {key[-1] for key in dock.keys} <= set("GHJKNQUW")
    for kind in (layers.Labels, layers.Points, layers.Shapes):
        keymaps = [getattr(cls, "class_keymap", {}) for cls in kind.__mro__]
        taken = {str(key).replace("+", "-") for keymap in keymaps for key in keymap}
        assert not taken & set(dock.keys), kind
    image = next(layer for layer in viewer.layers if type(layer).__name__ == "Image")
    assert not {str(key) for key in image.keymap} & {"Q", "W", "G"}
    for name in (BOXES, POINTS, MASK):
        assert {"Q", "W", "G", "N", "U"} <= {str(key) for key in viewer.layers[name].keymap}
