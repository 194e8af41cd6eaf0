"""A settings model becomes a form and comes back unchanged."""

from __future__ import annotations

import enum
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field, model_validator
from qtpy.QtWidgets import QAbstractSpinBox, QApplication, QLabel, QWidget

from napari_neuropil.errors import SettingsError
from napari_neuropil.methods import METHODS
from napari_neuropil.plugin.field_editors import ChoiceEditor, OptionalEditor, TupleEditor
from napari_neuropil.plugin.settings_form import SettingsForm


class Colour(enum.Enum):
    RED = "red"
    DARK_BLUE = "dark_blue"


class Inner(BaseModel):
    sigma: float = Field(2.0, ge=0, title="Sigma", json_schema_extra={"unit": "px"})
    size: int = 100


class Everything(BaseModel):
    bias: float = Field(0.1 + 0.2, gt=0, lt=1, title="Bias", description="Higher cuts more.")
    count: int = Field(7, ge=1, le=9, title="Count", json_schema_extra={"unit": "blocks"})
    fast: bool = True
    colour: Colour = Colour.RED
    mode: Literal["a", "b"] = "b"
    tile: tuple[int, int, int] | None = Field(None, json_schema_extra={"advanced": True})
    limit: float | None = 0.5
    offset: tuple[int, int, int] = (0, -1, 2)
    name: str = "x"
    inner: Inner = Inner(sigma=3.5)

    @model_validator(mode="after")
    def _check(self) -> Everything:
        if self.name == "bad":
            raise ValueError("name must be good")
        return self


@pytest.fixture
def form(qtbot: Any) -> SettingsForm:
    form = SettingsForm(Everything)
    qtbot.addWidget(form)
    return form


def test_defaults_round_trip(form: SettingsForm) -> None:
    # 0.1 + 0.2 has 17 digits: the form must not round what nobody touched.
    assert form.settings() == Everything()
    assert form.arguments() == []


def test_values_round_trip(form: SettingsForm) -> None:
    wanted = Everything(
        bias=0.123456789012,
        count=2,
        fast=False,
        colour=Colour.DARK_BLUE,
        mode="a",
        tile=(8, 64, 64),
        limit=None,
        offset=(-3, 0, 0),
        name="good",
        inner=Inner(sigma=0.5, size=3),
    )
    form.set_settings(wanted)
    assert form.settings() == wanted
    assert form.arguments() == [
        *("--set", "bias=0.123456789012"),
        *("--set", "count=2"),
        *("--set", "fast=false"),
        *("--set", 'colour="dark_blue"'),
        *("--set", 'mode="a"'),
        *("--set", "tile=[8, 64, 64]"),
        *("--set", "limit=null"),
        *("--set", "offset=[-3, 0, 0]"),
        *("--set", 'name="good"'),
        *("--set", "inner.sigma=0.5"),
        *("--set", "inner.size=3"),
    ]
    form.reset()
    assert form.settings() == Everything()


def test_arguments_are_read_by_the_command_line(form: SettingsForm) -> None:
    settings = pytest.importorskip("napari_neuropil.cli.settings")
    wanted = Everything(bias=1e-5, colour=Colour.DARK_BLUE, limit=None, inner=Inner(sigma=9))
    form.set_settings(wanted)
    words = form.arguments()[1::2]
    assert settings.read_settings(Everything, words) == wanted


def test_bounds_unit_and_help(form: SettingsForm) -> None:
    count = form.editor("count")
    count.set_value(99)
    assert count.value() == 9
    bias = form.editor("bias")
    bias.set_value(1.0)
    assert 0 < form.settings().bias < 1  # type: ignore[attr-defined]
    assert "Higher cuts more." in bias.toolTip()
    assert "--set bias=" in bias.toolTip()


def test_editors_follow_the_annotation(form: SettingsForm) -> None:
    assert isinstance(form.editor("colour"), ChoiceEditor)
    assert isinstance(form.editor("limit"), OptionalEditor)
    assert isinstance(form.editor("offset"), TupleEditor)


def test_advanced_fields_are_folded(form: SettingsForm) -> None:
    form.show()
    assert not form.editor("count").visibleRegion().isEmpty()
    assert form.editor("tile").visibleRegion().isEmpty()
    form.advanced.expand()
    QApplication.processEvents()
    assert not form.editor("tile").visibleRegion().isEmpty()


def test_change_is_announced(form: SettingsForm, qtbot: Any) -> None:
    with qtbot.waitSignal(form.changed):
        form.editor("fast").set_value(False)


def test_refused_combination(form: SettingsForm) -> None:
    form.editor("name").set_value("bad")
    with pytest.raises(SettingsError, match="name must be good"):
        form.settings()


def test_unknown_type_needs_an_editor(qtbot: Any) -> None:
    class Odd(BaseModel):
        table: dict[str, int] = {}

    with pytest.raises(TypeError, match="no editor"):
        SettingsForm(Odd)


@pytest.mark.parametrize("name", list(METHODS))
def test_every_method_has_a_form(name: str, qtbot: Any) -> None:
    model = METHODS[name].settings_class
    form = SettingsForm(model)
    qtbot.addWidget(form)
    assert form.settings() == model()
    for field in model.model_fields.values():
        assert field.title
        assert field.description


def test_a_value_left_to_the_program_shows_no_number(form: SettingsForm) -> None:
    editor = form.editor("limit")
    assert isinstance(editor, OptionalEditor)
    editor.set_value(None)
    assert editor.value() is None
    shown = [w for w in editor.findChildren(QWidget) if w.isVisibleTo(editor)]
    assert not [w for w in shown if isinstance(w, QAbstractSpinBox)]
    assert [w.text() for w in shown if isinstance(w, QLabel)] == ["automatic"]
    editor.set_value(0.25)
    shown = [w for w in editor.findChildren(QWidget) if w.isVisibleTo(editor)]
    assert [w.text() for w in shown if isinstance(w, QAbstractSpinBox)] == ["0.25"]
    assert not [w for w in shown if isinstance(w, QLabel)]
