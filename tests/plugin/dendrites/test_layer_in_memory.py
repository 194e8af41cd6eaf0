"""Layers that no file holds: copied at Start, the copy gone when the worker is. A fake worker."""

from __future__ import annotations

import gc
import shutil
import threading
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.layers import Image
from qtpy.QtCore import Qt

from napari_neuropil.geometry import VoxelSize
from napari_neuropil.plugin import staging
from napari_neuropil.plugin.dendrites import prompt_client
from napari_neuropil.plugin.dendrites.box_rows import shape_of_box
from napari_neuropil.plugin.dendrites.image_choice import image_choices, why_not
from napari_neuropil.plugin.dendrites.layer_copy import LayerCopy
from napari_neuropil.plugin.dendrites.layer_making import BOXES
from napari_neuropil.plugin.layers import LayerArray, layer_from_volume
from napari_neuropil.volumes import open_volume

if TYPE_CHECKING:
    from napari_neuropil.plugin.dendrites.dendrites_widget import DendritesWidget

SHAPE = (8, 40, 60)
NM = {"scale": (30, 8, 8), "units": ("nm", "nm", "nm")}


def grey(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, SHAPE, np.uint8)


class Slow:
    """An array that gives a block only when it is let."""

    def __init__(self, data: np.ndarray) -> None:
        self.data, self.shape, self.dtype, self.ndim = data, data.shape, data.dtype, data.ndim
        self.asked = threading.Event()
        self.let = threading.Event()
        self.slow = False

    def __getitem__(self, key: Any) -> Any:
        if self.slow and threading.current_thread() is not threading.main_thread():
            self.asked.set()
            self.let.wait(20)
        return self.data[key]

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.asarray(self.data, dtype)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where copies go."""
    made = tmp_path / "copies"
    made.mkdir()
    monkeypatch.setattr(staging, "temporary_folder", lambda: made)
    return made


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return the words of each worker that was started."""
    seen: list[list[str]] = []
    original = prompt_client.PromptClient.__init__

    def keep(self: Any, arguments: Any, parent: Any = None) -> None:
        seen.append(list(arguments))
        original(self, arguments, parent)

    monkeypatch.setattr(prompt_client.PromptClient, "__init__", keep)
    return seen


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def choose(dock: DendritesWidget, name: str) -> None:
    at = dock.source.image.findText(name)
    assert at >= 0
    dock.source.image.setCurrentIndex(at)


def memory_dock(dock: DendritesWidget, data: Any, **attributes: Any) -> DendritesWidget:
    dock.refiner.viewer.add_image(data, name="memory", **{**NM, **attributes})
    choose(dock, "memory")
    return dock


def ready(dock: DendritesWidget, qtbot: Any) -> None:
    qtbot.waitUntil(lambda: dock.refiner.link.ready is not None, timeout=60_000)


def copying(dock: DendritesWidget, qtbot: Any, slow: Slow) -> None:
    slow.slow = True
    slow.asked.clear()
    dock.source.start_button.click()
    qtbot.waitUntil(slow.asked.is_set, timeout=20_000)
    assert dock.refiner.link.share_copied is not None


# the menu


def test_the_menu_says_what_a_start_costs(idle: DendritesWidget) -> None:
    dock = memory_dock(idle, np.zeros((4, 500, 500), np.float32))
    menu = dock.source.image
    at = menu.findText("memory")
    model: Any = menu.model()
    assert model.item(at).isEnabled()
    assert menu.itemData(at, Qt.ItemDataRole.ToolTipRole) == (
        "Only in memory: a copy is written to a temporary folder (4 MB) when you start"
    )
    assert dock.source.start_button.isEnabled()
    assert not dock.source.edges.isVisibleTo(dock.source), "its scale is in nm"
    assert dock.tune.tuning.plan_button.toolTip().startswith("Choose a project")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (np.zeros(SHAPE, bool), "Voxels of type bool"),
        (np.zeros((4, 5), np.uint8), "2 axes"),
        (np.zeros((2, 3, 4, 5), np.uint8), "4 axes: add one volume"),
        (np.zeros((3, 4, 5, 3), np.uint8), "Colours (RGB)"),
    ],
)
def test_what_cannot_be_worked_on_says_why(data: np.ndarray, reason: str) -> None:
    layer = Image(data, rgb=True if "RGB" in reason else None)
    (choice,) = image_choices([layer])
    assert reason in choice.missing
    assert choice.tip == choice.missing


@pytest.mark.parametrize("kind", ["c8", "O", "U3", "V4", "not numpy's"])
def test_types_that_napari_may_let_through(kind: str) -> None:
    data = SimpleNamespace(shape=SHAPE, dtype=np.dtype(kind) if len(kind) < 3 else kind)
    assert why_not(SimpleNamespace(data=data)).startswith("Voxels of type ")


