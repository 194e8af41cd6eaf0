"""A detector is trained in a process of its own: stopped, gone on with, offline, and written."""

from __future__ import annotations

import csv
import importlib.util
import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
import torch

from napari_neuropil.cli.app import run
from napari_neuropil.errors import CheckpointError, MissingExtraError, SettingsError
from napari_neuropil.prompts import _ultralytics
from napari_neuropil.prompts.detector_weights import (
    DetectorSpec,
    load_detector_spec,
    load_detector_state,
    save_detector,
)
from napari_neuropil.prompts.yolo_detector import YoloDetector
from napari_neuropil.training import detector, detector_process
from napari_neuropil.training.detector_recipe import DetectorRecipe
from napari_neuropil.workflows.train import read_recipe
from napari_neuropil.workflows.train_detector import (
    make_detector_recipe,
    save_detector_recipe,
    train_detector_from,
)

needs_ultralytics = pytest.mark.skipif(
    importlib.util.find_spec("ultralytics") is None, reason="ultralytics is not installed"
)
# In a process that is told to, whoever asks for a host leaves a trace and dies.
_GUARD = """
import os, pathlib, socket
def lookup(*place, **options):
    pathlib.Path(os.environ["LOOKED_UP"]).write_text(repr(place))
    os._exit(9)
socket.getaddrinfo = socket.gethostbyname = lookup
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with six sections that hold two bars each; children may look up no host."""
    random = np.random.default_rng(0)
    image = random.integers(20, 60, (6, 64, 64), dtype=np.uint8)
    labels = np.zeros((6, 64, 64), np.uint16)
    labels[:, 8:20, 10:50], labels[:, 40:50, 20:60] = 1, 2
    image[labels > 0] += 150
    tifffile.imwrite(tmp_path / "image.tif", image)
    tifffile.imwrite(tmp_path / "labels.tif", labels)
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard" / "sitecustomize.py").write_text(_GUARD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "guard"), prepend=":")
    monkeypatch.setenv("LOOKED_UP", str(tmp_path / "looked_up"))
    monkeypatch.setenv("ULTRALYTICS_API_KEY", "ul_" + "0" * 40)  # of a user with an account
    return tmp_path


def _recipe(folder: Path, **training: object) -> DetectorRecipe:
    recipe = make_detector_recipe(
        folder / "image.tif", folder / "labels.tif", "all",
        voxel_size=(30, 12, 12), sections=(0, 6), share=0.3, object_name="bar",
    )  # fmt: skip
    settings = {"epochs": 3, "batch": 2, "learning_rate": 1e-9, "warm_up": 0} | training
    changes = {"image_side": 64, "overlap": 16, "smallest_area": 0.0, "architecture": "yolo11n"}
    content = recipe.model_dump() | changes | {"training": settings}
    return DetectorRecipe.model_validate(content)


