"""What the recipes of all networks have in common: volumes, patches, augmentation, length.

Settings come from a YAML file; those of shipped weights lie beside them.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from napari_neuropil.geometry import Shape
from napari_neuropil.training.augmentation import AugmentationSettings
from napari_neuropil.training.trainer import OptimiserSettings

_STRICT = ConfigDict(extra="forbid", frozen=True)


class VolumeSettings(BaseModel):
    """A labelled volume on disk."""

    model_config = _STRICT

    name: str = Field(description="For logs and the card of the weights.")
    image: str = Field(description="Path below the data root; HDF5 as file.h5/dataset.")
    labels: str = Field(description="Its labels, 0 = background.")
    voxel_size: tuple[float, float, float] = Field(description="(z, y, x) nm.")
    train_sections: tuple[int, int] = Field(description="First and one past the last.")
    validation_sections: tuple[int, int] | None = Field(None, description="Never trained on.")
    factors: tuple[int, int] = Field((1, 1), description="Pooling of (y, x) before training.")
    smallest_object: int = Field(0, ge=0, description="Objects of fewer voxels are background.")
    isotropic: bool = Field(default=False, description="Axes may be exchanged.")
    share: float = Field(1.0, gt=0, description="How often patches are drawn from it.")
    widen_sections_until: int = Field(
        0, ge=0, description="Steps before this widen borders along z too; better 0."
    )
    licence: str = Field("", description="Of the data, for the card.")


class GeneratedSettings(BaseModel):
    """Generated volumes (`napari_neuropil.synthetic`)."""

    model_config = _STRICT

    count: int = Field(0, ge=0, description="Volumes.")
    shape: Shape = Field((24, 224, 224), description="Of each.")
    voxel_sizes: tuple[tuple[float, float, float], ...] = Field(
        ((30.0, 12.0, 12.0),), description="(z, y, x) nm, taken in turn."
    )
    seed: int = Field(1000, ge=0, description="Of the first; the others follow.")
    share: float = Field(0.15, gt=0, description="Of all of them together.")
    from_step: int = Field(0, ge=0, description="First step that draws from them.")


class Recipe(BaseModel):
    """A whole training run, but for the network."""

    model_config = _STRICT

    seed: int = Field(description="Of everything random.")
    patch_shape: Shape = Field((16, 128, 128), description="One training example.")
    tile_shape: Shape = Field((16, 128, 128), description="Tile of inference, for the spec.")
    repeat_after: int = Field(
        0,
        ge=0,
        description="Patches that are drawn, kept in memory and come in turn again; 0: each step "
        "draws its own. For networks on a trunk that is not trained: it sees each patch once.",
    )
    volumes: tuple[VolumeSettings, ...] = ()
    generated: GeneratedSettings = GeneratedSettings()
    augmentation: AugmentationSettings = AugmentationSettings()
    optimiser: OptimiserSettings = OptimiserSettings()
    licence: str = Field("", description="Licence of the weights.")
