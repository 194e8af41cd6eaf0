"""Which contacts "merge by distance" is about: where, how near, and how many merges that makes.

Contacts are put in order once, beside the window (`MergeOrder`); the number of merges then follows
the line while it is dragged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from qtpy.QtCore import QTimer, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLabel,
    QVBoxLayout,
    QWidget,
)

from napari_neuropil.plugin.distance_histogram import DistanceHistogram
from napari_neuropil.plugin.latest_call import LatestCall
from napari_neuropil.plugin.measuring_box import view_box
from napari_neuropil.plugin.merge_wish import MergeWish
from napari_neuropil.plugin.worker import error_text
from napari_neuropil.segmentation.metric_offsets import HALF_WAY

if TYPE_CHECKING:
    from qtpy.QtGui import QHideEvent, QShowEvent

    from napari_neuropil.plugin.proofread_controller import ProofreadController
    from napari_neuropil.proofreading.merge_order import MergeOrder

_ALL, _SELECTED, _NEAR = "all", "selected", "near"
_SCOPES: Final = (
    ("all contacts", _ALL),
    ("contacts of the selection", _SELECTED),
    ("contacts around the view", _NEAR),
)
_DELAY_MS: Final = 120
_NONE_KNOWN: Final = "No distance is known here: measure some first."
_NONE_SELECTED: Final = "Select a segment to see the distances of its contacts."


class DistanceForm(QWidget):
    """Scope, threshold, histogram and count.

    Parameters
    ----------
    controller : ProofreadController
        Session, selection and view.
    parent : QWidget, optional
        The owner.

    Signals
    -------
    threshold_changed : no argument
        Read `wish`.
    counted : no argument
        The contacts were put in order anew: read `merges`.
    """

    threshold_changed = Signal()
    counted = Signal()

    def __init__(self, controller: ProofreadController, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._order: MergeOrder | None = None
        self._listening = False
        self._counting = LatestCall(self)
        self.scope = QComboBox()
        for title, value in _SCOPES:
            self.scope.addItem(title, value)
        self.scope.setToolTip(
            "Which contacts count. Around the view: the box that Measure around the view measures."
        )
        self.threshold = QDoubleSpinBox()
        self.threshold.setRange(0.01, 99.0)
        self.threshold.setSingleStep(0.05)
        self.threshold.setKeyboardTracking(False)
        self.threshold.setValue(HALF_WAY)
        self.threshold.setToolTip("Contacts below this distance are merged; 1.5 is half way.")
        self.histogram = DistanceHistogram()
        self.count = QLabel()
        self.done_box = QCheckBox("Leave out what is done")
        self.done_box.setToolTip("Segments marked done stay as they are, instead of a refusal.")
        self._build()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_DELAY_MS)
        self._timer.timeout.connect(self._begin)
        self._connect()
        self._show()

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        row = QHBoxLayout()
        self.scope.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        row.addWidget(self.scope, 1)
        row.addWidget(QLabel("below"))
        row.addWidget(self.threshold)
        layout.addLayout(row)
        layout.addWidget(self.histogram, 1)
        line = QHBoxLayout()
        line.addWidget(self.count, 1)
        line.addWidget(self.done_box)
        layout.addLayout(line)

    def _connect(self) -> None:
        controller = self._controller
        self.histogram.threshold_changed.connect(self.threshold.setValue)
        self.threshold.valueChanged.connect(self._on_threshold_changed)
        self.scope.currentIndexChanged.connect(self._on_scope_changed)
        self.done_box.toggled.connect(self._count_soon)
        controller.session_changed.connect(self._on_session_changed)
        controller.selection_changed.connect(self._on_selection_changed)
        controller.edited.connect(self._count_soon)
        controller.distances_changed.connect(self._count_soon)
        self._counting.answered.connect(self._on_counted)
        self._counting.failed.connect(
            lambda facts: controller.message.emit(error_text(facts), True)
        )

    # what is meant

    def wish(self, *, force: bool = False) -> MergeWish:
        """Return what the form asks for as it stands.

        Parameters
        ----------
        force : bool
            Also where segments that are done would change.
        """
        scope = self.scope.currentData()
        return MergeWish(
            self._distance,
            view_box(self._controller) if scope == _NEAR else None,
            tuple(self._controller.selected) if scope == _SELECTED else None,
            self.done_box.isChecked(),
            force,
        )

    @property
    def merges(self) -> int:
        """How many merges lie below the line; 0 until they are counted."""
        return 0 if self._order is None else self._order.merges_below(self._distance)

    @property
    def _distance(self) -> float:
        # A spin box adds steps of 0.05 up; what it shows has two digits.
        return round(self.threshold.value(), 2)

    def _on_threshold_changed(self, _value: float) -> None:
        self.histogram.set_threshold(self._distance)
        self._show()
        self.threshold_changed.emit()

    def _on_scope_changed(self, _index: int) -> None:
        self._listen()
        self._count_soon()

    def _on_selection_changed(self) -> None:
        if self.scope.currentData() == _SELECTED:
            self._count_soon()

    def _on_session_changed(self) -> None:
        self._counting.forget()
        self._order = None
        self._listen()
        self._show()
        self._count_soon()

    # counting

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802
        """Work only while somebody looks."""
        super().showEvent(event)
        self._listen()
        self._begin()

    def hideEvent(self, event: QHideEvent | None) -> None:  # noqa: N802
        """Rest."""
        super().hideEvent(event)
        self._listen()

    def _listen(self) -> None:
        """Follow the view, only while it matters: a closed dock must not hear of the viewer."""
        wanted = self._controller.session is not None and self.isVisible()
        wanted = wanted and self.scope.currentData() == _NEAR
        if wanted != self._listening:
            self._listening = wanted
            viewer = self._controller.viewer
            for events in (viewer.scene.camera.events, viewer.dims.events):
                (events.connect if wanted else events.disconnect)(self._count_soon)

    def _count_soon(self, _what: Any = None) -> None:
        if self.isVisible():
            self._timer.start()

    def _begin(self) -> None:
        session, wish = self._controller.session, self.wish()
        if session is not None and self.isVisible():
            self._counting.ask(lambda: wish.order(session))

    def _on_counted(self, order: MergeOrder) -> None:
        self._order = order
        unselected = self.scope.currentData() == _SELECTED and not self._controller.selected
        self.histogram.show_distances(
            order.contacts.distance, empty_text=_NONE_SELECTED if unselected else _NONE_KNOWN
        )
        self._show()
        self.counted.emit()

    def _show(self) -> None:
        order, merges = self._order, self.merges
        if order is None:
            self.histogram.show_distances(np.zeros(0, np.float32))
        self.count.setText(
            "" if order is None else f"{merges:,} merge{'' if merges == 1 else 's'} below"
        )
        unknown = 0 if order is None else order.unknown
        self.count.setToolTip(
            f"{unknown:,} more contacts between segments have no distance yet." if unknown else ""
        )
