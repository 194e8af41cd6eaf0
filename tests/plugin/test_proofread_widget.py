"""The Proofread dock in a real window: simulated clicks on the canvas, keys, buttons, saving."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari import layers
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_neuropil.plugin.proofread_widget import ProofreadWidget
from napari_neuropil.proofreading import ProofreadingSession

SHIFT = Qt.KeyboardModifier.ShiftModifier
NONE = Qt.KeyboardModifier.NoModifier
IN_1, IN_2, IN_3 = (3, 5, 5), (3, 5, 25), (3, 5, 50)
IN_4 = (3, 30, 5)


class Hand:
    """Clicks and types like a user."""

    def __init__(self, viewer: Any, dock: ProofreadWidget) -> None:
        self.viewer, self.dock = viewer, dock
        self.canvas = viewer.window._qt_viewer.canvas.native

    def pixel(self, voxel: tuple[int, int, int]) -> QPoint:
        world = self.dock.controller.voxel_to_world(voxel)
        camera = self.viewer.scene.camera
        down = (world[1] - camera.center[-2]) * camera.zoom
        right = (world[2] - camera.center[-1]) * camera.zoom
        return QPoint(
            round(self.canvas.width() / 2 + right), round(self.canvas.height() / 2 + down)
        )

    def click(self, voxel: tuple[int, int, int], modifier: Any = NONE) -> None:
        QTest.mouseClick(self.canvas, Qt.MouseButton.LeftButton, modifier, self.pixel(voxel))

    def drag(self, a: tuple[int, int, int], b: tuple[int, int, int], modifier: Any = NONE) -> None:
        begin, end = self.pixel(a), self.pixel(b)
        QTest.mousePress(self.canvas, Qt.MouseButton.LeftButton, modifier, begin)
        for step in range(1, 6):
            # vispy drops moves that come within 10 ms of each other.
            QTest.qWait(15)
            self._move(begin + (end - begin) * step / 5, modifier)
        QTest.mouseRelease(self.canvas, Qt.MouseButton.LeftButton, modifier, end)

    def _move(self, at: QPoint, modifier: Any) -> None:
        # QTest.mouseMove carries neither button nor modifier.
        left = Qt.MouseButton.LeftButton
        place = QPointF(at)
        event = QMouseEvent(
            QEvent.Type.MouseMove, place, QPointF(self.canvas.mapToGlobal(at)), left, left, modifier
        )
        QApplication.sendEvent(self.canvas, event)

    def key(self, letter: str, modifier: Any = NONE) -> None:
        key = getattr(Qt.Key, f"Key_{letter}")
        QTest.keyClick(self.canvas, key, modifier)


@pytest.fixture
def viewer(display: None, plugin: Any, request: pytest.FixtureRequest) -> Any:
    """Return a viewer whose window is shown: a hidden canvas has no size to click into."""
    return request.getfixturevalue("make_napari_viewer")(show=True)


@pytest.fixture
def dock(viewer: Any) -> ProofreadWidget:
    begin = time.perf_counter()
    widget = ProofreadWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Proofread")
    assert time.perf_counter() - begin < 2
    return widget


@pytest.fixture
def hand(viewer: Any, dock: ProofreadWidget, brain: Path, qtbot: Any) -> Hand:
    """Return a hand over the open project, in the middle section, on a canvas with a size."""
    viewer.window.resize(1200, 800)
    with qtbot.waitSignal(dock.controller.session_changed, timeout=20_000):
        dock.controller.open_project(brain)
    hand = Hand(viewer, dock)
    scene = viewer.window._qt_viewer.canvas._scene_canvas
    qtbot.waitUntil(
        lambda: hand.canvas.width() == scene.size[0] and hand.canvas.height() == scene.size[1],
        timeout=20_000,
    )
    viewer.dims.set_point(0, 90)
    viewer.scene.camera.zoom = 1.0
    viewer.scene.camera.center = (90, 160, 240)
    return hand


def proposed(dock: ProofreadWidget, qtbot: Any) -> None:
    qtbot.waitUntil(lambda: dock.controller.proposal_exact, timeout=20_000)
    qtbot.waitUntil(lambda: dock.controller.proposal is not None, timeout=20_000)


def test_a_fresh_dock(viewer: Any, dock: ProofreadWidget, tmp_path: Path) -> None:
    assert not viewer.layers
    assert dock.sizeHint().width() == 370
    assert dock.minimumSizeHint().width() <= 370
    assert dock.sizeHint().height() < 700
    assert dock.minimumSizeHint().height() < 700
    assert not dock.edit.mode_buttons["merge"].isEnabled()
    assert dock.project.combo.currentText() == "Open a project, or import labels"
    ours = set(dock.controller.keys)
    assert {key[-1] for key in ours} <= set("GHJKNQUW")
    for kind in (layers.Labels, layers.Image, layers.Points, layers.Shapes, type(viewer)):
        keymaps = [getattr(cls, "class_keymap", {}) for cls in kind.__mro__]
        taken = {str(key).replace("+", "-") for keymap in keymaps for key in keymap}
        assert not taken & ours, kind
    layer = viewer.add_labels(np.ones((4, 5, 6), np.uint32), name="bare")
    dock.project.import_layer(layer, tmp_path / "made.neuropil")
    assert "voxel size of bare is not known" in dock.message.text()


def test_thirty_edits_by_clicks_and_keys(
    viewer: Any, dock: ProofreadWidget, hand: Hand, qtbot: Any, brain: Path
) -> None:
    controller = dock.controller
    session = controller.session
    assert session is not None
    assert dock.project.state.text() == "No edits yet; each is saved at once."
    for repeat in range(1, 6):
        hand.key("G")
        assert dock.edit.mode_buttons["merge"].isChecked()
        assert "Merge" in viewer.help
        assert "Merge: click two or more segments" in viewer.canvas.overlays.text.text
        hand.click(IN_2)
        hand.click(IN_3)
        proposed(dock, qtbot)
        assert "Enter merges" in viewer.canvas.overlays.text.text
        hand.key("Return")
        assert session.segment_at(IN_3) == session.segment_at(IN_1) == 1
        hand.key("K")
        hand.click(IN_1)
        hand.key("K")
        hand.drag((3, 4, 42), (3, 12, 54), SHIFT)
        proposed(dock, qtbot)
        hand.key("Return")
        assert session.segment_at(IN_1) != session.segment_at(IN_3)
        hand.key("U")
        # The seeds are back and a preview of them is on its way: the next undo waits for it.
        hand.key("U")
        qtbot.waitUntil(lambda: session.segment_at(IN_3) == 3, timeout=20_000)
        hand.key("U", SHIFT)
        hand.key("U")
        qtbot.waitUntil(lambda r=repeat: len(session.edits) == 6 * r, timeout=20_000)
        dock.edit.clear_button.click()
        hand.key("Escape")
        assert controller.mode == ""
    kinds = [edit.kind for edit in session.edits]
    assert len(kinds) == 30
    assert kinds[:3] == ["merge", "split", "move"]
    assert dock.project.state.text() == "All 30 edits saved."
    dock.close()
    with ProofreadingSession.open(brain) as again:
        assert [edit.kind for edit in again.edits] == kinds
        assert again.segment_at(IN_3) == 3


def test_navigation_stays_naparis_own(
    viewer: Any, dock: ProofreadWidget, hand: Hand, qtbot: Any
) -> None:
    camera = viewer.scene.camera
    hand.key("G")
    before = np.array(camera.center)
    hand.drag(IN_1, (3, 15, 5))
    qtbot.waitUntil(lambda: not np.allclose(camera.center, before), timeout=5_000)
    assert dock.controller.wish.picks == ()
    hand.key("K")
    before = np.array(camera.center)
    hand.drag((3, 15, 5), (3, 15, 30), SHIFT)
    qtbot.wait(200)
    np.testing.assert_allclose(camera.center, before)
    assert camera.mouse_pan
    assert len(dock.controller.layers.seeds.points("red")) >= 5
    hand.key("Escape")
    selected = list(dock.controller.selected)
    points = viewer.add_points(np.zeros((0, 3)), scale=(30, 8, 8))
    points.mode = "add"
    hand.click(IN_4)
    assert len(points.data) == 1
    assert dock.controller.selected == selected


def test_plain_clicks_select(viewer: Any, dock: ProofreadWidget, hand: Hand) -> None:
    hand.click(IN_3)
    assert dock.controller.selected == [3]
    hand.click(IN_4, SHIFT)
    assert dock.controller.selected == [3, 4]
    assert "4: 9 120 voxels" in dock.edit.selection.text()
    hand.key("H")
    assert dock.edit.hide_button.isChecked()
    hand.key("H", SHIFT)
    assert dock.edit.dim_button.isChecked()


def test_refusal_offers_to_do_it_anyway(dock: ProofreadWidget, hand: Hand, qtbot: Any) -> None:
    session = dock.controller.session
    assert session is not None
    session.annotate(3, status="done")
    hand.key("G")
    hand.click(IN_2)
    hand.click(IN_3)
    qtbot.waitUntil(lambda: "marked done" in dock.message.text(), timeout=20_000)
    assert dock.force_button.isVisibleTo(dock)
    dock.force_button.click()
    proposed(dock, qtbot)
    assert not dock.force_button.isVisibleTo(dock)
    dock.edit.commit_button.click()
    assert len(session.edits) == 1


def test_keys_go_with_the_dock(viewer: Any, dock: ProofreadWidget, hand: Hand) -> None:
    help_before = viewer.help
    assert "G merge" in help_before
    assert "Merge (G)" in [b.text() for b in dock.edit.mode_buttons.values()]
    bound = {str(key) for key in viewer.keymap}
    assert {"G", "K", "U", "Shift+U", "H", "Shift+H", "J"} <= bound
    shown = len(viewer.layers)
    dock.close()
    assert not {str(key) for key in viewer.keymap} & bound
    assert "G merge" not in viewer.help
    assert len(viewer.layers) <= shown
    hand.key("G")
    hand.click(IN_3)
    assert dock.controller.mode == ""
    assert dock.controller.selected == []


def test_second_window_may_look_only(dock: ProofreadWidget, brain: Path, qtbot: Any) -> None:
    with ProofreadingSession.open(brain):
        with qtbot.waitSignal(dock.controller.session_changed, timeout=20_000):
            dock.controller.open_project(brain)
        assert dock.project.state.text().startswith("Read-only")
        assert "has it" in dock.project.state.text()
        assert not dock.edit.mode_buttons["merge"].isEnabled()


def test_labels_become_a_project(
    viewer: Any,
    dock: ProofreadWidget,
    fake_cli: Callable[[str], None],
    qtbot: Any,
    tmp_path: Path,
) -> None:
    ids = np.repeat(np.repeat(np.array([[7, 9]], np.uint32), 20, 0), 12, 1)[None].repeat(6, 0)
    layer = viewer.add_labels(ids, name="from elsewhere", scale=(30, 8, 8), units=("nm",) * 3)
    dock.project._fill_menu()
    assert [action.text() for action in dock.project.import_menu.actions()] == ["from elsewhere"]
    dock.project.import_layer(layer, tmp_path / "made.neuropil")
    assert not dock.project.open_button.isEnabled()
    with qtbot.waitSignal(dock.controller.session_changed, timeout=30_000):
        pass
    assert dock.controller.path == tmp_path / "made.neuropil"
    assert dock.project.combo.currentText() == "made"
    assert (tmp_path / "made.labels.zarr").is_dir()


def test_panels_do_not_know_each_other() -> None:
    folder = Path(sys.modules[ProofreadWidget.__module__].__file__ or "").parent
    panels = {path.stem for path in folder.glob("*_panel.py")}
    for name in panels - {"task_panel", "source_panel", "method_panel"}:
        text = (folder / f"{name}.py").read_text()
        seen = {other for other in panels - {name} if f"plugin.{other} " in text}
        assert not seen, name
