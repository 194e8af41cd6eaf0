"""What was done: a table of all edits, undone ones included, and named snapshots."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLineEdit, QPushButton, QVBoxLayout, QWidget

from napari_neuropil.plugin.column_table import Column, ColumnModel, ColumnTable
from napari_neuropil.proofreading.history import describe

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_neuropil.plugin.proofread_controller import ProofreadController
    from napari_neuropil.proofreading import Delta, Edit, ProofreadingSession
    from napari_neuropil.proofreading.edits import Snapshot

_UNDONE: Final = "#7d838c"
_CURRENT: Final = "#2f4a3a"
_ORIGIN: Final = "as segmented"
_DAY_SECONDS: Final = 86_400


class HistoryPanel(QWidget):
    """Table of edits; the present one is marked, undone ones are grey.

    Parameters
    ----------
    controller : ProofreadController
        Session and view.
    parent : QWidget, optional
        The owner.
    """

    def __init__(self, controller: ProofreadController, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._session: ProofreadingSession | None = None
        # Row 0 is the result as segmented; row r the r-th edit that is not a move.
        self._edits: list[Edit] = []
        self._active: NDArray[np.bool_] = np.ones(1, bool)
        self._rows: dict[int, int] = {0: 0}
        self._cursor = 0
        self._names: dict[int, list[str]] = {}
        self.model = ColumnModel(
            self._columns(), colour=self._colour, background=self._background, parent=self
        )
        self.table = ColumnTable(self.model)
        self.table.setSelectionMode(ColumnTable.SelectionMode.SingleSelection)
        self.table.sortByColumn(0, Qt.SortOrder.DescendingOrder)
        self.jump_button = QPushButton("Go back to here")
        self.snapshot_name = QLineEdit()
        self.snapshot_name.setPlaceholderText("Name of a snapshot")
        self.take_button = QPushButton("Take snapshot")
        self.take_button.setToolTip("Give the present state a name.")
        self.snapshots = QComboBox()
        self.snapshots.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.restore_button = QPushButton("Restore")
        self.restore_button.setToolTip("Go to this snapshot; later edits stay in the history.")
        self._build()
        self.table.rows_selected.connect(self._on_rows_selected)
        self.table.row_activated.connect(self._on_row_activated)
        self.jump_button.clicked.connect(self._on_jump_clicked)
        self.take_button.clicked.connect(self._on_take_clicked)
        self.snapshot_name.returnPressed.connect(self._on_take_clicked)
        self.snapshot_name.textChanged.connect(self._update_buttons)
        self.restore_button.clicked.connect(self._on_restore_clicked)
        controller.session_changed.connect(self._on_session_changed)
        controller.edited.connect(self._on_edited)
        self._on_session_changed()

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.table, 1)
        layout.addWidget(self.jump_button)
        for left, right in (
            (self.snapshot_name, self.take_button),
            (self.snapshots, self.restore_button),
        ):
            row = QHBoxLayout()
            row.addWidget(left, 1)
            row.addWidget(right)
            layout.addLayout(row)

    def _columns(self) -> list[Column]:
        return [
            Column("edit", self._number_text, self._numbers, "Number in the log.", right=True,
                   width="▶ 00000"),
            Column("what", self._what_text, None, "What was done.",
                   width="merge 12, 345 into 12 000"),
            Column("where", self._where_text, None, "Voxel z, y, x.", width="00, 000, 000"),
            Column("when", self._when_text, self._numbers, "Local time.", width="00:00:00"),
            Column("took", self._took_text, self._seconds, "Your time for it.", right=True,
                   width="000.0 s"),
        ]  # fmt: skip

    # what the cells show

    def _edit(self, row: int) -> Edit | None:
        return self._edits[row - 1] if row else None

    def _number(self, row: int) -> int:
        return self._edits[row - 1].id if row else 0

    def _number_text(self, row: int) -> str:
        number = self._number(row)
        return f"▶ {number}" if number == self._cursor else str(number)

    def _what_text(self, row: int) -> str:
        edit = self._edit(row)
        names = self._names.get(self._number(row))
        text = _ORIGIN if edit is None else describe(edit)
        return f"{text}  [{', '.join(names)}]" if names else text

    def _where_text(self, row: int) -> str:
        edit = self._edit(row)
        if edit is None or edit.position is None:
            return ""
        return ", ".join(str(v) for v in edit.position)

    def _when_text(self, row: int) -> str:
        edit = self._edit(row)
        if edit is None:
            return ""
        recent = time.time() - edit.time < _DAY_SECONDS / 2
        return time.strftime("%H:%M:%S" if recent else "%d %b %H:%M", time.localtime(edit.time))

    def _took_text(self, row: int) -> str:
        edit = self._edit(row)
        return "" if edit is None or edit.seconds is None else f"{edit.seconds:.1f} s"

    def _numbers(self) -> NDArray[np.int64]:
        return np.array([0, *(edit.id for edit in self._edits)], np.int64)

    def _seconds(self) -> NDArray[np.float64]:
        return np.array([-1.0, *(e.seconds if e.seconds is not None else -1 for e in self._edits)])

    def _colour(self, row: int) -> QColor | None:
        return None if self._active[row] else QColor(_UNDONE)

    def _background(self, row: int) -> QColor | None:
        return QColor(_CURRENT) if self._number(row) == self._cursor else None

    # session

    def _on_session_changed(self) -> None:
        self._session = session = self._controller.session
        edits = [] if session is None else session.edits
        self._edits = [edit for edit in edits if edit.kind != "move"]
        self._rows = {0: 0} | {edit.id: row for row, edit in enumerate(self._edits, start=1)}
        self._cursor = 0
        self._active = np.zeros(len(self._edits) + 1, bool)
        self._active[0] = True
        if session is not None:
            self._walk_to(session.cursor)
        self._load_snapshots()
        self._show_all()
        self._update_buttons()

    def _show_all(self) -> None:
        count = 0 if self._session is None else len(self._edits) + 1
        self.table.show_rows(np.arange(count))
        self.table.select_rows([self._rows[self._cursor]])

    def _parent_of(self, number: int) -> int:
        return self._edits[self._rows[number] - 1].parent

    def _walk_to(self, goal: int) -> set[int]:
        """Mark what is active; return the rows that changed. An edit's parent has a smaller id."""
        changed = {self._rows[self._cursor], self._rows[goal]}
        start, self._cursor = self._cursor, goal
        back, forth = [], []
        while start != goal:
            if start > goal:
                back.append(self._rows[start])
                start = self._parent_of(start)
            else:
                forth.append(self._rows[goal])
                goal = self._parent_of(goal)
        self._active[back] = False
        self._active[forth] = True
        return changed | set(back) | set(forth)

    def _on_edited(self, delta: Delta) -> None:
        session = self._session
        if session is None:
            return
        edit = delta.edit
        if edit.kind != "move":
            self._edits.append(edit)
            self._rows[edit.id] = len(self._edits)
            self._active = np.append(self._active, False)
        changed = self._walk_to(session.cursor)
        if edit.kind != "move":
            self._show_all()
        else:
            self.model.refresh(changed)
            self.table.select_rows([self._rows[self._cursor]])
        self._update_buttons()

    # buttons

    @property
    def _chosen(self) -> int | None:
        """The edit of the selected row."""
        rows = self.table.selected_rows
        return self._number(rows[0]) if rows and rows[0] <= len(self._edits) else None

    def _update_buttons(self, *_: Any) -> None:
        session, chosen = self._session, self._chosen
        writable = session is not None and not session.read_only
        elsewhere = chosen is not None and chosen != self._cursor
        self.jump_button.setEnabled(writable and elsewhere)
        ahead = elsewhere and chosen is not None and not self._active[self._rows[chosen]]
        self.jump_button.setText("Go to here again" if ahead else "Go back to here")
        self.jump_button.setToolTip(
            "Make the segments as they were after this edit; nothing is lost."
            if elsewhere
            else "Select another edit: the history stands on this one."
        )
        self.take_button.setEnabled(writable and bool(self.snapshot_name.text().strip()))
        self.restore_button.setEnabled(writable and self.snapshots.count() > 0)

    def _on_rows_selected(self, _rows: list[int]) -> None:
        self._update_buttons()

    def _on_row_activated(self, row: int) -> None:
        session, edit = self._session, self._edit(row)
        if session is None or edit is None or edit.position is None:
            return
        touched = () if edit.effect is None else edit.effect.segments
        self._controller.jump_to(edit.position, [s for s in touched if len(session.members(s))])

    def _on_jump_clicked(self) -> None:
        session, chosen = self._session, self._chosen
        if session is not None and chosen is not None:
            self._controller.run(lambda: session.jump(chosen))

    def _on_take_clicked(self) -> None:
        session, name = self._session, self.snapshot_name.text().strip()
        if session is not None and name:
            self._run(lambda: session.take_snapshot(name), self._on_snapshot_taken)

    def _run(self, call: Callable[[], Any], then: Callable[[Any], None]) -> None:
        self._controller.run(call, None, then)

    def _on_snapshot_taken(self, snapshot: Snapshot) -> None:
        self.snapshot_name.clear()
        self._load_snapshots()
        self.snapshots.setCurrentIndex(self.snapshots.findData(snapshot.name))
        self.model.refresh(range(len(self._edits) + 1))
        self._update_buttons()

    def _load_snapshots(self) -> None:
        session = self._session
        self.snapshots.clear()
        self._names = {}
        for snapshot in [] if session is None else session.snapshots():
            where = f"edit {snapshot.edit_id}" if snapshot.edit_id else _ORIGIN
            self.snapshots.addItem(f"{snapshot.name} ({where})", snapshot.name)
            self._names.setdefault(snapshot.edit_id, []).append(snapshot.name)

    def _on_restore_clicked(self) -> None:
        session, name = self._session, self.snapshots.currentData()
        if session is not None and isinstance(name, str):
            self._controller.run(lambda: session.restore_snapshot(name))
