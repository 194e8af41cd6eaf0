"""A detector is scored on whole held-out sections, at the recipe's pixel size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_neuropil.prompts.detector import Detections
from napari_neuropil.training.detector_recipe import DetectorRecipe
from napari_neuropil.workflows.evaluate_detector import score_detector
from napari_neuropil.workflows.requests import Progress


class Thresholder:
    """Finds the box of what is bright, and one that is wrong but faint."""

    name, fingerprint, tile_side = "bright", "0", 32

    def detect(self, section: NDArray[np.uint8]) -> Detections:
        rows, columns = np.nonzero(section > 100)
        if not len(rows):
            return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
        box = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
        boxes = np.array([box, [0, 0, 3, 3]], np.float32)
        return Detections(boxes, np.array([0.9, 0.1], np.float32))


def test_scores_of_held_out_sections(tmp_path: Path) -> None:
    labels = np.zeros((5, 80, 120), np.uint8)
    labels[:, 20:60, 30:100] = 6  # over several tiles once it is averaged to 40 x 60
    image = np.where(labels, 200, 10).astype(np.uint8)
    image[:4] = 10  # had it to find anything here, it would fail
    tifffile.imwrite(tmp_path / "i.tif", image)
    tifffile.imwrite(tmp_path / "l.tif", labels)
    volume = {
        "name": "v", "image": "i.tif", "labels": "l.tif", "voxel_size": (30, 6, 6), "ids": (6,),
        "train_sections": (0, 4), "validation_sections": (4, 5),
    }  # fmt: skip
    recipe = DetectorRecipe.model_validate({"seed": 0, "volumes": [volume]})
    heard: list[Progress] = []
    scores = score_detector(Thresholder(), recipe, tmp_path, 0.5, heard.append)
    assert (scores.found, scores.wrong, scores.missed) == (1, 0, 0)
    assert scores.ap50 == scores.ap50_95 == 1
    assert [(p.done, p.total) for p in heard] == [(1, 1)]
    everything = score_detector(Thresholder(), recipe, tmp_path, 0.05)
    assert everything.precision < 1
    assert everything.ap50 == 1
