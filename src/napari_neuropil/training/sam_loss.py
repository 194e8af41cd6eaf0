"""The loss of promptable networks: prompts in a row, and how wrong each answer is.

Source: micro_sam's training (Archit et al. 2025), as far as it is described: in every round the
Dice error of the best answer, averaged over the objects, and the squared error of the predicted
intersection over union; averaged over the rounds. The answer with the highest predicted score is
the one that the next round corrects. Cross-entropy near the object is ours: with Dice alone a
network that begins from nothing learns several times slower.
"""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from napari_neuropil.training.learning_part import network_of
from napari_neuropil.training.sam_patches import SamPatch
from napari_neuropil.training.sam_prompts import (
    correct_masks,
    draw_cells,
    inside_boxes,
    shake_boxes,
)
from napari_neuropil.training.sam_view import SamView, view_patch
from napari_neuropil.training.trainer import LossTerms

_SMOOTH = 1.0
"""Pixels that keep the Dice error of tiny objects from jumping."""
_NEAR = 0.25
"""How far the surroundings of an object reach, relative to its box."""


class SamLossSettings(BaseModel):
    """What counts, and how wrong boxes are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pixels: float = Field(1.0, ge=0, description="Weight of the cross-entropy near the object.")
    score: float = Field(1.0, ge=0, description="Weight of the error of the predicted score.")
    shake: float = Field(
        0.05,
        ge=0,
        lt=0.5,
        description="Sides of boxes are moved by up to this share of the box: detectors do so.",
    )


def sam_patch_loss(
    module: nn.Module, patch: SamPatch, device: torch.device, *, settings: SamLossSettings
) -> LossTerms:
    """Return the loss terms of a network on an example.

    Parameters
    ----------
    module : Module
        A `PromptableNetwork`, or the `LearningPart` of one. In evaluation mode the one term is
        ``error``: 1 minus the mean intersection over union of box and point prompts.
    patch : SamPatch
        The example.
    device : torch.device
        Where to compute.
    settings : SamLossSettings
        Weights.

    Returns
    -------
    dict of str to Tensor
        ``mask`` (Dice), ``pixels`` (cross-entropy), ``score`` (squared error of the predicted
        intersection over union), weighted.
    """
    network = network_of(module)
    if not module.training:
        found = first_overlaps(view_patch(network, patch, device), patch)
        return {"error": 1 - found.mean() if patch.count else torch.zeros((), device=device)}
    if not patch.count:
        # Nothing to learn; the trainer wants something to differentiate.
        nothing = 0 * next(p for p in module.parameters() if p.requires_grad).sum()
        return dict.fromkeys(("mask", "pixels", "score"), nothing)
    view = view_patch(network, patch, device)
    height, width = view.wanted.shape[-2:]
    near = inside_boxes(view.boxes / view.step, (height, width), _NEAR)
    totals = view.boxes.new_zeros(3)
    chance = patch.chance
    rounds = len(chance.positive)
    cells, signs, boxes, masks = _first_prompts(view, patch, settings.shake)
    for number in range(rounds):
        multimask = number == 0 and boxes is None
        logits, own, scores = view.answer(cells, signs, boxes, masks, multimask=multimask)
        totals = totals + answer_errors(logits, scores, view.wanted, near, settings)
        if number + 1 == rounds:
            break
        with torch.no_grad():
            rows = torch.arange(patch.count, device=device)
            best = scores.argmax(dim=1)
            drawn = [
                torch.from_numpy(c[number]).to(device) for c in (chance.positive, chance.negative)
            ]
            new_cells, new_signs = correct_masks(
                logits[rows, best] > 0, view.wanted, near, drawn[0], drawn[1]
            )
            masks = own[rows, best] if chance.with_mask[number] else None
        cells = new_cells if cells is None else torch.cat([cells, new_cells], dim=1)
        signs = new_signs if signs is None else torch.cat([signs, new_signs], dim=1)
    mask, pixels, score = totals / rounds
    return {"mask": mask, "pixels": settings.pixels * pixels, "score": settings.score * score}


def _first_prompts(
    view: SamView, patch: SamPatch, shake: float
) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
    device = view.boxes.device
    if patch.chance.first_is_box:
        jitter = torch.from_numpy(patch.chance.jitter).to(device)
        height, width = patch.image.shape
        return None, None, shake_boxes(view.boxes, jitter, shake, (height, width)), None
    cells, _ = draw_cells(view.wanted, torch.from_numpy(patch.chance.first).to(device))
    return cells[:, None], cells.new_ones(len(cells), 1), None, None


def answer_errors(
    logits: Tensor, scores: Tensor, wanted: Tensor, near: Tensor, settings: SamLossSettings
) -> Tensor:
    """Return the three errors of one round, averaged over the objects, not weighted.

    Parameters
    ----------
    logits : Tensor, (N, M, Y, X)
        M answers for each object.
    scores : Tensor, (N, M)
        Predicted intersections over union.
    wanted : Tensor of bool, (N, Y, X)
        True masks.
    near : Tensor of bool, (N, Y, X)
        Where the cross-entropy counts, beside the object.
    settings : SamLossSettings
        The answer that counts has the least Dice error plus weighted cross-entropy.

    Returns
    -------
    Tensor, (3,)
        Dice error and cross-entropy of the best answer; squared error of all scores.
    """
    target = wanted[:, None].to(logits)
    shares = logits.sigmoid()
    both = (shares * target).sum((2, 3))
    sizes = shares.square().sum((2, 3)) + target.sum((2, 3))
    dice = 1 - (2 * both + _SMOOTH) / (sizes + _SMOOTH)
    where = (near | wanted)[:, None].to(logits)
    entropy = functional.binary_cross_entropy_with_logits(
        logits, target.expand_as(logits), reduction="none"
    )
    pixels = (entropy * where).sum((2, 3)) / where.sum((2, 3)).clamp(min=1)
    best = (dice + settings.pixels * pixels).detach().argmin(dim=1, keepdim=True)
    true = overlaps(logits > 0, wanted)
    return torch.stack(
        [
            dice.gather(1, best).mean(),
            pixels.gather(1, best).mean(),
            (scores - true).square().mean(),
        ]
    )


def overlaps(found: Tensor, wanted: Tensor) -> Tensor:
    """Return intersections over union of masks (N, M, Y, X) with true ones (N, Y, X): (N, M)."""
    true = wanted[:, None]
    shared = (found & true).sum((2, 3)).float()
    return shared / (found | true).sum((2, 3)).clamp(min=1).float()


@torch.no_grad()
def first_overlaps(view: SamView, patch: SamPatch) -> Tensor:
    """Return the intersections over union of first prompts: (2, N), tight boxes, then points."""
    if not patch.count:
        return view.boxes.new_zeros(2, 0)
    logits, _, _ = view.answer(None, None, view.boxes)
    box = overlaps(logits > 0, view.wanted)[:, 0]
    drawn = torch.from_numpy(patch.chance.first).to(view.boxes.device)
    cells, _ = draw_cells(view.wanted, drawn)
    logits, _, scores = view.answer(
        cells[:, None], cells.new_ones(len(cells), 1), None, multimask=True
    )
    best = scores.argmax(dim=1, keepdim=True)
    return torch.stack([box, overlaps(logits > 0, view.wanted).gather(1, best)[:, 0]])
