"""The recipe of dense voxel embeddings: residual U-Net, embeddings and background.

What the paper does and we do (Lee et al. 2021, section III): the loss of `embedding_loss`, 12 nm
pixels, warps, misalignments, slips in the image alone, damaged sections, grey values, background
between objects. What differs: AdamW instead of AMSGrad, a patch of 16 sections, narrower levels,
averaged weights, one network for several volumes; the background is learned
first and pairs of neighbours have a term of their own, or two cores get nowhere.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from napari_neuropil.segmentation.metric_offsets import OFFSETS
from napari_neuropil.training.embedding_loss import EmbeddingLossSettings, embedding_patch_loss
from napari_neuropil.training.embedding_patches import EmbeddingPatch, make_embedding_patch
from napari_neuropil.training.method import TrainingMethod
from napari_neuropil.training.recipe import Recipe


class EmbeddingNetworkSettings(BaseModel):
    """What is trained."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    widths: tuple[int, ...] = Field(
        (12, 24, 48, 96),
        min_length=2,
        description="Channels of the levels; fewer than 12 are slow.",
    )
    dimensions: int = Field(24, ge=1, description="Length of an embedding.")


class VoxelEmbeddingsRecipe(Recipe):
    """A whole training run."""

    network: EmbeddingNetworkSettings = EmbeddingNetworkSettings()
    loss: EmbeddingLossSettings = EmbeddingLossSettings()
    smallest_part: int = Field(
        1, ge=1, description="Connected parts of fewer voxels have a free embedding."
    )

    @model_validator(mode="after")
    def _patch_must_halve(self) -> Self:
        factor = 2 ** (len(self.network.widths) - 1)
        for name in ("patch_shape", "tile_shape"):
            if any(side % factor for side in getattr(self, name)[1:]):
                raise ValueError(f"{name}: y and x must be divisible by {factor}")
        return self


def _arguments(recipe: VoxelEmbeddingsRecipe) -> dict[str, Any]:
    return {"widths": list(recipe.network.widths), "dimensions": recipe.network.dimensions}


VOXEL_EMBEDDINGS: Final[TrainingMethod[VoxelEmbeddingsRecipe, EmbeddingPatch]] = TrainingMethod(
    network="voxel-embeddings",
    recipe=VoxelEmbeddingsRecipe,
    arguments=_arguments,
    offsets=lambda _recipe: OFFSETS,
    make_patch=lambda recipe: partial(make_embedding_patch, smallest=recipe.smallest_part),
    loss=lambda recipe: partial(embedding_patch_loss, settings=recipe.loss),
)
