"""The recipe of the compact SAM: prompts in a row on crops of single sections.

What the sources do and we do: the loss and the prompts of `sam_loss` and `sam_prompts`. What
differs: everything learns from nothing, so crops are small and many, sections are turned, scaled
and warped, weights are averaged.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import nn

from napari_neuropil.geometry import Shape
from napari_neuropil.networks.compact_encoder import INPUT_MULTIPLE
from napari_neuropil.networks.compact_sam import CompactSam
from napari_neuropil.networks.mnet_encoder import MNetEncoder
from napari_neuropil.training.augmentation import AugmentationSettings
from napari_neuropil.training.method import TrainingMethod
from napari_neuropil.training.recipe import Recipe
from napari_neuropil.training.sam_loss import SamLossSettings, sam_patch_loss
from napari_neuropil.training.sam_patches import SamPatch, SamPatchSettings, make_sam_patch
from napari_neuropil.training.trunk import fill_trunk, trunk_arguments

_DETAIL_ON_TRUNK: Final = (32, 16)
"""Features at 1/4 and 1/2 where a trunk gives them."""


class CompactSamSettings(BaseModel):
    """What is trained: the arguments of `networks.compact_sam.CompactSam`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input_side: int = Field(
        512, ge=64, multiple_of=INPUT_MULTIPLE, description="Pixels of the longest section."
    )
    width: int = Field(128, ge=32, multiple_of=32, description="Channels of the embedding.")
    encoder_widths: tuple[int, int, int, int, int] = Field(
        (32, 64, 128, 192, 192), description="Channels at 1/2 to 1/32; multiples of 16."
    )
    encoder_blocks: tuple[int, int, int, int] = Field(
        (1, 1, 2, 1), description="Residual blocks at 1/4 to 1/32."
    )
    trunk: str = Field(
        "",
        description="A SegNeuron checkpoint (segneuron = the one that ships) as the encoder, which "
        "stays as it is; empty: an encoder of the widths above, which is trained.",
    )


class SamRecipe(Recipe):
    """A whole training run."""

    network: CompactSamSettings = CompactSamSettings()
    prompts: SamPatchSettings = SamPatchSettings()
    loss: SamLossSettings = SamLossSettings()
    patch_shape: Shape = Field((1, 224, 224), description="One training example: one section.")
    tile_shape: Shape = Field((1, 512, 512), description="Tile of inference, for the spec.")
    augmentation: AugmentationSettings = AugmentationSettings(translate=0, slip=0, damage=0)

    @model_validator(mode="after")
    def _one_section_that_fits(self) -> Self:
        depth, *sides = self.patch_shape
        if depth != 1 or any(n % INPUT_MULTIPLE or n > self.network.input_side for n in sides):
            raise ValueError(
                f"patch_shape: one section, y and x multiples of {INPUT_MULTIPLE} up to "
                f"{self.network.input_side}, for example (1, 224, 224)"
            )
        amiss = [n for n in ("translate", "slip", "damage") if getattr(self.augmentation, n)]
        if amiss:
            raise ValueError(f"augmentation.{amiss[0]}: 0 is needed, there is only one section")
        return self


def _arguments(recipe: SamRecipe) -> dict[str, Any]:
    network = recipe.network
    if not network.trunk:
        return network.model_dump(mode="json", exclude={"trunk"})
    return {
        "input_side": network.input_side,
        "width": network.width,
        "trunk": trunk_arguments(network.trunk),
        "detail": list(_DETAIL_ON_TRUNK),
    }


def _fill_trunk(network: nn.Module, recipe: SamRecipe) -> None:
    encoder = getattr(network, "image_encoder", None)
    if isinstance(encoder, MNetEncoder):
        fill_trunk(encoder.trunk, recipe.network.trunk)


COMPACT_SAM: Final[TrainingMethod[SamRecipe, SamPatch]] = TrainingMethod(
    network="compact-sam",
    recipe=SamRecipe,
    arguments=_arguments,
    offsets=lambda _recipe: (),
    make_patch=lambda recipe: partial(make_sam_patch, settings=recipe.prompts),
    loss=lambda recipe: partial(sam_patch_loss, settings=recipe.loss),
    prepare=_fill_trunk,
    build=CompactSam,
)
