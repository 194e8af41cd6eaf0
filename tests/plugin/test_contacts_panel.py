"""Contacts of the selection: table, points, tint, and that nothing of them stays behind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_neuropil.plugin.contact_layers import (
    POINTS_NAME,
    TINT_NAMES,
    merge_likeness,
    score_colours,
)
from napari_neuropil.plugin.contacts_panel import ContactsPanel
from napari_neuropil.plugin.proofread_controller import ProofreadController
from napari_neuropil.project import Project
from napari_neuropil.project.contact_distances import ContactDistances, write_distances

TINT_NAME = TINT_NAMES["score"]


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
    assert column(panel, 2) == [""] * 3, "no distance was measured"
    assert {int(a.replace(",", "")) for a in column(panel, 3)} == {8 * 19, 8 * 20}
    assert column(panel, 4) == ["open"] * 3
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
    qtbot.waitUntil(lambda: "kept apart" in column(panel, 4), timeout=5_000)
    assert len(named(live, POINTS_NAME).data) == panel.model.rowCount()
    rows = dict(zip(column(panel, 4), column(panel, 1), strict=True))
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


def measured(live: ProofreadController, qtbot: Any, known: dict[tuple[int, int], float]) -> None:
    """Write distances of some contacts, as a measurement would, and let the dock hear of it."""
    assert live.path is not None
    contacts = Project.open(live.path).rag.contacts.tolist()
    distance = np.array([known.get((a, b), np.nan) for a, b in contacts], np.float32)
    write_distances(live.path, ContactDistances(distance, np.isfinite(distance), "0" * 64))
    with qtbot.waitSignal(live.distances_changed, timeout=20_000):
        live.reread_distances()


def test_coloured_by_distance(live: ProofreadController, panel: ContactsPanel, qtbot: Any) -> None:
    select(live, panel, qtbot, 3)
    panel.tint_box.click()
    measured(live, qtbot, {(2, 3): 0.6, (1, 4): 2.4})
    qtbot.waitUntil(lambda: "0.60" in column(panel, 2), timeout=5_000)
    points, by_score = named(live, POINTS_NAME), np.array(named(live, POINTS_NAME).face_color)
    assert not points.text.visible
    panel.colour_combo.setCurrentIndex(1)
    assert column(panel, 0) == ["3", "4", "4"], "the nearest first"
    assert column(panel, 2) == ["0.60", "2.40", ""]
    icons = [panel.model.index(r, 2).data(Qt.ItemDataRole.DecorationRole) for r in range(3)]
    assert [icon is None for icon in icons] == [False, False, True]
    points = named(live, POINTS_NAME)
    assert not np.allclose(points.face_color, by_score)
    expected = score_colours(np.array([0.8, 0.2, np.nan]))
    np.testing.assert_allclose(points.face_color, expected, atol=1e-6)
    assert points.text.visible
    assert [str(text).strip() for text in points.text.values] == ["0.60", "2.40", ""]
    np.testing.assert_allclose(points.features["distance"], [0.6, 2.4, np.nan], atol=1e-6)
    tint, segments = named(live, TINT_NAMES["distance"]), np.asarray(live.segments_layer.data[3])
    section = np.asarray(tint.data[3])
    assert set(np.unique(section[segments == 3]).round(3)) == {np.float32(0.8)}
    assert set(np.unique(section[segments == 4]).round(3)) == {np.float32(0.2)}
    panel.table.sortByColumn(2, Qt.SortOrder.DescendingOrder)
    assert column(panel, 2) == ["2.40", "0.60", ""], "unknown ones stay last"
    panel.colour_combo.setCurrentIndex(0)
    np.testing.assert_allclose(named(live, POINTS_NAME).face_color, by_score, atol=1e-6)
    assert named(live, TINT_NAME) is not None


def test_neighbours_nobody_measured_are_grey(
    live: ProofreadController, panel: ContactsPanel, qtbot: Any
) -> None:
    panel.tint_box.click()
    panel.colour_combo.setCurrentIndex(1)
    select(live, panel, qtbot, 3)
    measured(live, qtbot, {(2, 3): 9.0})
    qtbot.waitUntil(lambda: "9.00" in column(panel, 2), timeout=5_000)
    tint, segments = named(live, TINT_NAMES["distance"]), np.asarray(live.segments_layer.data[3])
    section = np.asarray(tint.data[3])
    drawn = [tint.colormap.map(section[segments == s][:1] / tint.contrast_limits[1])[0]
             for s in (3, 4, 1)]  # fmt: skip
    np.testing.assert_allclose(drawn[0], score_colours(np.zeros(1))[0], atol=0.02)
    np.testing.assert_allclose(drawn[1], score_colours(np.array([np.nan]))[0], atol=0.02)
    assert drawn[2][3] == 0.0, "the selection itself is clear"


def test_likeness_of_distances() -> None:
    distance = np.array([0.0, 0.75, 1.5, 3.0, 9.0, np.nan], np.float32)
    np.testing.assert_allclose(merge_likeness(distance), [1, 0.75, 0.5, 0, 0, np.nan])


def test_colours_run_from_dark_to_bright() -> None:
    colours = score_colours(np.linspace(0, 1, 20).astype(np.float32))
    brightness = colours[:, :3] @ np.array([0.3, 0.59, 0.11])
    assert (np.diff(brightness) > 0).all()
    assert (colours[:, 3] == 1).all()
