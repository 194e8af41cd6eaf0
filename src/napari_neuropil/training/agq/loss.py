"""The loss of AGQ: masks of three stages, contrast of features, affinities.

Source: AGQ (Chen et al.), training objectives; the weights are the paper's. Queries are matched
to objects on the masks before the first stage, and keep their objects in both stages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from napari_neuropil.networks.agq import AGQOnMNet
from napari_neuropil.training.agq.contrast import contrast_loss
from napari_neuropil.training.agq.mask_loss import mask_loss, mask_targets
from napari_neuropil.training.agq.matching import SoftTargets, match_queries
from napari_neuropil.training.agq.patches import AgqPatch
from napari_neuropil.training.agq.trunk_views import TrunkViews

if TYPE_CHECKING:
    from napari_neuropil.networks.agq.output import AgqOutput


class AgqLossSettings(BaseModel):
    """Weights of the terms and choices within them; the defaults are the paper's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dice: float = Field(3.0, ge=0, description="Weight of the masks' Dice loss.")
    entropy: float = Field(0.3, ge=0, description="Weight of the masks' cross-entropy.")
    stages: tuple[float, float, float] = Field(
        (1.0, 1.0, 1.0), description="Weights of the masks before, after one and after two stages."
    )
    contrast: float = Field(0.1, ge=0, description="Weight of the comparison of features.")
    temperature: float = Field(
        0.3, gt=0, description="What dot products of features are divided by."
    )
    compared: int = Field(4096, ge=2, description="Voxels whose features are compared.")
    evenness: float = Field(
        0.6, ge=0, description="How strongly voxels of small objects are preferred among them."
    )
    affinities: float = Field(1.0, ge=0, description="Weight of the affinities' cross-entropy.")
    certainty: float = Field(
        1e-5, ge=0, lt=0.5, description="Affinities wanted are at least this far from 0 and 1."
    )


def affinity_entropy(logits: Tensor, wanted: Tensor, certainty: float) -> Tensor:
    """Return the cross-entropy of affinities, mean over all of them.

    Parameters
    ----------
    logits, wanted : Tensor, (offset, Z, Y, X)
        Before the sigmoid; in [0, 1].
    certainty : float
        Targets are kept this far from 0 and 1.
    """
    wanted = wanted.clamp(certainty, 1 - certainty)
    return functional.binary_cross_entropy_with_logits(logits, wanted)


def agq_output_loss(
    output: AgqOutput, patch: AgqPatch, settings: AgqLossSettings
) -> dict[str, Tensor]:
    """Return the weighted terms of what the network gave for one patch; their sum is the loss.

    Parameters
    ----------
    output : AgqOutput
        Of one image.
    patch : AgqPatch
        Its targets.
    settings : AgqLossSettings
        Weights.

    Returns
    -------
    dict of str to Tensor
        ``dice``, ``entropy`` (summed over the three outputs), ``contrast`` and, where it counts,
        ``affinities``.

    Raises
    ------
    SettingsError
        If the masks are not finite.
    """
    masks = [_rows(m) for m in (*output.earlier_masks, output.mask_logits)]
    soft = SoftTargets.of(patch.masks, masks[0])
    targets = mask_targets(soft, match_queries(masks[0], soft))
    losses = [mask_loss(logits, targets) for logits in masks]
    dice, entropy = (
        torch.stack([w * t for w, t in zip(settings.stages, terms, strict=True)]).sum()
        for terms in zip(*losses, strict=True)
    )
    compared = torch.from_numpy(patch.compared).to(output.features.device)
    features = _rows(output.features).index_select(0, compared)
    contrast = contrast_loss(features, soft.dense(compared).to(features), settings.temperature)
    terms = {
        "dice": settings.dice * dice,
        "entropy": settings.entropy * entropy,
        "contrast": settings.contrast * contrast,
    }
    if settings.affinities:
        logits = _full_precision(output.affinities.squeeze(0))
        wanted = torch.from_numpy(patch.affinities).to(logits)
        found = affinity_entropy(logits, wanted, settings.certainty)
        terms["affinities"] = settings.affinities * found
    return terms


def agq_patch_loss(
    network: nn.Module,
    patch: AgqPatch,
    device: torch.device,
    settings: AgqLossSettings,
    views: TrunkViews | None = None,
) -> dict[str, Tensor]:
    """Return the loss terms of a network on one patch.

    Parameters
    ----------
    network : Module
        Takes (1, 1, Z, Y, X) in [-1, 1] and gives an `AgqOutput`.
    patch : AgqPatch
        Image in [0, 1] and targets.
    device : torch.device
        Where the network is.
    settings : AgqLossSettings
        Weights.
    views : TrunkViews, optional
        What the trunk of an `AGQOnMNet` saw before.
    """
    output: AgqOutput
    if views is not None and isinstance(network, AGQOnMNet):
        output = network.decode(views.of(network, patch.image, device))
    else:
        output = network(2 * torch.from_numpy(patch.image).to(device)[None, None] - 1)
    return agq_output_loss(output, patch, settings)


def _rows(tensor: Tensor) -> Tensor:
    """Return (1, C, Z, Y, X) as (V, C), at least in single precision."""
    # Views all: the network keeps the channels of a voxel side by side.
    return _full_precision(tensor.squeeze(0).flatten(1).t())


def _full_precision(tensor: Tensor) -> Tensor:
    # Sums over a hundred thousand voxels do not fit half precision.
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
