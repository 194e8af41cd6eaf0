"""Find dendrites, and the table of proposals: look, accept, reject, next."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from qtpy.QtCore import QSize
from qtpy.QtGui import QColor, QIcon
from qtpy.QtWidgets import QCheckBox, QDoubleSpinBox, QGridLayout, QSpinBox, QVBoxLayout, QWidget

from napari_neuropil.plugin.column_table import Column, ColumnModel, ColumnTable
from napari_neuropil.plugin.dendrites.cross_section import CrossSection
from napari_neuropil.plugin.dendrites.dendrite_controller import DendriteController
from napari_neuropil.plugin.dendrites.dendrite_text import count_text
from napari_neuropil.plugin.dendrites.panel_parts import PRIMARY, button, row, text_line
from napari_neuropil.plugin.dendrites.records import Proposal
from napari_neuropil.plugin.dendrites.thumbnail import SIDE, mask_icon
from napari_neuropil.prompts.packed_mask import PackedMask

_COLOURS: Final = {"accepted": "#36c275", "rejected": "#8b919b"}
_DEFAULT_SCORE: Final = 0.25


class ProposalsBox(QWidget):
    """The tab "Proposals".

    Parameters
    ----------
    controller : DendriteController
        Its work is shown.
    parent : QWidget, optional
        The owner.
    """

    def __init__(self, controller: DendriteController, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._rows: list[Proposal] = []
        self._icons: dict[int, tuple[PackedMask, QIcon]] = {}
        self.find_button = button(
            "Find dendrites",
            "Let the detector look for dendrites in these sections. It needs the extra 'yolo'; "
            "boxes drawn by hand need nothing.",
            self._on_find,
        )
        self.first = _section_spin("First section to search.")
        self.last = _section_spin("Last section to search.")
        self.here_button = button("This section", "Search the section in view only.", self._here)
        self.score = QDoubleSpinBox()
        self.score.setRange(0, 1)
        self.score.setSingleStep(0.05)
        self.score.setValue(_DEFAULT_SCORE)
        self.score.setPrefix("score ≥ ")
        self.score.setToolTip("Boxes with a lower score of the detector are left out (0 to 1).")
        self.model = ColumnModel(self._columns(), colour=self._colour)
        self.table = ColumnTable(self.model)
        self.accept_button = button(
            "Accept (Q)", "The mask in view is right: it becomes a dendrite.", self.accept
        )
        self.accept_button.setStyleSheet(PRIMARY)
        self.reject_button = button(
            "Reject (W)",
            "No dendrite here. Of a dendrite that was followed: it is not in this section.",
            controller.reject,
        )
        self.previous_button = button(
            "Previous", "The proposal before that is still open (Shift+N).", self._previous
        )
        self.next_button = button("Next (N)", "The next proposal that is still open.", self._next)
        self.join = QCheckBox("same dendrite as the last accepted")
        self.join.setToolTip(
            "Accept adds the mask to the dendrite in work, instead of beginning another one."
        )
        self.count = text_line()
        self._build()
        self.table.rows_selected.connect(self._on_rows_selected)
        self.table.row_activated.connect(lambda row: controller.select(self._rows[row].id))
        controller.work_changed.connect(self._show)
        controller.busy_changed.connect(self._enable)
        controller.link.changed.connect(self._on_link_changed)
        self._show()

    def accept(self) -> None:
        """Accept what is in view."""
        self._controller.accept(join=self.join.isChecked())

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 6, 4, 4)
        layout.setSpacing(4)
        grid = QGridLayout()
        grid.setSpacing(4)
        grid.addWidget(self.find_button, 0, 0)
        grid.addWidget(self.score, 0, 1)
        grid.addWidget(self.here_button, 1, 0)
        grid.addLayout(row(self.first, self.last), 1, 1)
        grid.setColumnStretch(0, 1)
        grid.setColumnStretch(1, 1)
        layout.addLayout(grid)
        self.table.setIconSize(QSize(SIDE, SIDE))
        lines = self.table.verticalHeader()
        if lines is not None:
            lines.setDefaultSectionSize(SIDE + 4)
        self.table.setColumnWidth(0, SIDE + 12)
        self.table.setMinimumHeight(90)
        layout.addWidget(self.table, 1)
        layout.addWidget(self.count)
        layout.addWidget(self.join)
        layout.addLayout(row(self.accept_button, self.reject_button, stretch=0))
        layout.addLayout(row(self.previous_button, self.next_button))

    def _columns(self) -> tuple[Column, ...]:
        return (
            Column("", lambda n: "", tip="The mask.", icon=self._icon, width="000"),
            Column(
                "z",
                lambda n: str(self._rows[n].z),
                lambda: np.array([p.z for p in self._rows]),
                tip="Section.",
                right=True,
                width="000",
            ),
            Column(
                "Score",
                lambda n: _score_text(self._rows[n]),
                lambda: np.array([_score(p) for p in self._rows], float),
                tip="Of the detector; of a box drawn by hand what the segmenter expects of its "
                "mask (intersection over union, 0 to 1).",
                right=True,
                width="0.0",
            ),
            Column(
                "px",
                self._area_text,
                lambda: np.array([self._area(p) for p in self._rows]),
                tip="Size of the mask, pixels.",
                right=True,
                width="000 000",
            ),
            Column(
                "µm²",
                self._size_text,
                lambda: np.array([self._area(p) for p in self._rows]),
                tip="Size of the mask, square micrometres (one is a million nm²).",
                right=True,
                width="0.0000",
            ),
            Column(
                "State",
                lambda n: _state_text(self._rows[n]),
                lambda: np.array([_state_text(p) for p in self._rows]),
                tip="Proposed, accepted (as which dendrite), or rejected.",
                width="rejected",
            ),
        )

    def _show(self) -> None:
        work = self._controller.work
        self._rows = list(work.proposals.values())
        self._icons = {i: kept for i, kept in self._icons.items() if i in work.proposals}
        self.table.show_rows(np.arange(len(self._rows)))
        chosen = [n for n, p in enumerate(self._rows) if p.id == work.current]
        self.table.select_rows(chosen)
        left = sum(p.state == "proposed" for p in self._rows)
        self.count.setText(
            f"{count_text(len(self._rows), 'proposal')}, {left} open."
            if self._rows
            else "No proposals yet: find dendrites, or draw a box around one."
        )
        self._enable()

    def _enable(self) -> None:
        work, controller = self._controller.work, self._controller
        ready = controller.link.ready is not None
        idle = controller.desk.long is None
        self.find_button.setEnabled(ready and idle)
        self.here_button.setEnabled(ready and idle)
        self.join.setEnabled(work.current_dendrite is not None)
        self.accept_button.setEnabled(ready)
        self.reject_button.setEnabled(ready)
        for arrow in (self.next_button, self.previous_button):
            arrow.setEnabled(bool(self._rows))

    def _on_link_changed(self) -> None:
        ready = self._controller.link.ready
        if ready is not None:
            for spin, value in ((self.first, self._controller.z), (self.last, self._controller.z)):
                spin.setMaximum(ready.shape[0] - 1)
                spin.setValue(value)
        self._enable()

    def _on_find(self) -> None:
        first, last = sorted((self.first.value(), self.last.value()))
        self._controller.detect(range(first, last + 1), self.score.value())

    def _here(self) -> None:
        z = self._controller.z
        self.first.setValue(z)
        self.last.setValue(z)
        self._controller.detect((z,), self.score.value())

    def _next(self) -> None:
        self._controller.go_to_next(1)

    def _previous(self) -> None:
        self._controller.go_to_next(-1)

    def _on_rows_selected(self, rows: list[int]) -> None:
        if rows:
            self._controller.select(self._rows[rows[0]].id)

    def _section(self, proposal: Proposal) -> CrossSection:
        """Return what an accepted proposal looks like now, after later edits."""
        dendrite = self._controller.work.dendrites.get(proposal.dendrite or -1)
        if dendrite is not None and proposal.z in dendrite.sections:
            return dendrite.sections[proposal.z]
        return proposal.section

    def _area(self, proposal: Proposal) -> int:
        mask = self._section(proposal).mask
        return 0 if mask is None else mask.area

    def _area_text(self, line: int) -> str:
        area = self._area(self._rows[line])
        return f"{area:,}".replace(",", " ") if area else ""

    def _size_text(self, line: int) -> str:
        area, size = self._area(self._rows[line]), self._controller.voxel_size
        return f"{area * size.y * size.x / 1e6:.3g}" if area and size is not None else ""

    def _icon(self, line: int) -> Any:
        proposal = self._rows[line]
        mask = self._section(proposal).mask
        if mask is None:
            return None
        kept = self._icons.get(proposal.id)
        if kept is None or kept[0] is not mask:
            self._icons[proposal.id] = kept = (mask, mask_icon(mask))
        return kept[1]

    def _colour(self, line: int) -> QColor | None:
        colour = _COLOURS.get(self._rows[line].state)
        return None if colour is None else QColor(colour)


def _section_spin(tip: str) -> QSpinBox:
    spin = QSpinBox()
    spin.setRange(0, 0)
    spin.setPrefix("z ")
    spin.setToolTip(tip)
    return spin


def _score(proposal: Proposal) -> float:
    value = proposal.found if proposal.found is not None else proposal.section.score
    return -1.0 if value is None else value


def _score_text(proposal: Proposal) -> str:
    value = _score(proposal)
    return "" if value < 0 else f"{value:.2f}"


def _state_text(proposal: Proposal) -> str:
    if proposal.state == "accepted" and proposal.dendrite is not None:
        return f"accepted ({proposal.dendrite})"
    return proposal.state
