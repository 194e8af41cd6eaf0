"""The recipe of AGQ: queries from affinities and learned ones, masks without a watershed.

What the paper does and we do: the loss of `loss`, connected components as objects, widened
borders, affinities as an auxiliary task that also finds the queries, stage-wise supervision. What
differs: AdamW on all parameters alike with averaged weights, the augmentation that all our
recipes share, one network for several volumes; and, by `network.trunk`, a network that learns
queries only, on what SegNeuron has learned.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import nn

from napari_neuropil.geometry import Shape
from napari_neuropil.networks.agq import AGQOnMNet
from napari_neuropil.networks.registry import NEAREST_OFFSETS
from napari_neuropil.training.agq.loss import AgqLossSettings, agq_patch_loss
from napari_neuropil.training.agq.patches import AgqPatch, make_agq_patch
from napari_neuropil.training.agq.trunk_views import TrunkViews
from napari_neuropil.training.method import TrainingMethod
from napari_neuropil.training.recipe import Recipe
from napari_neuropil.training.trainer import PatchLoss
from napari_neuropil.training.trunk import fill_trunk, trunk_arguments

_GROUPS: Final = 8
"""Groups of the normalisation, and heads of the attention."""
_VALIDATION_PATCHES: Final = 64
"""Views kept of these too."""
_STRIDES: Final = (4, 16, 16)
"""How much coarser the coarsest level is."""


class AgqNetworkSettings(BaseModel):
    """What is trained; the defaults are the paper's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channels: tuple[int, int, int, int, int] = Field(
        (32, 64, 96, 128, 160), description="Channels of the five levels; multiples of 8."
    )
    fused: int = Field(64, ge=8, description="Channels of features and queries; a multiple of 8.")
    learned_queries: int = Field(
        100, ge=2, description="Queries that do not come from the affinities."
    )
    most_components: int = Field(
        100, ge=0, description="Queries that come from the affinities, at most."
    )
    smallest_component: int = Field(
        100, ge=0, description="A query comes from components of more voxels (half resolution)."
    )
    persistence: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="How deep a component must be to stay apart from others; without: components "
        "of one threshold, the mean, as in the paper.",
    )
    trunk: str = Field(
        "",
        description="A SegNeuron checkpoint whose features and affinities are taken as they are "
        "(segneuron = the one that ships) instead of `channels`; empty: all is learned.",
    )
    placed: bool = Field(
        default=True,
        description="With a trunk: a query's logits begin from the place of its component.",
    )

    @model_validator(mode="after")
    def _groups_must_be_even(self) -> Self:
        for name in ("channels", "fused"):
            value = getattr(self, name)
            widths = value if isinstance(value, tuple) else (value,)
            if any(width < _GROUPS or width % _GROUPS for width in widths):
                raise ValueError(f"{name}: multiples of {_GROUPS} are needed")
        return self


class AgqRecipe(Recipe):
    """A whole training run."""

    network: AgqNetworkSettings = AgqNetworkSettings()
    loss: AgqLossSettings = AgqLossSettings()
    patch_shape: Shape = Field((17, 129, 129), description="One training example.")
    tile_shape: Shape = Field(
        (17, 129, 129),
        description="Tile of inference, for the spec. Queries gather sums over the tile, so one of "
        "another size than the patch is another task.",
    )
    smallest_part: int = Field(
        1, ge=1, description="Connected parts of fewer voxels are learned by no query."
    )

    @model_validator(mode="after")
    def _corners_must_meet(self) -> Self:
        if self.network.trunk:
            return self
        for name in ("patch_shape", "tile_shape"):
            shape = getattr(self, name)
            if any((n - 1) % s for n, s in zip(shape, _STRIDES, strict=True)):
                raise ValueError(
                    f"{name}: z must be a multiple of {_STRIDES[0]} plus 1, y and x a multiple of "
                    f"{_STRIDES[1]} plus 1, for example (17, 129, 129)"
                )
        return self


_OWN: Final = {"channels", "trunk", "placed"}
"""Settings that only one of the two networks has."""


def _arguments(recipe: AgqRecipe) -> dict[str, Any]:
    network = recipe.network
    common = network.model_dump(mode="json", exclude=_OWN)
    if not network.trunk:
        return {"channels": list(network.channels), **common}
    return {"trunk": trunk_arguments(network.trunk), "placed": network.placed, **common}


def _fill_trunk(network: nn.Module, recipe: AgqRecipe) -> None:
    if isinstance(network, AGQOnMNet):
        fill_trunk(network.trunk, recipe.network.trunk)


def _loss(recipe: AgqRecipe) -> PatchLoss[AgqPatch]:
    views = TrunkViews(most=recipe.repeat_after + _VALIDATION_PATCHES)
    return partial(agq_patch_loss, settings=recipe.loss, views=views)


AGQ: Final[TrainingMethod[AgqRecipe, AgqPatch]] = TrainingMethod(
    network="agq",
    recipe=AgqRecipe,
    arguments=_arguments,
    offsets=lambda _recipe: NEAREST_OFFSETS,
    make_patch=lambda recipe: partial(
        make_agq_patch,
        offsets=NEAREST_OFFSETS,
        smallest=recipe.smallest_part,
        compared=recipe.loss.compared,
        evenness=recipe.loss.evenness,
    ),
    loss=_loss,
    prepare=_fill_trunk,
)
