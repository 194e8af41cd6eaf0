"""The tab "Dendrite", upper part: follow it through the sections, and where that stopped."""

from __future__ import annotations

from typing import Final

import numpy as np
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QCheckBox, QComboBox, QDoubleSpinBox, QVBoxLayout, QWidget

from napari_neuropil.plugin.column_table import Column, ColumnModel, ColumnTable
from napari_neuropil.plugin.dendrites.dendrite_controller import DendriteController
from napari_neuropil.plugin.dendrites.dendrite_text import (
    dendrite_text,
    stop_text,
    stop_value_text,
)
from napari_neuropil.plugin.dendrites.following import FollowOptions
from napari_neuropil.plugin.dendrites.panel_parts import PRIMARY, button, row, text_line
from napari_neuropil.workflows.prompting.messages import StopFact

_DOUBTFUL: Final = "#ffb000"


class FollowBox(QWidget):
    """Follows the dendrite in work.

    Parameters
    ----------
    controller : DendriteController
        Whose dendrite it is.
    parent : QWidget, optional
        The owner.
    """

    def __init__(self, controller: DendriteController, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._stops: tuple[StopFact, ...] = ()
        self.which = QComboBox()
        self.which.setToolTip("The dendrite in work: what is followed, refined and committed.")
        self.text = text_line()
        self.follow_button = button(
            "Follow through sections (G)",
            "Carry the accepted masks on, section by section, up and down. What was edited since "
            "is the new beginning there; accepted sections stay.",
            self.follow,
        )
        self.follow_button.setStyleSheet(PRIMARY)
        self.overlap = QDoubleSpinBox()
        self.overlap.setRange(0, 1)
        self.overlap.setSingleStep(0.05)
        self.overlap.setValue(FollowOptions().min_overlap)
        self.overlap.setPrefix("overlap ≥ ")
        self.overlap.setToolTip(
            "Least intersection over union with the section before (0 to 1). Lower goes farther "
            "through shifted sections, higher leaks less."
        )
        self.branches = QCheckBox("branches")
        self.branches.setToolTip(
            "Also look for branches: several masks in one section. Takes three times as long."
        )
        self.segments = QCheckBox("segments")
        self.segments.setChecked(True)
        self.segments.setToolTip(
            "The project's segments correct the masks: what a mask takes of a neighbour's segment "
            "is cut off, a segment that it covers mostly is filled up."
        )
        self.model = ColumnModel(self._columns(), colour=self._colour)
        self.table = ColumnTable(self.model)
        self.table.setMinimumHeight(70)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.which)
        layout.addWidget(self.text)
        layout.addLayout(row(self.overlap, self.branches, self.segments, stretch=0))
        layout.addWidget(self.follow_button)
        layout.addWidget(self.table, 1)
        self.which.activated.connect(self._on_which)
        self.table.rows_selected.connect(self._on_rows_selected)
        controller.work_changed.connect(self._show)
        controller.busy_changed.connect(self._enable)
        controller.link.changed.connect(self._enable)
        self._show()

    def follow(self) -> None:
        """Follow the dendrite in work."""
        self._controller.follow(
            FollowOptions(
                self.overlap.value(), self.branches.isChecked(), self.segments.isChecked()
            )
        )

    def _columns(self) -> tuple[Column, ...]:
        return (
            Column(
                "z",
                lambda n: str(self._stops[n].z),
                lambda: np.array([s.z for s in self._stops]),
                tip="Section in which a piece of the dendrite has no mask.",
                right=True,
                width="000",
            ),
            Column(
                "",
                lambda n: "up" if self._stops[n].direction > 0 else "down",
                lambda: np.array([s.direction for s in self._stops]),
                tip="Direction in which it was followed.",
                width="down 0",
            ),
            Column(
                "Value",
                lambda n: stop_value_text(self._stops[n]),
                lambda: np.array([s.value for s in self._stops], float),
                tip="What was measured there.",
                width="agreement 0.00",
            ),
            Column(
                "Stopped by",
                lambda n: stop_text(self._stops[n]),
                lambda: np.array([s.reason for s in self._stops]),
                tip="Why it was not carried on; orange ones are worth a look. Click to go there.",
                width="end of the volume",
            ),
        )

    def _show(self) -> None:
        work = self._controller.work
        dendrite = work.current_dendrite
        self.which.blockSignals(True)
        self.which.clear()
        if not work.dendrites:
            self.which.addItem("No dendrite yet: accept a mask", None)
        for number in work.dendrites:
            self.which.addItem(f"Dendrite {number}", number)
        self.which.setCurrentIndex(max(0, self.which.findData(work.dendrite)))
        self.which.blockSignals(False)
        size = self._controller.voxel_size
        self.text.setText("" if dendrite is None else dendrite_text(dendrite, size))
        self.text.setVisible(bool(self.text.text()))
        stops = () if dendrite is None else dendrite.stops
        if stops != self._stops:
            self._stops = stops
            self.table.show_rows(np.arange(len(stops)))
        self._enable()

    def _enable(self) -> None:
        controller = self._controller
        can = controller.work.current_dendrite is not None and controller.link.ready is not None
        self.follow_button.setEnabled(can and controller.desk.long is None)
        choice = controller.link.choice
        self.segments.setVisible(choice is not None and choice.project is not None)

    def _on_which(self, _index: int) -> None:
        self._controller.work_on(self.which.currentData())

    def _on_rows_selected(self, rows: list[int]) -> None:
        if rows:
            stop = self._stops[rows[0]]
            self._controller.look_at(stop.z, stop.place)

    def _colour(self, line: int) -> QColor | None:
        return QColor(_DOUBTFUL) if self._stops[line].doubtful else None
