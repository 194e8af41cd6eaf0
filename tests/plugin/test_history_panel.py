"""The table of edits: what stands, what is undone, going there, snapshots."""

from __future__ import annotations

from typing import Any

import pytest
from qtpy.QtCore import Qt

from napari_neuropil.plugin.history_panel import HistoryPanel
from napari_neuropil.plugin.proofread_controller import ProofreadController


@pytest.fixture
def panel(live: ProofreadController, qtbot: Any) -> HistoryPanel:
    made = HistoryPanel(live)
    qtbot.addWidget(made)
    return made


def column(panel: HistoryPanel, place: int) -> list[str]:
    return [panel.model.index(r, place).data() for r in range(panel.model.rowCount())]


def grey(panel: HistoryPanel) -> list[str]:
    role = Qt.ItemDataRole.ForegroundRole
    rows = range(panel.model.rowCount())
    return [panel.model.index(r, 0).data() for r in rows if panel.model.index(r, 0).data(role)]


def test_edits_appear_newest_first(panel: HistoryPanel, live: ProofreadController) -> None:
    assert column(panel, 0) == ["▶ 0"]
    live.session.merge(1, 3, seconds=2.25)
    live.session.merge(1, 4)
    assert column(panel, 0) == ["▶ 2", "1", "0"]
    assert column(panel, 1)[1:] == ["merge 3 into 1", "as segmented"]
    assert column(panel, 4) == ["", "2.2 s", ""]
    place = live.session.edits[0].position
    assert column(panel, 2)[1] == ", ".join(str(v) for v in place)
    assert not grey(panel)


def test_undone_edits_are_grey_and_kept(panel: HistoryPanel, live: ProofreadController) -> None:
    live.session.merge(1, 3)
    live.session.merge(1, 4)
    live.session.undo()
    assert column(panel, 0) == ["2", "▶ 1", "0"]
    assert grey(panel) == ["2"]
    live.session.undo()
    assert grey(panel) == ["2", "1"]
    live.session.redo()
    edit = live.session.detach([6])
    # A new branch: the second merge stays, undone.
    assert column(panel, 0) == [f"▶ {edit.id}", "2", "1", "0"]
    assert grey(panel) == ["2"]
    rows = live.session.history()
    assert [str(r.id) for r in rows if not r.active] == ["2"]


def test_panel_opened_later_shows_the_same(
    panel: HistoryPanel, live: ProofreadController, qtbot: Any
) -> None:
    live.session.merge(1, 3)
    live.session.merge(1, 4)
    live.session.jump(0)
    live.session.detach([6])
    late = HistoryPanel(live)
    qtbot.addWidget(late)
    assert column(late, 0) == column(panel, 0)
    assert grey(late) == grey(panel) == ["2", "1"]


def test_go_back_to_here(panel: HistoryPanel, live: ProofreadController) -> None:
    live.session.merge(1, 3)
    live.session.merge(1, 4)
    assert not panel.jump_button.isEnabled()
    panel.table.selectRow(2)
    assert panel.jump_button.isEnabled()
    panel.jump_button.click()
    assert live.session.cursor == 0
    assert live.session.segment_ids().tolist() == [1, 3, 4]
    assert grey(panel) == ["2", "1"]
    panel.table.selectRow(0)
    assert panel.jump_button.text() == "Go to here again"
    panel.jump_button.click()
    assert live.session.segment_ids().tolist() == [1]


def test_double_click_goes_there(panel: HistoryPanel, live: ProofreadController) -> None:
    edit = live.session.detach([6])
    live.session.merge(1, 3)
    panel.table.doubleClicked.emit(panel.model.index(1, 0))
    assert live.world_to_voxel(live.viewer.scene.camera.center) == edit.position
    assert set(live.selected) == set(edit.effect.segments)
    assert live.session.cursor == 2
    panel.table.doubleClicked.emit(panel.model.index(2, 0))
    assert live.session.cursor == 2


def test_snapshots(panel: HistoryPanel, live: ProofreadController) -> None:
    assert not panel.take_button.isEnabled()
    assert not panel.restore_button.isEnabled()
    live.session.merge(1, 3)
    panel.snapshot_name.setText("before lunch")
    panel.take_button.click()
    assert panel.snapshot_name.text() == ""
    assert panel.snapshots.currentText() == "before lunch (edit 1)"
    assert column(panel, 1)[0] == "merge 3 into 1  [before lunch]"
    live.session.merge(1, 4)
    panel.restore_button.click()
    assert live.session.cursor == 1
    assert column(panel, 0) == ["2", "▶ 1", "0"]


def test_no_project_no_rows(panel: HistoryPanel, live: ProofreadController) -> None:
    live.close_project()
    assert panel.model.rowCount() == 0
    assert not panel.jump_button.isEnabled()
    assert panel.snapshots.count() == 0
