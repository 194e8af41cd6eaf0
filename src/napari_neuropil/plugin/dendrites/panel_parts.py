"""Small things that the dock's boxes are built from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QPushButton, QWidget

PRIMARY: Final = """
QPushButton { font-weight: bold; padding: 6px; background-color: #2979c9; color: white; }
QPushButton:hover { background-color: #3b8ee0; }
QPushButton:disabled { background-color: #3d434d; color: #8b919b; }
"""
CHECKED: Final = """
QPushButton { padding: 5px; }
QPushButton:checked { background-color: #2979c9; color: white; }
"""


def button(text: str, tip: str, clicked: Callable[[], Any]) -> QPushButton:
    """Return a button that calls a function without arguments."""
    made = QPushButton(text)
    made.setToolTip(tip)
    made.clicked.connect(lambda _checked=False: clicked())
    return made


def combo(tip: str) -> QComboBox:
    """Return an empty menu that long entries do not make wider than the dock."""
    made = QComboBox()
    made.setToolTip(tip)
    made.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    return made


def row(*widgets: QWidget, stretch: int | None = None) -> QHBoxLayout:
    """Return widgets side by side; the one at `stretch` takes the room that is left."""
    layout = QHBoxLayout()
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(4)
    for place, widget in enumerate(widgets):
        layout.addWidget(widget, 1 if place == stretch else 0)
    return layout


def text_line() -> QLabel:
    """Return a label for text that may be long."""
    label = QLabel()
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label


def say(label: QLabel, text: str, *, error: bool = False) -> None:
    """Show a text, an error in red; an empty one takes no room."""
    label.setText(text)
    label.setStyleSheet("color: #ff6b60;" if error else "")
    label.setVisible(bool(text))
