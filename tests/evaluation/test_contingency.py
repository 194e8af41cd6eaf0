"""Scores from the table of counts equal those from the voxels, before and after every edit."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_neuropil.errors import CancelledError, VolumeFormatError
from napari_neuropil.evaluation import contingency
from napari_neuropil.evaluation.contingency import (
    Contingency,
    EditedScores,
    count_contingency,
    count_pairs,
)
from napari_neuropil.evaluation.scores import SegmentationScores, evaluate_segmentation

SHAPE = (6, 20, 22)
Ids = NDArray[np.uint64]


def random_ids(seed: int, highest: int, shape: tuple[int, ...] = SHAPE) -> Ids:
    """Blobs of ids 0 to `highest`, in boxes, so that runs occur."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, highest + 1, [-(-n // 3) for n in shape])
    whole = np.kron(coarse, np.ones((3, 3, 3), int))[tuple(slice(n) for n in shape)]
    return whole.astype(np.uint64)


def agree(a: SegmentationScores, b: SegmentationScores) -> None:
    np.testing.assert_allclose(astuple(a), astuple(b), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_equal_to_the_scores_of_the_voxels(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contingency, "_BLOCK", (4, 7, 9))
    fragments, labels = random_ids(seed, 60), random_ids(seed + 50, 5)
    # Ids no float64 holds, and background both as a fragment and as a segment.
    lookup = np.random.default_rng(seed).integers(0, 12, 61).astype(np.uint64)
    lookup[lookup > 6] += np.uint64(2**60)
    lookup[0] = 0
    scores = EditedScores(count_contingency(fragments, labels), lookup)
    agree(scores.scores(), evaluate_segmentation(lookup[fragments.astype(int)], labels))


@pytest.mark.parametrize(
    ("segments", "labels"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4]),
        ([1, 2, 3, 4], [1, 1, 2, 2]),
        ([1, 1, 2, 2], [1, 2, 3, 4]),
        ([1, 2, 1, 2], [1, 1, 2, 2]),
        ([1, 1, 1, 1], [1, 1, 1, 1]),
        ([0, 0, 5, 5], [3, 3, 0, 3]),
        ([1, 1, 2, 2], [7, 7, 7, 7]),
    ],
)
def test_limits_agree_with_the_voxels(segments: list[int], labels: list[int]) -> None:
    ids = np.array(segments, np.uint64).reshape(1, 2, 2)
    truth = np.array(labels, np.uint64).reshape(1, 2, 2)
    lookup = np.arange(6, dtype=np.uint64)
    now = EditedScores(count_contingency(ids, truth), lookup).scores()
    agree(now, evaluate_segmentation(ids, truth))


def test_every_move_keeps_the_scores_right() -> None:
    rng = np.random.default_rng(1)
    fragments, labels = random_ids(3, 40), random_ids(8, 6)
    lookup = rng.integers(1, 15, 41).astype(np.uint64)
    lookup[0] = 0
    scores = EditedScores(count_contingency(fragments, labels), lookup)
    first = scores.scores()
    lookup = lookup.copy()
    history = []
    for _ in range(30):
        moved = rng.choice(np.arange(1, 41), 5, replace=False).astype(np.uint64)
        before = lookup[moved.astype(int)]
        after = rng.integers(0, 18, 5).astype(np.uint64)
        scores.move(moved, before, after)
        lookup[moved.astype(int)] = after
        agree(scores.scores(), evaluate_segmentation(lookup[fragments.astype(int)], labels))
        history.append((moved, before, after))
    for moved, before, after in reversed(history):
        scores.move(moved, after, before)
    agree(scores.scores(), first)


def test_a_split_fragment_is_counted_in_its_box_alone() -> None:
    fragments, labels = random_ids(5, 8), random_ids(6, 4)
    lookup = np.array([0, 1, 1, 2, 2, 3, 3, 4, 4], np.uint64)
    scores = EditedScores(count_contingency(fragments, labels), lookup)
    before = scores.scores()
    mask = fragments == 2
    pieces = np.zeros(SHAPE, np.uint64)
    pieces[mask] = 9
    pieces[mask & (np.arange(SHAPE[2]) > 9)] = 10
    box = tuple(slice(int(n.min()), int(n.max()) + 1) for n in np.nonzero(mask))
    scores.add_pieces(pieces[box], labels[box])
    agree(scores.scores(), before)
    moved = np.array([2, 9, 10], np.uint64)
    was, becomes = np.array([1, 0, 0], np.uint64), np.array([0, 1, 7], np.uint64)
    scores.move(moved, was, becomes, born=frozenset((9, 10)), gone=frozenset((2,)))
    segments = lookup[fragments.astype(int)]
    segments[pieces == 10] = 7
    agree(scores.scores(), evaluate_segmentation(segments, labels))
    # Undone: the pieces are in no segment, the parent is back.
    scores.move(moved, becomes, was, born=frozenset((2,)), gone=frozenset((9, 10)))
    agree(scores.scores(), before)


def test_only_the_overlap_counts() -> None:
    fragments, labels = random_ids(1, 30), random_ids(2, 5, (4, 30, 10))
    table = count_contingency(fragments, labels, offset=(3, -4, 15))
    part = labels[:3, 4:24, :7]
    expected = count_pairs(fragments[3:, :, 15:22], part)
    for found, wanted in zip((table.fragment, table.label, table.count), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert table.voxels == np.count_nonzero(part)
    with pytest.raises(VolumeFormatError, match="overlap"):
        count_contingency(fragments, labels, offset=(6, 0, 0))


def test_refusals_and_stop() -> None:
    fragments = random_ids(1, 30)
    with pytest.raises(VolumeFormatError, match="without an object"):
        count_contingency(fragments, np.zeros(SHAPE, np.uint8))
    with pytest.raises(VolumeFormatError, match="float32"):
        count_contingency(fragments, np.zeros(SHAPE, np.float32))
    with pytest.raises(VolumeFormatError, match="the label -1"):
        count_contingency(fragments, np.full(SHAPE, -1))
    with pytest.raises(VolumeFormatError, match="lookup that ends at 3"):
        EditedScores(count_contingency(fragments, random_ids(2, 5)), np.arange(4, dtype=np.uint64))
    with pytest.raises(CancelledError):
        count_contingency(fragments, fragments, stop=lambda: True)


def test_large_segments_do_not_overflow() -> None:
    big = 5_000_000_000
    one: Any = np.array([1], np.uint64)
    table = Contingency(one, one, np.array([big]))
    lookup = np.array([0, 1], np.uint64)
    found = EditedScores(table, lookup).scores()
    assert found.precision == found.recall == 1
    assert found.voi == found.adapted_rand_error == 0
