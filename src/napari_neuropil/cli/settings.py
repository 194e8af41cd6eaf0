"""A method's settings on the command line: ``--set name=value`` and the help for it.

Names, help, units, defaults and bounds all come from the settings model, so that a setting has one
home.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from napari_neuropil.errors import SettingsError

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError
    from pydantic.fields import FieldInfo

M = TypeVar("M", bound="BaseModel")


class SettingHelp(NamedTuple):
    """One setting, in words."""

    name: str
    """Dotted name, as ``--set`` takes it."""
    default: str
    unit: str
    bounds: str
    description: str
    advanced: bool


def read_settings(model: type[M], words: Iterable[str]) -> M:
    """Build a settings model from words ``name=value``.

    Parameters
    ----------
    model : type of BaseModel
        The settings of a method.
    words : iterable of str
        Values are read as YAML: ``0.25``, ``true``, ``[0, -1, 0]``; a dot in the name goes into
        a nested model.

    Raises
    ------
    SettingsError
        Naming the setting that is unknown or out of its bounds.
    """
    from pydantic import ValidationError

    values: dict[str, Any] = {}
    known = [setting.name for setting in describe_settings(model)]
    for word in words:
        name, equals, text = word.partition("=")
        name = name.strip()
        if not equals:
            raise SettingsError(
                f"--set {word} has no value.", "--set name=value", "for example --set overlap=0.5"
            )
        if name not in known:
            raise _unknown(name, known)
        _place(values, name.split("."), _read_value(name, text))
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise settings_error(error) from error


def settings_error(error: ValidationError) -> SettingsError:
    """Turn pydantic's error into one that names each field, what it was and what it may be."""
    found, expected = [], []
    for item in error.errors(include_url=False, include_context=False):
        name = ".".join(str(part) for part in item["loc"]) or "settings"
        found.append(f"{name} = {item['input']!r}")
        expected.append(f"{name}: {item['msg'].removeprefix('Input should be ')}")
    return SettingsError(
        f"Bad setting: {'; '.join(found)}.",
        "; ".join(expected),
        "neuropil info methods lists the settings with their bounds.",
    )


def describe_settings(model: type[BaseModel], prefix: str = "") -> Iterator[SettingHelp]:
    """Yield a model's settings, nested ones with dotted names.

    Parameters
    ----------
    model : type of BaseModel
        The settings of a method.
    prefix : str
        Put before each name.
    """
    for name, field in model.model_fields.items():
        inner = _nested_model(field)
        if inner is not None:
            yield from describe_settings(inner, f"{prefix}{name}.")
            continue
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        yield SettingHelp(
            name=prefix + name,
            default=_show_default(field),
            unit=str(extra.get("unit") or ""),
            bounds=_show_bounds(field),
            description=field.description or field.title or "",
            advanced=bool(extra.get("advanced", False)),
        )


def _read_value(name: str, text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError(
            f"--set {name}={text} cannot be read.",
            "a number, true, false, a word or a list such as [1, 2, 3]",
            "put the word in quotes if the shell takes part of it.",
        ) from error


def _place(values: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for part in path[:-1]:
        values = values.setdefault(part, {})
    values[path[-1]] = value


def _unknown(name: str, known: Sequence[str]) -> SettingsError:
    near = difflib.get_close_matches(name, known, n=1)
    return SettingsError(
        f"There is no setting {name!r}.",
        f"one of {', '.join(known)}",
        f"did you mean {near[0]}?" if near else "neuropil info methods explains each.",
    )


def _nested_model(field: FieldInfo) -> type[BaseModel] | None:
    from pydantic import BaseModel

    annotation = field.annotation
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return None


def _show_default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True, validated_data={})
    return "automatic" if default is None else str(default)


def _show_bounds(field: FieldInfo) -> str:
    from typing import Literal, get_args, get_origin

    if get_origin(field.annotation) is Literal:
        return " | ".join(str(choice) for choice in get_args(field.annotation))
    signs = (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))
    parts = [
        f"{sign} {getattr(bound, name):g}"
        for bound in field.metadata
        for name, sign in signs
        if getattr(bound, name, None) is not None
    ]
    return ", ".join(parts)
