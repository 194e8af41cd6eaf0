"""Scores of boxes: cases computed by hand, and against a plain reading of the definition."""

from __future__ import annotations

import numpy as np
import pytest

from napari_neuropil.errors import VolumeFormatError
from napari_neuropil.evaluation.detection import (
    DetectionScores,
    average_precision,
    evaluate_detections,
)

_NONE = np.zeros((0, 4))
_TWO = np.array([[0, 0, 10, 10], [20, 20, 40, 30]], float)


def _score(boxes: object, scores: object, truth: object, **options: float) -> DetectionScores:
    section = (np.array(boxes, float).reshape(-1, 4), np.array(scores, float))
    return evaluate_detections([section], [np.array(truth, float).reshape(-1, 4)], **options)


def test_perfect() -> None:
    scores = _score(_TWO[::-1], [0.2, 0.9], _TWO)
    assert scores == DetectionScores(1, 1, 1, 1, 1, 2, 0, 0)
    assert scores.as_dict()["ap50"] == 1


def test_one_of_two_found_and_one_wrong() -> None:
    scores = _score([[0, 0, 10, 10], [60, 60, 70, 70]], [0.9, 0.5], _TWO)
    assert (scores.precision, scores.recall, scores.f1) == (0.5, 0.5, 0.5)
    assert (scores.found, scores.wrong, scores.missed) == (1, 1, 1)
    # Precision 1 at the recalls 0 to 0.5, 51 of 101, and 0 beyond.
    assert scores.ap50 == pytest.approx(51 / 101)
    wrong_first = _score([[0, 0, 10, 10], [60, 60, 70, 70]], [0.5, 0.9], _TWO)
    assert wrong_first.ap50 == pytest.approx(51 / 101 * 0.5)


def test_a_true_box_is_found_once() -> None:
    scores = _score([[0, 0, 10, 10], [0, 0, 10, 9]], [0.5, 0.9], _TWO[:1])
    assert (scores.found, scores.wrong, scores.missed) == (1, 1, 0)
    assert scores.ap50 == 1  # the better scored one has it already
    # At 0.95 the box of overlap 0.9 is wrong and the exact one right, at half the precision.
    assert scores.ap50_95 == pytest.approx((9 * 1 + 0.5) / 10)


def test_the_better_score_chooses_first_and_takes_its_best() -> None:
    truth = [[0, 0, 10, 10], [0, 4, 10, 14]]
    # The first overlaps both (0.667 and 0.818) and takes the second; the other is left the first.
    scores = _score([[0, 3, 10, 13], [0, 0, 10, 10]], [0.9, 0.8], truth)
    assert scores.found == 2


def test_overlap_counts() -> None:
    assert _score([[0, 0, 10, 20]], [1], _TWO[:1]).found == 1  # exactly one half
    assert _score([[0, 0, 10, 21]], [1], _TWO[:1]).found == 0
    thirds = _score([[0, 0, 10, 15]], [1], _TWO[:1])  # 0.667: up to the threshold 0.65
    assert thirds.ap50_95 == pytest.approx(0.4)


def test_a_threshold_leaves_average_precision_alone() -> None:
    given = ([[0, 0, 10, 10], [60, 60, 70, 70]], [0.9, 0.1], _TWO[:1])
    strict = _score(*given, least_score=0.5)
    assert (strict.precision, strict.wrong) == (1, 0)
    assert _score(*given).precision == 0.5
    assert strict.ap50 == _score(*given).ap50


def test_nothing_to_find_and_nothing_found() -> None:
    assert _score(_NONE, [], _NONE) == DetectionScores(1, 1, 1, 1, 1, 0, 0, 0)
    missed = _score(_NONE, [], _TWO)
    assert (missed.precision, missed.recall, missed.f1, missed.ap50) == (1, 0, 0, 0)
    invented = _score(_TWO, [1, 1], _NONE)
    assert (invented.precision, invented.recall, invented.f1, invented.ap50) == (0, 1, 0, 0)
    assert evaluate_detections([], []) == DetectionScores(1, 1, 1, 1, 1, 0, 0, 0)


