"""A form made from a settings model; the model stays the only home of names, help and bounds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QFormLayout, QLabel, QVBoxLayout, QWidget
from superqt import QCollapsible

from napari_neuropil.errors import SettingsError
from napari_neuropil.plugin.field_editors import Editor, editor_for


class SettingsForm(QWidget):
    """Shows the fields of a settings model; advanced ones are folded away.

    Parameters
    ----------
    model : type of BaseModel
        Every field has a title, a description (the tooltip) and
        `json_schema_extra={"unit": ..., "advanced": bool}`. Nested models become dotted names.
    parent : QWidget, optional
        The owner.
    """

    changed = Signal()

    def __init__(self, model: type[BaseModel], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model = model
        self._editors: dict[str, Editor] = {}
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        basic, advanced = _form(), _form()
        self.advanced = QCollapsible("Advanced settings", collapsedIcon="▶", expandedIcon="▼")
        self.advanced.setDuration(0)
        for name, field in _fields(model):
            editor = editor_for(field)
            label = QLabel(field.title or name.rsplit(".", 1)[-1].replace("_", " ").capitalize())
            label.setBuddy(editor)
            for widget in (label, editor):
                widget.setToolTip(_help(name, field))
            editor.changed.connect(self.changed)
            self._editors[name] = editor
            (advanced if _is_advanced(field) else basic).addRow(label, editor)
        layout.addLayout(basic)
        if advanced.rowCount():
            inner = QWidget()
            inner.setLayout(advanced)
            self.advanced.addWidget(inner)
            layout.addWidget(self.advanced)
        layout.addStretch(1)
        self._fill({})

    def editor(self, name: str) -> Editor:
        """Return the editor of a field, by its dotted name."""
        return self._editors[name]

    def settings(self) -> BaseModel:
        """Return the settings as the form shows them.

        Raises
        ------
        SettingsError
            If the model refuses a combination of values.
        """
        values: dict[str, Any] = {}
        for name, editor in self._editors.items():
            _place(values, name.split("."), editor.value())
        try:
            return self.model.model_validate(values)
        except ValidationError as error:
            found = "; ".join(
                f"{'.'.join(str(p) for p in item['loc']) or 'settings'} = {item['input']!r}"
                for item in error.errors(include_url=False)
            )
            raise SettingsError(
                f"Bad setting: {found}.",
                "; ".join(item["msg"] for item in error.errors(include_url=False)),
                "hover over the field to read its bounds.",
            ) from error

    def set_settings(self, settings: BaseModel) -> None:
        """Show the values of a settings model."""
        self._fill({name: _get(settings, name) for name in self._editors})

    def reset(self) -> None:
        """Show the defaults."""
        self._fill({})

    def arguments(self) -> list[str]:
        """Return `--set name=value` for every field that differs from its default."""
        settings, defaults = self.settings(), dict(_fields(self.model))
        words: list[str] = []
        for name, field in defaults.items():
            value = _get(settings.model_dump(mode="json"), name)
            default = _default(field)
            if default is None and value is None:
                continue
            if _get(settings, name) != default:
                words += ["--set", f"{name}={json.dumps(value)}"]
        return words

    def _fill(self, values: dict[str, Any]) -> None:
        for name, field in _fields(self.model):
            value = values.get(name, _default(field))
            # A required field has no default; its editor keeps its own first value.
            if value is not None or name in values or not field.is_required():
                self._editors[name].set_value(value)


def _form() -> QFormLayout:
    layout = QFormLayout()
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setVerticalSpacing(4)
    layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    return layout


def _fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield (dotted name, field) of a model and the models nested in it."""
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            outer = field.get_default(call_default_factory=True, validated_data={})
            for dotted, nested in _fields(inner, f"{prefix}{name}."):
                yield dotted, _with_default(nested, outer, dotted.removeprefix(f"{prefix}{name}."))
        else:
            yield prefix + name, field


def _with_default(field: FieldInfo, outer: Any, name: str) -> FieldInfo:
    """Return the nested field with the default that the outer model gives it."""
    if not isinstance(outer, BaseModel):
        return field
    return FieldInfo.merge_field_infos(field, default=_get(outer, name))


def _default(field: FieldInfo) -> Any:
    if field.is_required():
        return None
    return field.get_default(call_default_factory=True, validated_data={})


def _get(values: Any, name: str) -> Any:
    for part in name.split("."):
        values = values[part] if isinstance(values, dict) else getattr(values, part)
    return values


def _place(values: dict[str, Any], path: list[str], value: Any) -> None:
    for part in path[:-1]:
        values = values.setdefault(part, {})
    values[path[-1]] = value


def _is_advanced(field: FieldInfo) -> bool:
    extra = field.json_schema_extra
    return bool(extra.get("advanced")) if isinstance(extra, dict) else False


def _help(name: str, field: FieldInfo) -> str:
    """Return the tooltip: what it does, its default, and its name on the command line."""
    default = _default(field)
    shown = "automatic" if default is None else str(getattr(default, "value", default))
    text = field.description or ""
    return f"<p>{text}</p><p>Default: {shown}. On the command line: --set {name}=...</p>"
