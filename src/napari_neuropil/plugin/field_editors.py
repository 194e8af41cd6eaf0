"""One editor for each kind of settings field: number, choice, yes/no, text, a tuple, or nothing.

An editor is a widget with `value()`, `set_value()` and the signal `changed`. Which one a field
gets follows from its annotation alone, so a new setting needs no Qt code.
"""

from __future__ import annotations

import enum
import math
import types
from pathlib import Path
from typing import Any, Final, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QSpinBox,
    QWidget,
)

_INT_LIMIT: Final = 2**31 - 1
_FLOAT_LIMIT: Final = 1e12


class Editor(QWidget):
    """Base of all editors."""

    changed = Signal()

    def __init__(self, child: QWidget | None = None) -> None:
        super().__init__()
        self._row = QHBoxLayout(self)
        self._row.setContentsMargins(0, 0, 0, 0)
        self._row.setSpacing(4)
        if child is not None:
            self._row.addWidget(child)
            self.setFocusProxy(child)

    def value(self) -> Any:
        """Return the Python value."""
        raise NotImplementedError

    def set_value(self, value: Any) -> None:
        """Show a Python value."""
        raise NotImplementedError


def _calm(box: QAbstractSpinBox | QComboBox) -> None:
    """Keep the wheel for scrolling the dock, unless the box was clicked into."""
    box.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    box.setMinimumWidth(40)


class _IntBox(QSpinBox):
    def wheelEvent(self, event: QWheelEvent | None) -> None:  # noqa: N802
        _wheel(self, event)


class FloatBox(QDoubleSpinBox):
    """A number box that shows no trailing zeros and leaves the wheel to the dock."""

    def wheelEvent(self, event: QWheelEvent | None) -> None:  # noqa: N802
        """Scroll the dock unless the box was clicked into."""
        _wheel(self, event)

    def textFromValue(self, value: float) -> str:  # noqa: N802
        """Show no trailing zeros: 0.25, not 0.250000."""
        return f"{value:.{self.decimals()}f}".rstrip("0").rstrip(".") or "0"


class _ChoiceBox(QComboBox):
    def wheelEvent(self, event: QWheelEvent | None) -> None:  # noqa: N802
        _wheel(self, event)


def _wheel(box: Any, event: QWheelEvent | None) -> None:
    if event is None:
        return
    if box.hasFocus():
        super(type(box), box).wheelEvent(event)
    else:
        event.ignore()


class IntEditor(Editor):
    """A whole number within bounds."""

    def __init__(self, low: float, high: float, unit: str) -> None:
        self._box = _IntBox()
        super().__init__(self._box)
        _calm(self._box)
        self._box.setRange(int(max(low, -_INT_LIMIT)), int(min(high, _INT_LIMIT)))
        self._box.setSuffix(f" {unit}" if unit else "")
        self._box.valueChanged.connect(self.changed)

    def value(self) -> int:
        """Return the number."""
        return int(self._box.value())

    def set_value(self, value: Any) -> None:
        """Show a number."""
        self._box.setValue(int(value))


class FloatEditor(Editor):
    """A number within bounds; keeps the exact value it was given until the user edits it."""

    def __init__(self, low: float, high: float, unit: str) -> None:
        self._box = FloatBox()
        super().__init__(self._box)
        _calm(self._box)
        self._box.setDecimals(6)
        self._box.setRange(max(low, -_FLOAT_LIMIT), min(high, _FLOAT_LIMIT))
        self._box.setStepType(QDoubleSpinBox.StepType.AdaptiveDecimalStepType)
        self._box.setSuffix(f" {unit}" if unit else "")
        self._exact: tuple[float, float] | None = None
        self._box.valueChanged.connect(self.changed)

    def value(self) -> float:
        """Return the number; the box rounds to 6 digits, an untouched value is not rounded."""
        shown = float(self._box.value())
        if self._exact is not None and self._exact[0] == shown:
            return self._exact[1]
        return shown

    def set_value(self, value: Any) -> None:
        """Show a number."""
        self._box.setValue(float(value))
        shown = float(self._box.value())
        # Where the bounds have moved the value, what is shown holds.
        self._exact = (shown, float(value)) if abs(shown - float(value)) < 1e-6 else None


class BoolEditor(Editor):
    """Yes or no."""

    def __init__(self) -> None:
        self._box = QCheckBox()
        super().__init__(self._box)
        self._box.toggled.connect(self.changed)

    def value(self) -> bool:
        """Return whether it is ticked."""
        return bool(self._box.isChecked())

    def set_value(self, value: Any) -> None:
        """Tick or untick."""
        self._box.setChecked(bool(value))


class ChoiceEditor(Editor):
    """One of a few values."""

    def __init__(self, choices: list[Any]) -> None:
        self._choices = choices
        self._box = _ChoiceBox()
        super().__init__(self._box)
        _calm(self._box)
        for choice in choices:
            self._box.addItem(_words(choice))
        self._box.currentIndexChanged.connect(self.changed)

    def value(self) -> Any:
        """Return the chosen value."""
        return self._choices[self._box.currentIndex()]

    def set_value(self, value: Any) -> None:
        """Choose a value."""
        self._box.setCurrentIndex(self._choices.index(value))


