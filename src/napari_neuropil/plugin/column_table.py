"""A table over columns of numpy arrays: any number of rows, sorted and filtered as index arrays.

Qt asks for the text of visible rows only, so a table of 10^6 rows opens as fast as one of ten. What
is shown is `shown`, row numbers of the owner's arrays in the order of the screen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import (  # type: ignore[attr-defined]
    QAbstractTableModel,
    QItemSelection,
    QItemSelectionModel,
    QModelIndex,
    QObject,
    Qt,
    Signal,
)
from qtpy.QtGui import QColor, QFontMetrics
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

_ROW_MARGIN: Final = 6
_CELL_MARGIN: Final = 12
_RIGHT: Final = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
_STYLE: Final = """
QTableView { gridline-color: transparent; selection-background-color: #2b5f91; }
QTableView::item { padding: 1px 3px; }
QTableView::item:selected { background-color: #2b5f91; color: white; }
QHeaderView::section { padding: 2px 4px; }
"""


@dataclass(frozen=True, eq=False)
class Column:
    """One column; every function takes a row number of the owner's arrays.

    Parameters
    ----------
    title : str
        In the header.
    text : callable
        Returns what a cell shows.
    key : callable, optional
        Returns the values of all rows, for sorting; without it the column cannot be sorted.
    tip : str
        Tooltip of the header; of the cells it is their text.
    right : bool
        Numbers.
    write : callable, optional
        Takes a row and the text typed there; makes the cells editable.
    icon : callable, optional
        Returns a QIcon or None.
    width : str
        Text of typical width.
    """

    title: str
    text: Callable[[int], str]
    key: Callable[[], NDArray[Any]] | None = None
    tip: str = ""
    right: bool = False
    write: Callable[[int, str], None] | None = None
    icon: Callable[[int], Any] | None = None
    width: str = "00000000"


class ColumnModel(QAbstractTableModel):
    """Shows some rows of columns in some order.

    Parameters
    ----------
    columns : sequence of Column
        From left to right.
    colour : callable, optional
        Takes a row, returns the text's QColor or None.
    bold : callable, optional
        Takes a row.
    parent : QObject, optional
        The owner.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        colour: Callable[[int], QColor | None] | None = None,
        background: Callable[[int], QColor | None] | None = None,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.columns = tuple(columns)
        self.shown: NDArray[np.int64] = np.zeros(0, np.int64)
        self.editable = True
        self._colour = colour
        self._background = background

    def show(self, rows: NDArray[np.int64]) -> None:
        """Show these rows, in this order."""
        self.beginResetModel()
        self.shown = np.asarray(rows, np.int64)
        self.endResetModel()

    def rowCount(self, parent: QModelIndex | None = None) -> int:  # noqa: N802
        """Return the number of rows shown."""
        return 0 if parent is not None and parent.isValid() else len(self.shown)

    def columnCount(self, parent: QModelIndex | None = None) -> int:  # noqa: N802
        """Return the number of columns."""
        return 0 if parent is not None and parent.isValid() else len(self.columns)

    def row_at(self, line: int) -> int:
        """Return the row number shown on a line."""
        return int(self.shown[line])

    def lines_of(self, rows: Iterable[int]) -> list[int]:
        """Return the lines that show some rows; hidden rows are left out."""
        wanted = np.fromiter(rows, np.int64)
        return [int(n) for n in np.flatnonzero(np.isin(self.shown, wanted))] if len(wanted) else []

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return a cell's text, alignment, colour or icon."""
        if not index.isValid():
            return None
        row, column = self.row_at(index.row()), self.columns[index.column()]
        if role in (
            Qt.ItemDataRole.DisplayRole,
            Qt.ItemDataRole.EditRole,
            Qt.ItemDataRole.ToolTipRole,
        ):
            return column.text(row)
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return int(_RIGHT) if column.right else None
        if role == Qt.ItemDataRole.ForegroundRole and self._colour is not None:
            return self._colour(row)
        if role == Qt.ItemDataRole.BackgroundRole and self._background is not None:
            return self._background(row)
        if role == Qt.ItemDataRole.DecorationRole and column.icon is not None:
            return column.icon(row)
        return None

    def headerData(  # noqa: N802
        self,
        section: int,
        orientation: Qt.Orientation,
        role: int = Qt.ItemDataRole.DisplayRole,
    ) -> Any:
        """Return a column's title, and its explanation as tooltip."""
        if orientation != Qt.Orientation.Horizontal or section >= len(self.columns):
            return None
        column = self.columns[section]
        if role == Qt.ItemDataRole.DisplayRole:
            return column.title
        return (column.tip or column.title) if role == Qt.ItemDataRole.ToolTipRole else None

    def flags(self, index: QModelIndex) -> Qt.ItemFlag:
        """Let the cells of writable columns be edited."""
        flags = super().flags(index)
        if index.isValid() and self.editable and self.columns[index.column()].write is not None:
            flags |= Qt.ItemFlag.ItemIsEditable
        return flags

    def setData(  # noqa: N802
        self, index: QModelIndex, value: Any, role: int = Qt.ItemDataRole.EditRole
    ) -> bool:
        """Hand what was typed to the column."""
        column = self.columns[index.column()] if index.isValid() else None
        if column is None or column.write is None or role != Qt.ItemDataRole.EditRole:
            return False
        row = self.row_at(index.row())
        if column.text(row) == value:
            return False
        column.write(row, str(value))
        self.refresh([row])
        return True

    def refresh(self, rows: Iterable[int]) -> None:
        """Draw some rows again."""
        for line in self.lines_of(rows):
            last = self.index(line, len(self.columns) - 1)
            self.dataChanged.emit(self.index(line, 0), last)

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort what is shown by a column; equal ones keep their order."""
        rows = self.sorted_rows(self.shown, column, order)
        if rows is self.shown:
            return
        self.layoutAboutToBeChanged.emit()
        self.shown = rows
        # Selections follow their line, not their row: the view's owner sets them again.
        self.layoutChanged.emit()

    def sorted_rows(
        self, rows: NDArray[np.int64], column: int, order: Qt.SortOrder
    ) -> NDArray[np.int64]:
        """Return rows in the order of a column; as they are where it cannot be sorted."""
        if not 0 <= column < len(self.columns):
            return rows
        key = self.columns[column].key
        if key is None:
            return rows
        values = np.asarray(key())[rows]
        if order == Qt.SortOrder.DescendingOrder:
            # Backwards twice, so that equal ones keep their order.
            return rows[::-1][np.argsort(values[::-1], kind="stable")][::-1]
        return rows[np.argsort(values, kind="stable")]


class ColumnTable(QTableView):
    """A compact table for a dock: whole rows are selected, headers sort.

    Signals
    -------
    rows_selected : list of int
        The user selected these rows; not sent for `select_rows`.
    row_activated : int
        Double-click, or Enter.

    Parameters
    ----------
    model : ColumnModel
        What to show.
    parent : QWidget, optional
        The owner.
    """

    rows_selected = Signal(list)
    row_activated = Signal(int)

    def __init__(self, model: ColumnModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._columns = model
        self._chosen: list[int] = []
        self._quiet = False
        self.setModel(model)
        self.setStyleSheet(_STYLE)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setAlternatingRowColors(False)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        # A double-click jumps, so a second click on a selected cell edits, or F2.
        self.setEditTriggers(
            QAbstractItemView.EditTrigger.SelectedClicked
            | QAbstractItemView.EditTrigger.EditKeyPressed
        )
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        metrics = QFontMetrics(self.font())
        lines = self.verticalHeader()
        if lines is not None:
            # Equal heights: Qt then needs no array of them, and 10^6 rows are shown at once.
            lines.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
            lines.setDefaultSectionSize(metrics.height() + _ROW_MARGIN)
            lines.hide()
        header = self.horizontalHeader()
        if header is not None:
            header.setStretchLastSection(True)
            header.setHighlightSections(False)
            header.setSortIndicatorClearable(False)
            header.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
            for section, column in enumerate(model.columns):
                widest = max(column.width, f"{column.title} ", key=metrics.horizontalAdvance)
                self.setColumnWidth(section, metrics.horizontalAdvance(widest) + _CELL_MARGIN)
        self.setSortingEnabled(True)
        self.doubleClicked.connect(self._on_double_clicked)
        model.modelReset.connect(self._restore_selection)
        model.layoutChanged.connect(self._restore_selection)

    @property
    def selected_rows(self) -> list[int]:
        """Rows selected last, by the user or by `select_rows`; some may be filtered out."""
        return list(self._chosen)

    def show_rows(self, rows: NDArray[np.int64]) -> None:
        """Show these rows, sorted as the header says."""
        header = self.horizontalHeader()
        if header is not None and header.sortIndicatorSection() >= 0:
            rows = self._columns.sorted_rows(
                rows, header.sortIndicatorSection(), header.sortIndicatorOrder()
            )
        self._columns.show(rows)

    def select_rows(self, rows: Sequence[int], *, scroll: bool = True) -> None:
        """Select rows without saying so."""
        self._chosen = list(rows)
        lines = self._restore_selection()
        if scroll and lines:
            self.scrollTo(self._columns.index(lines[0], 0))

    def _restore_selection(self, *_: Any) -> list[int]:
        chosen = self.selectionModel()
        if chosen is None:
            return []
        lines = self._columns.lines_of(self._chosen)
        marked = QItemSelection()
        for line in lines:
            marked.select(
                self._columns.index(line, 0),
                self._columns.index(line, len(self._columns.columns) - 1),
            )
        self._quiet = True
        chosen.select(marked, QItemSelectionModel.SelectionFlag.ClearAndSelect)
        if lines:
            chosen.setCurrentIndex(
                self._columns.index(lines[0], 0), QItemSelectionModel.SelectionFlag.NoUpdate
            )
        self._quiet = False
        return lines

    def selectionChanged(self, selected: QItemSelection, deselected: QItemSelection) -> None:  # noqa: N802
        """Tell what the user selected."""
        super().selectionChanged(selected, deselected)
        chosen = self.selectionModel()
        if self._quiet or chosen is None:
            return
        rows = [self._columns.row_at(index.row()) for index in chosen.selectedRows()]
        self._chosen = rows
        self.rows_selected.emit(rows)

    def _on_double_clicked(self, index: QModelIndex) -> None:
        self.row_activated.emit(self._columns.row_at(index.row()))

    def keyPressEvent(self, event: Any) -> None:  # noqa: N802
        """Activate with Enter; leave plain letters to the window, where they are commands."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            index = self.currentIndex()
            if index.isValid() and self.state() != QAbstractItemView.State.EditingState:
                self.row_activated.emit(self._columns.row_at(index.row()))
                return
        if event.text().isprintable() and event.text() and not event.modifiers():
            event.ignore()
            return
        super().keyPressEvent(event)
