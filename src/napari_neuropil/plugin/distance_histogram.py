"""A histogram of distances with a line to drag, painted by Qt itself."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_neuropil.plugin.contact_layers import merge_likeness, score_colours
from napari_neuropil.plugin.curve_widget import nice_step
from napari_neuropil.segmentation.metric_offsets import HALF_WAY

if TYPE_CHECKING:
    from qtpy.QtGui import QKeyEvent, QMouseEvent

_LEFT, _RIGHT, _TOP, _BOTTOM = 40.0, 10.0, 18.0, 30.0
_BIN: Final = 0.1
_SHORTEST, _LONGEST = 2 * HALF_WAY, 12.0
"""Bounds of the axis; what lies beyond stands in the last bar."""

_STEP, _STRIDE = 0.05, 0.5
_GRID: Final = "#454c57"
_TEXT: Final = "#c5cad1"
_LINE: Final = "#ffffff"
_EDGE: Final = "#8d959f"
_FOCUS: Final = "#2979c9"
_PALE: Final = 110


class DistanceHistogram(QWidget):
    """Bars over distances, and the threshold.

    Bars below the line are in full colour: these would be merged. Heights grow with the square
    root of the number, or the few below would not be seen beside the many above.

    Parameters
    ----------
    parent : QWidget, optional
        The owner.

    Signals
    -------
    threshold_changed : float
        By mouse or keyboard; not sent for `set_threshold`.
    """

    threshold_changed = Signal(float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._counts: NDArray[np.int64] = np.zeros(0, np.int64)
        self.longest = _SHORTEST
        self.threshold = HALF_WAY
        self.empty_text = ""
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumHeight(110)
        self.setAccessibleName("Histogram of embedding distances")
        self.setToolTip(
            "Contacts between segments by the distance of their mean embeddings. Drag the line, or "
            "move it with the arrow keys, Page up and down; Home puts it at 1.5. Heights grow with "
            "the square root of the number."
        )

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return a size that fits a dock."""
        return QSize(330, 140)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Contacts in each bar, 0.1 wide."""
        return self._counts

    def show_distances(self, distance: NDArray[np.float32], *, empty_text: str = "") -> None:
        """Show distances.

        Parameters
        ----------
        distance : NDArray[np.float32]
            (n,) all known, in any order.
        empty_text : str
            What to say where there is none.
        """
        self.empty_text = empty_text
        if len(distance):
            # A few far ones must not push all others together.
            far = float(np.quantile(distance, 0.99))
            self.longest = float(np.clip(math.ceil(2 * far) / 2, _SHORTEST, _LONGEST))
            bins = round(self.longest / _BIN)
            # As whole steps: 0.1 has no exact number, and 1.5 must begin a bar of its own.
            bar = np.floor(distance.astype(np.float64) / _BIN + 1e-6).astype(np.int64)
            self._counts = np.bincount(np.clip(bar, 0, bins - 1), minlength=bins)
        else:
            self._counts = np.zeros(0, np.int64)
        self.update()

    def set_threshold(self, threshold: float) -> None:
        """Move the line without saying so."""
        self.threshold = threshold
        self.update()

    # the hand

    def mousePressEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802
        """Bring the line here."""
        if event is not None and event.button() == Qt.MouseButton.LeftButton:
            self._move_to(self._distance_at(event.position().x()))

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802
        """Drag the line."""
        if event is None:
            return
        if event.buttons() & Qt.MouseButton.LeftButton:
            self._move_to(self._distance_at(event.position().x()))
        near = abs(event.position().x() - self._x_of(self.threshold)) < 6
        self.setCursor(Qt.CursorShape.SplitHCursor if near else Qt.CursorShape.ArrowCursor)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:  # noqa: N802
        """Move the line."""
        if event is None:
            return
        steps: dict[int, float] = {
            Qt.Key.Key_Left: -_STEP,
            Qt.Key.Key_Down: -_STEP,
            Qt.Key.Key_Right: _STEP,
            Qt.Key.Key_Up: _STEP,
            Qt.Key.Key_PageDown: -_STRIDE,
            Qt.Key.Key_PageUp: _STRIDE,
        }
        if event.key() in steps:
            self._move_to(self.threshold + steps[event.key()])
        elif event.key() == Qt.Key.Key_Home:
            self._move_to(HALF_WAY)
        else:
            super().keyPressEvent(event)

    def _move_to(self, distance: float) -> None:
        wanted = round(min(self.longest, max(0.01, distance)), 2)
        if wanted != self.threshold:
            self.set_threshold(wanted)
            self.threshold_changed.emit(wanted)

    # the picture

    @property
    def _box(self) -> QRectF:
        return QRectF(_LEFT, _TOP, self.width() - _LEFT - _RIGHT, self.height() - _TOP - _BOTTOM)

    def _x_of(self, distance: float) -> float:
        box = self._box
        return box.left() + box.width() * min(distance, self.longest) / self.longest

    def _distance_at(self, x: float) -> float:
        box = self._box
        return (x - box.left()) / max(1.0, box.width()) * self.longest

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: N802
        """Paint axes, bars and the line."""
        painter = QPainter(self)
        if not len(self._counts):
            painter.setPen(QColor(_TEXT))
            middle = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
            painter.drawText(self.rect(), middle, self.empty_text)
            return
        box = self._box
        # Four round steps: under the root, half the height is one of them.
        top = 4 * max(1, round(nice_step(float(self._counts.max()))))
        self._paint_axes(painter, box, top)
        self._paint_bars(painter, box, top)
        self._paint_line(painter, box)
        if self.hasFocus():
            painter.setPen(QPen(QColor(_FOCUS), 1))
            painter.drawRect(self.rect().adjusted(0, 0, -1, -1))

    def _paint_axes(self, painter: QPainter, box: QRectF, top: int) -> None:
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        for share in (0.0, 0.5, 1.0):
            y = box.bottom() - box.height() * share
            painter.setPen(QPen(QColor(_GRID), 1))
            painter.drawLine(QPointF(box.left(), y), QPointF(box.right(), y))
            painter.setPen(QColor(_TEXT))
            painter.drawText(QRectF(0, y - 9, _LEFT - 5, 18), right, _short(top * share**2))
        centre = Qt.AlignmentFlag.AlignHCenter
        step = nice_step(self.longest)
        for i in range(int(self.longest / step + 1e-9) + 1):
            x = self._x_of(i * step)
            painter.drawText(QRectF(x - 20, box.bottom() + 1, 40, 14), centre, f"{i * step:g}")
        below = QRectF(box.left(), box.bottom() + 14, box.width(), 16)
        painter.drawText(below, centre, "embedding distance")

    def _paint_bars(self, painter: QPainter, box: QRectF, top: int) -> None:
        middles, edge = (np.arange(len(self._counts)) + 0.5) * _BIN, QColor(_EDGE)
        for i, (r, g, b, _) in enumerate(score_colours(merge_likeness(middles)).tolist()):
            count = int(self._counts[i])
            if not count:
                continue
            colour = QColor.fromRgbF(r, g, b)
            if middles[i] > self.threshold:
                colour.setAlpha(_PALE)
            left, right = self._x_of(i * _BIN), self._x_of((i + 1) * _BIN)
            height = max(2.0, box.height() * math.sqrt(count / top))
            bar = QRectF(left, box.bottom() - height, max(1.0, right - left - 1), height)
            painter.fillRect(bar, colour)
            # Dark on dark without it.
            painter.fillRect(QRectF(bar.left(), bar.top() - 1, bar.width(), 1), edge)

    def _paint_line(self, painter: QPainter, box: QRectF) -> None:
        x = self._x_of(self.threshold)
        painter.setPen(QPen(QColor(_LINE), 2))
        painter.drawLine(QPointF(x, box.top() - 3), QPointF(x, box.bottom()))
        label = QRectF(min(max(x - 30, 0.0), self.width() - 60.0), 0, 60, 15)
        painter.drawText(label, Qt.AlignmentFlag.AlignCenter, f"{self.threshold:.2f}")


def _short(count: float) -> str:
    """Return for example ``950``, ``12k`` or ``3.4M``."""
    for unit in ("", "k"):
        if count < 1000:
            return f"{count:.3g}{unit}"
        count /= 1000
    return f"{count:.3g}M"
