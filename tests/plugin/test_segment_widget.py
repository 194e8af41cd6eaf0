"""The Segment dock, end to end against a fake command line, in a real window."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_neuropil.geometry import VoxelSize
from napari_neuropil.plugin.layers import LayerArray, facts_of, voxel_size_of
from napari_neuropil.plugin.project_places import default_project
from napari_neuropil.plugin.segment_widget import SegmentWidget
from napari_neuropil.plugin.task_panel import question_text
from napari_neuropil.volumes import write_volume

SIZE = VoxelSize(30, 8, 8)


@pytest.fixture
def dock(viewer: Any, fake_cli: Callable[[str], None]) -> SegmentWidget:
    begin = time.perf_counter()
    widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Segment neurons")
    assert time.perf_counter() - begin < 2
    return widget


@pytest.fixture
def opened(viewer: Any, dock: SegmentWidget, tmp_path: Path) -> Any:
    """Return an image layer that was opened from a file."""
    array = np.arange(20 * 300 * 320, dtype=np.uint32).reshape(20, 300, 320).astype(np.uint8)
    path = tmp_path / "brain.zarr"
    write_volume(path, lambda roi: array[roi.slices], array.shape, "uint8", SIZE, kind="image")
    (layer,) = viewer.open(str(path), plugin="napari-neuropil")
    return layer


def idle(dock: SegmentWidget) -> bool:
    return dock._job is None and dock._opening is None


def labels(viewer: Any) -> list[Any]:
    return [layer for layer in viewer.layers if type(layer).__name__ == "Labels"]


def test_dock_is_compact_and_adds_nothing(viewer: Any, dock: SegmentWidget) -> None:
    assert not viewer.layers
    assert dock.sizeHint().width() == 370
    assert dock.minimumSizeHint().width() <= 370
    assert dock.minimumSizeHint().height() < 700
    assert not dock.task.try_button.isEnabled()
    assert "Open a 3D image" in dock.task.try_button.toolTip()


def test_devices_that_cannot_be_used_are_greyed(dock: SegmentWidget, qtbot: Any) -> None:
    item = dock.method.device.model().item(dock.method.device.findData("cuda"))
    qtbot.waitUntil(lambda: not item.isEnabled(), timeout=10_000)
    assert item.toolTip() == "this torch has no CUDA"
    assert dock.method.device.model().item(dock.method.device.findData("cpu")).isEnabled()


def test_a_method_without_weights_asks_for_a_file(dock: SegmentWidget, qtbot: Any) -> None:
    panel = dock.method
    reason = "No weights for 'voxel-embeddings' ship with this installation."
    panel.show_facts(
        {
            "checkpoints": [
                {"network": "voxel-embeddings", "path": None, "why_unavailable": reason},
                {"network": "segneuron", "path": "weights.safetensors"},
            ]
        }
    )
    assert panel.checkpoint.itemText(0) == "Shipped weights"
    assert panel.why_not_ready() == ""
    panel.method.setCurrentIndex(panel.method.findData("voxel-embeddings"))
    assert panel.checkpoint.itemText(0) == "None shipped: choose a file"
    assert panel.why_not_ready() == reason


def test_each_dock_asks_for_its_devices_itself(
    viewer: Any, fake_cli: Callable[[str], None], qtbot: Any
) -> None:
    # Nothing is kept between docks: the second one must not show what the first was told.
    for _ in range(2):
        dock = SegmentWidget(viewer)
        qtbot.addWidget(dock)
        item = dock.method.device.model().item(dock.method.device.findData("cuda"))
        assert item.isEnabled()
        qtbot.waitUntil(lambda item=item: not item.isEnabled(), timeout=10_000)


def test_try_on_crop(viewer: Any, dock: SegmentWidget, opened: Any, qtbot: Any) -> None:
    dock.task.try_button.click()
    assert dock.task.cancel_button.isVisibleTo(dock.task)
    qtbot.waitUntil(lambda: idle(dock), timeout=20_000)
    assert dock.task.message.text().startswith("Crop 1:17,22:278,32:288: 1 segment of 2")
    (layer,) = labels(viewer)
    assert layer.name == "SegNeuron crop"
    assert layer.data.shape == (16, 256, 256)
    assert set(np.unique(layer.data)) == {1}
    np.testing.assert_allclose(layer.scale, opened.scale)
    np.testing.assert_allclose(layer.translate, np.array([1, 22, 32]) * np.array([30, 8, 8]))
    assert layer.units == opened.units


def test_second_crop_replaces_the_first(
    viewer: Any, dock: SegmentWidget, opened: Any, qtbot: Any
) -> None:
    for centre in ((300, 1200, 1280), (300, 0, 0)):
        viewer.scene.camera.center = centre
        dock.task.try_button.click()
        qtbot.waitUntil(lambda: idle(dock), timeout=20_000)
    (layer,) = labels(viewer)
    np.testing.assert_allclose(layer.translate[1:], (0, 0))


def test_layer_in_memory_is_written_first(
    viewer: Any, dock: SegmentWidget, qtbot: Any, image: Any
) -> None:
    layer = viewer.add_image(image, name="memory")
    assert dock.source.voxel_size is None
    assert "voxel size" in dock.task.try_button.toolTip()
    for box, value in zip(dock.source.boxes, SIZE, strict=True):
        box.setValue(value)
    assert voxel_size_of(layer) == SIZE
    dock.task.try_button.click()
    qtbot.waitUntil(lambda: idle(dock), timeout=20_000)
    (result,) = labels(viewer)
    assert result.data.shape == image.shape
    np.testing.assert_allclose(result.scale, tuple(SIZE))


def test_voxel_size_reaches_the_companions(viewer: Any, dock: SegmentWidget, image: Any) -> None:
    viewer.add_image(image)
    companion = viewer.add_labels(image.astype(np.uint32))
    for box, value in zip(dock.source.boxes, SIZE, strict=True):
        box.setValue(value)
    assert voxel_size_of(companion) == SIZE


def test_volume_is_confirmed_then_run(
    viewer: Any, dock: SegmentWidget, opened: Any, qtbot: Any, tmp_path: Path
) -> None:
    assert Path(dock.project_edit.text()) == tmp_path / "brain.neuropil"
    dock.method.form.editor("beta").set_value(0.4)
    dock.task.run_button.click()
    qtbot.waitUntil(lambda: idle(dock), timeout=20_000)
    question = dock.task.question.text()
    assert question.startswith("3 blocks · about 2 min on cpu · 3.1 GB memory · 1 MB disk")
    assert "tiles halved" in question
    words = (dock._planned or {})["words"]
    assert words[words.index("--set") + 1] == "beta=0.4"
    assert "--overwrite" not in words
    assert not (tmp_path / "brain.neuropil").exists()
    dock.task.start_button.click()
    qtbot.waitUntil(lambda: idle(dock), timeout=20_000)
    (layer,) = labels(viewer)
    assert layer.name == "SegNeuron segments"
    assert isinstance(layer.data, LayerArray)
    assert facts_of(layer)["project"] == str(tmp_path / "brain.neuropil")
    np.testing.assert_array_equal(layer.extent.world, opened.extent.world)


def test_question_warns_of_what_is_lost() -> None:
    text = question_text({"blocks": 1, "disk_bytes": 5e9}, int(2e9), "old.neuropil")
    assert "Only 2 GB are free" in text
    assert "Replaces the project old.neuropil." in text
    assert "Only" not in question_text({"disk_bytes": 1e9}, int(2e9), "")


def test_declined_run_does_nothing(
    dock: SegmentWidget, opened: Any, qtbot: Any, tmp_path: Path
) -> None:
    dock.task.run_button.click()
    qtbot.waitUntil(lambda: idle(dock), timeout=20_000)
    dock.task.decline_button.click()
    assert dock.task.try_button.isVisibleTo(dock.task)
    assert not (tmp_path / "brain.neuropil").exists()


def test_layer_in_memory_leaves_no_copy_when_declined(
    viewer: Any, dock: SegmentWidget, qtbot: Any, image: Any, tmp_path: Path
) -> None:
    viewer.add_image(image, scale=tuple(SIZE), units=("nm",) * 3)
    dock.project_edit.setText(str(tmp_path / "m.neuropil"))
    dock.task.run_button.click()
    qtbot.waitUntil(lambda: idle(dock), timeout=20_000)
    words = (dock._planned or {})["words"]
    assert words[1] == str(tmp_path / "m.image.zarr")
    assert Path(words[1]).is_dir()
    # Another setting: the question is taken back, and the copy with it.
    dock.method.form.editor("beta").set_value(0.4)
    assert dock.task.try_button.isVisibleTo(dock.task)
    qtbot.waitUntil(lambda: not Path(words[1]).exists(), timeout=5_000)


def test_unfinished_project_can_be_resumed(
    dock: SegmentWidget, opened: Any, qtbot: Any, tmp_path: Path
) -> None:
    from napari_neuropil.project import ProjectInfo, write_info

    assert not dock.task.resume_button.isVisibleTo(dock.task)
    project = tmp_path / "brain.neuropil"
    project.mkdir()
    write_info(project, ProjectInfo(voxel_size=tuple(SIZE), roi="0:1,0:1,0:1"))
    dock._update_ready()
    assert dock.task.resume_button.isVisibleTo(dock.task)
    dock.task.resume_button.click()
    qtbot.waitUntil(lambda: idle(dock), timeout=20_000)
    words = (dock._planned or {})["words"]
    assert "--resume" in words
    assert "--overwrite" not in words


def test_cancel_within_two_seconds(
    viewer: Any,
    dock: SegmentWidget,
    opened: Any,
    qtbot: Any,
    fake_cli: Callable[[str], None],
) -> None:
    fake_cli("stubborn")
    dock.task.try_button.click()
    qtbot.waitUntil(lambda: dock.task.bar.value() > 0, timeout=20_000)
    begin = time.monotonic()
    dock.task.cancel_button.click()
    qtbot.waitUntil(lambda: idle(dock), timeout=5_000)
    assert time.monotonic() - begin < 2
    assert dock.task.message.text() == "Cancelled."
    assert not labels(viewer)


def test_error_is_shown_whole(
    viewer: Any,
    dock: SegmentWidget,
    opened: Any,
    qtbot: Any,
    fake_cli: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from napari.utils import notifications

    said: list[str] = []
    monkeypatch.setattr(notifications, "show_error", said.append)
    fake_cli("refuse")
    dock.task.try_button.click()
    qtbot.waitUntil(lambda: idle(dock), timeout=20_000)
    assert said == ["constant volume\nExpected: EM\nCure: look"]
    assert dock.task.message.text() == said[0]
    assert dock.task.try_button.isEnabled()


def test_closing_the_dock_ends_the_worker(
    dock: SegmentWidget, opened: Any, qtbot: Any, fake_cli: Callable[[str], None]
) -> None:
    fake_cli("stubborn")
    dock.task.try_button.click()
    qtbot.waitUntil(lambda: dock.task.bar.value() > 0, timeout=20_000)
    worker = dock._job._part  # type: ignore[union-attr]
    dock.close()
    assert not worker.running  # type: ignore[union-attr]


def test_default_project_of_a_layer_in_memory(viewer: Any, image: Any) -> None:
    layer = viewer.add_image(image, name="a/b: c")
    path = default_project(layer)
    assert path.name == "a_b_ c.neuropil"
    assert path.parent.name == "napari-neuropil"


def test_real_crop_of_the_sample(viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_neuropil.errors import CheckpointError
    from napari_neuropil.networks.pretrained import pretrained_path
    from napari_neuropil.volumes import open_volume
    from napari_neuropil.workflows.samples import find_sample

    try:
        pretrained_path("segneuron")
    except CheckpointError as error:
        pytest.skip(str(error))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2] / "src"))
    sample = open_volume(find_sample("neuropil.ome.zarr"))
    # In memory and small: the whole walk, written layer included, in a few seconds.
    viewer.add_image(sample.array[:8, :64, :64], scale=(30, 12, 12), units=("nm",) * 3)
    dock = SegmentWidget(viewer)
    viewer.window.add_dock_widget(dock)
    dock.task.try_button.click()
    qtbot.waitUntil(lambda: idle(dock), timeout=240_000)
    assert "fragments" in dock.task.message.text()
    (result,) = labels(viewer)
    assert result.data.shape == (8, 64, 64)
    assert result.data.dtype == np.uint64
    assert result.data.any()
