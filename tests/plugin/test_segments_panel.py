"""The table of segments: numbers, search, sort, selection, notes, edits, CSV; and its parts."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_neuropil.plugin.column_table import Column, ColumnModel, ColumnTable
from napari_neuropil.plugin.proofread_controller import ProofreadController
from napari_neuropil.plugin.segment_rows import SegmentRows
from napari_neuropil.plugin.segments_panel import SegmentsPanel
from napari_neuropil.project.fragment_table import FragmentTable

DOWN = Qt.SortOrder.DescendingOrder
UP = Qt.SortOrder.AscendingOrder


@pytest.fixture
def panel(live: ProofreadController, qtbot: Any) -> SegmentsPanel:
    made = SegmentsPanel(live)
    qtbot.addWidget(made)
    qtbot.waitUntil(lambda: len(made.model.shown) == 3, timeout=10_000)
    return made


def column(panel: SegmentsPanel, name: str) -> list[str]:
    titles = [c.title for c in panel.model.columns]
    place = titles.index(name)
    return [panel.model.index(r, place).data() for r in range(panel.model.rowCount())]


def cell(panel: SegmentsPanel, segment: int, name: str) -> Any:
    titles = [c.title for c in panel.model.columns]
    return panel.model.index(column(panel, "id").index(str(segment)), titles.index(name))


def test_numbers(panel: SegmentsPanel) -> None:
    assert column(panel, "id") == ["1", "3", "4"]
    assert column(panel, "voxels") == [f"{8 * 20 * 38:,}", f"{8 * 20 * 19:,}", f"{8 * 20 * 57:,}"]
    assert float(column(panel, "µm³")[0]) == pytest.approx(6080 * 30 * 8 * 8e-9, rel=1e-2)
    assert column(panel, "box z, y, x")[2] == "0:8, 20:40, 0:57"
    assert column(panel, "status") == ["todo"] * 3
    assert panel.count.text() == "3 segments"


def test_sort_by_any_column(panel: SegmentsPanel) -> None:
    panel.table.sortByColumn(4, DOWN)
    assert column(panel, "id") == ["4", "1", "3"]
    panel.table.sortByColumn(4, UP)
    assert column(panel, "id") == ["3", "1", "4"]
    panel.model.setData(cell(panel, 4, "name"), "axon")
    panel.table.sortByColumn(1, UP)
    assert column(panel, "id")[0] == "4"


def test_selection_goes_both_ways(panel: SegmentsPanel, live: ProofreadController) -> None:
    live.select([4])
    chosen = panel.table.selectionModel().selectedRows()
    assert [index.row() for index in chosen] == [2]
    panel.table.selectRow(1)
    assert live.selected == [3]
    # Sorting keeps the segment selected, not the line.
    panel.table.sortByColumn(4, UP)
    chosen = panel.table.selectionModel().selectedRows()
    assert [index.row() for index in chosen] == [0]
    assert live.selected == [3]


def test_double_click_jumps(panel: SegmentsPanel, live: ProofreadController) -> None:
    panel.table.doubleClicked.emit(cell(panel, 3, "id"))
    assert live.selected == [3]
    voxel = live.world_to_voxel(live.viewer.scene.camera.center)
    assert voxel is not None
    assert live.session is not None
    assert live.session.segment_at(voxel) == 3


def test_search_and_status(panel: SegmentsPanel, qtbot: Any, live: ProofreadController) -> None:
    live.session.annotate(3, name="Axon 7", comment="leaves the volume")
    live.session.annotate(4, status="in work")
    for text, found in (("axon", ["3"]), ("LEAVES", ["3"]), ("4", ["4"]), ("none", [])):
        panel.search.setText(text)
        qtbot.waitUntil(lambda f=found: column(panel, "id") == f, timeout=2_000)
    assert panel.count.text() == "0 of 3 segments"
    panel.search.clear()
    panel.status.setCurrentText("in work")
    assert column(panel, "id") == ["4"]
    panel.status.setCurrentText("todo")
    qtbot.waitUntil(lambda: column(panel, "id") == ["1", "3"], timeout=2_000)


def test_notes_are_written_and_done_is_a_lock(
    panel: SegmentsPanel, live: ProofreadController
) -> None:
    status = cell(panel, 1, "status")
    assert status.data(Qt.ItemDataRole.DecorationRole) is None
    assert panel.model.setData(status, "done")
    assert live.session.annotation(1).status == "done"
    assert not status.data(Qt.ItemDataRole.DecorationRole).isNull()
    panel.model.setData(cell(panel, 1, "comment"), "checked twice")
    assert live.session.annotation(1).comment == "checked twice"
    assert live.session.annotation(1).status == "done"
    said: list[str] = []
    live.refused.connect(lambda error, _forced: said.append(str(error)))
    panel.model.setData(status, "finished")
    assert "finished" in said[0]
    assert live.session.annotation(1).status == "done"


def test_read_only_cells(panel: SegmentsPanel) -> None:
    editable = Qt.ItemFlag.ItemIsEditable
    assert cell(panel, 1, "name").flags() & editable
    assert not cell(panel, 1, "voxels").flags() & editable
    panel.model.editable = False
    assert not cell(panel, 1, "name").flags() & editable


def test_rows_follow_edits(panel: SegmentsPanel, live: ProofreadController) -> None:
    session = live.session
    session.merge(3, 4)
    assert column(panel, "id") == ["1", "4"]
    assert column(panel, "voxels")[1] == f"{8 * 20 * 76:,}"
    assert cell(panel, 4, "box z, y, x").data() == "0:8, 0:40, 0:57"
    session.undo()
    assert sorted(column(panel, "id")) == ["1", "3", "4"]
    assert cell(panel, 4, "voxels").data() == f"{8 * 20 * 57:,}"
    edit = session.detach([6])
    (new,) = [s for s in edit.effect.segments if s != 4]
    assert str(new) in column(panel, "id")
    assert cell(panel, new, "box z, y, x").data() == "0:8, 20:40, 38:57"
    assert panel.count.text() == "4 segments"
    expected = {str(s): f"{session.segment_size(int(s)):,}" for s in session.segment_ids()}
    assert dict(zip(column(panel, "id"), column(panel, "voxels"), strict=True)) == expected


def test_csv_holds_what_is_shown(
    panel: SegmentsPanel, live: ProofreadController, qtbot: Any, tmp_path: Path
) -> None:
    live.session.annotate(4, name='a "name", quoted', status="wrong")
    panel.table.sortByColumn(4, DOWN)
    path = tmp_path / "out.csv"
    with qtbot.waitSignal(live.message, timeout=5_000):
        panel.export_csv(path)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ["4", "1", "3"]
    assert rows[0]["name"] == 'a "name", quoted'
    assert rows[0]["status"] == "wrong"
    assert [rows[0][f"{axis}_stop"] for axis in "zyx"] == ["8", "40", "57"]
    assert float(rows[0]["volume_um3"]) == pytest.approx(9120 * 1.92e-6, rel=1e-5)


def test_closing_the_project_empties_the_table(
    panel: SegmentsPanel, live: ProofreadController
) -> None:
    live.close_project()
    assert panel.model.rowCount() == 0
    assert panel.count.text() == ""


def test_rows_equal_brute_force() -> None:
    rng = np.random.default_rng(0)
    count = 300
    size = rng.integers(0, 9, count)
    size[0] = 0
    start = rng.integers(0, 50, (count, 3)).astype(np.int32)
    stop = start + rng.integers(1, 9, (count, 3)).astype(np.int32)
    lookup = (rng.integers(0, 40, count) * 10**15).astype(np.uint64)
    lookup[0] = 0
    rows = SegmentRows(lookup, FragmentTable(size, start, stop))
    for segment in np.unique(lookup):
        mine = (lookup == segment) & (size > 0)
        row = rows.row_of(int(segment))
        if segment == 0 or not mine.any():
            assert row is None
            continue
        assert rows.voxels[row] == size[mine].sum()
        np.testing.assert_array_equal(rows.start[row], start[mine].min(axis=0))
        np.testing.assert_array_equal(rows.stop[row], stop[mine].max(axis=0))
    assert rows.row_of(7) is None


def test_a_million_rows_are_never_all_asked_for(qtbot: Any) -> None:
    asked = 0

    def text(row: int) -> str:
        nonlocal asked
        asked += 1
        return str(row)

    values = np.arange(10**6)[::-1]
    model = ColumnModel([Column("n", text, lambda: values)])
    table = ColumnTable(model)
    qtbot.addWidget(table)
    table.show()
    table.show_rows(np.arange(10**6))
    qtbot.wait(50)
    table.sortByColumn(0, UP)
    assert model.row_at(0) == 10**6 - 1
    table.select_rows([5])
    qtbot.wait(50)
    assert table.selectionModel().selectedRows()[0].row() == 10**6 - 6
    assert 0 < asked < 5000


def test_descending_keeps_the_order_of_equals() -> None:
    model = ColumnModel([Column("n", str, lambda: np.array([1, 2, 1, 2]))])
    np.testing.assert_array_equal(model.sorted_rows(np.arange(4), 0, DOWN), [1, 3, 0, 2])
    np.testing.assert_array_equal(model.sorted_rows(np.arange(4), 0, UP), [0, 2, 1, 3])
