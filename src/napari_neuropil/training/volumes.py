"""What every recipe learns from: labelled volumes on disk, and generated ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import SettingsError, VolumeFormatError
from napari_neuropil.geometry import Shape, VoxelSize
from napari_neuropil.synthetic import make_neuropil
from napari_neuropil.training.patches import LabelledVolume, MakePatch
from napari_neuropil.training.recipe import GeneratedSettings, Recipe, VolumeSettings
from napari_neuropil.volumes import open_volume

P = TypeVar("P")


def load_volumes(
    recipe: Recipe, data_root: Path, make_patch: MakePatch[P]
) -> tuple[list[LabelledVolume], list[P]]:
    """Bring training volumes into memory, and cut validation patches.

    Parameters
    ----------
    recipe : Recipe
        Which.
    data_root : Path
        Folder that paths in the recipe start from.
    make_patch : callable
        Makes a validation patch of an image and its labels.

    Returns
    -------
    volumes : list of LabelledVolume
        Pooled, training sections only.
    validation : list of patches
        Two per volume, from the validation sections.

    Raises
    ------
    NeuropilError
        If a volume is missing, or image and labels do not fit.
    """
    volumes: list[LabelledVolume] = []
    validation: list[P] = []
    for settings in recipe.volumes:
        image, labels = _read_pair(settings, data_root)
        first, last = settings.train_sections
        # In plane a patch is mirrored beyond the volume. Any axis of an isotropic volume may be
        # the section axis of a patch.
        depth = recipe.patch_shape[0]
        least = (depth,) * 3 if settings.isotropic else (depth, 1, 1)
        _check_size(settings.name, image[first:last].shape, least)
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
            _check_size(settings.name, image[first:last].shape, recipe.patch_shape)
            validation += _validation_patches(
                image[first:last], labels[first:last], recipe.patch_shape, make_patch
            )
    return volumes + _generate(recipe.generated), validation


def _read_pair(
    settings: VolumeSettings, root: Path
) -> tuple[NDArray[np.uint8], NDArray[np.uint32]]:
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


def _check_size(name: str, shape: tuple[int, ...], least: Shape) -> None:
    if any(n < m for n, m in zip(shape, least, strict=True)):
        found, wanted = (" x ".join(map(str, s)) for s in (shape, least))
        raise SettingsError(
            f"{name}: only {found} voxels (z, y, x) after pooling to learn from.",
            f"at least {wanted}, for the patch",
            "make patch_shape smaller, or take more sections.",
        )


def _validation_patches(
    image: NDArray[np.uint8],
    labels: NDArray[np.uint32],
    shape: Shape,
    make_patch: MakePatch[P],
) -> list[P]:
    patches = []
    for corner in ((0, 0, 0), (2, 60, 100)):
        low = [max(0, min(c, n - p)) for c, n, p in zip(corner, image.shape, shape, strict=True)]
        box = tuple(slice(a, a + p) for a, p in zip(low, shape, strict=True))
        grey = (image[box] / 255).astype(np.float32)
        patches.append(make_patch(grey, labels[box]))
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


def describe_data(recipe: Recipe) -> Sequence[str]:
    """Return one line for each volume the network saw, for its card."""
    lines = [
        f"{v.name}: sections {v.train_sections[0]}-{v.train_sections[1] - 1}, pooled "
        f"{v.factors[0]}x{v.factors[1]} in plane; {v.licence}"
        for v in recipe.volumes
    ]
    if recipe.generated.count:
        lines.append(f"{recipe.generated.count} generated volumes; CC0")
    return lines


def seen_voxel_sizes(recipe: Recipe) -> list[tuple[float, float, float]]:
    """Return the voxel sizes after pooling, without repeats, real volumes first."""
    sizes = [
        (v.voxel_size[0], v.voxel_size[1] * v.factors[0], v.voxel_size[2] * v.factors[1])
        for v in recipe.volumes
    ]
    if recipe.generated.count and not sizes:
        sizes = list(recipe.generated.voxel_sizes)
    return list(dict.fromkeys(sizes))
