"""Contacts of the selection: table, points, tint, and that nothing of them stays behind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_neuropil.plugin.contact_layers import POINTS_NAME, TINT_NAME, score_colours
from napari_neuropil.plugin.contacts_panel import ContactsPanel
from napari_neuropil.plugin.proofread_controller import ProofreadController


@pytest.fixture
def panel(live: ProofreadController, qtbot: Any) -> ContactsPanel:
    made = ContactsPanel(live)
    qtbot.addWidget(made)
    made.show()
    return made


def column(panel: ContactsPanel, place: int) -> list[str]:
    return [panel.model.index(r, place).data() for r in range(panel.model.rowCount())]


def named(live: ProofreadController, name: str) -> Any:
    found = [layer for layer in live.viewer.layers if layer.name == name]
    return found[0] if found else None


def select(live: ProofreadController, panel: ContactsPanel, qtbot: Any, count: int) -> None:
    live.select([1])
    qtbot.waitUntil(lambda: panel.model.rowCount() == count, timeout=5_000)


def test_contacts_of_the_selection(
    live: ProofreadController, panel: ContactsPanel, qtbot: Any
) -> None:
    assert named(live, POINTS_NAME) is None
    select(live, panel, qtbot, 3)
    # Fragment 2 meets 3 and 5, fragment 1 meets 4; the contact 1-2 lies inside.
    assert sorted(column(panel, 0)) == ["3", "4", "4"]
    assert column(panel, 1) == ["0.900"] * 3
    assert {int(a.replace(",", "")) for a in column(panel, 2)} == {8 * 19, 8 * 20}
    assert column(panel, 3) == ["open"] * 3
    points = named(live, POINTS_NAME)
    assert len(points.data) == 3
    np.testing.assert_allclose(points.scale, live.segments_layer.scale)
    np.testing.assert_allclose(points.face_color, score_colours(np.full(3, 0.9)), atol=1e-6)
    assert live.viewer.layers.selection.active is live.segments_layer


def test_points_and_rows_select_each_other(
    live: ProofreadController, panel: ContactsPanel, qtbot: Any
) -> None:
    select(live, panel, qtbot, 3)
    points = named(live, POINTS_NAME)
    panel.table.selectRow(2)
    assert set(points.selected_data) == {2}
    points.selected_data = {0}
    assert panel.table.selected_rows == [0]
    assert [i.row() for i in panel.table.selectionModel().selectedRows()] == [0]
    assert not np.allclose(points.border_color[0], points.border_color[1])


def test_double_click_jumps_to_the_contact(
    live: ProofreadController, panel: ContactsPanel, qtbot: Any
) -> None:
    select(live, panel, qtbot, 3)
    row = column(panel, 0).index("3")
    panel.table.doubleClicked.emit(panel.model.index(row, 0))
    voxel = live.world_to_voxel(live.viewer.scene.camera.center)
    assert voxel is not None
    assert voxel[2] in (37, 38)
    assert live.selected == [1]


def test_moved_or_deleted_points_come_back(
    live: ProofreadController, panel: ContactsPanel, qtbot: Any
) -> None:
    select(live, panel, qtbot, 3)
    points = named(live, POINTS_NAME)
    before = np.array(points.data)
    colours = np.array(points.face_color)
    points.data = before + 5
    qtbot.waitUntil(lambda: np.allclose(points.data, before), timeout=2_000)
    points.selected_data = {1}
    points.remove_selected()
    qtbot.waitUntil(lambda: len(points.data) == 3, timeout=2_000)
    np.testing.assert_allclose(points.data, before)
    np.testing.assert_allclose(points.face_color, colours)


def test_tint_reads_the_highest_score_of_each_neighbour(
    live: ProofreadController, panel: ContactsPanel, qtbot: Any
) -> None:
    live.select([3])
    panel.tint_box.click()
    qtbot.waitUntil(lambda: named(live, TINT_NAME) is not None, timeout=5_000)
    tint = named(live, TINT_NAME)
    section = np.asarray(tint.data[3])
    segments = np.asarray(live.segments_layer.data[3])
    assert set(np.unique(section[segments == 1]).round(3)) == {np.float32(0.9)}
    assert not section[segments == 3].any()
    assert not section[segments == 0].any()
    order = [layer.name for layer in live.viewer.layers]
    assert order.index(TINT_NAME) == order.index(live.segments_layer.name) + 1
    panel.tint_box.click()
    assert named(live, TINT_NAME) is None


def test_edits_bring_it_up_to_date(
    live: ProofreadController, panel: ContactsPanel, qtbot: Any
) -> None:
    select(live, panel, qtbot, 3)
    panel.tint_box.click()
    live.session.split([1], [2])
    live.select([1])
    qtbot.waitUntil(lambda: "kept apart" in column(panel, 3), timeout=5_000)
    assert len(named(live, POINTS_NAME).data) == panel.model.rowCount()
    rows = dict(zip(column(panel, 3), column(panel, 1), strict=True))
    assert rows["kept apart"] == "0.200"


def test_cut_fragments_are_tinted_apart(
    live: ProofreadController, panel: ContactsPanel, qtbot: Any
) -> None:
    live.select([3])
    panel.tint_box.click()
    qtbot.waitUntil(lambda: named(live, TINT_NAME) is not None, timeout=5_000)
    # Both seeds in fragment 6: it is cut in two.
    np.asarray(named(live, TINT_NAME).data[3])
    edit = live.session.split((3, 22, 45), (3, 38, 45))
    assert edit.effect.splits
    live.select([3])
    panel._update()
    section = np.asarray(named(live, TINT_NAME).data[3])
    segments = np.asarray(live.session.segments().array[3:4, :, :])[0]
    expected = np.isin(segments, panel._neighbours)
    np.testing.assert_array_equal(section > 0, expected)


def test_layers_go_with_selection_panel_and_project(
    live: ProofreadController, panel: ContactsPanel, qtbot: Any
) -> None:
    names = {POINTS_NAME, TINT_NAME}

    def there() -> set[str]:
        return names & {layer.name for layer in live.viewer.layers}

    panel.tint_box.click()
    select(live, panel, qtbot, 3)
    assert there() == names
    live.select([])
    assert not there()
    assert panel.model.rowCount() == 0
    select(live, panel, qtbot, 3)
    panel.hide()
    assert not there()
    panel.show()
    assert there() == names
    live.close_project()
    assert not there()


def test_a_layer_the_user_removed_is_made_again(
    live: ProofreadController, panel: ContactsPanel, qtbot: Any
) -> None:
    select(live, panel, qtbot, 3)
    live.viewer.layers.remove(named(live, POINTS_NAME))
    panel.table.selectRow(1)
    live.select([4])
    qtbot.waitUntil(lambda: named(live, POINTS_NAME) is not None, timeout=5_000)


def test_colours_run_from_dark_to_bright() -> None:
    colours = score_colours(np.linspace(0, 1, 20).astype(np.float32))
    brightness = colours[:, :3] @ np.array([0.3, 0.59, 0.11])
    assert (np.diff(brightness) > 0).all()
    assert (colours[:, 3] == 1).all()
