"""The loss of masks: by hand, against loops over dense masks, gradients, and odd patches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from napari_neuropil.training.agq import matching
from napari_neuropil.training.agq.mask_loss import mask_loss, mask_targets
from napari_neuropil.training.agq.matching import SoftTargets
from napari_neuropil.training.soft_labels import FREE


def _targets(objects: NDArray[np.int64], weights: NDArray[np.float64], count: int) -> SoftTargets:
    return SoftTargets(torch.from_numpy(objects).t(), torch.from_numpy(weights).t(), count)


def _hard(objects: list[int], count: int) -> SoftTargets:
    ids = np.tile(np.array(objects, np.int64), (4, 1))
    return _targets(ids, np.full(ids.shape, 0.25), count)


def _random(voxels: int, count: int, seed: int) -> SoftTargets:
    """Return soft targets, half of the voxels complete."""
    rng = np.random.default_rng(seed)
    weights = rng.random((4, voxels))
    weights[rng.random((4, voxels)) < 0.3] = 0
    weights[0] += 1e-3
    low = np.where(rng.random(voxels) < 0.5, 1, -1)
    objects = rng.integers(low, count + 1, (4, voxels))
    return _targets(objects, weights / weights.sum(axis=0), count)


def _logits(channels: int, voxels: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn((channels, voxels), generator=generator, dtype=torch.float64)


def _naive(logits: torch.Tensor, targets: SoftTargets, matched: list[int]) -> tuple[float, float]:
    """Return both losses from dense masks, one for each channel."""
    channels, voxels = logits.shape
    values = logits.detach().numpy()
    wanted = np.zeros((channels, voxels))
    has_target = np.zeros(voxels)
    for neighbour in range(4):
        for voxel in range(voxels):
            label = int(targets.objects[voxel, neighbour])
            weight = float(targets.weights[voxel, neighbour])
            channel = 0 if label == 0 else -1 if label == FREE else matched[label - 1]
            if channel >= 0:
                wanted[channel, voxel] += weight
                has_target[voxel] += weight
    p = np.exp(values) / np.exp(values).sum(axis=0)
    entropies = [
        -sum(wanted[c, v] * np.log(p[c, v]) for c in range(channels))
        for v in range(voxels)
        if has_target[v] > 0
    ]
    complete = [v for v in range(voxels) if wanted[1:, v].sum() > 1 - 1e-5]
    dice = 0.0
    for channel in (c for c in matched if c > 0):
        overlap = sum(p[channel, v] * wanted[channel, v] for v in complete)
        squares = sum(p[channel, v] ** 2 + wanted[channel, v] ** 2 for v in complete)
        dice += 1 - 2 * overlap / (squares + 1e-4)
    return dice / (channels - 1), float(np.mean(entropies)) if entropies else 0.0


def _loss(logits: torch.Tensor, targets: SoftTargets, matched: list[int]) -> tuple[float, float]:
    found = mask_loss(logits.t(), mask_targets(targets, torch.tensor(matched, dtype=torch.int64)))
    return found[0].item(), found[1].item()


def test_two_objects_by_hand() -> None:
    # Three channels alike: each has 1/3 everywhere. Object 1 (two voxels) has query 2.
    targets = _hard([1, 1, 2, 0], 2)
    dice, entropy = _loss(torch.zeros((3, 4), dtype=torch.float64), targets, [2, 1])
    first = 1 - 2 * (2 / 3) / (3 / 9 + 2 + 1e-4)
    second = 1 - 2 * (1 / 3) / (3 / 9 + 1 + 1e-4)
    assert dice == pytest.approx((first + second) / 2)
    assert entropy == pytest.approx(np.log(3))
    # Two more queries without an object, that hold nothing, halve the Dice loss.
    more = torch.zeros((5, 4), dtype=torch.float64)
    more[3:] = -99
    assert _loss(more, targets, [2, 1])[0] == pytest.approx((first + second) / 4)


def test_the_right_answer_costs_nothing() -> None:
    logits = torch.full((4, 4), -20.0, dtype=torch.float64)
    logits[[3, 3, 1, 0], [0, 1, 2, 3]] = 20
    assert _loss(logits, _hard([1, 1, 2, 0], 2), [3, 1]) == pytest.approx((0, 0), abs=1e-4)
    assert _loss(logits, _hard([1, 1, 2, 0], 2), [1, 3])[1] > 20


def test_a_border_counts_for_the_entropy_alone() -> None:
    # Voxel 1 is half object 1, half background; voxel 2 is half free.
    objects = np.array([[1, 1, 1], [1, 1, 1], [1, 0, FREE], [1, 0, FREE]])
    targets = _targets(objects, np.full((4, 3), 0.25), 1)
    logits = torch.tensor([[0.0, 0, 0], [1.0, 2, 3]], dtype=torch.float64)
    dice, entropy = _loss(logits, targets, [1])
    p = 1 / (1 + np.exp(-np.array([1.0, 2, 3])))
    assert dice == pytest.approx(1 - 2 * p[0] / (p[0] ** 2 + 1 + 1e-4))
    border = -0.5 * np.log(p[1]) - 0.5 * np.log(1 - p[1])
    assert entropy == pytest.approx((-np.log(p[0]) + border - 0.5 * np.log(p[2])) / 3)


@pytest.mark.parametrize("at_once", [7, 1000])
@pytest.mark.parametrize("matched", [[2, 5, 1], [4, -1, 3], [-1, -1, -1]])
def test_equals_the_loops(
    monkeypatch: pytest.MonkeyPatch, at_once: int, matched: list[int]
) -> None:
    monkeypatch.setattr(matching, "VOXELS_AT_ONCE", at_once)
    targets, logits = _random(40, 3, 4), _logits(6, 40, 5)
    wanted = _naive(logits, targets, matched)
    assert _loss(logits, targets, matched) == pytest.approx(wanted, rel=1e-9)
    if matched != [-1, -1, -1]:
        assert wanted[0] > 0


def test_more_objects_than_queries() -> None:
    count = 120
    targets = _random(300, count, 6)
    logits = _logits(101, 300, 7)
    matched = [*range(100, 0, -1), *([-1] * 20)]
    wanted = _naive(logits, targets, matched)
    assert _loss(logits, targets, matched) == pytest.approx(wanted, rel=1e-9)
    # What belongs to an object without a query is nobody's: no gradient tells it to go away.
    logits.requires_grad_()
    alone = _targets(np.full((4, 300), 120), np.full((4, 300), 0.25), count)
    dice, entropy = mask_loss(logits.t(), mask_targets(alone, torch.tensor(matched)))
    assert entropy.item() == 0
    (gradient,) = torch.autograd.grad(dice + entropy, logits)
    assert not gradient.any()


@pytest.mark.parametrize("at_once", [5, 1000])
def test_gradients(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(matching, "VOXELS_AT_ONCE", at_once)
    targets = mask_targets(_random(12, 3, 8), torch.tensor([2, -1, 4]))
    logits = _logits(5, 12, 9).requires_grad_()
    assert targets.complete.any()
    assert torch.autograd.gradcheck(
        lambda x: torch.stack(mask_loss(x.t(), targets)).sum(), (logits,)
    )


@pytest.mark.parametrize(
    ("objects", "count", "matched"),
    [([0, 0, 0], 0, []), ([1, 1, 1], 1, [2]), ([FREE] * 3, 0, []), ([1, 2, 1], 2, [2, 1])],
)
def test_odd_patches_have_gradients(objects: list[int], count: int, matched: list[int]) -> None:
    logits = _logits(3, 3, 1).float().requires_grad_()
    hard = _hard(objects, count)
    targets = mask_targets(
        SoftTargets(hard.objects, hard.weights.float(), count),
        torch.tensor(matched, dtype=torch.int64),
    )
    dice, entropy = mask_loss(logits.t(), targets)
    (gradient,) = torch.autograd.grad(dice + entropy, logits)
    assert gradient.isfinite().all()
    assert gradient.any() == (FREE not in objects)
    assert (dice.item() > 0) == bool(matched)


def test_no_query_at_all() -> None:
    dice, entropy = _loss(torch.zeros((1, 3), dtype=torch.float64), _hard([1, 0, 0], 1), [-1])
    assert (dice, entropy) == (0, 0)
