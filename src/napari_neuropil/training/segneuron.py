"""The recipe of a SegNeuron network: MNet, affinities and foreground.

What the paper does and we do: Adam, flips, grey values, noise, blur, boxes, elastic warps
(section 2.2). What differs: cross-entropy with Dice instead of squared error, warps with rotation,
section damage and misalignment, borders widened, long-range affinities as an auxiliary task,
averaged weights. No pre-training.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from napari_neuropil.geometry import Offset
from napari_neuropil.training.losses import affinity_patch_loss
from napari_neuropil.training.method import TrainingMethod
from napari_neuropil.training.patches import Patch, make_patch
from napari_neuropil.training.recipe import Recipe


class NetworkSettings(BaseModel):
    """What is trained."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    widths: tuple[int, int, int, int, int] = Field(
        (16, 16, 32, 32, 64), description="Channels of the five levels; multiples of 16."
    )
    offsets: tuple[Offset, ...] = Field(
        ((-1, 0, 0), (0, -1, 0), (0, 0, -1)), description="Affinities predicted, nearest first."
    )


class SegNeuronRecipe(Recipe):
    """A whole training run."""

    network: NetworkSettings = NetworkSettings()


def _arguments(recipe: SegNeuronRecipe) -> dict[str, Any]:
    widths, offsets = recipe.network.widths, recipe.network.offsets
    return {"widths": list(widths), "affinity_channels": len(offsets)}


SEGNEURON: Final[TrainingMethod[SegNeuronRecipe, Patch]] = TrainingMethod(
    network="segneuron",
    recipe=SegNeuronRecipe,
    arguments=_arguments,
    offsets=lambda recipe: recipe.network.offsets,
    make_patch=lambda recipe: partial(make_patch, offsets=recipe.network.offsets),
    loss=lambda _recipe: affinity_patch_loss,
)