def test_empty_boxes_match_nothing() -> None:
    assert _score([[5, 5, 5, 5], [8, 8, 2, 2]], [1, 1], [[5, 5, 5, 5]]).found == 0


def test_sections_do_not_mix() -> None:
    found = [(_TWO[:1], np.ones(1)), (_TWO[1:], np.ones(1))]
    assert evaluate_detections(found, [_TWO[:1], _TWO[1:]]).f1 == 1
    assert evaluate_detections(found, [_TWO[1:], _TWO[:1]]).f1 == 0


def _plain(
    found: list[tuple[np.ndarray, np.ndarray]], truth: list[np.ndarray], least: float
) -> tuple[list[tuple[float, bool]], float]:
    """Return (score, right) of every box, and COCO's average precision, loop by loop."""
    rows = []
    for (boxes, scores), true in zip(found, truth, strict=True):
        taken: set[int] = set()
        for n in sorted(range(len(boxes)), key=lambda n: (-scores[n], n)):
            best, best_overlap = None, least
            for m, other in enumerate(true):
                low, high = np.maximum(boxes[n][:2], other[:2]), np.minimum(boxes[n][2:], other[2:])
                shared = max(high[0] - low[0], 0) * max(high[1] - low[1], 0)
                areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (boxes[n], other)]
                overlap = shared / (sum(areas) - shared)
                if (
                    m not in taken
                    and overlap >= best_overlap
                    and (best is None or overlap > best_overlap)
                ):
                    best, best_overlap = m, overlap
            taken |= {best} - {None}
            rows.append((scores[n], best is not None))
    rows.sort(key=lambda row: -row[0])
    total, levels = sum(len(t) for t in truth), []
    for step in range(101):
        reached = [0.0]
        for n in range(len(rows)):
            right = sum(r for _, r in rows[: n + 1])
            if right * 100 >= step * total:
                reached.append(right / (n + 1))
        levels.append(max(reached))
    return rows, sum(levels) / 101


@pytest.mark.parametrize("seed", range(4))
def test_equals_a_plain_reading(seed: int) -> None:
    random = np.random.default_rng(seed)
    found, truth = [], []
    for _ in range(3):
        corners = random.uniform(0, 60, (12, 2))
        true = np.concatenate([corners, corners + random.uniform(5, 30, (12, 2))], axis=1)
        boxes = np.concatenate([true[:9] + random.normal(0, 3, (9, 4)), true[4:7] + 11])
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        truth.append(true)
        found.append((boxes, random.permutation(12) / 12 + random.uniform(0, 0.01)))
    result = evaluate_detections(found, truth)
    rows, precision = _plain(found, truth, 0.5)
    assert result.found == sum(right for _, right in rows)
    assert result.ap50 == pytest.approx(precision)
    strict = [_plain(found, truth, 0.5 + 0.05 * n)[1] for n in range(10)]
    assert result.ap50_95 == pytest.approx(np.mean(strict))


def test_average_precision_reaches_full_recall_exactly() -> None:
    assert average_precision(np.ones(7, bool), np.arange(7.0), 7) == 1


@pytest.mark.parametrize(
    ("boxes", "scores", "truth"),
    [
        (np.zeros((2, 4)), np.zeros(3), _NONE),
        (np.zeros((2, 5)), np.zeros(2), _NONE),
        (np.zeros(4), np.zeros(1), _NONE),
        (np.full((1, 4), np.nan), np.zeros(1), _NONE),
        (_TWO, np.array([1, np.inf]), _TWO),
    ],
)
def test_bad_input_is_refused(boxes: np.ndarray, scores: np.ndarray, truth: np.ndarray) -> None:
    with pytest.raises(VolumeFormatError):
        evaluate_detections([(boxes, scores)], [truth])
    with pytest.raises(VolumeFormatError):
        evaluate_detections([], [truth])
