"""Score a detector on the held-out sections of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_neuropil.workflows.requests import Progress, Report
from napari_neuropil.workflows.train import read_recipe

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_neuropil.evaluation.detection import DetectionScores
    from napari_neuropil.prompts.boxes import Boxes
    from napari_neuropil.prompts.detector import Detector
    from napari_neuropil.training.detector_recipe import DetectorRecipe

_FAINT = 0.001
"""Average precision wants the faint boxes too; this is where ultralytics and COCO's users cut."""


def evaluate_detector(
    weights: Path,
    settings_file: Path,
    *,
    data_root: Path | None = None,
    device: str = "auto",
    confidence: float | None = None,
    report: Report = lambda _progress: None,
) -> DetectionScores:
    """Score a detector's weights on the validation sections of its recipe.

    Parameters
    ----------
    weights : Path
        ``.safetensors`` with its spec.
    settings_file : Path
        YAML of a recipe: which sections, which ids, how small is too small.
    data_root : Path, optional
        Folder that the recipe's paths start from; None takes that of the settings file.
    device : str
        auto, cpu, cuda or mps.
    confidence : float, optional
        From which precision, recall and F1 count a box; None takes the spec's.
    report : callable
        Hears of every section.

    Raises
    ------
    NeuropilError
        Bad weights, settings or volumes, or ultralytics is not installed.
    """
    from napari_neuropil.inference.devices import choose_device
    from napari_neuropil.prompts.yolo_detector import YoloDetector
    from napari_neuropil.training.detector_recipe import DetectorRecipe

    recipe = read_recipe(settings_file, DetectorRecipe)
    detector = YoloDetector.load(weights, device=choose_device(device), confidence=_FAINT)
    least = detector.spec.confidence if confidence is None else confidence
    return score_detector(detector, recipe, data_root or settings_file.parent, least, report)


def score_detector(
    detector: Detector,
    recipe: DetectorRecipe,
    data_root: Path,
    least_score: float,
    report: Report = lambda _progress: None,
) -> DetectionScores:
    """Score a detector on whole sections, in tiles where they are larger than it sees.

    Parameters
    ----------
    detector : Detector
        Gives faint boxes too.
    recipe : DetectorRecipe
        Whose validation sections are looked at, at its pixel size.
    data_root : Path
        Folder that the recipe's paths start from.
    least_score : float
        From which precision, recall and F1 count a box.
    report : callable
        Hears of every section.

    Raises
    ------
    NeuropilError
        If volumes or sections do not fit.
    """
    from napari_neuropil.evaluation.detection import evaluate_detections

    found, truth = find_held_out(detector, recipe, data_root, report)
    return evaluate_detections(found, truth, least_score=least_score)


def find_held_out(
    detector: Detector,
    recipe: DetectorRecipe,
    data_root: Path,
    report: Report = lambda _progress: None,
) -> tuple[list[tuple[Boxes, NDArray[np.float32]]], list[Boxes]]:
    """Find the objects of whole validation sections.

    Parameters
    ----------
    detector, recipe, data_root, report
        As `score_detector`.

    Returns
    -------
    found : list of (boxes, scores)
        Of each section, in pixels of the recipe.
    truth : list of Boxes
        What is there.

    Raises
    ------
    NeuropilError
        If volumes or sections do not fit.
    """
    from napari_neuropil.prompts.tiled_detection import detect_section
    from napari_neuropil.training.detector_data import read_images
    from napari_neuropil.training.detector_recipe import check_split

    check_split(recipe.volumes)
    whole = recipe.model_copy(update={"image_side": 1 << 30})
    held = [v.validation_sections for v in recipe.volumes]
    total = sum(
        len(range(*sections, volume.step))
        for volume, sections in zip(recipe.volumes, held, strict=True)
        if sections is not None
    )
    found, truth = [], []
    for done, image in enumerate(read_images(whole, data_root, "validation"), start=1):
        boxes = detect_section(detector, image.pixels)
        found.append((boxes.boxes, boxes.scores))
        truth.append(image.boxes)
        message = f"{len(boxes)} boxes, {len(image.boxes)} objects"
        report(Progress(stage="detect", done=done, total=total, message=message))
    return found, truth
