"""Augmentation of electron micrographs: geometry on image and labels, damage on the image alone.

Geometry (flips, rotations, zoom, elastic warps, section-to-section translation) moves labels
too, and affinities are computed afterwards: moving an affinity map would change the identity of
its channels. Damage (slips, missing, blurred and occluded sections, grey values, noise, blur)
leaves the labels as they are, so that the network learns to bridge it.

Sources: Lee et al. 2021 (dense voxel embeddings), section III-D; SegNeuron (2024), section 2.2.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy import ndimage
from torch.nn import functional

Image = NDArray[np.float32]
Labels = NDArray[np.uint32]


class AugmentationSettings(BaseModel):
    """How often each augmentation happens, and how strong it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    warp: float = Field(0.7, ge=0, le=1, description="Probability of rotation, zoom and warp.")
    zoom: float = Field(0.2, ge=0, lt=0.5, description="Largest relative change of size.")
    warp_pixels: float = Field(4.0, ge=0, description="Standard deviation of the elastic warp.")
    translate: float = Field(0.3, ge=0, le=1, description="Probability of misaligned sections.")
    slip: float = Field(0.3, ge=0, le=1, description="Probability of a slipped section.")
    jump_pixels: float = Field(8.0, ge=0, description="Largest misalignment or slip.")
    damage: float = Field(0.3, ge=0, le=1, description="Probability of damaged sections.")
    grey: float = Field(0.7, ge=0, le=1, description="Probability of changed grey values.")
    noise: float = Field(0.3, ge=0, le=1, description="Probability of added noise.")
    blur: float = Field(0.2, ge=0, le=1, description="Probability of blur.")
    occlude: float = Field(0.2, ge=0, le=1, description="Probability of grey boxes.")


def flip_and_turn(image: Image, labels: Labels, rng: np.random.Generator) -> tuple[Image, Labels]:
    """Flip any axis and exchange y and x, each with probability 1/2."""
    axes = (0, *(1 + rng.permutation(2)))
    image, labels = image.transpose(axes), labels.transpose(axes)
    flips = tuple(slice(None, None, int(step)) for step in rng.choice((1, -1), 3))
    return image[flips], labels[flips]


def warp_sections(
    image: Image,
    labels: Labels,
    shape: tuple[int, int, int],
    settings: AugmentationSettings,
    rng: np.random.Generator,
) -> tuple[Image, Labels]:
    """Sample a patch of `shape` from the middle of a larger crop, warped within the sections.

    Parameters
    ----------
    image, labels : ndarray, (Z, Y, X)
        A crop with a margin around the patch in y and x.
    shape : tuple of int
        The patch; its depth is the crop's.
    settings : AugmentationSettings
        Probabilities and strengths.
    rng : Generator
        The source of all randomness.
    """
    depth, height, width = shape
    margin = [(n - m) / 2 for n, m in zip(image.shape[1:], shape[1:], strict=True)]
    ys, xs = np.meshgrid(
        np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2, indexing="ij"
    )
    field = np.stack([ys, xs])
    if rng.random() < settings.warp:
        angle = rng.uniform(-np.pi, np.pi)
        zoom = 1 + rng.uniform(-settings.zoom, settings.zoom)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * zoom
        field = np.einsum("ab,bhw->ahw", turn, field)
        control = rng.normal(0, settings.warp_pixels, (2, 5, 5))
        field += ndimage.zoom(control, (1, height / 5, width / 5), order=3)[:, :height, :width]
    jumps = np.zeros((2, depth, 2))  # image and labels
    if rng.random() < settings.translate:
        first = rng.integers(1, depth)
        jumps[:, first:] += rng.uniform(-settings.jump_pixels, settings.jump_pixels, 2)
    if rng.random() < settings.slip:
        jumps[0, rng.integers(depth)] += rng.uniform(-settings.jump_pixels, settings.jump_pixels, 2)
    largest = [m + (n - 1) / 2 for m, n in zip(margin, shape[1:], strict=True)]

    def sample(array: NDArray[np.float32], jump: NDArray[np.float64], mode: str) -> Image:
        place = field[:, None] + jump.T[:, :, None, None]
        grid = np.stack([place[1] / largest[1], place[0] / largest[0]], axis=-1)
        out = functional.grid_sample(
            # A copy: numpy takes a turned axis of one section for contiguous, torch does not.
            torch.from_numpy(array.copy())[:, None],
            torch.from_numpy(grid.astype(np.float32)),
            mode=mode,
            padding_mode="reflection",
            align_corners=True,
        )
        moved: Image = out[:, 0].numpy()
        return moved

    # Ids go through as indices: a float32 holds every index of a crop exactly, not every id.
    ids, indices = np.unique(labels, return_inverse=True)
    moved = sample(indices.reshape(labels.shape).astype(np.float32), jumps[1], "nearest")
    return sample(image, jumps[0], "bilinear"), ids[moved.round().astype(np.int64)]


def damage_image(image: Image, settings: AugmentationSettings, rng: np.random.Generator) -> Image:
    """Return the image with grey values changed, noise, blur, and damaged sections.

    Parameters
    ----------
    image : ndarray of float32, (Z, Y, X)
        Values in [0, 1].
    settings : AugmentationSettings
        Probabilities.
    rng : Generator
        The source of all randomness.
    """
    image = image.copy()
    depth = image.shape[0]
    if rng.random() < settings.grey:
        per_section = rng.random() < 0.5
        size = (depth if per_section else 1, 1, 1)
        strength = 0.5 if per_section else 1.0
        contrast = 1 + strength * rng.uniform(-0.4, 0.4, size)
        brightness = strength * rng.uniform(-0.2, 0.2, size)
        gamma = 2.0 ** (strength * rng.uniform(-0.8, 0.8, size))
        changed = np.clip((image - 0.5) * contrast + 0.5 + brightness, 0, 1) ** gamma
        image = changed.astype(np.float32)
    if rng.random() < settings.blur:
        sigma = rng.uniform(0.3, 1.2)
        image = ndimage.gaussian_filter(image, (0, sigma, sigma))
    if rng.random() < settings.noise:
        image += rng.normal(0, rng.uniform(0.01, 0.1), image.shape).astype(np.float32)
    if rng.random() < settings.damage:
        for section in rng.choice(depth, rng.integers(1, 3), replace=False):
            _damage_section(image[section], rng)
    if rng.random() < settings.occlude:
        for _ in range(rng.integers(1, 5)):
            size_zyx = [rng.integers(1, max(2, n // 5)) for n in image.shape]
            low = [rng.integers(0, n - m + 1) for n, m in zip(image.shape, size_zyx, strict=True)]
            box = tuple(slice(a, a + m) for a, m in zip(low, size_zyx, strict=True))
            image[box] = rng.random()
    return np.clip(image, 0, 1).astype(np.float32)


def _damage_section(section: Image, rng: np.random.Generator) -> None:
    """Blacken, grey or blur a whole section or one half plane of it, in place."""
    ys, xs = np.indices(section.shape) / max(section.shape) - 0.5
    angle = rng.uniform(0, 2 * np.pi)
    part = np.cos(angle) * ys + np.sin(angle) * xs > rng.uniform(-0.4, 0.4)
    if rng.random() < 0.5:
        part[:] = True
    if rng.random() < 0.5:
        section[part] = rng.choice((0.0, rng.random()))
    else:
        section[part] = ndimage.gaussian_filter(section, rng.uniform(1.5, 4))[part]
