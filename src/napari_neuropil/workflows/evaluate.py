"""Compare a segmentation with the truth, both given as files or projects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from napari_neuropil.errors import VolumeFormatError
from napari_neuropil.evaluation.scores import SegmentationScores, evaluate_segmentation
from napari_neuropil.geometry import Roi
from napari_neuropil.project import read_info
from napari_neuropil.volumes import Volume, check_image, open_volume
from napari_neuropil.workflows.results import open_segments


def evaluate_files(
    segmentation: str | Path, labels: str | Path, roi: str | None = None
) -> SegmentationScores:
    """Score a segmentation against labels.

    A project that covers a roi of its image is compared with the same roi of the labels, and one
    that was proofread as it is now.

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
    with _open_segmentation(Path(segmentation)) as (found, covered):
        return _score(found, open_volume(labels), roi, covered)


def _score(
    found: Volume, truth: Volume, roi: str | None, covered: str | None
) -> SegmentationScores:
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


@contextmanager
def _open_segmentation(path: Path) -> Iterator[tuple[Volume, str | None]]:
    """Give the volume, and the part of its image that a project covers."""
    if (path / "project.json").is_file():
        with open_segments(path) as volume:
            yield volume, read_info(path).roi
    else:
        yield open_volume(path), None
