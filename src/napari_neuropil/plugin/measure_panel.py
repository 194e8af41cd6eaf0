"""How the work goes: the meter of this session, and scores against truth where there is some."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_neuropil.plugin.evaluation_box import EvaluationBox
from napari_neuropil.plugin.meter_box import MeterBox

if TYPE_CHECKING:
    from napari_neuropil.plugin.proofread_controller import ProofreadController


class MeasurePanel(QWidget):
    """Meter above, evaluation below.

    Parameters
    ----------
    controller : ProofreadController
        Session and viewer.
    parent : QWidget, optional
        The owner.
    """

    def __init__(self, controller: ProofreadController, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.meter = MeterBox(controller)
        self.evaluation = EvaluationBox(controller)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addWidget(self.meter)
        layout.addWidget(QLabel("<b>Against truth</b>"))
        layout.addWidget(self.evaluation, 1)
