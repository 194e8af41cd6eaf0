"""YOLO behind its door: right boxes, safe files, and nothing that leaves or changes the process."""

from __future__ import annotations

import importlib.util
import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from napari_neuropil.errors import (
    CheckpointError,
    MissingExtraError,
    SettingsError,
    VolumeFormatError,
)
from napari_neuropil.prompts import _ultralytics
from napari_neuropil.prompts.detector_weights import (
    DetectorSpec,
    import_detector,
    load_detector_spec,
    load_detector_state,
    load_network,
    save_detector,
)
from napari_neuropil.prompts.yolo_detector import MOST_BOXES, YoloDetector

_SPEC = DetectorSpec(
    architecture="yolo26n", classes=("dendrite", "axon"), image_side=64, pixel_size=12
)
needs_ultralytics = pytest.mark.skipif(
    importlib.util.find_spec("ultralytics") is None, reason="ultralytics is not installed"
)


class FakeNetwork(torch.nn.Module):
    """Answers what it is given, whatever it sees."""

    def __init__(self, rows: list[list[float]]) -> None:
        super().__init__()
        self.model = [SimpleNamespace(end2end=True)]
        self.answer = torch.tensor(rows, dtype=torch.float32).T[None]
        self.seen = torch.zeros(0)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, None]:
        self.seen = image
        return self.answer, None


def _detector(rows: list[list[float]], **options: Any) -> tuple[YoloDetector, FakeNetwork]:
    network = FakeNetwork(rows)
    return YoloDetector(network, _SPEC, **options), network


def test_x_and_y_are_turned_round() -> None:
    # Centre (x 30, y 10), 40 wide, 8 high.
    detector, network = _detector([[30, 10, 40, 8, 0.9, 0.1]])
    found = detector.detect(np.zeros((40, 64), np.uint8))
    np.testing.assert_array_equal(found.boxes, [[6, 10, 14, 50]])
    np.testing.assert_allclose(found.scores, [0.9])
    assert network.model[0].end2end is False


def test_the_image_is_grey_three_times_and_padded() -> None:
    detector, network = _detector([[30, 10, 40, 8, 0.9, 0.1]])
    section = np.full((40, 33), 51, np.uint8)
    detector.detect(section)
    assert network.seen.shape == (1, 3, 64, 64)
    assert network.seen.dtype == torch.float32
    np.testing.assert_allclose(network.seen[0, :, :40, :33], 0.2, atol=1e-6)
    np.testing.assert_allclose(network.seen[0, :, 40:], 114 / 255, atol=1e-6)
    np.testing.assert_allclose(network.seen[0, :, :, 33:], 114 / 255, atol=1e-6)


def test_thresholds_kinds_and_borders() -> None:
    rows = [
        [10, 10, 8, 8, 0.2, 0.9],
        [30, 30, 8, 8, 0.5, 0.1],
        [30.5, 30, 8, 8, 0.4, 0.1],  # the same again
        [38, 62, 20, 20, 0.3, 0.3],  # half outside
        [100, 100, 8, 8, 0.9, 0.9],  # in the padding
    ]
    section = np.zeros((64, 40), np.uint8)
    every, _ = _detector(rows)
    np.testing.assert_allclose(
        every.detect(section).boxes, [[6, 6, 14, 14], [26, 26, 34, 34], [52, 28, 64, 40]]
    )
    dendrites, _ = _detector(rows, kinds=["dendrite"], confidence=0.45)
    np.testing.assert_allclose(dendrites.detect(section).boxes, [[26, 26, 34, 34]])
    assert len(_detector(rows, confidence=0.99)[0].detect(section)) == 0
    assert every.detect(np.zeros((0, 4), np.uint8)).boxes.shape == (0, 4)


def test_many_boxes_are_kept() -> None:
    grid = [[x + 2, y + 2, 3, 3, 0.5, 0] for x in range(0, 160, 4) for y in range(0, 160, 4)]
    found = _detector(grid)[0].detect(np.zeros((160, 160), np.uint8))
    assert len(found) == MOST_BOXES
    assert len(_detector(grid[:900])[0].detect(np.zeros((160, 160), np.uint8))) == 900


def test_what_users_see() -> None:
    detector, _ = _detector([[1, 1, 1, 1, 0, 0]], name="mine")
    assert (detector.name, detector.fingerprint, detector.tile_side) == ("mine", "", 64)
    for options in ({"confidence": 0}, {"confidence": 1.5}, {"kinds": ["glia"]}, {"kinds": []}):
        with pytest.raises(SettingsError):
            _detector([[1, 1, 1, 1, 0, 0]], **options)
    for section in (np.zeros((2, 9, 9), np.uint8), np.zeros((9, 9), np.float32)):
        with pytest.raises(VolumeFormatError):
            detector.detect(section)


def _saved(folder: Path) -> Path:
    path = folder / "mine.safetensors"
    save_detector(path, {"a": torch.ones(3), "n": torch.tensor(7)}, _SPEC)
    return path


def test_weights_come_back(tmp_path: Path) -> None:
    path = _saved(tmp_path)
    spec = load_detector_spec(path)
    assert spec.model_copy(update={"sha256": ""}) == _SPEC
    assert "AGPL" in spec.licence
    state = load_detector_state(path, spec)
    assert state["a"].dtype == torch.float32
    assert state["n"] == 7
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".json", ".safetensors"]


def test_failed_training_is_not_saved(tmp_path: Path) -> None:
    for bad in (float("nan"), 1e6):  # the latter is infinite as float16
        with pytest.raises(CheckpointError, match="not finite"):
            save_detector(tmp_path / "bad.safetensors", {"a": torch.tensor([bad])}, _SPEC)
    assert not list(tmp_path.iterdir())


