"""Scores of single objects: overlap, Dice, how much was found, how much leaked, where it is whole.

Everything holds for sections (Y, X) and volumes (Z, Y, X) alike; on volumes `dice` is the 3D Dice.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import VolumeFormatError
from napari_neuropil.evaluation.object_counts import ObjectCounts, count_objects


@dataclass(frozen=True, slots=True)
class ObjectScore:
    """One truth object and the segment it is compared with.

    Parameters
    ----------
    truth : int
        Id of the object.
    segment : int
        Id of the segment; 0 where nothing meets the object.
    truth_voxels, segment_voxels, shared : int
        Voxels of the object, of the segment, and of both.
    """

    truth: int
    segment: int
    truth_voxels: int
    segment_voxels: int
    shared: int

    @property
    def iou(self) -> float:
        """Intersection over union."""
        union = self.truth_voxels + self.segment_voxels - self.shared
        return self.shared / union if union else 1.0

    @property
    def dice(self) -> float:
        """Twice what is shared over the sum of both."""
        both = self.truth_voxels + self.segment_voxels
        return 2 * self.shared / both if both else 1.0

    @property
    def recall(self) -> float:
        """Share of the object that was found."""
        return self.shared / self.truth_voxels if self.truth_voxels else 1.0

    @property
    def leak(self) -> float:
        """Voxels of the segment outside the object over the object's voxels; may exceed 1."""
        outside = self.segment_voxels - self.shared
        return outside / self.truth_voxels if self.truth_voxels else float(outside > 0)


@dataclass(frozen=True, slots=True)
class ObjectSummary:
    """Means over objects, each counting the same.

    Parameters
    ----------
    objects : int
        How many.
    iou, dice, recall, leak : float
        Means.
    whole : float
        Share of the objects whose IoU is at least 0.9.
    leaking : float
        Share of the objects that leak by more than a tenth.
    """

    objects: int
    iou: float
    dice: float
    recall: float
    leak: float
    whole: float
    leaking: float

    def as_dict(self) -> dict[str, float]:
        """Return the numbers by name, for JSON."""
        return asdict(self)


def score_objects(
    segments: NDArray[Any],
    truth: NDArray[Any],
    *,
    ids: Collection[int] | None = None,
    pairs: Mapping[int, int] | None = None,
) -> list[ObjectScore]:
    """Compare truth objects with segments.

    Parameters
    ----------
    segments, truth : NDArray
        (Y, X) or (Z, Y, X), whole numbers >= 0, of one shape.
    ids : collection of int, optional
        The truth objects that count; all by default.
    pairs : mapping of int to int, optional
        The segment of each object. By default the one with the most voxels in it, the lower id of
        equal ones; several objects may have the same one.

    Returns
    -------
    list of ObjectScore
        By ascending id of the truth.

    Raises
    ------
    VolumeFormatError
        If the arrays cannot be compared, or an object that was asked for is not there.
    """
    return score_counts(count_objects(segments, truth), ids=ids, pairs=pairs)


def score_counts(
    counts: ObjectCounts,
    *,
    ids: Collection[int] | None = None,
    pairs: Mapping[int, int] | None = None,
) -> list[ObjectScore]:
    """Compare truth objects with segments by their counts; see `score_objects`."""
    known = {int(n): row for row, n in enumerate(counts.truth_ids)}
    asked: Collection[int] | None = pairs.keys() if ids is None and pairs is not None else ids
    wanted = sorted(known if asked is None else asked)
    absent = [n for n in wanted if n not in known]
    if absent:
        raise VolumeFormatError(
            f"no voxel of object {absent[0]} in the truth",
            "ids that the truth holds",
            "leave the object out, or take a box in which it lies.",
        )
    columns = {int(n): column for column, n in enumerate(counts.segment_ids)}
    starts = np.searchsorted(counts.truth, np.arange(len(counts.truth_ids) + 1))
    scores = []
    for n in wanted:
        row = known[n]
        part = slice(int(starts[row]), int(starts[row + 1]))
        met, shared = counts.segment[part], counts.shared[part]
        if pairs is not None and n in pairs:
            column = columns.get(pairs[n])
            segment = pairs[n]
        else:
            column = int(met[shared.argmax()]) if len(met) else None
            segment = int(counts.segment_ids[column]) if column is not None else 0
        scores.append(
            ObjectScore(
                n,
                segment,
                int(counts.truth_voxels[row]),
                int(counts.segment_voxels[column]) if column is not None else 0,
                int(shared[met == column].sum()) if column is not None else 0,
            )
        )
    return scores


def summarise_objects(scores: Sequence[ObjectScore]) -> ObjectSummary:
    """Return the means over objects.

    Raises
    ------
    VolumeFormatError
        If there are none.
    """
    if not scores:
        raise VolumeFormatError(
            "no object to score", "at least one labelled object", "choose labels with objects."
        )
    rows = np.array([(s.iou, s.dice, s.recall, s.leak) for s in scores])
    iou, dice, recall, leak = (float(n) for n in rows.mean(axis=0))
    return ObjectSummary(
        len(scores),
        iou,
        dice,
        recall,
        leak,
        float(np.mean(rows[:, 0] >= 0.9)),
        float(np.mean(rows[:, 3] > 0.1)),
    )


def object_completeness(
    segments: NDArray[Any],
    truth: NDArray[Any],
    scores: Sequence[ObjectScore],
    *,
    least: float = 0.5,
) -> dict[int, float]:
    """Return in which share of its sections each object was found.

    Parameters
    ----------
    segments, truth : NDArray, (Z, Y, X)
        As scored.
    scores : sequence of ObjectScore
        Which segment is whose.
    least : float
        Share of its pixels in a section that its segment must hold there.

    Returns
    -------
    dict of int to float
        By the object's id: sections found over sections in which it lies.
    """
    lies = dict.fromkeys((score.truth for score in scores), 0)
    found = dict(lies)
    for here, there in zip(segments, truth, strict=True):
        counts = count_objects(here, there)
        shared = {
            (int(counts.truth_ids[row]), int(counts.segment_ids[column])): int(n)
            for row, column, n in zip(counts.truth, counts.segment, counts.shared, strict=True)
        }
        area = dict(zip(counts.truth_ids.tolist(), counts.truth_voxels.tolist(), strict=True))
        for score in scores:
            if score.truth in area:
                lies[score.truth] += 1
                held = shared.get((score.truth, score.segment), 0)
                found[score.truth] += held >= least * area[score.truth]
    return {n: found[n] / lies[n] if lies[n] else 1.0 for n in lies}
