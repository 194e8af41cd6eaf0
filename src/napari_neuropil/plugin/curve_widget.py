"""A small line plot, painted by Qt itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 10.0, 20.0, 30.0
_GRID: Final = "#454c57"
_TEXT: Final = "#c5cad1"
_MOST_POINTS: Final = 2000


class CurveWidget(QWidget):
    """Lines over whole numbers: scores over edits.

    Parameters
    ----------
    x_title : str
        Below the axis.
    parent : QWidget, optional
        The owner.
    """

    def __init__(self, x_title: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._x_title = x_title
        self._lines: list[tuple[str, str, list[float]]] = []
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumHeight(140)

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return a size that fits a dock."""
        return QSize(330, 180)

    @property
    def lines(self) -> list[tuple[str, str, list[float]]]:
        """Name, colour and values of each line."""
        return list(self._lines)

    def show_lines(self, lines: Sequence[tuple[str, str, Sequence[float]]]) -> None:
        """Show lines of equal length.

        Parameters
        ----------
        lines : sequence of (name, colour, values)
            Value i stands at x = i.
        """
        self._lines = [(name, colour, list(values)) for name, colour, values in lines]
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: N802
        """Paint axes, lines and their names."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        count = max((len(values) for _, _, values in self._lines), default=0)
        if count == 0:
            painter.setPen(QColor(_TEXT))
            painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, "no scores yet")
            return
        box = QRectF(_LEFT, _TOP, self.width() - _LEFT - _RIGHT, self.height() - _TOP - _BOTTOM)
        highest = max((v for _, _, values in self._lines for v in values), default=0.0)
        step = nice_step(highest)
        top = step * max(1, math.ceil(highest / step - 1e-9))
        self._paint_axes(painter, box, count - 1, step, top)
        at = _LEFT
        for name, colour, values in self._lines:
            painter.setPen(QPen(QColor(colour), 2))
            every = max(1, len(values) // _MOST_POINTS)
            picked = sorted({*range(0, len(values), every), len(values) - 1})
            points = [
                QPointF(
                    box.left() + box.width() * i / max(1, count - 1),
                    box.bottom() - box.height() * values[i] / top,
                )
                for i in picked
            ]
            painter.drawPolyline(QPolygonF(points))
            painter.setBrush(QColor(colour))
            painter.drawEllipse(points[-1], 3, 3)
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawText(QPointF(at, 13), name)
            at += painter.fontMetrics().horizontalAdvance(name) + 14

    def _paint_axes(
        self, painter: QPainter, box: QRectF, last: int, step: float, top: float
    ) -> None:
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        for line in range(round(top / step) + 1):
            y = box.bottom() - box.height() * line * step / top
            painter.setPen(QPen(QColor(_GRID), 1))
            painter.drawLine(QPointF(box.left(), y), QPointF(box.right(), y))
            painter.setPen(QColor(_TEXT))
            painter.drawText(QRectF(0, y - 9, _LEFT - 5, 18), right, f"{line * step:.3g}")
        below = QRectF(box.left(), box.bottom() + 3, box.width(), 16)
        painter.drawText(below, Qt.AlignmentFlag.AlignLeft, "0")
        painter.drawText(below, Qt.AlignmentFlag.AlignRight, str(last))
        painter.drawText(below, Qt.AlignmentFlag.AlignHCenter, self._x_title)


def nice_step(highest: float) -> float:
    """Return a step of 1, 2 or 5 times a power of ten that divides [0, highest] in 3 to 6."""
    if highest <= 0:
        return 0.25
    raw = highest / 4
    power = 10.0 ** math.floor(math.log10(raw))
    return next(m * power for m in (1.0, 2.0, 5.0, 10.0) if m * power >= raw)