@pytest.mark.parametrize("kind", [np.int8, np.uint16, np.int64, np.float16, np.float64])
def test_numbers_can_be_worked_on(kind: type) -> None:
    (choice,) = image_choices([Image(np.ones(SHAPE, kind))])
    assert (choice.missing, choice.in_memory, choice.shape) == ("", True, SHAPE)


def test_a_file_that_is_gone_is_not_copied(brain: Path) -> None:
    place = brain.parent / "brain.zarr"
    data, attributes, _ = layer_from_volume(open_volume(place))
    layer = Image(data, **attributes)
    # Four folders up are asked, for "a.h5/image": none of them may be there.
    layer.metadata["neuropil"]["source"] = "/gone/far/away/up/there/it/was/a.zarr"
    assert isinstance(layer.data, LayerArray)
    (choice,) = image_choices([layer])
    assert choice.missing.startswith("Its file is gone: put /gone/")


def test_layers_in_memory_are_told_apart() -> None:
    layers = [Image(grey()), Image(grey())]
    first, second = image_choices(layers)
    assert not first.same_as(second)
    assert first.same_as(image_choices(layers)[0]), "the menu was filled again"


# start


def test_it_is_copied_then_the_worker_starts_on_the_copy(
    idle: DendritesWidget, qtbot: Any, folder: Path, started: list[list[str]]
) -> None:
    data = grey()
    dock = memory_dock(idle, data, translate=(60, 0, 16))
    said: list[str] = []
    dock.refiner.message.connect(lambda text, _error: said.append(text))
    dock.source.start_button.click()
    ready(dock, qtbot)
    ((command, place, *words),) = started
    assert command == "prompts"
    assert Path(place).parent == folder
    assert words == ["--segmenter", "watershed", "--voxel-size", "30,8,8"]
    assert said[:2] == ["Copying memory to a temporary folder ...", "Starting the segmenter ..."]
    copy = open_volume(place)
    assert copy.voxel_size == VoxelSize(30, 8, 8)
    np.testing.assert_array_equal(np.asarray(copy.array[:, :, :]), data)
    # Nothing that lasts knows the copy.
    assert dock.refiner.link.choice is not None
    assert dock.refiner.link.choice.place == ""
    layer = dock.refiner.viewer.layers["memory"]
    assert not any("zarr" in str(value) for value in layer.metadata.values())
    # Results lie on the layer's own voxels.
    boxes = dock.refiner.viewer.layers[BOXES]
    dock.refiner.look_at(3)
    boxes.add(shape_of_box(3, (5.0, 5.0, 15.0, 17.0)), shape_type="rectangle")
    qtbot.waitUntil(lambda: dock.refiner.mask is not None, timeout=20_000)
    dock.proposals.accept_button.click()
    assert not dock.commit.commit_button.isEnabled()
    assert "No project" in dock.commit.commit_button.toolTip()
    dock.commit.save_button.click()
    saved = dock.refiner.viewer.layers["Dendrite 1"]
    np.testing.assert_allclose(saved.translate, (60 + 3 * 30, 5 * 8, 16 + 5 * 8))
    assert saved.units == layer.units


def test_the_copy_goes_with_the_worker(
    idle: DendritesWidget, qtbot: Any, folder: Path, started: list[list[str]]
) -> None:
    dock = memory_dock(idle, grey())
    dock.source.start_button.click()
    ready(dock, qtbot)
    assert len(left(folder)) == 1
    dock.refiner.act(dock.refiner.work.with_new_box(2, (1.0, 1.0, 9.0, 9.0)))
    dock.source.start_button.click()
    qtbot.waitUntil(lambda: len(started) == 2, timeout=20_000)
    ready(dock, qtbot)
    assert started[0][1] != started[1][1], "copied anew"
    qtbot.waitUntil(lambda: left(folder) == [Path(started[1][1]).name], timeout=5_000)
    assert len(dock.refiner.work.proposals) == 1, "the same layer: boxes stay"
    dock.source.stop_button.click()
    qtbot.waitUntil(lambda: not dock.refiner.link.running, timeout=20_000)
    qtbot.waitUntil(lambda: left(folder) == [], timeout=5_000)