@needs_ultralytics
@pytest.mark.timeout(900)  # starts two processes, each with torch and ultralytics
def test_training_is_stopped_and_gone_on_with(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = folder / "start.safetensors"
    network = _ultralytics.build_network("yolo11n", 1)
    spec = DetectorSpec(architecture="yolo11n", classes=("bar",), image_side=64, pixel_size=12)
    save_detector(start, network.state_dict(), spec)
    recipe = _recipe(folder).model_copy(update={"start": str(start), "architecture": "newest"})
    settings, out = folder / "recipe.yaml", folder / "out.safetensors"
    save_detector_recipe(recipe, settings)

    def stop(progress: object) -> None:
        if progress.done > 1:  # the first epoch is kept
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_detector_from(settings, out, device="cpu", threads=1, report=stop)
    work = folder / "out.run"
    assert len(list(csv.DictReader((work / "log.csv").open()))) in (1, 2)
    assert not out.exists()

    events: list[tuple[float, int, str]] = []
    seen = detector._pass_on
    monkeypatch.setattr(
        detector, "_pass_on", lambda event, tell: (events.append(event), seen(event, tell))
    )
    words = ["train", "detector", "--settings", str(settings), "--out", str(out)]
    assert run([*words, "--device", "cpu", "--threads", "1"]) == 0
    assert not (folder / "looked_up").exists()
    rows = list(csv.DictReader((work / "log.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert float(rows[0]["box"]) > 0
    assert 0 <= float(rows[2]["ap50"]) <= 1
    assert min(event["done"] for event in events) > 1
    assert (events[-1]["event"], events[-1]["done"], events[-1]["total"]) == ("epoch", 3, 3)

    spec = load_detector_spec(out)
    assert (spec.architecture, spec.classes, spec.image_side) == ("yolo11n", ("bar",), 64)
    assert (spec.epochs, spec.pixel_size) == (3, 12)
    assert "sections 0-3" in spec.training_data[0]
    assert "start.safetensors" in spec.training_data[1]
    # At this learning rate only the averages of batch normalisation move: it did start there.
    state = load_detector_state(out, spec)
    for name, tensor in network.state_dict().items():
        if name.endswith("conv.weight"):
            torch.testing.assert_close(state[name], tensor, atol=2e-3, rtol=0)
    YoloDetector.load(out).detect(np.zeros((64, 64), np.uint8))

    # What is done is not done again, and another recipe does not mix with it.
    monkeypatch.setattr(detector.subprocess, "Popen", None)
    train_detector_from(settings, out, device="cpu", threads=1)
    assert load_detector_spec(out).sha256 == spec.sha256
    save_detector_recipe(recipe.model_copy(update={"seed": 5}), settings)
    with pytest.raises(SettingsError, match="other settings"):
        train_detector_from(settings, out, device="cpu", threads=1)


@needs_ultralytics
def test_weights_of_another_network_are_no_start(folder: Path) -> None:
    start = folder / "start.safetensors"
    spec = DetectorSpec(architecture="yolo26n", classes=("a",), image_side=64, pixel_size=12)
    save_detector(start, {"a": torch.ones(1)}, spec)
    settings = folder / "recipe.yaml"
    save_detector_recipe(_recipe(folder).model_copy(update={"start": str(start)}), settings)
    with pytest.raises(CheckpointError, match="yolo26n for 1"):
        train_detector_from(settings, folder / "out.safetensors", device="cpu")


def test_without_ultralytics_the_pip_line_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_ultralytics, "_PACKAGE", "no_such_package")
    settings = folder / "recipe.yaml"
    save_detector_recipe(_recipe(folder), settings)
    with pytest.raises(MissingExtraError, match=r"napari-neuropil\[yolo\]"):
        train_detector_from(settings, folder / "out.safetensors", device="cpu")
    with pytest.raises(SettingsError, match=r"NAME\.safetensors"):
        train_detector_from(settings, folder / "out.pt", device="cpu")
    with pytest.raises(SettingsError, match="threads"):
        train_detector_from(settings, folder / "out.safetensors", device="cpu", threads=0)


def test_a_recipe_comes_back_from_disk(folder: Path) -> None:
    recipe = _recipe(folder)
    assert recipe.volumes[0].train_sections == (0, 4)
    assert recipe.volumes[0].validation_sections == (4, 6)
    save_detector_recipe(recipe, folder / "recipe.yaml")
    assert read_recipe(folder / "recipe.yaml", DetectorRecipe) == recipe
    with pytest.raises(SettingsError, match="voxel_size"):
        make_detector_recipe(
            folder / "image.tif", folder / "labels.tif", [1], voxel_size=(1, 2), sections=(0, 6)
        )


def test_a_failure_names_the_log(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_text("one\nCUDA out of memory. Tried to allocate")
    with pytest.raises(SettingsError, match="batch"):
        detector._check_end(1, tmp_path)
    (tmp_path / "train.log").write_text("one\nValueError: bad")
    with pytest.raises(RuntimeError, match="ValueError: bad"):
        detector._check_end(1, tmp_path)
    (tmp_path / "done").touch()
    detector._check_end(0, tmp_path)


def test_lines_become_progress() -> None:
    heard: list[tuple[float, int, str]] = []
    line = '{"event": "batch", "done": 0.5, "total": 3, "losses": {"box": 1.25}}'
    detector._pass_on(json.loads(line), lambda *facts: heard.append(facts))
    line = '{"event": "epoch", "done": 1, "total": 3, "ap50": 0.5}'
    detector._pass_on(json.loads(line), lambda *facts: heard.append(facts))
    assert heard == [(0.5, 3, "box 1.250"), (1, 3, "ap50 0.500")]


def test_rotations_end_with_the_mosaics() -> None:
    trainer = SimpleNamespace(
        epoch=6, epochs=10, args=SimpleNamespace(close_mosaic=3, degrees=90.0)
    )
    detector_process._close_rotations(trainer)
    assert trainer.args.degrees == 90
    trainer.epoch = 7
    detector_process._close_rotations(trainer)
    assert trainer.args.degrees == 0


@needs_ultralytics
def test_a_slow_validation_misses_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nms = _ultralytics.import_part("ultralytics.utils.nms", tmp_path)
    monkeypatch.setattr(nms, "non_max_suppression", nms.non_max_suppression)  # put back at the end
    ticks = itertools.count(step=60)  # a minute between two looks at the clock
    monkeypatch.setattr(nms, "time", SimpleNamespace(time=lambda: next(ticks)))
    # One box in each of three images: middle, size, confidence.
    found = torch.tensor([20.0, 20.0, 8.0, 8.0, 0.9])[None, :, None].repeat(3, 1, 1)
    assert [len(boxes) for boxes in nms.non_max_suppression(found)] == [1, 0, 0]
    detector_process._be_patient(nms)
    assert [len(boxes) for boxes in nms.non_max_suppression(found)] == [1, 1, 1]


def test_the_shipped_recipe_is_whole() -> None:
    from napari_neuropil.training.detector_recipe import check_split

    path = Path(detector.__file__).parents[1] / "weights" / "dendrite-detector" / "recipe.yaml"
    recipe = read_recipe(path, DetectorRecipe)
    check_split(recipe.volumes)
    (ac4,) = recipe.volumes
    assert (ac4.train_sections, ac4.validation_sections) == ((0, 80), (80, 100))
    assert set(ac4.ids) == {1, 7, *range(8, 25)}
