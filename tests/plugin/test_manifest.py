"""The manifest is valid and everything it names exists."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from npe2 import PluginManifest

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = ROOT / "src" / "napari_neuropil" / "napari.yaml"


@pytest.fixture(scope="module")
def manifest() -> PluginManifest:
    return PluginManifest.from_file(str(MANIFEST))


def test_commands_can_be_imported(manifest: PluginManifest) -> None:
    commands = manifest.contributions.commands or []
    assert len(commands) >= 6
    for command in commands:
        module, _, name = str(command.python_name).partition(":")
        assert callable(getattr(import_module(module), name))


def test_root_has_the_manifest() -> None:
    assert (ROOT / "napari.yaml").read_text() == MANIFEST.read_text()


@pytest.mark.parametrize(
    "name", ["a.tif", "a.TIFF", "a.h5", "a.hdf5", "a.npy", "a.zarr", "a.neuropil", "a.ome.zarr"]
)
def test_reader_takes_the_format(plugin: Any, name: str) -> None:
    assert list(plugin.iter_compatible_readers([name]))


def test_writers_widget_and_samples_are_found(plugin: Any) -> None:
    for suffix in (".zarr", ".h5", ".tif"):
        for kind in ("labels", "image"):
            writer, _ = plugin.get_writer(f"x{suffix}", [kind], "napari-neuropil")
            assert writer is not None
    assert [w.display_name for w in plugin.iter_widgets()] == [
        "Segment neurons",
        "Proofread",
        "Refine dendrites",
    ]
    ((_, samples),) = list(plugin.iter_sample_data())
    assert [s.display_name for s in samples] == [
        "Neuropil (generated, with labels)",
        "Neuropil, segmented project",
    ]
    items = [item.command for item in plugin.iter_menu("napari/layers/segment")]
    names = ("segment", "proofread", "dendrites")
    assert items == [f"napari-neuropil.{name}" for name in names]


@pytest.mark.parametrize(
    ("modules", "kept_out"),
    [
        ("segment_widget reader writer sample_data", "torch zarr h5py tifffile"),
        ("proofread_widget", "torch h5py tifffile trimesh kimimaro"),
        ("dendrites.dendrites_widget", "torch h5py tifffile trimesh kimimaro"),
    ],
)
def test_docks_import_without_torch_and_formats(modules: str, kept_out: str) -> None:
    imports = ", ".join(f"napari_neuropil.plugin.{name}" for name in modules.split())
    code = f"import sys, {imports}; print([m for m in {kept_out.split()!r} if m in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(MANIFEST.parents[1]), "PATH": "", "HOME": str(ROOT)},
    )
    assert run.stdout.strip() == "[]"
