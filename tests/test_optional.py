from __future__ import annotations

import sys
from pathlib import Path

import pytest

from napari_neuropil._optional import import_extra
from napari_neuropil.errors import MissingExtraError


def test_an_installed_module_comes_back() -> None:
    assert import_extra("json.decoder", "yolo") is sys.modules["json.decoder"]


def test_a_missing_package_names_the_pip_line() -> None:
    with pytest.raises(MissingExtraError, match=r"pip install \"napari-neuropil\[yolo\]\""):
        import_extra("no_such_package.inner", "yolo")


def test_a_defect_inside_an_installed_package_is_not_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_broken.py").write_text("import no_such_dependency\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency") as raised:
        import_extra("half_broken", "yolo")
    assert not isinstance(raised.value, MissingExtraError)
