"""Cells of the segments table: the status list, the lock, and rows as CSV."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray
from qtpy.QtCore import QModelIndex, QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QIcon, QPainter, QPen, QPixmap
from qtpy.QtWidgets import QComboBox, QStyledItemDelegate, QWidget

from napari_neuropil.proofreading.edits import STATUSES, Annotation

DONE: Final = "done"
STATUS_COLOURS: Final = {DONE: "#36c275", "in work": "#ffb000", "wrong": "#ff4b3e"}

_HEADER: Final = (
    "id", "name", "voxels", "volume_um3",
    "z_start", "y_start", "x_start", "z_stop", "y_stop", "x_stop",
    "status", "comment",
)  # fmt: skip


def write_segments_csv(
    path: Path, columns: tuple[NDArray[Any], ...], notes: dict[int, Annotation], voxel_um3: float
) -> int:
    """Write segments as CSV.

    Parameters
    ----------
    path : Path
        Replaced if it exists.
    columns : tuple of NDArray
        Ids (R,), voxels (R,), start (R, 3) and stop (R, 3).
    notes : dict of int to Annotation
        By segment.
    voxel_um3 : float
        Volume of a voxel in cubic micrometres.

    Returns
    -------
    int
        Segments written.
    """
    none = Annotation()
    ids, voxels, start, stop = (column.tolist() for column in columns)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_HEADER)
        for segment, size, first, last in zip(ids, voxels, start, stop, strict=True):
            note = notes.get(segment, none)
            volume = f"{size * voxel_um3:.6g}"
            writer.writerow(
                [segment, note.name, size, volume, *first, *last, note.status, note.comment]
            )
    return len(ids)


class StatusDelegate(QStyledItemDelegate):
    """Edits a status with a drop-down list."""

    def createEditor(  # noqa: N802
        self, parent: QWidget | None, option: Any, index: QModelIndex
    ) -> QWidget:
        """Return the list."""
        box = QComboBox(parent)
        box.addItems(STATUSES)

        def take(_index: int) -> None:
            self.commitData.emit(box)
            self.closeEditor.emit(box)

        box.activated.connect(take)
        return box

    def setEditorData(self, editor: QWidget | None, index: QModelIndex) -> None:  # noqa: N802
        """Begin with the present status."""
        if isinstance(editor, QComboBox):
            editor.setCurrentText(str(index.data(Qt.ItemDataRole.EditRole)))

    def setModelData(self, editor: Any, model: Any, index: QModelIndex) -> None:  # noqa: N802
        """Hand the chosen status on."""
        model.setData(index, editor.currentText(), Qt.ItemDataRole.EditRole)


def lock_icon() -> QIcon:
    """Return a padlock; drawn, since fonts with one are not on every machine."""
    pixmap = QPixmap(32, 32)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    colour = QColor(STATUS_COLOURS[DONE])
    painter.setPen(QPen(colour, 3))
    painter.drawArc(QRectF(10, 4, 12, 18), 0, 180 * 16)
    painter.drawLine(QPointF(10, 12), QPointF(10, 16))
    painter.drawLine(QPointF(22, 12), QPointF(22, 16))
    painter.fillRect(QRectF(6, 15, 20, 14), colour)
    painter.end()
    return QIcon(pixmap)