def _words(choice: Any) -> str:
    text = choice.value if isinstance(choice, enum.Enum) else choice
    return str(text).replace("_", " ")


class TextEditor(Editor):
    """A text or a path."""

    def __init__(self, kind: type) -> None:
        self._kind = kind
        self._box = QLineEdit()
        super().__init__(self._box)
        self._box.textChanged.connect(self.changed)

    def value(self) -> Any:
        """Return the text, or the path."""
        return self._kind(self._box.text())

    def set_value(self, value: Any) -> None:
        """Show a text or a path."""
        self._box.setText(str(value))


class TupleEditor(Editor):
    """A few values side by side, for example (z, y, x)."""

    def __init__(self, editors: list[Editor]) -> None:
        super().__init__()
        self._editors = editors
        for editor in editors:
            self._row.addWidget(editor)
            editor.changed.connect(self.changed)

    def value(self) -> tuple[Any, ...]:
        """Return the values in order."""
        return tuple(editor.value() for editor in self._editors)

    def set_value(self, value: Any) -> None:
        """Show the values in order."""
        for editor, part in zip(self._editors, value, strict=True):
            editor.set_value(part)


class OptionalEditor(Editor):
    """A value or None: a tick says whether there is one; without it the program decides."""

    def __init__(self, inner: Editor) -> None:
        self._tick = QCheckBox()
        self._tick.setToolTip("Ticked: use the value beside. Not ticked: automatic.")
        super().__init__(self._tick)
        self._inner = inner
        # In place of the box: a number in grey would look like the one that is used.
        self._automatic = QLabel("automatic")
        self._automatic.setEnabled(False)
        self._row.addWidget(inner, 1)
        self._row.addWidget(self._automatic, 1)
        self._tick.toggled.connect(self._on_toggled)
        inner.changed.connect(self.changed)
        self._show()

    def value(self) -> Any:
        """Return the value, or None without the tick."""
        return self._inner.value() if self._tick.isChecked() else None

    def set_value(self, value: Any) -> None:
        """Show a value; None takes the tick away."""
        if value is not None:
            self._inner.set_value(value)
        self._tick.setChecked(value is not None)

    def _on_toggled(self, _on: bool) -> None:
        self._show()
        self.changed.emit()

    def _show(self) -> None:
        self._inner.setVisible(self._tick.isChecked())
        self._automatic.setVisible(not self._tick.isChecked())


def editor_for(field: FieldInfo) -> Editor:
    """Return the editor for a settings field.

    Parameters
    ----------
    field : FieldInfo
        `annotation`, bounds and `json_schema_extra["unit"]` are used.

    Raises
    ------
    TypeError
        If no editor knows the annotation: a setting of a new kind needs an editor here.
    """
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    return _editor(field.annotation, *_bounds(field), unit=str(extra.get("unit") or ""))


def _bounds(field: FieldInfo) -> tuple[float, float]:
    """Return the inclusive bounds; an exclusive one moves by the smallest step shown."""
    low, high = -math.inf, math.inf
    step = 1.0 if _plain(field.annotation) is int else 1e-6
    for rule in field.metadata:
        if getattr(rule, "ge", None) is not None:
            low = float(rule.ge)
        if getattr(rule, "gt", None) is not None:
            low = float(rule.gt) + step
        if getattr(rule, "le", None) is not None:
            high = float(rule.le)
        if getattr(rule, "lt", None) is not None:
            high = float(rule.lt) - step
    return low, high


def _plain(annotation: Any) -> Any:
    """Return X of `X | None`, else the annotation itself."""
    rest = [a for a in get_args(annotation) if a is not type(None)]
    is_union = get_origin(annotation) in (Union, types.UnionType)
    return rest[0] if is_union and len(rest) == 1 else annotation


def _editor(annotation: Any, low: float, high: float, *, unit: str) -> Editor:
    plain = _plain(annotation)
    if plain is not annotation:
        return OptionalEditor(_editor(plain, low, high, unit=unit))
    origin, arguments = get_origin(annotation), get_args(annotation)
    if hasattr(annotation, "__metadata__"):
        return _editor(arguments[0], low, high, unit=unit)
    if origin is Literal:
        return ChoiceEditor(list(arguments))
    if origin is tuple and Ellipsis not in arguments:
        return TupleEditor([_editor(a, low, high, unit=unit) for a in arguments])
    if isinstance(annotation, type):
        if issubclass(annotation, enum.Enum):
            return ChoiceEditor(list(annotation))
        if issubclass(annotation, bool):
            return BoolEditor()
        if issubclass(annotation, int):
            return IntEditor(low, high, unit)
        if issubclass(annotation, float):
            return FloatEditor(low, high, unit)
        if issubclass(annotation, str | Path):
            return TextEditor(annotation)
    raise TypeError(f"no editor for a setting of type {annotation}")
