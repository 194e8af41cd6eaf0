"""The whole walk on the sample volume: segment it with the shipped weights, score it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from napari_neuropil.errors import NeuropilError
from napari_neuropil.evaluation.scores import SegmentationScores
from napari_neuropil.workflows.evaluate import evaluate_files
from napari_neuropil.workflows.requests import Report, SegmentPlan, SegmentRequest
from napari_neuropil.workflows.results import refuse_edited
from napari_neuropil.workflows.samples import SAMPLE_LABELS, SAMPLE_VOLUME, find_sample
from napari_neuropil.workflows.segment import segment


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo leaves.

    Parameters
    ----------
    image, labels, project : Path
        The sample, its truth, and the project made from it.
    scores : SegmentationScores
        Segments against truth.
    seconds : float
        Wall time of the segmentation, planning included.
    plan : SegmentPlan
        What was done.
    """

    image: Path
    labels: Path
    project: Path
    scores: SegmentationScores
    seconds: float
    plan: SegmentPlan


def run_demo(folder: str | Path, report: Report = lambda _progress: None) -> DemoResult:
    """Segment the sample volume into ``FOLDER/sample.neuropil`` and score it.

    A project of an earlier demo in `folder` is replaced; one that has been edited since, or that a
    window has open, is kept, and the new one gets a number.

    Raises
    ------
    NeuropilError
        If the folder cannot be written or the installation is incomplete.
    """
    image, labels = find_sample(SAMPLE_VOLUME), find_sample(SAMPLE_LABELS)
    project = _free_name(Path(folder))
    plans: list[SegmentPlan] = []
    begin = time.perf_counter()
    request = SegmentRequest(image=str(image), project=str(project), overwrite=True)
    segment(request, report=report, planned=plans.append)
    seconds = time.perf_counter() - begin
    return DemoResult(image, labels, project, evaluate_files(project, labels), seconds, plans[0])


def _free_name(folder: Path) -> Path:
    number = 1
    path = folder / "sample.neuropil"
    while not _is_free(path):
        number += 1
        path = folder / f"sample-{number}.neuropil"
    return path


def _is_free(path: Path) -> bool:
    try:
        refuse_edited(path)
    except NeuropilError:
        return False
    return True
