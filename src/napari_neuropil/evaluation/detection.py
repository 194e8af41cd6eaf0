"""Scores of a detector's boxes against the true ones.

Boxes of a section are matched greedily: in the order of their scores each takes the true box that
it overlaps most among those still free, if the overlap (intersection over union) suffices.
Average precision is COCO's: the mean, at the 101 recalls 0, 0.01 to 1, of the highest precision
reached at this recall or a higher one. All sections count together, a box as much as any other.

Source: Lin et al. 2014 (COCO) and the definitions of its evaluation; Everingham et al. 2010 for
the matching.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import VolumeFormatError

Section = tuple[NDArray[Any], NDArray[Any]]
"""Boxes found in a section, (n, 4), and their scores, (n,)."""

MATCH: Final = 0.5
"""Overlap from which a box counts as found."""

STRICT: Final = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
_RECALLS: Final = np.arange(101) / 100  # exact at 1, unlike steps of 0.01 that add up


@dataclass(frozen=True)
class DetectionScores:
    """How well boxes were found; 1 is perfect.

    Parameters
    ----------
    precision, recall, f1 : float
        Of all boxes given, at an overlap of 0.5. Precision of no boxes is 1, and so is the
        recall of nothing.
    ap50 : float
        Average precision at an overlap of 0.5. Needs the boxes of low score too.
    ap50_95 : float
        Mean of the average precisions at overlaps 0.5, 0.55 to 0.95.
    found, wrong, missed : int
        Boxes that match, that do not, and true boxes that none matches, at 0.5.
    """

    precision: float
    recall: float
    f1: float
    ap50: float
    ap50_95: float
    found: int
    wrong: int
    missed: int

    def as_dict(self) -> dict[str, float]:
        """Return the scores by name, for JSON."""
        return asdict(self)


def evaluate_detections(
    found: Sequence[Section], truth: Sequence[NDArray[Any]], *, least_score: float = 0.0
) -> DetectionScores:
    """Compare the boxes of several sections with the true ones.

    Parameters
    ----------
    found : sequence of (boxes, scores)
        For each section, (n, 4) and (n,). Boxes are two opposite corners, the lower first; the
        order of the axes is free, but the same as in `truth`.
    truth : sequence of NDArray, (m, 4)
        For each section.
    least_score : float
        Precision, recall and F1 count boxes of this score or a higher one; average precision
        always counts all.

    Returns
    -------
    DetectionScores

    Raises
    ------
    VolumeFormatError
        If numbers of sections, boxes or scores differ, or a box or score is no number.
    """
    if len(found) != len(truth):
        raise VolumeFormatError(
            f"Boxes of {len(found)} sections, true boxes of {len(truth)}.",
            "one list of true boxes for each section",
            "give an empty list where there is nothing to find.",
        )
    sections = [_checked(*one, true) for one, true in zip(found, truth, strict=True)]
    overlaps = [_overlaps(boxes, true) for boxes, _, true in sections]
    scores = np.concatenate([np.zeros(0), *(scores for _, scores, _ in sections)])
    total = sum(len(true) for _, _, true in sections)
    hits = {
        least: np.concatenate(
            [
                np.zeros(0, np.bool_),
                *(
                    match_boxes(shared, scores, least)
                    for shared, (_, scores, _) in zip(overlaps, sections, strict=True)
                ),
            ]
        )
        for least in STRICT
    }
    # Matching goes by score, so a threshold leaves the matches above it as they are.
    counted = hits[MATCH][scores >= least_score]
    right = int(counted.sum())
    precision = right / len(counted) if len(counted) else 1.0
    recall = right / total if total else 1.0
    precisions = [average_precision(hits[least], scores, total) for least in STRICT]
    return DetectionScores(
        precision=precision,
        recall=recall,
        f1=2 * precision * recall / (precision + recall) if right else float(precision * recall),
        ap50=precisions[0],
        ap50_95=float(np.mean(precisions)),
        found=right,
        wrong=len(counted) - right,
        missed=total - right,
    )


def match_boxes(
    overlaps: NDArray[Any], scores: NDArray[Any], least: float = MATCH
) -> NDArray[np.bool_]:
    """Say which of a section's boxes are right.

    Parameters
    ----------
    overlaps : NDArray, (n, m)
        Intersection over union of each box with each true one.
    scores : NDArray, (n,)
        The best chooses first; of equal ones that which comes first.
    least : float
        Overlap that counts as found.

    Returns
    -------
    NDArray of bool, (n,)
    """
    free = np.ones(overlaps.shape[1], np.bool_)
    right = np.zeros(len(scores), np.bool_)
    if not overlaps.size:
        return right
    for row in np.argsort(-scores, kind="stable"):
        left = np.where(free, overlaps[row], -1.0)
        best = int(left.argmax())
        if left[best] >= least:
            right[row], free[best] = True, False
    return right


def average_precision(right: NDArray[np.bool_], scores: NDArray[Any], total: int) -> float:
    """Return COCO's average precision at 101 recalls.

    Parameters
    ----------
    right : NDArray of bool, (n,)
        Which boxes of all sections match.
    scores : NDArray, (n,)
        Their scores.
    total : int
        Number of true boxes. Without any, nothing found is 1 and anything found is 0.
    """
    if not total:
        return 0.0 if len(right) else 1.0
    hits = np.cumsum(right[np.argsort(-scores, kind="stable")])
    recalls = hits / total
    precisions = hits / np.arange(1, len(hits) + 1)
    envelope = np.append(np.maximum.accumulate(precisions[::-1])[::-1], 0.0)
    at = np.searchsorted(recalls, _RECALLS - 1e-9)
    return float(envelope[at].mean())


def _checked(
    boxes: NDArray[Any], scores: NDArray[Any], truth: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    arrays = [np.asarray(boxes, np.float64), np.asarray(truth, np.float64)]
    for array in arrays:
        if array.size and (array.ndim != 2 or array.shape[1] != 4):
            raise VolumeFormatError(f"Boxes of shape {array.shape}.", "(n, 4): two corners", "")
    found, true = (array.reshape(-1, 4) for array in arrays)
    values = np.asarray(scores, np.float64).reshape(-1)
    if len(values) != len(found):
        raise VolumeFormatError(
            f"{len(found)} boxes with {len(values)} scores.", "a score for each box", ""
        )
    if not all(np.isfinite(array).all() for array in (found, true, values)):
        raise VolumeFormatError("A box or score that is not finite.", "numbers", "")
    return found, values, true


def _overlaps(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the intersection over union of all pairs, (n, m); 0 where both are empty."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = (high - low).clip(0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None] - shared
    overlaps: NDArray[np.float64] = np.divide(
        shared, union, out=np.zeros_like(shared), where=union > 0
    )
    return overlaps
