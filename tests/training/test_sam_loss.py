"""The loss against loops, the rounds of prompts, and a network that learns discs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_neuropil.training.augmentation import flip_and_turn
from napari_neuropil.training.sam_loss import (
    SamLossSettings,
    answer_errors,
    first_overlaps,
    overlaps,
    sam_patch_loss,
)
from napari_neuropil.training.sam_patches import SamPatch, SamPatchSettings, make_sam_patch
from napari_neuropil.training.sam_view import view_patch
from napari_neuropil.training.trainer import OptimiserSettings, train

_CPU = torch.device("cpu")


def _sigmoid(x: float) -> float:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_errors_against_loops(weight: float) -> None:
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 2, (3, 2, 4, 5))
    scores = rng.random((3, 2))
    wanted = rng.random((3, 4, 5)) < 0.5
    near = rng.random((3, 4, 5)) < 0.5
    dices, entropies, squares = [], [], []
    for n in range(3):
        answers = []
        for m in range(2):
            both = sizes = entropy = count = shared = union = 0.0
            for y in range(4):
                for x in range(5):
                    p, t = _sigmoid(logits[n, m, y, x]), float(wanted[n, y, x])
                    both, sizes = both + p * t, sizes + p * p + t
                    if near[n, y, x] or t:
                        entropy -= t * np.log(p) + (1 - t) * np.log(1 - p)
                        count += 1
                    shared += (p > 0.5) and t
                    union += (p > 0.5) or t
            answers.append((1 - (2 * both + 1) / (sizes + 1), entropy / count))
            squares.append((scores[n, m] - shared / union) ** 2)
        best = min(answers, key=lambda a: a[0] + weight * a[1])
        dices.append(best[0])
        entropies.append(best[1])
    found = answer_errors(
        torch.from_numpy(logits), torch.from_numpy(scores), torch.from_numpy(wanted),
        torch.from_numpy(near), SamLossSettings(pixels=weight),
    )  # fmt: skip
    wanted_errors = [np.mean(dices), np.mean(entropies), np.mean(squares)]
    np.testing.assert_allclose(found.numpy(), wanted_errors, rtol=1e-6)


def test_overlaps_by_hand() -> None:
    found = torch.tensor([[[[1, 1, 0, 0]], [[0, 0, 0, 0]]]], dtype=torch.bool)
    wanted = torch.tensor([[[0, 1, 1, 0]]], dtype=torch.bool)
    assert overlaps(found, wanted).tolist() == [[pytest.approx(1 / 3), 0]]
    assert overlaps(found[:, 1:], torch.zeros_like(wanted)).tolist() == [[0]]


Discs = Callable[[int], tuple[np.ndarray, np.ndarray]]


def _patch(draw_discs: Discs, seed: int, settings: SamPatchSettings) -> SamPatch:
    image, labels = draw_discs(seed)
    return make_sam_patch((image[None] / 255).astype(np.float32), labels[None], settings=settings)


def _of_kind(draw_discs: Discs, settings: SamPatchSettings, *, box: bool) -> SamPatch:
    drawn = (_patch(draw_discs, seed, settings) for seed in range(30))
    return next(p for p in drawn if p.chance.first_is_box is box)


@pytest.mark.parametrize("box", [True, False])
def test_rounds_correct_the_answer_with_the_highest_score(
    tiny_sam: Any, draw_discs: Discs, box: bool
) -> None:
    settings = SamPatchSettings(rounds=3, mask_share=1.0)
    patch = _of_kind(draw_discs, settings, box=box)
    loss_settings = SamLossSettings(pixels=0.5, score=2.0, shake=0.1)
    terms = sam_patch_loss(tiny_sam.train(), patch, _CPU, settings=loss_settings)
    heard, said = tiny_sam.heard, tiny_sam.said
    assert [multimask for _, multimask in heard] == [not box, False, False]
    wanted = np.stack([patch.objects == n for n in range(1, 5)])
    first = heard[0][0]
    if box:
        assert first.points is None
        assert first.boxes is not None
        lengths = patch.boxes[:, 2:] - patch.boxes[:, :2]
        moved = np.abs(first.boxes.numpy() - patch.boxes)
        assert moved.max() > 0
        assert (moved <= 0.1 * np.tile(lengths, 2) + 1e-4).all()
    else:
        assert first.boxes is None
        _assert_inside(first.points, 0, wanted)
    assert first.masks is None
    means = []
    for number in range(3):
        logits, scores = said[number]
        wide = torch.nn.functional.interpolate(logits, scale_factor=2, mode="bilinear")
        means.append(_naive(wide, scores, torch.from_numpy(wanted), patch.boxes, loss_settings))
        if number == 2:
            break
        best = scores.argmax(1)
        rows = torch.arange(4)
        prompts = heard[number + 1][0]
        torch.testing.assert_close(prompts.masks, logits[rows, best][:, None])
        predicted = (wide[rows, best] > 0).numpy()
        _assert_inside(prompts.points, -2, wanted & ~predicted, otherwise=wanted)
        _assert_inside(prompts.points, -1, predicted & ~wanted, otherwise=~wanted)
        assert prompts.points.shape[1] == 2 * (number + 1) + (not box)
        assert prompts.positive[:, -2:].tolist() == [[1, 0]] * 4
        assert (prompts.boxes is None) is not box
    mask, pixels, score = np.mean(means, axis=0)
    found = {name: float(t.detach()) for name, t in terms.items()}
    assert found == {
        "mask": pytest.approx(mask, rel=1e-4),
        "pixels": pytest.approx(0.5 * pixels, rel=1e-4),
        "score": pytest.approx(2 * score, rel=1e-4),
    }


def _assert_inside(
    points: Tensor, which: int, masks: np.ndarray, otherwise: np.ndarray | None = None
) -> None:
    for n, mask in enumerate(masks):
        where = mask if mask.any() or otherwise is None else otherwise[n]
        y, x = points[n, which].round().long().tolist()
        assert where[y, x]


def _naive(
    logits: Tensor, scores: Tensor, wanted: Tensor, boxes: np.ndarray, settings: SamLossSettings
) -> np.ndarray:
    near = torch.zeros_like(wanted)
    for n, (y0, x0, y1, x1) in enumerate(boxes):
        my, mx = (max(1, 0.25 * (b - a)) for a, b in ((y0, y1), (x0, x1)))
        for y in range(64):
            for x in range(64):
                inside_y = y0 - my < y + 0.5 < y1 + my
                near[n, y, x] = bool(inside_y and x0 - mx < x + 0.5 < x1 + mx)
    return answer_errors(logits, scores, wanted, near, settings).numpy()


def test_no_mask_without_its_chance(tiny_sam: Any, draw_discs: Discs) -> None:
    patch = _patch(draw_discs, 1, SamPatchSettings(rounds=3, mask_share=0.0))
    sam_patch_loss(tiny_sam.train(), patch, _CPU, settings=SamLossSettings())
    assert all(prompts.masks is None for prompts, _ in tiny_sam.heard)


def test_an_example_without_objects_changes_nothing(tiny_sam: Any) -> None:
    image, labels = np.zeros((1, 64, 64), np.float32), np.zeros((1, 64, 64), np.uint32)
    patch = make_sam_patch(image, labels, settings=SamPatchSettings())
    terms = sam_patch_loss(tiny_sam.train(), patch, _CPU, settings=SamLossSettings())
    assert {name: float(t.detach()) for name, t in terms.items()} == {
        "mask": 0, "pixels": 0, "score": 0
    }  # fmt: skip
    torch.autograd.backward(torch.stack(list(terms.values())).sum())
    assert all(p.grad is None or not p.grad.any() for p in tiny_sam.parameters())
    checked = sam_patch_loss(tiny_sam.eval(), patch, _CPU, settings=SamLossSettings())
    assert checked["error"] == 0


class _Drawn:
    """Gives sections in turn, turned and mirrored."""

    def __init__(self, sections: list[tuple[np.ndarray, np.ndarray]]) -> None:
        self.sections = sections
        self.settings = SamPatchSettings(rounds=2)

    def draw(self, step: int) -> SamPatch:
        rng = np.random.default_rng(step)
        image, labels = self.sections[step % len(self.sections)]
        image, labels = flip_and_turn((image[None] / 255).astype(np.float32), labels[None], rng)
        return make_sam_patch(image.copy(), labels, settings=self.settings)


def test_a_network_learns_discs(tiny_sam: Any, draw_discs: Discs, tmp_path: Path) -> None:
    sampler = _Drawn([draw_discs(seed) for seed in range(12)])
    settings = sampler.settings
    held_out = [_patch(draw_discs, seed, settings) for seed in range(100, 106)]
    loss = partial(sam_patch_loss, settings=SamLossSettings(shake=0))
    run = OptimiserSettings(steps=110, learning_rate=1e-2, warm_up=5, average=0.9, decay=0.5)
    weights = train(tiny_sam, loss, sampler, [], run, tmp_path, _CPU)
    tiny_sam.load_state_dict(weights)
    tiny_sam.eval()
    fill, found = [], []
    for patch in held_out:
        found.append(float(first_overlaps(view_patch(tiny_sam, patch, _CPU), patch)[0].mean()))
        areas = np.bincount(patch.objects.ravel(), minlength=5)[1:]
        sides = patch.boxes[:, 2:] - patch.boxes[:, :2]
        fill.append((areas / sides.prod(1)).mean())
    assert np.mean(fill) == pytest.approx(np.pi / 4, abs=0.03)
    assert np.mean(found) > np.mean(fill) + 0.03


def test_gradients_reach_every_part_of_the_compact_sam(draw_discs: Discs) -> None:
    from napari_neuropil.errors import MissingExtraError
    from napari_neuropil.networks.compact_sam import CompactSam

    torch.manual_seed(0)
    try:
        network = CompactSam(
            input_side=96, width=32, encoder_widths=(16,) * 5, detail=(16, 8)
        ).train()
    except MissingExtraError as error:
        pytest.skip(str(error))
    touched: set[str] = set()
    for box in (True, False):
        patch = _of_kind(draw_discs, SamPatchSettings(rounds=2, mask_share=1.0), box=box)
        terms = sam_patch_loss(network, patch, _CPU, settings=SamLossSettings())
        network.zero_grad(set_to_none=True)
        torch.autograd.backward(torch.stack(list(terms.values())).sum())
        touched |= {name for name, p in network.named_parameters() if p.grad is not None}
    missing = {name for name, _ in network.named_parameters()} - touched
    assert missing <= {"prompt_encoder.not_a_point_embed.weight"}
