"""Contacts of the selected segments: a table, points in the view, neighbours tinted.

The layers are there while this panel is in view and something is selected; else they are removed.
Below stand the embedding distances: their measuring, and the merge of everything below a distance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_neuropil.plugin.column_table import Column, ColumnModel, ColumnTable
from napari_neuropil.plugin.contact_layers import (
    ContactLayers,
    Evidence,
    evidence_of,
    merge_likeness,
    score_colours,
)
from napari_neuropil.plugin.distance_box import DistanceBox
from napari_neuropil.plugin.measuring_box import MeasuringBox
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


class _ContactModel(ColumnModel):
    """Unknown distances stand last, whichever way the table is sorted."""

    def sorted_rows(
        self, rows: NDArray[np.int64], column: int, order: Qt.SortOrder
    ) -> NDArray[np.int64]:
        """Return rows in the order of a column."""
        rows = super().sorted_rows(rows, column, order)
        key = self.columns[column].key if 0 <= column < len(self.columns) else None
        values = np.zeros(0) if key is None or not len(rows) else np.asarray(key())
        if values.dtype.kind != "f" or not len(values):
            return rows
        unknown = np.isnan(values[rows])
        return np.concatenate((rows[~unknown], rows[unknown]))


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
        self.model = _ContactModel(self._columns(), parent=self)
        self.table = ColumnTable(self.model)
        self.points_box = QCheckBox("Points")
        self.points_box.setChecked(True)
        self.points_box.setToolTip("A point at each contact: colour as chosen, size by area.")
        self.tint_box = QCheckBox("Tint neighbours")
        self.tint_box.setToolTip("Colour each neighbour by its contact that says merge most.")
        self.colour_combo = QComboBox()
        self.colour_combo.addItem("score", "score")
        self.colour_combo.addItem("embedding distance", "distance")
        self.colour_combo.setToolTip(
            "Bright says merge, dark apart: a high score, a distance below 1.5. Grey: not measured."
        )
        self.dim_button = QPushButton("Dim others")
        self.dim_button.setCheckable(True)
        self.dim_button.setToolTip("Fade what is not selected (Shift+H).")
        self.count = QLabel()
        self.measuring = MeasuringBox(controller)
        self.distances = DistanceBox(controller)
        self.distances_button = QPushButton("Merge by distance")
        self.distances_button.setCheckable(True)
        self.distances_button.setToolTip(
            "A histogram of the distances, and one merge of everything below a line."
        )
        self._build()
        self.table.rows_selected.connect(self._on_rows_selected)
        self.table.row_activated.connect(self._on_row_activated)
        self.points_box.toggled.connect(self._draw)
        self.tint_box.toggled.connect(self._draw)
        self.colour_combo.currentIndexChanged.connect(self._update)
        self.distances_button.toggled.connect(self.distances.setVisible)
        self.dim_button.clicked.connect(lambda: controller.toggle_others(DIMMED))
        # An edit often changes the selection as well, and its own drawing comes first.
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_DELAY_MS)
        self._timer.timeout.connect(self._update)
        controller.selection_changed.connect(self._on_selection_changed)
        controller.session_changed.connect(self._update)
        controller.edited.connect(self._on_edited)
        controller.distances_changed.connect(self._on_edited)
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
        colour_row = QHBoxLayout()
        colour_row.addWidget(QLabel("Colour by"))
        colour_row.addWidget(self.colour_combo, 1)
        layout.addLayout(colour_row)
        layout.addWidget(self.table, 1)
        layout.addWidget(self.count)
        layout.addWidget(self.measuring)
        layout.addWidget(self.distances_button)
        self.distances.setVisible(False)
        layout.addWidget(self.distances)

    def _columns(self) -> list[Column]:
        return [
            Column("neighbour", lambda r: str(self._neighbours[r]), lambda: self._neighbours,
                   "The segment on the other side.", right=True, width="00000"),
            Column("score", lambda r: f"{self._of('score')[r]:.3f}", lambda: self._of("score"),
                   "How strongly the contact says merge, 0 to 1.", right=True, width="0.0000000",
                   icon=self._chip_of),
            Column("distance", self._distance_text, lambda: self._of("distance"),
                   "Of the mean embeddings on both sides: below 1.5 they look like one neuron. "
                   "Empty where it was not measured.", right=True, width="0.00000",
                   icon=self._distance_chip_of),
            Column("area", lambda r: f"{self._of('area')[r]:,}", lambda: self._of("area"),
                   "Voxel pairs that touch.", right=True, width="00,000"),
            Column("decision", lambda r: _DECISIONS[int(self._of("decision")[r])],
                   lambda: self._of("decision"), "What edits said of it.", width="kept apart"),
            Column("where", self._where_text, lambda: self._of("centroid")[:, 0],
                   "Voxel z, y, x.", width="00, 000, 000"),
        ]  # fmt: skip

    def _of(self, name: str) -> NDArray[Any]:
        return np.asarray(getattr(self._contacts, name))

    @property
    def coloured_by(self) -> Evidence:
        """What points and tint are coloured by."""
        return "distance" if self.colour_combo.currentData() == "distance" else "score"

    def _chip_of(self, row: int) -> QIcon:
        return self._chip(float(self._of("score")[row]))

    def _chip(self, value: float) -> QIcon:
        return self._chips[min(_SHADES - 1, int(value * _SHADES))]

    def _distance_chip_of(self, row: int) -> QIcon | None:
        likeness = merge_likeness(self._of("distance")[row : row + 1])[0]
        return None if np.isnan(likeness) else self._chip(float(likeness))

    def _distance_text(self, row: int) -> str:
        distance = self._of("distance")[row]
        return "" if np.isnan(distance) else f"{distance:.2f}"

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

    def _update(self, *_: Any) -> None:
        session, selected = self._controller.session, self._controller.selected
        if session is None or not selected or not self.isVisible():
            self._contacts = None
            self.model.show(np.zeros(0, np.int64))
            self.layers.remove()
            self.count.setText("" if session is None else "Select a segment to see its contacts.")
            return
        members = np.concatenate([session.members(segment) for segment in selected])
        contacts = session.graph.leaving(members)
        # The likeliest first, unknown ones last: of very many, only the first become points.
        contacts = contacts[np.argsort(-evidence_of(contacts, self.coloured_by), kind="stable")]
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
            self.layers.show_points(contacts, self.coloured_by)
            self.layers.mark(self.table.selected_rows)
        else:
            self.layers.remove_points()
        if self.tint_box.isChecked():
            self.layers.show_tint(self._neighbours, contacts, self.coloured_by)
        else:
            self.layers.remove_tint()

    def _on_selection_changed(self) -> None:
        if not self._controller.selected:
            self._update()
        elif self.isVisible():
            self._timer.start()

    def _on_edited(self, _delta: Delta | None = None) -> None:
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
