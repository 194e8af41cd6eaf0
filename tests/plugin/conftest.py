"""Fixtures of the plugin's tests: a display, a viewer with the plugin, a fake command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from napari_neuropil.plugin.proofread_controller import ProofreadController

SOURCES = Path(__file__).resolve().parents[2] / "src"
FAKE = Path(__file__).with_name("fake_cli.py")


@pytest.fixture
def display() -> None:
    """Skip where no window can be drawn (napari's canvas needs OpenGL)."""
    if os.environ.get("QT_QPA_PLATFORM") == "offscreen":
        pytest.skip("the offscreen Qt platform has no OpenGL; run under xvfb-run")
    if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
        pytest.skip("no display; run under xvfb-run")


@pytest.fixture
def plugin(npe2pm: Any) -> Iterator[Any]:
    """Register this plugin, and only this one, with npe2."""
    manifest = SOURCES / "napari_neuropil" / "napari.yaml"
    with npe2pm.tmp_plugin(manifest=str(manifest)):
        yield npe2pm


@pytest.fixture
def viewer(display: None, plugin: Any, request: pytest.FixtureRequest) -> Any:
    """Return a real viewer, hidden."""
    return request.getfixturevalue("make_napari_viewer")()


@pytest.fixture
def fake_cli(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let worker processes run tests/plugin/fake_cli.py; call it to choose the behaviour."""
    from napari_neuropil.plugin import worker

    monkeypatch.setenv("PYTHONPATH", str(SOURCES))
    monkeypatch.setattr(worker, "cli_command", lambda: [sys.executable, str(FAKE)])

    def choose(behaviour: str) -> None:
        monkeypatch.setenv("FAKE_CLI", behaviour)

    choose("work")
    return choose


@pytest.fixture
def image() -> Any:
    """Return a small grey volume whose voxels are all different along x."""
    z, y, x = np.mgrid[:6, :20, :24]
    return (z * 40 + y + x).astype(np.uint8)


@pytest.fixture
def brain(tmp_path: Path) -> Path:
    """Return a project of 6 fragments in two rows, 8 x 40 x 60 voxels, and its image beside it.

    Fragments ``1 2 3`` above ``4 5 6``; segments 1 = {1, 2}, 3 = {3}, 4 = {4, 5, 6}; background
    in the last three columns. The contact 1-2 is weak, all others are strong.
    """
    from napari_neuropil.geometry import Roi, VoxelSize
    from napari_neuropil.project import ProjectInfo, write_graph, write_info
    from napari_neuropil.segmentation.rag import build_rag
    from napari_neuropil.volumes import create_volume, write_volume

    size, shape = VoxelSize(30, 8, 8), (8, 40, 60)
    _, y, x = np.mgrid[:8, :40, :60]
    fragments = (1 + 3 * (y // 20) + np.minimum(x // 19, 2)).astype(np.uint64)
    fragments[..., 57:] = 0
    affinities = np.full((3, *shape), 0.9, np.float32)
    affinities[:, :, :20, 19] = 0.2
    image = (40 * fragments + 5).astype(np.uint8)
    write_volume(
        tmp_path / "brain.zarr", lambda roi: image[roi.slices], shape, "uint8", size, kind="image"
    )
    path = tmp_path / "brain.neuropil"
    path.mkdir()
    volume = create_volume(path / "fragments.zarr", shape, "uint64", size, kind="labels")
    volume.write(Roi.of_shape(shape), fragments)
    lookup = np.array([0, 1, 1, 3, 4, 4, 4], np.uint64)
    write_graph(path, build_rag(fragments, affinities), lookup)
    write_info(
        path,
        ProjectInfo(
            state="finished",
            image_source="../brain.zarr",
            image_shape=shape,
            voxel_size=tuple(size),
            roi=str(Roi.of_shape(shape)),
            fragment_count=6,
        ),
    )
    return path


@pytest.fixture
def live(qtbot: Any, brain: Path) -> Iterator[ProofreadController]:
    """Return a controller with the project open, on a viewer without a window."""
    from napari.components import ViewerModel

    from napari_neuropil.plugin.proofread_controller import ProofreadController

    controller = ProofreadController(ViewerModel())
    with qtbot.waitSignal(controller.session_changed, timeout=20_000):
        controller.open_project(brain)
    yield controller
    controller.disconnect_viewer()