def test_bad_files_are_named(tmp_path: Path) -> None:
    path = _saved(tmp_path)
    with pytest.raises(CheckpointError, match="No detector"):
        load_detector_spec(tmp_path / "absent.safetensors")
    (tmp_path / "best.pt").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="import_detector"):
        load_detector_spec(tmp_path / "best.pt")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="sha256"):
        load_detector_state(path, load_detector_spec(path))
    spec = load_detector_spec(path).model_copy(update={"sha256": ""})
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_detector_state(path, spec)
    path.with_suffix(".json").write_text('{"network": "segneuron"}')
    with pytest.raises(CheckpointError, match="no boxes"):
        load_detector_spec(path)


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def _import(source: Path, out: Path, **options: Any) -> DetectorSpec:
    given = {"architecture": "yolo26n", "classes": ["a"], "image_side": 64, "pixel_size": 8}
    return import_detector(source, out, **given | options)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("save", [torch.save, lambda o, p: Path(p).write_bytes(pickle.dumps(o))])
def test_a_pickle_is_never_run(tmp_path: Path, save: Any) -> None:
    source, trace = tmp_path / "best.pt", tmp_path / "was_here"
    save({"model": Bomb(trace)}, source)
    with pytest.raises(CheckpointError, match="state_dict"):
        _import(source, tmp_path / "out.safetensors")
    assert not trace.exists()
    assert not (tmp_path / "out.safetensors").exists()


def test_impossible_imports_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "t.pt")
    for options in ({"image_side": 65}, {"pixel_size": -1}, {"classes": []}):
        with pytest.raises(SettingsError):
            _import(tmp_path / "t.pt", tmp_path / "out.safetensors", **options)


def test_a_missing_package_names_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ultralytics, "_PACKAGE", "no_such_package")
    for call in (
        _ultralytics.check_installed,
        _ultralytics.newest_architecture,
        lambda: _ultralytics.build_network("yolo26n", 1),
    ):
        with pytest.raises(MissingExtraError, match=r"napari-neuropil\[yolo\]"):
            call()


@pytest.mark.parametrize("name", ["yolo26", "yolo26n.pt", "../../yolo26n", "yolov5n", "best", ""])
def test_only_packaged_layouts_are_built(name: str) -> None:
    with pytest.raises(CheckpointError, match="no detector known"):
        _ultralytics.build_network(name, 1)


@needs_ultralytics
def test_a_network_is_filled_and_answers_the_same_twice(tmp_path: Path) -> None:
    path = tmp_path / "random.safetensors"
    network = _ultralytics.build_network("yolo26n", 2)
    # Untrained scores are far below any threshold.
    for head in network.model[-1].cv3:
        torch.nn.init.constant_(head[-1].bias, -0.5)
    save_detector(path, network.state_dict(), _SPEC)
    assert path.stat().st_size < 6e6
    section = np.random.default_rng(0).integers(0, 255, (50, 64), dtype=np.uint8)
    detector = YoloDetector.load(path, confidence=0.1)
    first, again = detector.detect(section), detector.detect(section)
    assert len(first) > 0
    assert detector.fingerprint == load_detector_spec(path).sha256 != ""
    assert (first.boxes[:, 2:] > first.boxes[:, :2]).all()
    assert first.boxes.min() >= 0
    assert (first.boxes[:, 2:].max(axis=0) <= (50, 64)).all()
    np.testing.assert_array_equal(first.boxes, again.boxes)
    np.testing.assert_array_equal(first.scores, again.scores)
    one = _SPEC.model_copy(update={"classes": ("dendrite",)})
    save_detector(path, network.state_dict(), one)
    with pytest.raises(CheckpointError, match="misshapen"):
        load_network(path)


@needs_ultralytics
@pytest.mark.parametrize("name", ["yolo11n", "yolov8n"])
def test_tensors_are_imported(tmp_path: Path, name: str) -> None:
    network = _ultralytics.build_network(name, 1)
    torch.save(network.state_dict(), tmp_path / "tensors.pt")
    out = tmp_path / "out.safetensors"
    spec = _import(tmp_path / "tensors.pt", out, architecture=name)
    assert spec.training_data == ("unknown: imported from tensors.pt",)
    found = YoloDetector.load(out, confidence=1e-6).detect(np.zeros((64, 64), np.uint8))
    assert found.boxes.shape[1] == 4


_QUIET = """
import os, socket, sys
def lookup(*place, **options):
    print("LOOKED UP", place, file=sys.stderr)
    os._exit(9)
socket.getaddrinfo = lookup
import cv2, numpy, torch
from napari_neuropil.networks._torchvision import mend_torchvision
mend_torchvision()
def state():
    return dict(os.environ), numpy.get_printoptions(), cv2.getNumThreads(), torch.save, str(
        torch.ones(2) / 3), torch.get_num_threads(), list(__import__("warnings").filters)
cv2.setNumThreads(2)
os.environ["QT_QPA_PLATFORM_PLUGIN_PATH"] = "mine"
before = state()
from napari_neuropil.prompts._ultralytics import build_network, newest_architecture
build_network(newest_architecture(), 1)
after = state()
for one, other in zip(before, after):
    assert one == other, (one, other)
import ultralytics.utils as utils
assert not utils.ONLINE and not utils.AUTOINSTALL and utils.SAFE_LOAD
assert not utils.SETTINGS["sync"] and not utils.SETTINGS["mlflow"]
assert not utils.USER_CONFIG_DIR.exists()
print(*[m for m in sys.modules if m in ("comet_ml", "mlflow", "wandb")])
"""


@needs_ultralytics
def test_the_door_looks_nothing_up_and_changes_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _QUIET], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""
    assert not list(tmp_path.iterdir())
