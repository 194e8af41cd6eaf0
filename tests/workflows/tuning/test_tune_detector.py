"""A detector's fine-tuning around a training that is played: what is written, what is used."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from napari_neuropil.cli.app import run
from napari_neuropil.errors import SettingsError
from napari_neuropil.prompts import _ultralytics, yolo_detector
from napari_neuropil.prompts.detector import Detections
from napari_neuropil.prompts.detector_weights import (
    DetectorSpec,
    load_detector_spec,
    save_detector,
)
from napari_neuropil.proofreading import ProofreadingSession
from napari_neuropil.training import detector as training
from napari_neuropil.training.detector_data import read_images
from napari_neuropil.training.detector_recipe import DetectorRecipe
from napari_neuropil.workflows.tuning.detector import (
    judge_detections,
    plan_detector_tuning,
    tune_detector,
)
from napari_neuropil.workflows.tuning.detector_requests import DetectorTuneRequest

Boxes = list[tuple[float, float, float, float]]


def _spec() -> DetectorSpec:
    return DetectorSpec(architecture="yolo26n", classes=("spine",), image_side=64, pixel_size=6)


class Fake:
    """Finds what is bright; as far beside it as its weights say."""

    tile_side = 64

    def __init__(self, beside: float) -> None:
        self.name = self.fingerprint = f"fake {beside}"
        self.beside = beside

    def detect(self, section: NDArray[np.uint8]) -> Detections:
        rows, columns = np.nonzero(section > 150)
        box = np.array([[rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]])
        return Detections((box + self.beside).astype(np.float32), np.array([0.9], np.float32))


@pytest.fixture
def world(
    tmp_path: Path, make_project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """Return a request on a project whose segment 1 is done, and the recipes that were trained."""
    fragments = np.ones((24, 64, 64), np.uint64) * 2
    fragments[2:22, 10:50, 10:60] = 1
    project = make_project(fragments, grey=np.where(fragments == 1, 200, 20).astype(np.uint8))
    with ProofreadingSession.open(project) as session:
        session.annotate(1, status="done")
    base = tmp_path / "base.safetensors"
    save_detector(base, {"beside": torch.tensor([12.0])}, _spec())
    seen: dict[str, Any] = {"recipes": [], "learned": 0.0}

    def learn(
        recipe: DetectorRecipe, root: Path, out: Path, folder: Path, **options: Any
    ) -> DetectorSpec:
        options["tell"](1, recipe.training.epochs, "box 0.5")
        seen["recipes"].append((recipe, root))
        return save_detector(out, {"beside": torch.tensor([seen["learned"]])}, _spec())

    def load(path: Path, **_options: Any) -> Fake:
        from safetensors.torch import load_file

        return Fake(float(load_file(path)["beside"]))

    monkeypatch.setattr(training, "train_detector", learn)
    monkeypatch.setattr(yolo_detector.YoloDetector, "load", load)
    monkeypatch.setattr(_ultralytics, "check_installed", lambda: None)
    seen["request"] = DetectorTuneRequest(
        image=str(project.with_suffix(".zarr")), project=str(project), base=str(base),
        out=str(tmp_path / "out" / "tuned.safetensors"), share=0.25, device="cpu",
    )  # fmt: skip
    return seen


def test_a_better_detector_is_written(world: dict[str, Any]) -> None:
    plans: list[Any] = []
    found = tune_detector(world["request"], planned=plans.append)
    assert found.accepted, found.reason
    assert (found.before["ap50"], found.after["ap50"]) == (0, 1)
    assert found.sections == 5
    assert load_detector_spec(Path(world["request"].out)).classes == ("spine",)
    (plan,) = plans
    # Twenty sections from 2 on; five are held out, one is the gap.
    assert (plan.training_sections, plan.held_out_sections) == ((2, 16), (17, 22))
    assert (plan.segments, plan.object_name) == (1, "spine")
    assert "counts as background" in plan.notices[0]
    # It learned from the chosen segment alone, and never from held-out sections.
    recipe, root = world["recipes"][0]
    assert recipe.start == plan.base
    held = {"train": 14, "validation": 5}
    for part, count in held.items():
        images = list(read_images(recipe, root, part))  # type: ignore[arg-type]
        assert len(images) == count
        for image in images:
            assert image.boxes.tolist() == [[10, 10, 50, 60]]
            assert set(np.unique(image.pixels)) == {20, 200}


def test_small_objects_have_no_box(world: dict[str, Any]) -> None:
    # 2000 pixels of 36 square nm.
    found = tune_detector(world["request"].model_copy(update={"smallest_area": 0.073}))
    assert (found.sections, found.verdict) == (0, "too few sections")


def test_one_that_is_no_better_is_not_used(world: dict[str, Any]) -> None:
    world["learned"] = 12.0
    found = tune_detector(world["request"])
    assert (found.accepted, found.verdict, found.checkpoint) == (False, "no clear gain", None)
    assert "not used" in found.reason
    assert not Path(world["request"].out).exists()


def test_few_sections_prove_nothing() -> None:
    truth = [np.array([[0, 0, 9, 9]], np.float32)] * 3
    good = [(boxes, np.ones(1, np.float32)) for boxes in truth]
    bad = [(boxes + 9, np.ones(1, np.float32)) for boxes in truth]
    assert judge_detections(bad, good, truth).verdict == "too few objects"
    # Sections without an object do not count, but more with one do.
    nothing = np.zeros((0, 4), np.float32)
    decision = judge_detections(
        [*bad, *bad, (nothing, np.zeros(0, np.float32))],
        [*good, *good, (nothing, np.zeros(0, np.float32))],
        [*truth, *truth, nothing],
    )
    assert decision.accepted
    assert decision.objects == 6


def test_the_plan_alone(world: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    request = world["request"]
    plan = plan_detector_tuning(request)
    assert not Path(plan.folder).exists()
    words = [
        "tune-detector", request.image, "--project", request.project, "--base", request.base,
        "--out", request.out, "--share", "0.25", "--dry-run",
    ]  # fmt: skip
    assert run([*words, "--json"]) == 0
    event = json.loads(capsys.readouterr().out)
    assert (event["event"], event["held_out_sections"]) == ("plan", [17, 22])
    assert run(words) == 0
    assert "held out sections 17 to 21" in capsys.readouterr().err
    assert run([*words, "--labels", "l.npy", "--json"]) == 2
    with pytest.raises(SettingsError, match="20 sections"):
        plan_detector_tuning(request.model_copy(update={"gap": 18}))
