from __future__ import annotations

from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from napari_neuropil.cli.settings import describe_settings, read_settings
from napari_neuropil.errors import SettingsError
from napari_neuropil.methods import METHODS


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    beta: float = Field(0.25, gt=0, lt=1, description="Bias.")


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    count: int = Field(3, ge=1, description="How many.", json_schema_extra={"unit": "px"})
    mode: Literal["fast", "good"] = Field("good", json_schema_extra={"advanced": True})
    tile: tuple[int, int, int] | None = None
    inner: Inner = Field(default_factory=Inner)


def test_values_are_typed_by_the_model() -> None:
    settings = read_settings(Outer, ["count=5", "tile=[1, 2, 3]", "inner.beta=0.5", "mode=fast"])
    expected = Outer(count=5, tile=(1, 2, 3), inner=Inner(beta=0.5), mode="fast")
    assert settings == expected


def test_no_words_give_the_defaults() -> None:
    assert read_settings(Outer, []) == Outer()


@pytest.mark.parametrize(
    ("word", "found", "expected"),
    [
        ("inner.beta=2", "inner.beta = 2", "less than 1"),
        ("count=many", "count = 'many'", "valid integer"),
        ("mode=slow", "mode = 'slow'", "'fast' or 'good'"),
        ("counts=3", "'counts'", "count, mode, tile, inner.beta"),
        ("count", "--set count", "name=value"),
        ("tile=[1, 2", "--set tile", "list"),
    ],
)
def test_a_bad_word_names_the_setting(word: str, found: str, expected: str) -> None:
    with pytest.raises(SettingsError) as raised:
        read_settings(Outer, [word])
    assert found in raised.value.found
    assert expected in raised.value.expected


def test_help_comes_from_the_fields() -> None:
    count, mode, tile, beta = describe_settings(Outer)
    assert count._asdict() == {
        "name": "count",
        "default": "3",
        "unit": "px",
        "bounds": ">= 1",
        "description": "How many.",
        "advanced": False,
    }
    assert (mode.bounds, mode.advanced) == ("fast | good", True)
    assert tile.default == "automatic"
    assert (beta.name, beta.bounds) == ("inner.beta", "> 0, < 1")


@pytest.mark.parametrize("name", list(METHODS))
def test_every_setting_of_every_method_is_explained(name: str) -> None:
    for setting in describe_settings(METHODS[name].settings_class):
        assert len(setting.description) > 10, setting.name