def test_what_it_is_at_start_counts(
    idle: DendritesWidget, qtbot: Any, folder: Path, started: list[list[str]]
) -> None:
    dock = memory_dock(idle, grey())
    dock.source.start_button.click()
    ready(dock, qtbot)
    dock.refiner.act(dock.refiner.work.with_new_box(2, (1.0, 1.0, 9.0, 9.0)))
    layer = dock.refiner.viewer.layers["memory"]
    layer.data = grey(1)
    dock.source.start_button.click()
    qtbot.waitUntil(lambda: len(started) == 2, timeout=20_000)
    ready(dock, qtbot)
    copy = open_volume(started[1][1])
    np.testing.assert_array_equal(np.asarray(copy.array[:, :, :]), grey(1))
    assert dock.refiner.work.proposals
    # Of another shape: what was drawn would lie elsewhere.
    layer.data = np.ones((3, 20, 20), np.uint8)
    dock.source.start_button.click()
    qtbot.waitUntil(lambda: len(started) == 3, timeout=20_000)
    assert not dock.refiner.work.proposals
    # It opens what was copied, not the fake's shape.
    qtbot.waitUntil(lambda: not dock.refiner.link.running, timeout=20_000)
    assert "Expected: the layer's (3, 20, 20)" in dock.message.text()
    layer.data = layer.data.astype(bool)
    dock.source.start_button.click()
    assert "memory cannot be worked on" in dock.message.text()
    assert "Voxels of type bool" in dock.message.text()
    assert not dock.refiner.link.running


def test_another_layer_begins_anew(
    idle: DendritesWidget, qtbot: Any, folder: Path, started: list[list[str]]
) -> None:
    dock = memory_dock(idle, grey())
    dock.source.start_button.click()
    ready(dock, qtbot)
    dock.refiner.act(dock.refiner.work.with_new_box(2, (1.0, 1.0, 9.0, 9.0)))
    slow = Slow(grey(1))
    dock.refiner.viewer.add_image(slow, name="other", **NM)
    choose(dock, "other")
    copying(dock, qtbot, slow)
    assert not dock.refiner.work.proposals
    assert dock.refiner.layers.over is None, "nobody draws on the one before meanwhile"
    assert BOXES not in dock.refiner.viewer.layers
    slow.let.set()
    ready(dock, qtbot)
    assert dock.refiner.layers.over is dock.refiner.viewer.layers["other"]


def test_a_switch_of_models_stays_on_the_layer(
    idle: DendritesWidget, qtbot: Any, folder: Path, started: list[list[str]]
) -> None:
    dock = memory_dock(idle, grey())
    dock.source.start_button.click()
    ready(dock, qtbot)
    dock.source.image.setCurrentIndex(0)
    assert dock.source.image.currentText() == "brain"
    dock.source.switch(segmenter="compact")
    assert dock.source.image.currentText() == "memory"
    qtbot.waitUntil(lambda: len(started) == 2, timeout=20_000)
    ready(dock, qtbot)
    assert Path(started[1][1]).parent == folder
    assert "compact" in started[1]


def test_a_voxel_size_is_asked_for(
    idle: DendritesWidget, qtbot: Any, folder: Path, started: list[list[str]]
) -> None:
    dock = memory_dock(idle, grey(), scale=(1, 1, 1), units=("pixel",) * 3)
    assert dock.source.edges.isVisibleTo(dock.source)
    dock.source.start_button.click()
    assert "Expected" in dock.message.text()
    assert not started
    assert left(folder) == []
    dock.source.edges.setText("40, 4, 4")
    dock.source.start_button.click()
    ready(dock, qtbot)
    assert started[0][-2:] == ["--voxel-size", "40,4,4"]
    assert open_volume(started[0][1]).voxel_size == VoxelSize(40, 4, 4)


def test_a_dask_array_is_copied_block_by_block(
    idle: DendritesWidget, qtbot: Any, folder: Path, started: list[list[str]]
) -> None:
    dask = pytest.importorskip("dask.array", reason="dask comes with napari")
    data = grey()
    dock = memory_dock(idle, dask.from_array(data, chunks=(1, 40, 60)) + 0)
    dock.source.start_button.click()
    ready(dock, qtbot)
    copy = open_volume(started[0][1])
    np.testing.assert_array_equal(np.asarray(copy.array[:, :, :]), data)


# stop, and what goes wrong


def test_cancel_while_it_is_copied_leaves_nothing(
    idle: DendritesWidget, qtbot: Any, folder: Path, started: list[list[str]]
) -> None:
    slow = Slow(grey())
    dock = memory_dock(idle, slow)
    copying(dock, qtbot, slow)
    assert dock.progress.isVisibleTo(dock)
    assert dock.progress.text.text() == "Copying: 0 %"
    assert dock.source.start_button.text() == "Copying ..."
    assert not dock.source.start_button.isEnabled()
    dock.source.start()
    dock.progress.cancel_button.click()
    assert dock.source.start_button.isEnabled(), "at once, though a block is still being read"
    assert dock.source.start_button.text() == "Start"
    assert not dock.progress.isVisibleTo(dock)
    assert dock.message.text() == "Stopped before the segmenter began."
    slow.let.set()
    qtbot.wait(300)
    assert left(folder) == []
    assert not started
    dock.source.start_button.click()
    ready(dock, qtbot)
    assert len(started) == 1
    assert len(left(folder)) == 1


