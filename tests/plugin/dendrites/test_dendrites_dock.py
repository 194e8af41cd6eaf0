"""The dock over a fake worker, without a window: every step, errors, restarts, undo."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_neuropil.plugin.dendrites.box_rows import shape_of_box
from napari_neuropil.plugin.dendrites.following import FollowOptions
from napari_neuropil.plugin.dendrites.layer_making import BOXES, MASK, OTHERS, POINTS, THIS

if TYPE_CHECKING:
    from napari_neuropil.plugin.dendrites.dendrites_widget import DendritesWidget

BOX = (5.0, 5.0, 15.0, 17.0)
AREA = 120


def start(dock: DendritesWidget, qtbot: Any) -> None:
    dock.source.start_button.click()
    qtbot.waitUntil(lambda: dock.refiner.link.ready is not None, timeout=60_000)


def add_box(dock: DendritesWidget, z: int, box: tuple[float, ...] = BOX) -> None:
    layer = dock.refiner.viewer.layers[BOXES]
    layer.add(shape_of_box(z, box), shape_type="rectangle")  # type: ignore[arg-type]


def area(dock: DendritesWidget) -> int:
    mask = dock.refiner.mask
    return 0 if mask is None else mask.area


def wait_area(dock: DendritesWidget, qtbot: Any, wanted: int) -> None:
    def there() -> bool:
        # Drawn, too: a shape has its row's number from then on.
        drawn = not dock.refiner._drawing.isActive()
        return area(dock) == wanted and drawn and not dock.refiner.desk.waiting

    qtbot.waitUntil(there, timeout=20_000)


def cell(dock: DendritesWidget, row: int, column: int) -> str:
    model = dock.proposals.model
    return str(model.data(model.index(row, column), Qt.ItemDataRole.DisplayRole))


def accepted_box(dock: DendritesWidget, qtbot: Any) -> None:
    add_box(dock, 3)
    wait_area(dock, qtbot, AREA)
    dock.proposals.accept_button.click()


def test_a_fresh_dock_says_what_to_do(idle: DendritesWidget) -> None:
    assert idle.sizeHint().width() == 370
    assert idle.minimumSizeHint().width() <= 370
    assert idle.minimumSizeHint().height() < 700
    assert idle.source.start_button.isEnabled()
    assert not idle.tools.tools["box"].isEnabled()
    assert not idle.proposals.find_button.isEnabled()
    assert not idle.follow.follow_button.isEnabled()
    assert len(idle.refiner.viewer.layers) == 1, "no layer before Start"
    idle.refiner.follow(FollowOptions(0.2, branches=True))
    assert "press Start first" in idle.message.text()


def test_layers_that_cannot_be_opened_say_why(idle: DendritesWidget) -> None:
    idle.refiner.viewer.add_image(np.zeros((4, 8, 8, 3)), name="colours", rgb=True)
    combo = idle.source.image
    at = combo.findText("colours")
    assert at >= 0
    assert combo.currentText() != "colours"
    combo.setCurrentIndex(at)
    assert not idle.source.start_button.isEnabled()
    assert "grey values" in idle.source.start_button.toolTip()
    assert not idle.source.edges.isVisibleTo(idle.source), "nothing to type for it"


def test_box_mask_accept_follow_save(dock: DendritesWidget, qtbot: Any) -> None:
    refiner, viewer = dock.refiner, dock.refiner.viewer
    add_box(dock, 3)
    wait_area(dock, qtbot, AREA)
    assert refiner.work.current == 1
    assert (cell(dock, 0, 3), cell(dock, 0, 4)) == ("120", "0.00768")
    assert cell(dock, 0, 5) == "proposed"
    qtbot.waitUntil(lambda: bool((viewer.layers[MASK].data == THIS).sum() == AREA), timeout=5_000)
    np.testing.assert_allclose(viewer.layers[MASK].extent.world[:, 0], [90, 90])
    assert viewer.layers[BOXES].features["id"].tolist() == [1]
    dock.proposals.accept_button.click()
    assert cell(dock, 0, 5) == "accepted (1)"
    dock.follow.follow_button.click()
    qtbot.waitUntil(lambda: refiner.desk.long is None, timeout=20_000)
    dendrite = refiner.work.current_dendrite
    assert dendrite is not None
    assert list(dendrite.masks) == list(range(8))
    assert list(dendrite.accepted) == [3]
    assert [dock.follow.model.data(dock.follow.model.index(n, 0)) for n in (0, 1)] == ["0", "7"]
    dock.follow.table.rows_selected.emit([1])
    assert refiner.z == 7
    qtbot.waitUntil(lambda: viewer.layers[MASK].extent.world[0, 0] == 210, timeout=5_000)
    assert not dock.commit.commit_button.isEnabled()
    assert "No project" in dock.commit.commit_button.toolTip()
    dock.commit.save_button.click()
    saved = viewer.layers["Dendrite 1"]
    assert saved.data.shape == (8, 10, 12)
    assert saved.data.all()
    np.testing.assert_allclose(saved.translate, (0, 40, 40))


def test_an_edited_section_is_a_new_beginning(dock: DendritesWidget, qtbot: Any) -> None:
    refiner = dock.refiner
    accepted_box(dock, qtbot)
    dock.follow.follow()
    qtbot.waitUntil(lambda: refiner.desk.long is None, timeout=20_000)
    refiner.look_at(5)
    refiner.viewer.layers[POINTS].add((5, 25, 25))
    wait_area(dock, qtbot, AREA + 49)
    dendrite = refiner.work.current_dendrite
    assert dendrite is not None
    assert list(dendrite.accepted) == [3, 5]
    dock.follow.follow()
    qtbot.waitUntil(lambda: refiner.desk.long is None, timeout=20_000)
    dendrite = refiner.work.current_dendrite
    assert dendrite is not None
    areas = {z: mask.area for z, mask in dendrite.masks.items()}
    assert [areas[z] for z in (0, 3, 5, 6, 7)] == [AREA, AREA, AREA + 49, AREA + 49, AREA + 49]
    refiner.look_at(6)
    dock.proposals.reject_button.click()
    dock.follow.follow()
    qtbot.waitUntil(lambda: refiner.desk.long is None, timeout=20_000)
    dendrite = refiner.work.current_dendrite
    assert dendrite is not None
    assert sorted(dendrite.masks) == [0, 1, 2, 3, 4, 5]
    assert any(stop.reason == "empty" and stop.doubtful for stop in dendrite.stops)
    refiner.undo()
    dendrite = refiner.work.current_dendrite
    assert dendrite is not None
    assert 7 in dendrite.masks


def test_points_scribble_paint_and_undo(dock: DendritesWidget, qtbot: Any) -> None:
    refiner, viewer = dock.refiner, dock.refiner.viewer
    add_box(dock, 3)
    wait_area(dock, qtbot, AREA)
    dock.tools.sign_button.click()
    assert dock.tools.sign_button.text() == "Points: - (K)"
    qtbot.wait(50)
    points = viewer.layers[POINTS]
    points.add((3, 10, 10))
    wait_area(dock, qtbot, AREA - 9)
    assert points.features["positive"].tolist() == [False]
    viewer.layers[BOXES].add(np.array([[3, 6, 6], [3, 6, 12.0], [3, 6, 14]]), shape_type="path")
    # Five points from x = 6 to 14, each takes 3 x 3 pixels.
    qtbot.waitUntil(lambda: len(points.data) == 6, timeout=10_000)
    wait_area(dock, qtbot, AREA - 9 - 33)
    qtbot.waitUntil(lambda: list(viewer.layers[BOXES].shape_type) == ["rectangle"], timeout=5_000)
    viewer.layers[MASK].paint((0, 30, 30), THIS)
    qtbot.waitUntil(lambda: area(dock) > AREA - 42, timeout=5_000)
    assert refiner.work.proposals[1].section.prompts.box is None
    refiner.undo()
    wait_area(dock, qtbot, AREA - 42)
    refiner.undo()
    refiner.undo()
    wait_area(dock, qtbot, AREA)
    qtbot.waitUntil(lambda: len(points.data) == 0, timeout=5_000)
    refiner.undo()
    qtbot.waitUntil(lambda: len(viewer.layers[BOXES].data) == 0, timeout=5_000)
    assert not dock.tools.undo_button.isEnabled()
    refiner.redo()
    refiner.redo()
    wait_area(dock, qtbot, AREA - 9)
    assert not refiner.desk.waiting, "undo and redo know the masks"


def test_negative_points_alone_ask_for_a_positive_one(dock: DendritesWidget, qtbot: Any) -> None:
    dock.refiner.turn()
    qtbot.wait(50)
    points = dock.refiner.viewer.layers[POINTS]
    points.add((3, 10, 10))
    qtbot.waitUntil(lambda: "only where the dendrite is not" in dock.message.text(), timeout=5_000)
    assert not dock.refiner.desk.waiting
    dock.refiner.turn()
    qtbot.wait(50)
    points.add((3, 12, 10))
    wait_area(dock, qtbot, 49 - 9)
    assert dock.message.text() == ""


def test_boxes_moved_and_deleted_in_the_layer(dock: DendritesWidget, qtbot: Any) -> None:
    refiner, viewer = dock.refiner, dock.refiner.viewer
    add_box(dock, 3)
    wait_area(dock, qtbot, AREA)
    add_box(dock, 3, (20.0, 20.0, 24.0, 25.0))
    wait_area(dock, qtbot, 20)
    layer = viewer.layers[BOXES]
    layer.data = [shape_of_box(3, (5.0, 5.0, 15.0, 18.0)), layer.data[1]]
    qtbot.waitUntil(lambda: refiner.work.proposals[1].box == (5, 5, 15, 18), timeout=5_000)
    wait_area(dock, qtbot, 130)
    layer.selected_data = {1}
    layer.remove_selected()
    qtbot.waitUntil(lambda: list(refiner.work.proposals) == [1], timeout=5_000)
    assert dock.proposals.model.rowCount() == 1


def test_detection_rows_next_reject(dock: DendritesWidget, qtbot: Any) -> None:
    refiner = dock.refiner
    dock.proposals.first.setValue(2)
    dock.proposals.last.setValue(3)
    dock.proposals.find_button.click()
    assert dock.progress.isVisible()
    qtbot.waitUntil(lambda: refiner.desk.long is None, timeout=20_000)
    assert [(cell(dock, n, 1), cell(dock, n, 2)) for n in range(4)] == [
        ("2", "0.90"),
        ("2", "0.30"),
        ("3", "0.90"),
        ("3", "0.30"),
    ]
    layer = refiner.viewer.layers[BOXES]
    qtbot.waitUntil(lambda: len(layer.data) == 4, timeout=5_000)
    assert layer.features["label"].tolist() == ["0.90", "0.30", "0.90", "0.30"]
    dock.proposals.next_button.click()
    assert (refiner.z, refiner.work.current) == (2, 1)
    wait_area(dock, qtbot, 120)
    dock.proposals.table.rows_selected.emit([3])
    wait_area(dock, qtbot, 280)
    assert refiner.z == 3
    dock.proposals.reject_button.click()
    assert cell(dock, 3, 5) == "rejected"
    qtbot.waitUntil(lambda: len(layer.data) == 3, timeout=5_000)
    refiner.undo()
    assert cell(dock, 3, 5) == "proposed"
    dock.proposals.score.setValue(0.5)
    dock.proposals.here_button.click()
    qtbot.waitUntil(lambda: refiner.desk.long is None, timeout=20_000)
    assert sum(p.z == 3 for p in refiner.work.proposals.values()) == 2, "the selected one stays"


def test_without_the_detector_boxes_by_hand_work(
    idle: DendritesWidget, fake_prompts: Callable[[str], None], qtbot: Any
) -> None:
    fake_prompts("yolo")
    start(idle, qtbot)
    idle.proposals.here_button.click()
    qtbot.waitUntil(lambda: "ultralytics" in idle.message.text(), timeout=20_000)
    assert 'pip install "napari-neuropil[yolo]"' in idle.message.text()
    assert idle.refiner.desk.long is None
    add_box(idle, 3)
    wait_area(idle, qtbot, AREA)


def test_a_crash_loses_nothing(
    idle: DendritesWidget, fake_prompts: Callable[[str], None], qtbot: Any
) -> None:
    fake_prompts("crash")
    start(idle, qtbot)
    add_box(idle, 3)
    qtbot.waitUntil(lambda: "ended with code 3" in idle.message.text(), timeout=20_000)
    assert "out of luck" in idle.message.text()
    assert "press Start again" in idle.message.text()
    assert idle.refiner.link.ready is None
    fake_prompts("work")
    start(idle, qtbot)
    wait_area(idle, qtbot, AREA)
    assert list(idle.refiner.work.proposals) == [1]


def test_a_worker_that_cannot_begin_says_why(
    idle: DendritesWidget, fake_prompts: Callable[[str], None], qtbot: Any
) -> None:
    fake_prompts("refuse")
    idle.source.start_button.click()
    qtbot.waitUntil(lambda: idle.message.text().startswith("no such"), timeout=20_000)
    assert idle.message.text() == "no such\nExpected: one\nCure: look"
    assert idle.source.start_button.isEnabled()


def test_another_volume_than_the_layer_is_refused(
    idle: DendritesWidget, monkeypatch: pytest.MonkeyPatch, qtbot: Any
) -> None:
    monkeypatch.setenv("FAKE_SHAPE", "8,40,61")
    idle.source.start_button.click()
    qtbot.waitUntil(lambda: "Expected: the layer's" in idle.message.text(), timeout=20_000)
    assert not idle.refiner.link.running


def test_cancel_keeps_what_came(
    idle: DendritesWidget, fake_prompts: Callable[[str], None], qtbot: Any
) -> None:
    fake_prompts("slow")
    start(idle, qtbot)
    accepted_box(idle, qtbot)
    idle.follow.follow()
    qtbot.waitUntil(
        lambda: len(idle.refiner.work.current_dendrite.masks) > 1,  # type: ignore[union-attr]
        timeout=20_000,
    )
    idle.progress.cancel_button.click()
    qtbot.waitUntil(lambda: idle.refiner.desk.long is None, timeout=20_000)
    dendrite = idle.refiner.work.current_dendrite
    assert dendrite is not None
    assert 2 <= len(dendrite.masks) < 8


def test_a_segment_is_loaded_and_refined(dock: DendritesWidget, qtbot: Any) -> None:
    refiner, viewer = dock.refiner, dock.refiner.viewer
    dock.tools.segment_button.click()
    assert "No segment is selected" in dock.message.text()
    labels = np.zeros((8, 40, 60), np.uint32)
    labels[2:5, 10:20, 10:15] = 7
    layer = viewer.add_labels(labels, name="mine", scale=(30, 8, 8), units=("nm",) * 3)
    layer.selected_label = 7
    dock.tools.segment_button.click()
    assert area(dock) == 50
    assert not refiner.desk.waiting, "loaded as it is"
    viewer.layers[POINTS].add((3, 30, 40))
    wait_area(dock, qtbot, 99)
    refiner.look_at(6)
    dock.tools.segment_button.click()
    assert "not in section 6" in dock.message.text()


def test_other_dendrites_are_shown_beside(dock: DendritesWidget, qtbot: Any) -> None:
    accepted_box(dock, qtbot)
    add_box(dock, 3, (20.0, 20.0, 24.0, 25.0))
    wait_area(dock, qtbot, 20)
    dock.proposals.accept_button.click()
    assert list(dock.refiner.work.dendrites) == [1, 2]
    data = dock.refiner.viewer.layers[MASK]
    qtbot.waitUntil(lambda: bool((data.data == OTHERS).sum() == AREA), timeout=5_000)
    assert (data.data == THIS).sum() == 20
    dock.follow.which.activated.emit(0)
    dock.follow.which.setCurrentIndex(0)
    dock.refiner.work_on(1)
    qtbot.waitUntil(lambda: bool((data.data == THIS).sum() == AREA), timeout=5_000)


def test_the_dock_takes_worker_and_layers_with_it(dock: DendritesWidget, qtbot: Any) -> None:
    add_box(dock, 3)
    client = dock.refiner.link._client
    assert client is not None
    dock.close()
    assert not client.running
    assert [layer.name for layer in dock.refiner.viewer.layers] == ["brain"]
    dock.stop()


def test_stop_ends_the_worker_and_keeps_the_boxes(dock: DendritesWidget, qtbot: Any) -> None:
    add_box(dock, 3)
    wait_area(dock, qtbot, AREA)
    dock.source.stop_button.click()
    qtbot.waitUntil(lambda: not dock.refiner.link.running, timeout=10_000)
    assert dock.message.text() == "The segmenter has ended."
    assert area(dock) == AREA
    assert dock.source.start_button.text() == "Start"
