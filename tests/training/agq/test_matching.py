"""Matching of queries and objects: Dice against loops, the best of all assignments, odd counts."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch

from napari_neuropil.errors import SettingsError
from napari_neuropil.training.agq import matching as module
from napari_neuropil.training.agq.matching import SoftTargets, match_queries, query_dice
from napari_neuropil.training.soft_labels import FREE, SoftLabels


def hard_targets(objects: list[int], count: int) -> SoftTargets:
    """Return targets whose voxels hold one object each."""
    ids = np.tile(np.array(objects, np.int64), (4, 1))
    masks = SoftLabels(ids, np.full(ids.shape, 0.25, np.float32), count)
    return SoftTargets.of(masks, torch.zeros(1, dtype=torch.float64))


def random_targets(voxels: int, count: int, seed: int) -> SoftTargets:
    """Return soft targets with background and free voxels among them."""
    rng = np.random.default_rng(seed)
    weights = rng.random((4, voxels))
    weights[rng.random((4, voxels)) < 0.3] = 0
    weights[0] += 1e-3
    weights = (weights / weights.sum(axis=0)).astype(np.float32)
    masks = SoftLabels(rng.integers(-1, count + 1, (4, voxels)), weights, count)
    return SoftTargets.of(masks, torch.zeros(1, dtype=torch.float64))


def naive_masks(targets: SoftTargets) -> list[list[float]]:
    """Return the soft masks, [object][voxel]."""
    voxels = len(targets.objects)
    masks = [[0.0] * voxels for _ in range(targets.count)]
    for neighbour in range(4):
        for voxel in range(voxels):
            label = int(targets.objects[voxel, neighbour])
            if label > 0:
                masks[label - 1][voxel] += float(targets.weights[voxel, neighbour])
    return masks


def naive_probabilities(logits: torch.Tensor) -> list[list[float]]:
    """Return the softmax over channels, [channel][voxel]."""
    values = logits.detach().numpy()
    exponentials = [[float(np.exp(v)) for v in row] for row in values]
    totals = [sum(row[v] for row in exponentials) for v in range(values.shape[1])]
    return [[e / totals[v] for v, e in enumerate(row)] for row in exponentials]


@pytest.mark.parametrize("at_once", [4, 1000])
def test_dice_equals_the_loop(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(module, "VOXELS_AT_ONCE", at_once)
    targets = random_targets(30, 4, 0)
    logits = torch.randn((6, 30), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    dice, areas = query_dice(logits.t(), targets)
    probabilities, masks = naive_probabilities(logits), naive_masks(targets)
    for query in range(5):
        for number, mask in enumerate(masks):
            p = probabilities[query + 1]
            overlap = sum(a * b for a, b in zip(p, mask, strict=True))
            squares = sum(a * a for a in p) + sum(b * b for b in mask)
            assert dice[query, number] == pytest.approx(2 * overlap / (squares + 1e-4), rel=1e-9)
    assert areas.tolist() == pytest.approx([sum(b * b for b in mask) for mask in masks])


def test_matching_is_the_best_assignment() -> None:
    for seed in range(5):
        targets = random_targets(40, 3, seed)
        logits = 3 * torch.randn(
            (6, 40), generator=torch.Generator().manual_seed(seed), dtype=torch.float64
        )
        dice = query_dice(logits.t(), targets)[0]
        best = max(
            permutations(range(5), 3),
            key=lambda queries: sum(float(dice[q, g]) for g, q in enumerate(queries)),
        )
        assert match_queries(logits.t(), targets).tolist() == [q + 1 for q in best]


def test_matching_by_hand() -> None:
    # Query 3 covers object 1, query 1 object 2; background covers object 1 still better.
    logits = torch.full((4, 4), -9.0, dtype=torch.float64)
    logits[0, :2] = 5
    logits[3, :2] = 4
    logits[1, 2:] = 6
    assert match_queries(logits.t(), hard_targets([1, 1, 2, 0], 2)).tolist() == [3, 1]


def test_more_objects_than_queries() -> None:
    objects = list(range(1, 121))
    logits = torch.zeros((101, 120), dtype=torch.float64)
    logits[torch.arange(1, 101), torch.arange(100)] = 5
    matched = match_queries(logits.t(), hard_targets(objects, 120))
    assert matched.tolist() == [*range(1, 101), *([-1] * 20)]


def test_objects_that_vanished_have_no_query() -> None:
    logits = torch.zeros((4, 3), dtype=torch.float64)
    matched = match_queries(logits.t(), hard_targets([2, 0, FREE], 2))
    assert matched[0] == -1
    assert matched[1] > 0


def test_no_object_no_match() -> None:
    logits = torch.zeros((4, 3), dtype=torch.float64)
    assert match_queries(logits.t(), hard_targets([0, 0, FREE], 0)).tolist() == []


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_masks_that_ran_away_are_named(value: float) -> None:
    logits = torch.zeros((3, 3), dtype=torch.float64)
    logits[1, 1] = value
    with pytest.raises(SettingsError, match="not finite"):
        match_queries(logits.t(), hard_targets([1, 1, 0], 1))
