"""The recipe of a SegNeuron network: which volumes, which patches, which network, how long.

Settings come from a YAML file; the one of the shipped weights lies beside them. What the paper
does and we do: Adam, flips, grey values, noise, blur, boxes, elastic warps (section 2.2). What
differs: cross-entropy with Dice instead of squared error, warps with rotation, section
damage and misalignment, borders widened, long-range affinities as an auxiliary task, averaged
weights. No pre-training.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from napari_neuropil.errors import SettingsError, VolumeFormatError
from napari_neuropil.geometry import Offset, Shape, VoxelSize
from napari_neuropil.synthetic import make_neuropil
from napari_neuropil.training.augmentation import AugmentationSettings
from napari_neuropil.training.patches import LabelledVolume, Patch, make_patch
from napari_neuropil.training.trainer import OptimiserSettings
from napari_neuropil.volumes import open_volume

_STRICT = ConfigDict(extra="forbid", frozen=True)


class NetworkSettings(BaseModel):
    """What is trained."""

    model_config = _STRICT

    widths: tuple[int, int, int, int, int] = Field(
        (16, 16, 32, 32, 64), description="Channels of the five levels; multiples of 16."
    )
    offsets: tuple[Offset, ...] = Field(
        ((-1, 0, 0), (0, -1, 0), (0, 0, -1)), description="Affinities predicted, nearest first."
    )


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


class SegNeuronRecipe(BaseModel):
    """A whole training run."""

    model_config = _STRICT

    seed: int = Field(description="Of everything random.")
    network: NetworkSettings = NetworkSettings()
    patch_shape: Shape = Field((16, 128, 128), description="One training example.")
    tile_shape: Shape = Field((16, 128, 128), description="Tile of inference, for the spec.")
    volumes: tuple[VolumeSettings, ...] = ()
    generated: GeneratedSettings = GeneratedSettings()
    augmentation: AugmentationSettings = AugmentationSettings()
    optimiser: OptimiserSettings = OptimiserSettings()
    licence: str = Field("", description="Licence of the weights.")


def load_volumes(
    recipe: SegNeuronRecipe, data_root: Path
) -> tuple[list[LabelledVolume], list[Patch]]:
    """Bring training volumes into memory, and cut validation patches.

    Parameters
    ----------
    recipe : SegNeuronRecipe
        Which.
    data_root : Path
        Folder that paths in the recipe start from.

    Returns
    -------
    volumes : list of LabelledVolume
        Pooled, training sections only.
    validation : list of Patch
        Two per volume, from the validation sections.

    Raises
    ------
    NeuropilError
        If a volume is missing, or image and labels do not fit.
    """
    volumes, validation = [], []
    for settings in recipe.volumes:
        image, labels = _read_pair(settings, data_root)
        first, last = settings.train_sections
        volumes.append(
            LabelledVolume(
                settings.name, image[first:last], labels[first:last], settings.isotropic,
                settings.share, widen_sections_until=settings.widen_sections_until,
            )
        )  # fmt: skip
        if settings.validation_sections is not None:
            first, last = settings.validation_sections
            if max(first, settings.train_sections[0]) < min(last, settings.train_sections[1]):
                raise SettingsError(
                    f"{settings.name}: validation sections {first}-{last - 1} are trained on.",
                    "sections apart from train_sections",
                    "",
                )
            validation += _validation_patches(image[first:last], labels[first:last], recipe)
    return volumes + _generate(recipe.generated), validation


def _read_pair(
    settings: VolumeSettings, root: Path
) -> tuple[
    np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
    np.ndarray[tuple[int, ...], np.dtype[np.uint32]],
]:
    image = np.asarray(open_volume(root / settings.image).array[:, :, :])
    labels = np.asarray(open_volume(root / settings.labels).array[:, :, :])
    if image.shape != labels.shape or image.dtype != np.uint8:
        raise VolumeFormatError(
            f"{settings.name}: image {image.shape} {image.dtype}, labels {labels.shape}.",
            "an 8-bit image and labels of the same shape",
            "convert the image to uint8.",
        )
    if labels.max() >= np.iinfo(np.uint32).max:
        raise VolumeFormatError(f"{settings.name}: ids above 2^32.", "ids below 2^32", "relabel.")
    labels = labels.astype(np.uint32)
    if settings.smallest_object > 1:
        ids, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        ids[sizes < settings.smallest_object] = 0
        labels = ids[inverse.reshape(labels.shape)]
    fy, fx = settings.factors
    if (fy, fx) != (1, 1):
        z, y, x = image.shape
        image = image[:, : y - y % fy, : x - x % fx]
        boxes = image.reshape(z, y // fy, fy, x // fx, fx)
        image = boxes.mean(axis=(2, 4)).round().astype(np.uint8)
        labels = labels[:, : y - y % fy : fy, : x - x % fx : fx]
    return image, labels


def _validation_patches(
    image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
    labels: np.ndarray[tuple[int, ...], np.dtype[np.uint32]],
    recipe: SegNeuronRecipe,
) -> list[Patch]:
    patches = []
    for corner in ((0, 0, 0), (2, 60, 100)):
        low = [
            max(0, min(c, n - p))
            for c, n, p in zip(corner, image.shape, recipe.patch_shape, strict=True)
        ]
        box = tuple(slice(a, a + p) for a, p in zip(low, recipe.patch_shape, strict=True))
        grey = (image[box] / 255).astype(np.float32)
        patches.append(make_patch(grey, labels[box], recipe.network.offsets))
    return patches


def _generate(settings: GeneratedSettings) -> list[LabelledVolume]:
    volumes = []
    for index in range(settings.count):
        voxel_size = VoxelSize(*settings.voxel_sizes[index % len(settings.voxel_sizes)])
        made = make_neuropil(settings.shape, settings.seed + index, voxel_size=voxel_size)
        volumes.append(
            LabelledVolume(
                f"generated {settings.seed + index}",
                made.image,
                made.labels,
                isotropic=False,
                share=settings.share / settings.count,
                from_step=settings.from_step,
            )
        )
    return volumes


def describe_data(recipe: SegNeuronRecipe) -> Sequence[str]:
    """Return one line for each volume the network saw, for its card."""
    lines = [
        f"{v.name}: sections {v.train_sections[0]}-{v.train_sections[1] - 1}, pooled "
        f"{v.factors[0]}x{v.factors[1]} in plane; {v.licence}"
        for v in recipe.volumes
    ]
    if recipe.generated.count:
        lines.append(f"{recipe.generated.count} generated volumes; CC0")
    return lines


def seen_voxel_sizes(recipe: SegNeuronRecipe) -> list[tuple[float, float, float]]:
    """Return the voxel sizes after pooling, without repeats, real volumes first."""
    sizes = [
        (v.voxel_size[0], v.voxel_size[1] * v.factors[0], v.voxel_size[2] * v.factors[1])
        for v in recipe.volumes
    ]
    if recipe.generated.count and not sizes:
        sizes = list(recipe.generated.voxel_sizes)
    return list(dict.fromkeys(sizes))
