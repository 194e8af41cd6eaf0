"""The whole walk on the sample volume: segment it with the shipped weights, score it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from napari_neuropil.errors import VolumeNotFoundError
from napari_neuropil.evaluation.scores import SegmentationScores
from napari_neuropil.workflows.evaluate import evaluate_files
from napari_neuropil.workflows.requests import Report, SegmentPlan, SegmentRequest
from napari_neuropil.workflows.segment import segment

_PACKAGE: Final = Path(__file__).resolve().parents[1]
_NAME: Final = "neuropil.ome.zarr"


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


def sample_volume() -> Path:
    """Return the sample volume, of the installed package or of the source tree.

    Raises
    ------
    VolumeNotFoundError
        If the installation lacks it.
    """
    # A wheel carries the folder inside the package; a source tree has it at its root.
    places = (_PACKAGE / "sample_data", _PACKAGE.parents[1] / "sample_data")
    for place in places:
        if (place / _NAME).is_dir():
            return place / _NAME
    raise VolumeNotFoundError(
        f"The sample volume is not in {places[0]}.",
        "the folder sample_data that comes with the package",
        "reinstall the package.",
    )


def run_demo(folder: str | Path, report: Report = lambda _progress: None) -> DemoResult:
    """Segment the sample volume into ``FOLDER/sample.neuropil`` and score it.

    A project of an earlier demo in `folder` is replaced.

    Raises
    ------
    NeuropilError
        If the folder cannot be written or the installation is incomplete.
    """
    image = sample_volume()
    labels = image / "labels" / "neurons"
    project = Path(folder) / "sample.neuropil"
    plans: list[SegmentPlan] = []
    begin = time.perf_counter()
    request = SegmentRequest(image=str(image), project=str(project), overwrite=True)
    segment(request, report=report, planned=plans.append)
    seconds = time.perf_counter() - begin
    return DemoResult(image, labels, project, evaluate_files(project, labels), seconds, plans[0])
