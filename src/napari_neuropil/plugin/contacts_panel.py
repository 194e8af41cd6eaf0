"""Contacts of the selected segments: a table, points in the view, neighbours tinted by score.

The layers are there while this panel is in view and something is selected; else they are removed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_neuropil.plugin.column_table import Column, ColumnModel, ColumnTable
from napari_neuropil.plugin.contact_layers import ContactLayers, score_colours
from napari_neuropil.plugin.proofread_layers import DIMMED

if TYPE_CHECKING:
    from qtpy.QtGui import QHideEvent, QShowEvent

    from napari_neuropil.plugin.proofread_controller import ProofreadController
    from napari_neuropil.proofreading import Delta
    from napari_neuropil.proofreading.graph import Contacts

_DECISIONS: Final = {-1: "kept apart", 0: "open", 1: "joined"}
_CHIP_PIXELS: Final = 12
_SHADES: Final = 32
_DELAY_MS: Final = 40


class ContactsPanel(QWidget):
    """Table and layers of contacts.

    Parameters
    ----------
    controller : ProofreadController
        Session, selection and view.
    parent : QWidget, optional
        The owner.
    """

    def __init__(self, controller: ProofreadController, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._contacts: Contacts | None = None
        self._neighbours: NDArray[np.uint64] = np.zeros(0, np.uint64)
        self._chips = [_chip(QColor.fromRgbF(*c)) for c in score_colours(_shade_values())]
        self.layers = ContactLayers(controller)
        self.layers.picked.connect(self._on_points_picked)
        self.model = ColumnModel(self._columns(), parent=self)
        self.table = ColumnTable(self.model)
        self.points_box = QCheckBox("Points")
        self.points_box.setChecked(True)
        self.points_box.setToolTip("A point at each contact: colour by score, size by area.")
        self.tint_box = QCheckBox("Tint neighbours")
        self.tint_box.setToolTip("Colour each neighbour by its highest score.")
        self.dim_button = QPushButton("Dim others")
        self.dim_button.setCheckable(True)
        self.dim_button.setToolTip("Fade what is not selected (Shift+H).")
        self.count = QLabel()
        self._build()
        self.table.rows_selected.connect(self._on_rows_selected)
        self.table.row_activated.connect(self._on_row_activated)
        self.points_box.toggled.connect(self._draw)
        self.tint_box.toggled.connect(self._draw)
        self.dim_button.clicked.connect(lambda: controller.toggle_others(DIMMED))
        # An edit often changes the selection as well, and its own drawing comes first.
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_DELAY_MS)
        self._timer.timeout.connect(self._update)
        controller.selection_changed.connect(self._on_selection_changed)
        controller.session_changed.connect(self._update)
        controller.edited.connect(self._on_edited)
        controller.others_changed.connect(self._on_others_changed)

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        row = QHBoxLayout()
        row.addWidget(self.points_box)
        row.addWidget(self.tint_box)
        row.addStretch(1)
        row.addWidget(self.dim_button)
        layout.addLayout(row)
        layout.addWidget(self.table, 1)
        layout.addWidget(self.count)

    def _columns(self) -> list[Column]:
        return [
            Column("neighbour", lambda r: str(self._neighbours[r]), lambda: self._neighbours,
                   "The segment on the other side.", right=True, width="00000"),
            Column("score", lambda r: f"{self._of('score')[r]:.3f}", lambda: self._of("score"),
                   "How strongly the contact says merge, 0 to 1.", right=True, width="0.00000",
                   icon=self._chip_of),
            Column("area", lambda r: f"{self._of('area')[r]:,}", lambda: self._of("area"),
                   "Voxel pairs that touch.", right=True, width="00,000"),
            Column("decision", lambda r: _DECISIONS[int(self._of("decision")[r])],
                   lambda: self._of("decision"), "What edits said of it.", width="kept apart"),
            Column("where", self._where_text, lambda: self._of("centroid")[:, 0],
                   "Voxel z, y, x.", width="00, 000, 000"),
        ]  # fmt: skip

    def _of(self, name: str) -> NDArray[Any]:
        return np.asarray(getattr(self._contacts, name))

    def _chip_of(self, row: int) -> QIcon:
        return self._chips[min(_SHADES - 1, int(self._of("score")[row] * _SHADES))]

    def _where_text(self, row: int) -> str:
        return ", ".join(f"{v:.0f}" for v in self._of("centroid")[row])

    # what is shown

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802
        """Work only while somebody looks."""
        super().showEvent(event)
        self._update()

    def hideEvent(self, event: QHideEvent | None) -> None:  # noqa: N802
        """Take the layers away with the panel."""
        super().hideEvent(event)
        self.layers.remove()

    def _update(self) -> None:
        session, selected = self._controller.session, self._controller.selected
        if session is None or not selected or not self.isVisible():
            self._contacts = None
            self.model.show(np.zeros(0, np.int64))
            self.layers.remove()
            self.count.setText("" if session is None else "Select a segment to see its contacts.")
            return
        members = np.concatenate([session.members(segment) for segment in selected])
        contacts = session.graph.leaving(members)
        contacts = contacts[np.argsort(-contacts.score, kind="stable")]
        lookup = session.lookup
        ends = np.stack([lookup[contacts.a.astype(np.intp)], lookup[contacts.b.astype(np.intp)]])
        mine = np.isin(ends[0], np.array(selected, np.uint64))
        self._neighbours = np.where(mine, ends[1], ends[0])
        self._contacts = contacts
        self.table.select_rows([])
        self.table.show_rows(np.arange(len(contacts)))
        segments = len(np.unique(self._neighbours))
        self.count.setText(f"{len(contacts):,} contacts with {segments:,} segments")
        self._draw()

    def _draw(self, *_: Any) -> None:
        contacts = self._contacts
        if contacts is None:
            return
        if self.points_box.isChecked():
            self.layers.show_points(contacts)
            self.layers.mark(self.table.selected_rows)
        else:
            self.layers.remove_points()
        if self.tint_box.isChecked():
            self.layers.show_tint(self._neighbours, contacts.score)
        else:
            self.layers.remove_tint()

    def _on_selection_changed(self) -> None:
        if not self._controller.selected:
            self._update()
        elif self.isVisible():
            self._timer.start()

    def _on_edited(self, _delta: Delta) -> None:
        if self.isVisible():
            self._timer.start()

    def _on_others_changed(self) -> None:
        self.dim_button.setChecked(self._controller.layers.others == DIMMED)

    # two-way selection

    def _on_rows_selected(self, rows: list[int]) -> None:
        self.layers.mark(rows)

    def _on_points_picked(self, rows: list[int]) -> None:
        self.table.select_rows(rows)

    def _on_row_activated(self, row: int) -> None:
        self._controller.jump_to([float(v) for v in np.round(self._of("centroid")[row])])
        self.layers.mark([row])


def _shade_values() -> NDArray[np.float32]:
    return ((np.arange(_SHADES) + 0.5) / _SHADES).astype(np.float32)


def _chip(colour: QColor) -> QIcon:
    pixmap = QPixmap(_CHIP_PIXELS, _CHIP_PIXELS)
    pixmap.fill(Qt.GlobalColor.transparent)
    pixmap.fill(colour)
    return QIcon(pixmap)
