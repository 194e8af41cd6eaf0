"""Scores of a segmentation against labels: variation of information and adapted Rand error.

Computed by scikit-image, as in the SegNeuron and AGQ papers: bits, truth first,
voxels whose truth is 0 left out. Nothing is left out on the segmentation's side: there, 0 is one
segment like any other, so background inside labelled objects costs.

Sources: Meila 2003 (variation of information), Arganda-Carreras et al. 2015 (adapted Rand error).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from skimage.metrics import adapted_rand_error, variation_of_information

from napari_neuropil.errors import VolumeFormatError

_SLAB_VOXELS: Final = 1 << 22
# scikit-image is untyped.
_variation_of_information: Final[Callable[..., NDArray[np.float64]]] = variation_of_information
_adapted_rand_error: Final[Callable[..., tuple[float, float, float]]] = adapted_rand_error
_UNUSED: Final = np.zeros(1, np.uint8)  # scikit-image wants images even beside a table


@dataclass(frozen=True)
class SegmentationScores:
    """How far a segmentation is from the labels; 0 is perfect but for precision and recall.

    Parameters
    ----------
    voi_split : float
        H(segmentation | labels) in bits: objects in several segments.
    voi_merge : float
        H(labels | segmentation) in bits: segments over several objects.
    voi : float
        Their sum.
    adapted_rand_error : float
        1 - F1 of precision and recall, in [0, 1].
    precision, recall : float
        Of voxel pairs in one segment; 1 is perfect. Mergers lower precision, splits recall.
    """

    voi_split: float
    voi_merge: float
    voi: float
    adapted_rand_error: float
    precision: float
    recall: float

    def as_dict(self) -> dict[str, float]:
        """Return the scores by name, for JSON.

        Returns
        -------
        dict of str to float
        """
        return asdict(self)


def evaluate_segmentation(segmentation: NDArray[Any], labels: NDArray[Any]) -> SegmentationScores:
    """Compare a segmentation with labels, voxel by voxel.

    Parameters
    ----------
    segmentation : NDArray
        Whole numbers of any size; 0 counts as one segment.
    labels : NDArray
        The truth, of the same shape; voxels of 0 are left out.

    Returns
    -------
    SegmentationScores

    Raises
    ------
    VolumeFormatError
        If shapes differ, a type is not whole numbers, or the truth holds no object.
    """
    if segmentation.shape != labels.shape:
        raise VolumeFormatError(
            f"a segmentation of shape {segmentation.shape} and labels of shape {labels.shape}",
            "one shape",
            "crop both to the same box",
        )
    for name, array in (("a segmentation", segmentation), ("labels", labels)):
        if array.dtype.kind not in "iu":
            raise VolumeFormatError(
                f"{name} of type {array.dtype}",
                "whole numbers: one id per object",
                "give ids, not an image, a mask or probabilities",
            )
    truth, predicted, weights = _joint_counts(segmentation, labels)
    if len(weights) == 0:
        raise VolumeFormatError(
            "labels without an object: every voxel is 0",
            "at least one labelled voxel",
            "compare where the truth is painted",
        )
    # scikit-image takes a joint histogram: it sees compact ids and never the volume.
    table = coo_array((weights, (truth, predicted))).tocsr()
    split, merge = _variation_of_information(_UNUSED, _UNUSED, table=table / table.sum())
    with np.errstate(invalid="ignore"):  # 0 / 0 where no two voxels share an object
        error, of_truth, of_predicted = _adapted_rand_error(table=table)
    return SegmentationScores(
        voi_split=float(split),
        voi_merge=float(merge),
        voi=float(split + merge),
        adapted_rand_error=_or_if_undefined(error, 0.0),
        # scikit-image 0.26 returns the two under each other's names.
        precision=_or_if_undefined(of_predicted, 1.0),
        recall=_or_if_undefined(of_truth, 1.0),
    )


def _or_if_undefined(value: float, fallback: float) -> float:
    return fallback if np.isnan(value) else float(value)


def _joint_counts(
    segmentation: NDArray[Any], labels: NDArray[Any]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Count the voxels of each pair (label > 0, segment), ids renumbered from 0.

    Works through slabs, in runs of equal pairs, so memory does not grow with the volume.
    """
    sections = max(1, _SLAB_VOXELS // max(1, labels[:1].size)) if labels.ndim else 1
    labels, segmentation = np.atleast_1d(labels), np.atleast_1d(segmentation)
    parts = [
        _count_pairs(labels[start : start + sections], segmentation[start : start + sections])
        for start in range(0, len(labels), sections)
    ]
    if not parts:
        nothing = np.zeros(0, np.intp)
        return nothing, nothing, np.zeros(0)
    truth = np.unique(np.concatenate([part[0] for part in parts]), return_inverse=True)[1]
    predicted = np.unique(np.concatenate([part[1] for part in parts]), return_inverse=True)[1]
    return truth, predicted, np.concatenate([part[2] for part in parts])


def _count_pairs(
    labels: NDArray[Any], segmentation: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float64]]:
    truth, predicted = labels.reshape(-1), segmentation.reshape(-1)
    begins = np.ones(truth.size, bool)
    np.not_equal(truth[1:], truth[:-1], out=begins[1:])
    begins[1:] |= predicted[1:] != predicted[:-1]
    starts = np.flatnonzero(begins)
    lengths = np.diff(starts, append=truth.size)
    truth, predicted = truth[starts], predicted[starts]
    known = truth != 0
    truth, predicted, lengths = truth[known], predicted[known], lengths[known]
    if truth.size == 0:
        return truth, predicted, np.zeros(0)
    order = np.lexsort((predicted, truth))
    truth, predicted = truth[order], predicted[order]
    first = np.ones(truth.size, bool)
    first[1:] = (truth[1:] != truth[:-1]) | (predicted[1:] != predicted[:-1])
    rows = np.flatnonzero(first)
    counts = np.add.reduceat(lengths[order], rows)
    return truth[rows], predicted[rows], counts.astype(np.float64)
