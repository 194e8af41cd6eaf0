"""The filters of the queue panel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QStandardItemModel
from qtpy.QtWidgets import QCheckBox, QComboBox, QFormLayout, QSpinBox, QWidget

from napari_neuropil.proofreading.open_candidates import CandidateFilter
from napari_neuropil.proofreading.scorers import SCORERS, Scorer

_LARGEST = 10**9


class QueueFilterBox(QWidget):
    """A form that makes a `CandidateFilter`.

    Signals
    -------
    changed : no argument
        Read `wanted`.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setVerticalSpacing(4)
        self.kind = QComboBox()
        for title, value in (
            ("split and merge errors", None),
            ("split errors: two that may be one", "split_error"),
            ("merge errors: one that may be two", "merge_error"),
        ):
            self.kind.addItem(title, value)
        self.scorer = QComboBox()
        self.scorer.addItem("any", None)
        for name, scorer in SCORERS.items():
            self.scorer.addItem(scorer.title, name)
            self._explain(self.scorer.count() - 1, scorer)
        self.scorer.setToolTip("Only where this evidence speaks for an error.")
        self.smallest = QSpinBox()
        self.smallest.setRange(0, _LARGEST)
        self.smallest.setSingleStep(100)
        self.smallest.setSuffix(" voxels")
        self.smallest.setKeyboardTracking(False)
        self.smallest.setToolTip("The smaller piece must have as many.")
        self.selected = QCheckBox("of the selected segment")
        self.done = QCheckBox("also of segments that are done")
        form.addRow("Show", self.kind)
        form.addRow("Evidence", self.scorer)
        form.addRow("At least", self.smallest)
        form.addRow("Only", self.selected)
        form.addRow("", self.done)
        for combo in (self.kind, self.scorer):
            combo.setSizeAdjustPolicy(
                QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
            )
            combo.currentIndexChanged.connect(self._on_changed)
        self.smallest.valueChanged.connect(self._on_changed)
        self.selected.toggled.connect(self._on_changed)
        self.done.toggled.connect(self._on_changed)

    def _explain(self, row: int, scorer: Scorer) -> None:
        """Say what a scorer looks at; grey one that does not count: it would leave nothing."""
        self.scorer.setItemData(row, scorer.help, Qt.ItemDataRole.ToolTipRole)
        model = self.scorer.model()
        if isinstance(model, QStandardItemModel) and not scorer.counts:
            item = model.item(row)
            if item is not None:
                item.setEnabled(False)
                item.setToolTip(f"{scorer.help} Does not count: it made no queue better.")

    def _on_changed(self, _value: Any = None) -> None:
        self.changed.emit()

    @property
    def follows_selection(self) -> bool:
        """Whether only candidates of the selected segment are wanted."""
        return self.selected.isChecked()

    @property
    def active(self) -> bool:
        """Whether anything is left out."""
        return self.wanted(()) != CandidateFilter() or self.follows_selection

    def wanted(self, selected: Sequence[int]) -> CandidateFilter:
        """Return the filter.

        Parameters
        ----------
        selected : sequence of int
            Selected segments; the first counts.
        """
        return CandidateFilter(
            kind=self.kind.currentData(),
            scorer=self.scorer.currentData(),
            smallest=int(self.smallest.value()),
            segment=int(selected[0]) if self.follows_selection and selected else None,
            hide_done=not self.done.isChecked(),
        )
