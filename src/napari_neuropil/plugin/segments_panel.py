"""All segments in one table: search, sort, jump, note what is done, save as CSV."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QTimer
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_neuropil.plugin.column_table import Column, ColumnModel, ColumnTable
from napari_neuropil.plugin.segment_cells import (
    DONE,
    STATUS_COLOURS,
    StatusDelegate,
    lock_icon,
    write_segments_csv,
)
from napari_neuropil.plugin.segment_rows import SegmentRows
from napari_neuropil.project.fragment_table import FragmentTable
from napari_neuropil.proofreading.edits import STATUSES, Annotation

if TYPE_CHECKING:
    from napari_neuropil.plugin.proofread_controller import ProofreadController
    from napari_neuropil.proofreading import Delta, ProofreadingSession

_ALL: Final = "any status"
_ID_DIGITS: Final = 20
_STATUS_COLUMN: Final = 2
_SEARCH_DELAY_MS: Final = 200
_MOST_SELECTED: Final = 250


class SegmentsPanel(QWidget):
    """Table of segments.

    Parameters
    ----------
    controller : ProofreadController
        Session and selection.
    parent : QWidget, optional
        The owner.
    """

    def __init__(self, controller: ProofreadController, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._session: ProofreadingSession | None = None
        self._rows = _no_rows()
        self._measuring = False
        self._missed: set[int] = set()
        self._lock = lock_icon()
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search id, name or comment")
        self.search.setClearButtonEnabled(True)
        self.status = QComboBox()
        self.status.addItems([_ALL, *STATUSES])
        self.status.setToolTip("Show segments of this status only.")
        self.model = ColumnModel(self._columns(), colour=self._colour, parent=self)
        self.table = ColumnTable(self.model)
        self.table.setItemDelegateForColumn(_STATUS_COLUMN, StatusDelegate(self.table))
        self.count = QLabel()
        self.export_button = QPushButton("Save CSV ...")
        self.export_button.setToolTip("Save the rows shown, in this order.")
        self._build()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_SEARCH_DELAY_MS)
        self._timer.timeout.connect(self._show)
        self.search.textChanged.connect(self._timer.start)
        self.status.currentIndexChanged.connect(self._show)
        self.table.rows_selected.connect(self._on_rows_selected)
        self.table.row_activated.connect(self._on_row_activated)
        self.export_button.clicked.connect(self._on_export_clicked)
        controller.session_changed.connect(self._on_session_changed)
        controller.selection_changed.connect(self._on_selection_changed)
        controller.edited.connect(self._on_edited)
        self._on_session_changed()

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        top = QHBoxLayout()
        top.addWidget(self.search, 1)
        top.addWidget(self.status)
        layout.addLayout(top)
        layout.addWidget(self.table, 1)
        bottom = QHBoxLayout()
        bottom.addWidget(self.count, 1)
        bottom.addWidget(self.export_button)
        layout.addLayout(bottom)

    def _columns(self) -> list[Column]:
        edit = "Click a selected cell, or press F2, to change it."
        return [
            Column("id", lambda r: str(self._rows.ids[r]), lambda: self._rows.ids, right=True,
                   width="00000"),
            Column("name", lambda r: self._note(r).name, lambda: self._text_key("name"), edit,
                   write=lambda r, text: self._annotate(r, name=text), width="axon 12"),
            Column("status", lambda r: self._note(r).status, self._status_key,
                   f"{edit} A segment that is done is protected from edits.",
                   write=lambda r, text: self._annotate(r, status=text),
                   icon=lambda r: self._lock if self._note(r).status == DONE else None,
                   width="in work 0"),
            Column("µm³", lambda r: f"{self._rows.voxels[r] * self._um3():.3g}",
                   lambda: self._rows.voxels, "Size in cubic micrometres.", right=True,
                   width="0.000000"),
            Column("voxels", lambda r: f"{self._rows.voxels[r]:,}", lambda: self._rows.voxels,
                   "Size in voxels.", right=True, width="00,000,000"),
            Column("box z, y, x", self._box_text, lambda: self._rows.start[:, 0],
                   "Bounding box in voxels, start : end.", width="00:00, 000:000, 000:000"),
            Column("comment", lambda r: self._note(r).comment, lambda: self._text_key("comment"),
                   edit, write=lambda r, text: self._annotate(r, comment=text)),
        ]  # fmt: skip

    # what the cells show

    def _um3(self) -> float:
        session = self._session
        return 0.0 if session is None else session.info.voxel_size_nm.volume_um3

    def _note(self, row: int) -> Annotation:
        if self._session is None:
            return Annotation()
        return self._session.annotation(int(self._rows.ids[row]))

    def _box_text(self, row: int) -> str:
        pairs = zip(self._rows.start[row], self._rows.stop[row], strict=True)
        return ", ".join(f"{a}:{b}" for a, b in pairs)

    def _colour(self, row: int) -> QColor | None:
        name = STATUS_COLOURS.get(self._note(row).status)
        return None if name is None else QColor(name)

    def _noted_rows(self) -> list[tuple[int, Annotation]]:
        """Return row and note of annotated segments: few, whatever the number of segments."""
        if self._session is None:
            return []
        notes = self._session.annotations().items()
        found = ((self._rows.row_of(segment), note) for segment, note in notes)
        return [(row, note) for row, note in found if row is not None]

    def _text_key(self, name: str) -> NDArray[np.int64]:
        noted = [(getattr(note, name), row) for row, note in self._noted_rows()]
        noted = [(text.lower(), row) for text, row in noted if text]
        key = np.full(len(self._rows), len(noted), np.int64)
        for rank, text in enumerate(sorted({text for text, _ in noted})):
            key[[row for other, row in noted if other == text]] = rank
        return key

    def _status_key(self) -> NDArray[np.int64]:
        key = np.zeros(len(self._rows), np.int64)
        for row, note in self._noted_rows():
            key[row] = STATUSES.index(note.status)
        return key

    # session

    def _on_session_changed(self) -> None:
        if self._session is not None:
            self._session.annotated.disconnect(self._on_annotated)
        self._session = session = self._controller.session
        self._rows = _no_rows()
        self._missed.clear()
        self.model.editable = session is not None and not session.read_only
        self._show()
        if session is None:
            self._measuring = False
            return
        session.annotated.connect(self._on_annotated)
        self._measuring = True
        self.count.setText("Measuring segments ...")
        lookup, table = session.lookup.copy(), session.table
        # Numpy sorts 10^6 fragments in a tenth of a second, 10^7 in one: beside the window.
        self._controller.in_background(
            lambda: (session, SegmentRows(lookup, table)), self._on_measured
        )

    def _on_measured(self, result: tuple[ProofreadingSession, SegmentRows]) -> None:
        session, rows = result
        if session is not self._session:
            return
        self._measuring = False
        rows.update(session, self._missed)
        self._missed.clear()
        self._rows = rows
        self._show()
        self._on_selection_changed()

    def _on_edited(self, delta: Delta) -> None:
        if self._session is None:
            return
        if self._measuring:
            self._missed.update(delta.segments)
            return
        rows = self._rows
        new = rows.update(self._session, delta.segments)
        known = [r for s in delta.segments if (r := rows.row_of(s)) is not None]
        shown = self.model.shown
        gone = [r for r in known if not rows.voxels[r]]
        back = [r for r in known if rows.voxels[r] and r not in new and not (shown == r).any()]
        if gone:
            shown = shown[~np.isin(shown, gone)]
        fresh = [r for r in (*new, *back) if self._matches(r)]
        if fresh:
            # Beside the first segment of the edit, where the user looks.
            at = self.model.lines_of(known[:1])
            place = min(at[0] + 1, len(shown)) if at else 0
            shown = np.insert(shown, place, fresh)
        if gone or fresh:
            self.model.show(shown)
            self._show_count()
        else:
            self.model.refresh(known)

    def _on_annotated(self, segment: int) -> None:
        row = self._rows.row_of(segment)
        if row is not None:
            self.model.refresh([row])

    def _annotate(self, row: int, **note: Any) -> None:
        session = self._session
        if session is not None:
            segment = int(self._rows.ids[row])
            self._controller.run(lambda: session.annotate(segment, **note))

    # what is shown

    def _matching(self) -> NDArray[np.int64]:
        """Return the rows that search and status let through."""
        wanted = self._rows.voxels > 0
        text, status = self.search.text().strip().lower(), self.status.currentText()
        if text:
            found = np.zeros(len(self._rows), bool)
            for row, note in self._noted_rows():
                found[row] = text in note.name.lower() or text in note.comment.lower()
            if text.isdecimal() and len(text) < _ID_DIGITS:
                same = self._rows.row_of(int(text))
                found[[] if same is None else [same]] = True
            wanted &= found
        if status != _ALL:
            wanted &= self._status_key() == STATUSES.index(status)
        return np.flatnonzero(wanted)

    def _matches(self, row: int) -> bool:
        if not self.search.text().strip() and self.status.currentText() == _ALL:
            return True
        return bool((self._matching() == row).any())

    def _show(self, *_: Any) -> None:
        self.table.show_rows(self._matching())
        self._show_count()

    def _show_count(self) -> None:
        shown, there = len(self.model.shown), int(np.count_nonzero(self._rows.voxels))
        some = f"{shown:,} of " if shown != there else ""
        self.count.setText(f"{some}{there:,} segments" if self._session is not None else "")
        self.export_button.setEnabled(shown > 0)

    def _on_rows_selected(self, rows: list[int]) -> None:
        if len(rows) > _MOST_SELECTED:
            text = f"The first {_MOST_SELECTED} of {len(rows):,} rows are selected in the view."
            self._controller.message.emit(text, False)
        self._controller.select(int(self._rows.ids[r]) for r in rows[:_MOST_SELECTED])

    def _on_selection_changed(self) -> None:
        rows = [self._rows.row_of(segment) for segment in self._controller.selected]
        wanted = [row for row in rows if row is not None]
        # What the table itself selected stays as it is: it must not scroll under the mouse.
        if set(wanted) != set(self.table.selected_rows[:_MOST_SELECTED]):
            self.table.select_rows(wanted)

    def _on_row_activated(self, row: int) -> None:
        self._controller.select([int(self._rows.ids[row])])
        self._controller.jump_to_selected()

    # CSV

    def _on_export_clicked(self) -> None:
        session = self._session
        if session is None:
            return
        path, _ = QFileDialog.getSaveFileName(
            self, "Save segments", f"{Path(session.path).stem}_segments.csv", "CSV (*.csv)"
        )
        if path:
            self.export_csv(Path(path))

    def export_csv(self, path: Path) -> None:
        """Save the rows shown; written beside the window.

        Parameters
        ----------
        path : Path
            Replaced if it exists.
        """
        session = self._session
        if session is None:
            return
        rows = self.model.shown
        columns = (
            self._rows.ids[rows], self._rows.voxels[rows],
            self._rows.start[rows], self._rows.stop[rows],
        )  # fmt: skip
        notes, um3 = session.annotations(), self._um3()
        self._controller.in_background(
            lambda: write_segments_csv(path, columns, notes, um3),
            lambda count: self._controller.message.emit(f"{count:,} segments in {path}.", False),
        )


def _no_rows() -> SegmentRows:
    boxes = np.zeros((1, 3), np.int32)
    return SegmentRows(np.zeros(1, np.uint64), FragmentTable(np.zeros(1, np.int64), boxes, boxes))
