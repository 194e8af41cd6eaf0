"""Scores against truth in the window: as segmented, now, and the curve over the edits."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from qtpy.QtCore import Qt, QTimer, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QComboBox, QGridLayout, QLabel, QProgressBar, QVBoxLayout, QWidget

from napari_neuropil.plugin.curve_widget import CurveWidget
from napari_neuropil.plugin.layers import facts_of, finest_data, voxel_size_of
from napari_neuropil.plugin.score_history import ScoreHistory
from napari_neuropil.plugin.worker import error_text

if TYPE_CHECKING:
    from napari.layers import Labels, Layer  # type: ignore[import-untyped]

    from napari_neuropil.plugin.proofread_controller import ProofreadController
    from napari_neuropil.proofreading import Delta, ProofreadingSession

_NONE: Final = "choose the layer of the truth"
_ROWS: Final = (
    ("VI split", "voi_split", "#ffb000", "Neurons in several segments, bits; 0 is perfect."),
    ("VI merge", "voi_merge", "#5c9dff", "Segments over several neurons, bits; 0 is perfect."),
    ("VI", "voi", "#e6e8eb", "Their sum, bits."),
    ("adapted Rand error", "adapted_rand_error", "#36c275", "0 is perfect, 1 the worst."),
)
_BETTER: Final = "#36c275"
_WORSE: Final = "#ff6b60"
_DELAY_MS: Final = 60
_ALIGNMENT: Final = 1e-3


class EvaluationBox(QWidget):
    """Scores of the session against a labels layer.

    Parameters
    ----------
    controller : ProofreadController
        Session and viewer.
    parent : QWidget, optional
        The owner.
    """

    _progressed = Signal(int, int)

    def __init__(self, controller: ProofreadController, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._layers: list[Labels] = []
        self._stop = threading.Event()
        self._history: ScoreHistory | None = None
        self._counting = False
        self.combo = QComboBox()
        self.combo.setToolTip("A labels layer with the truth; voxels of 0 are left out.")
        self.combo.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setMaximumHeight(8)
        self.message = QLabel()
        self.message.setWordWrap(True)
        self.cells = {name: (QLabel("–"), QLabel("–")) for _, name, _, _ in _ROWS}
        self.curve = CurveWidget("edits")
        self._build()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_DELAY_MS)
        self._timer.timeout.connect(self._follow)
        self.combo.currentIndexChanged.connect(self._on_chosen)
        self._progressed.connect(self._on_progressed)
        controller.session_changed.connect(self._on_session_changed)
        controller.edited.connect(self._on_edited)
        self._listening = False
        self._on_session_changed()

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.combo)
        layout.addWidget(self.bar)
        layout.addWidget(self.message)
        grid = QGridLayout()
        grid.setHorizontalSpacing(12)
        for column, title in enumerate(("as segmented", "now"), start=1):
            grid.addWidget(_right(QLabel(title)), 0, column)
        for row, (title, name, colour, tip) in enumerate(_ROWS, start=1):
            label = QLabel(f'<span style="color:{colour}">■</span> {title}')
            label.setToolTip(tip)
            grid.addWidget(label, row, 0)
            for column, cell in enumerate(self.cells[name], start=1):
                grid.addWidget(_right(cell), row, column)
        grid.setColumnStretch(0, 1)
        layout.addLayout(grid)
        layout.addWidget(self.curve, 1)

    # the choice

    def _on_layers_changed(self, _event: Any = None) -> None:
        chosen = self.layer
        self._layers = [x for x in self._controller.viewer.layers if self._may_be_truth(x)]
        self.combo.blockSignals(True)
        self.combo.clear()
        self.combo.addItem(_NONE)
        self.combo.addItems([layer.name for layer in self._layers])
        if chosen in self._layers:
            self.combo.setCurrentIndex(self._layers.index(chosen) + 1)
        self.combo.blockSignals(False)
        if self.layer is not chosen:
            self._on_chosen()

    def _may_be_truth(self, layer: Layer) -> bool:
        facts = facts_of(layer)
        return (
            type(layer).__name__ == "Labels"
            and layer.ndim == 3
            and layer is not self._controller.segments_layer
            and not {"overlay", "project"} & set(facts)
        )

    @property
    def layer(self) -> Labels | None:
        """The layer chosen as truth."""
        index = self.combo.currentIndex() - 1
        return self._layers[index] if 0 <= index < len(self._layers) else None

    def _on_session_changed(self) -> None:
        # Only while a project is open: a closed dock must not hear of layers.
        listen, events = self._controller.session is not None, self._controller.viewer.layers.events
        if listen != self._listening:
            for emitter in (events.inserted, events.removed):
                (emitter.connect if listen else emitter.disconnect)(self._on_layers_changed)
            self._listening = listen
        self._on_layers_changed()
        self._on_chosen()

    def _on_chosen(self, _index: int = 0) -> None:
        self._stop.set()
        self._stop = threading.Event()
        self._history = None
        self._counting = False
        session, layer = self._controller.session, self.layer
        self._show()
        if session is None or layer is None:
            self._say("")
            return
        offset = self._offset_of(layer)
        if offset is None:
            self._say(
                f"{layer.name} does not lie on the voxels of the segments: give it the same voxel "
                "size, and a place that is a whole number of voxels away."
            )
            return
        self._counting = True
        self._say("Counting voxels ...")
        data, stop, edits, cursor = finest_data(layer), self._stop, session.edits, session.cursor

        def count() -> tuple[threading.Event, ScoreHistory]:
            history = ScoreHistory(
                session, data, offset, report=self._progressed.emit, stop=stop.is_set
            )
            history.follow(edits, cursor)
            return stop, history

        self._controller.in_background(count, self._on_counted, partial(self._on_failed, stop))

    def _offset_of(self, layer: Labels) -> tuple[int, int, int] | None:
        """Return the voxel of the segments at which the truth begins; None if grids differ."""
        segments = self._controller.segments_layer
        if segments is None:
            return None
        if voxel_size_of(layer) is None and tuple(layer.data.shape) == tuple(segments.data.shape):
            return 0, 0, 0
        corners = [segments.world_to_data(layer.data_to_world(p)) for p in ((0, 0, 0), (1, 1, 1))]
        place, step = np.asarray(corners[0]), np.subtract(corners[1], corners[0])
        whole = np.round(place)
        if np.abs(step - 1).max() > _ALIGNMENT or np.abs(place - whole).max() > 0.5 - _ALIGNMENT:
            return None
        z, y, x = (int(n) for n in whole)
        return z, y, x

    # the scores

    def _on_progressed(self, done: int, total: int) -> None:
        if self._counting:
            self.bar.setRange(0, total)
            self.bar.setValue(done)

    def _on_counted(self, result: tuple[threading.Event, ScoreHistory]) -> None:
        stop, history = result
        if stop is self._stop:
            self._counting = False
            self._history = history
            self._say("")
            self._follow()

    def _on_failed(self, stop: threading.Event, error: dict[str, Any]) -> None:
        if stop is self._stop:
            self._counting = False
            self._say(error_text(error))

    def _on_edited(self, _delta: Delta) -> None:
        self._timer.start()

    def _follow(self) -> None:
        session: ProofreadingSession | None = self._controller.session
        if self._history is not None and session is not None:
            self._history.follow(session.edits, session.cursor)
            self._show()

    def _say(self, text: str) -> None:
        self.message.setText(text)
        self.message.setVisible(bool(text))
        self.bar.setVisible(self._counting)

    def _show(self) -> None:
        history = self._history
        if history is None:
            for cells in self.cells.values():
                for cell in cells:
                    cell.setText("–")
                    cell.setStyleSheet("")
            self.curve.show_lines([])
            return
        for name, (first, now) in self.cells.items():
            before, after = getattr(history.first, name), getattr(history.now, name)
            first.setText(f"{before:.4f}")
            now.setText(f"{after:.4f}")
            changed = round(after - before, 6)
            colour = _BETTER if changed < 0 else _WORSE
            now.setStyleSheet(f"color: {colour};" if changed else "")
        curve = history.curve
        self.curve.show_lines(
            [(title, colour, [getattr(s, name) for s in curve]) for title, name, colour, _ in _ROWS]
        )


def _right(label: QLabel) -> QLabel:
    label.setAlignment(Qt.AlignmentFlag.AlignRight)
    return label