def test_stop_and_start_while_the_first_block_is_read(
    idle: DendritesWidget, qtbot: Any, folder: Path, started: list[list[str]]
) -> None:
    slow = Slow(grey())
    dock = memory_dock(idle, slow)
    copying(dock, qtbot, slow)
    dock.source.stop_button.click()
    copying(dock, qtbot, slow)
    slow.let.set()
    ready(dock, qtbot)
    assert len(started) == 1
    qtbot.waitUntil(lambda: left(folder) == [Path(started[0][1]).name], timeout=5_000)


def test_progress_is_shown(
    idle: DendritesWidget, qtbot: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dock = memory_dock(idle, np.zeros((2, 700, 300), np.uint8))
    shares: list[int] = []
    dock.refiner.link.copied.connect(lambda: shares.append(dock.progress.bar.value()))
    monkeypatch.setenv("FAKE_SHAPE", "2,700,300")
    dock.source.start_button.click()
    ready(dock, qtbot)
    # Chunks of 256: 3 x 2 blocks, each announced before it is read.
    areas = np.array([256 * 256, 256 * 44, 256 * 256, 256 * 44, 188 * 256])
    wanted = np.round(1000 * np.cumsum([0, *areas]) / (700 * 300))
    np.testing.assert_allclose(shares, wanted, atol=1)


def test_a_layer_removed_while_it_is_copied(
    idle: DendritesWidget, qtbot: Any, folder: Path, started: list[list[str]]
) -> None:
    slow = Slow(grey())
    dock = memory_dock(idle, slow)
    copying(dock, qtbot, slow)
    dock.refiner.viewer.layers.remove("memory")
    assert "was removed" in dock.message.text()
    assert dock.source.image.findText("memory") < 0
    assert dock.source.start_button.isEnabled(), "the other image can be started"
    slow.let.set()
    qtbot.wait(300)
    assert left(folder) == []
    assert not started


def test_another_layer_may_go_while_one_is_copied(
    idle: DendritesWidget, qtbot: Any, folder: Path, started: list[list[str]]
) -> None:
    slow = Slow(grey())
    dock = memory_dock(idle, slow)
    copying(dock, qtbot, slow)
    dock.refiner.viewer.layers.remove("brain")
    slow.let.set()
    ready(dock, qtbot)
    dock.refiner.viewer.layers.remove("memory")
    assert dock.refiner.link.ready is not None, "as with a file: what is done can be saved"


def test_too_little_disk_is_said_before_anything_is_written(
    idle: DendritesWidget,
    qtbot: Any,
    folder: Path,
    started: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dock = memory_dock(idle, grey())
    usage = shutil.disk_usage(folder)
    free = np.prod(SHAPE) - 1
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=int(free)))
        dock.source.start_button.click()
        qtbot.waitUntil(lambda: "are free" in dock.message.text(), timeout=20_000)
    text = dock.message.text()
    assert text.startswith(f"19.2 kB are free on the disk of {folder}.")
    assert "Expected: 19.2 kB for a copy of the layer" in text
    assert "Cure: free disk space there" in text
    assert left(folder) == []
    assert not started
    dock.source.start_button.click()
    ready(dock, qtbot)


def test_an_array_that_fails_says_so(
    idle: DendritesWidget, qtbot: Any, folder: Path, started: list[list[str]]
) -> None:
    class Broken(Slow):
        def __getitem__(self, key: Any) -> Any:
            if self.slow:
                raise KeyError("no such chunk")
            return self.data[key]

    broken = Broken(grey())
    dock = memory_dock(idle, broken)
    broken.slow = True
    dock.source.start_button.click()
    qtbot.waitUntil(lambda: "cannot be read" in dock.message.text(), timeout=20_000)
    assert "KeyError: 'no such chunk'" in dock.message.text()
    assert dock.source.start_button.isEnabled()
    assert left(folder) == []
    assert not started


def test_closing_the_dock_ends_the_copy(
    idle: DendritesWidget, qtbot: Any, folder: Path, started: list[list[str]]
) -> None:
    slow = Slow(grey())
    dock = memory_dock(idle, slow)
    copying(dock, qtbot, slow)
    slow.let.set()
    dock.stop()
    qtbot.waitUntil(lambda: left(folder) == [], timeout=5_000)
    assert not started


def test_a_copy_does_not_hold_the_voxels(qtbot: Any, folder: Path) -> None:
    data = grey()
    seen = weakref.ref(data)
    copy = LayerCopy(SimpleNamespace(data=data), VoxelSize(30, 8, 8))
    with qtbot.waitSignal(copy.written, timeout=20_000):
        copy.start()
    assert copy.share is None
    del data
    gc.collect()
    assert seen() is None
    copy.drop()
    qtbot.waitUntil(lambda: left(folder) == [], timeout=5_000)
