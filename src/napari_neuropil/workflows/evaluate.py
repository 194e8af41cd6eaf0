"""Compare a segmentation with the truth, both given as files or projects."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_neuropil.errors import VolumeFormatError
from napari_neuropil.evaluation.scores import SegmentationScores, evaluate_segmentation
from napari_neuropil.geometry import Roi
from napari_neuropil.project import Project, read_info
from napari_neuropil.volumes import Volume, check_image, open_volume


def evaluate_files(
    segmentation: str | Path, labels: str | Path, roi: str | None = None
) -> SegmentationScores:
    """Score a segmentation against labels.

    A project that covers a roi of its image is compared with the same roi of the labels.

    Parameters
    ----------
    segmentation : path-like
        Volume, or project folder.
    labels : path-like
        The truth; label 0 is ignored.
    roi : str, optional
        Part of the labels that the segmentation covers, ``z0:z1,y0:y1,x0:x1``.

    Raises
    ------
    NeuropilError
        If a file cannot be read, or shapes do not fit.
    """
    found, covered = _open_segmentation(Path(segmentation))
    truth = open_volume(labels)
    check_image(truth)
    check_image(found)
    box = Roi.of_shape(truth.shape)
    if roi is not None:
        box = Roi.parse(roi, truth.shape)
    elif covered is not None and found.shape != truth.shape:
        box = Roi.parse(covered, truth.shape)
    if box.shape != found.shape:
        raise VolumeFormatError(
            f"The segmentation has shape {found.shape}, the labels {box.shape}.",
            "the same voxels",
            "name the part of the labels that the segmentation covers with --roi.",
        )
    for volume in (found, truth):
        if volume.dtype.kind not in "ui":
            raise VolumeFormatError(
                f"{volume.name} holds {volume.dtype} values.", "integer ids", "choose labels."
            )
    return evaluate_segmentation(
        found.read(Roi.of_shape(found.shape)).astype(np.uint64, copy=False),
        truth.read(box).astype(np.uint64, copy=False),
    )


def _open_segmentation(path: Path) -> tuple[Volume, str | None]:
    if (path / "project.json").is_file():
        info = read_info(path)
        return Project.open(path).segments(), info.roi
    return open_volume(path), None
