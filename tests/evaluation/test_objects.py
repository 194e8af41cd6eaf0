"""Scores of single objects, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_neuropil.errors import VolumeFormatError
from napari_neuropil.evaluation.objects import (
    ObjectScore,
    object_completeness,
    score_objects,
    summarise_objects,
)

Ids = NDArray[np.int64]


def volume() -> tuple[Ids, Ids]:
    """Three objects over four sections of 1 x 8.

    1: found but for one section. 2: shared with segment 6, which leaks into 3. 3: mostly segment 6.
    """
    truth = np.array([[[1, 1, 1, 1, 2, 2, 3, 3]]] * 4)
    segments = np.array([[[5, 5, 5, 5, 6, 6, 6, 6]]] * 4)
    segments[2, 0, :3] = 0
    truth[3, 0, 4:6] = 0
    segments[3, 0, 6:] = 9
    return segments, truth


def test_each_object_by_hand() -> None:
    one, two, three = score_objects(*volume())
    assert one == ObjectScore(1, 5, 16, 13, 13)
    assert (one.iou, one.recall, one.leak) == (13 / 16, 13 / 16, 0)
    assert one.dice == 26 / 29
    assert two == ObjectScore(2, 6, 6, 14, 6)
    assert (two.iou, two.recall, two.leak) == (6 / 14, 1, 8 / 6)
    assert three == ObjectScore(3, 6, 8, 14, 6)
    assert three.dice == 12 / 22


def test_given_pairs_count_instead_of_the_best() -> None:
    segments, truth = volume()
    (three,) = score_objects(segments, truth, pairs={3: 9})
    assert three == ObjectScore(3, 9, 8, 2, 2)
    (lost,) = score_objects(segments, truth, ids=[1], pairs={1: 77})
    assert lost == ObjectScore(1, 77, 16, 0, 0)
    assert (lost.iou, lost.dice, lost.recall, lost.leak) == (0, 0, 0, 0)
    assert [s.truth for s in score_objects(segments, truth, ids=[3, 1])] == [1, 3]


def test_the_lower_of_two_equal_segments() -> None:
    (score,) = score_objects(np.array([[4, 3, 3, 4]]), np.array([[1, 1, 1, 1]]))
    assert score.segment == 3
    (nobody,) = score_objects(np.array([[0, 0]]), np.array([[1, 1]]))
    assert nobody == ObjectScore(1, 0, 2, 0, 0)
    assert score_objects(np.array([[1, 1]]), np.array([[0, 0]])) == []


def test_completeness_counts_sections() -> None:
    segments, truth = volume()
    scores = score_objects(segments, truth)
    # 1 has a quarter of its pixels in section 2; 2 lies in three sections; 3 has another segment
    # in the last one.
    assert object_completeness(segments, truth, scores) == {1: 0.75, 2: 1.0, 3: 0.75}
    assert object_completeness(segments, truth, scores, least=0.25)[1] == 1
    assert object_completeness(segments, truth, [ObjectScore(1, 6, 1, 1, 1)]) == {1: 0.0}


def test_summary() -> None:
    segments, truth = volume()
    scores = score_objects(segments, truth)
    found = summarise_objects(scores)
    assert found.objects == 3
    assert found.iou == pytest.approx((13 / 16 + 6 / 14 + 6 / 16) / 3)
    assert found.leak == pytest.approx((0 + 8 / 6 + 1) / 3)
    assert (found.whole, found.leaking) == (0, 2 / 3)
    assert summarise_objects(score_objects(truth, truth)).as_dict() == {
        "objects": 3,
        "iou": 1,
        "dice": 1,
        "recall": 1,
        "leak": 0,
        "whole": 1,
        "leaking": 0,
    }
    with pytest.raises(VolumeFormatError, match="no object"):
        summarise_objects([])


def test_an_object_that_is_not_there_is_refused() -> None:
    segments, truth = volume()
    with pytest.raises(VolumeFormatError, match="no voxel of object 8"):
        score_objects(segments, truth, ids=[1, 8])
