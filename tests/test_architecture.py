"""Walls that import-linter cannot see: what an import really loads, and how long it takes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import napari_neuropil

_PACKAGE = Path(napari_neuropil.__file__).parent
_GUI = ("napari", "qtpy", "magicgui", "superqt", "PyQt6", "vispy")
_ROOMS = sorted(
    path.stem if path.suffix else path.name
    for path in _PACKAGE.iterdir()
    if path.suffix == ".py" or (path / "__init__.py").is_file()
)


def loaded_by(statement: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter has after `statement`."""
    script = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    # Coverage would load modules of its own and slow the start.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COV")}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def imports(*rooms: str) -> str:
    return "\n".join(f"import napari_neuropil.{room}" for room in rooms)


def test_opening_and_scoring_load_neither_gui_nor_torch() -> None:
    rooms = ("geometry", "volumes", "blockwise", "segmentation", "evaluation", "project")
    assert not loaded_by(imports(*rooms, "synthetic", "_optional")) & {*_GUI, "torch"}


def test_what_the_command_line_needs_for_its_help_loads_neither() -> None:
    rooms = ("methods", "workflows.requests", "workflows.plan", "cli.app")
    assert not loaded_by(imports(*rooms)) & {*_GUI, "torch"}


def test_networks_load_without_the_gui() -> None:
    rooms = ("networks.registry", "inference.predict", "training.trainer")
    loaded = loaded_by(imports(*rooms))
    assert "torch" in loaded
    assert not loaded & set(_GUI)


def test_the_window_loads_without_torch() -> None:
    statement = "import napari_neuropil.plugin.segment_widget, napari_neuropil.plugin.reader"
    assert "torch" not in loaded_by(statement)


def test_the_package_itself_is_light() -> None:
    assert not loaded_by("import napari_neuropil") & {*_GUI, "torch", "numpy", "scipy", "zarr"}


def test_no_room_is_a_drawer() -> None:
    assert not {"utils", "helpers", "common", "core", "base", "misc"} & set(_ROOMS)


def test_files_stay_readable() -> None:
    lengths = {
        str(path.relative_to(_PACKAGE)): len(path.read_text(encoding="utf-8").splitlines())
        for path in _PACKAGE.rglob("*.py")
    }
    assert {name: length for name, length in lengths.items() if length > 400} == {}
