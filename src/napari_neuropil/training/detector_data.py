"""Training images for a detector: sections of labelled volumes, and what is to be found in them.

An object is a connected piece of one label in one section. Pieces are found at the volume's own
resolution and their coordinates divided, so boxes are exact however far the image is averaged. A
piece is kept as the convex hull of its pixels: under any turn, shear or change of size the box of
the turned hull is the box of the turned piece, where a turned box would be too large by up to 41 %.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects
from scipy.spatial import ConvexHull
from skimage.measure import label

from napari_neuropil.errors import SettingsError, VolumeFormatError
from napari_neuropil.prompts.boxes import Boxes
from napari_neuropil.prompts.detector_scale import pool_section, pooling_factors
from napari_neuropil.prompts.section_tiles import tile_boxes
from napari_neuropil.training.detector_recipe import DetectorRecipe, DetectorVolume
from napari_neuropil.volumes import Volume, open_volume

Outline = NDArray[np.float32]
"""(k, 2): corners (y, x) of a convex hull, in pixels of the image."""

_TOLERANCE: Final = 0.25
# scikit-image is untyped.
_label: Final[Callable[..., tuple[NDArray[np.int32], int]]] = label


@dataclass(frozen=True, eq=False, slots=True)
class DetectorImage:
    """A section or a tile of one, with what is to be found.

    Parameters
    ----------
    name : str
        Volume, section and tile; unique.
    pixels : NDArray of uint8, (Y, X)
        Averaged to the recipe's pixel size.
    outlines : tuple of Outline
        Of each object. Empty where there is nothing to find.
    """

    name: str
    pixels: NDArray[np.uint8]
    outlines: tuple[Outline, ...]

    @property
    def boxes(self) -> Boxes:
        """Tight boxes of the objects, (n, 4): y0, x0, y1, x1."""
        rows = [np.concatenate([o.min(axis=0), o.max(axis=0)]) for o in self.outlines]
        return np.array(rows, np.float32).reshape(-1, 4)


def outline_objects(
    labels: NDArray[Any], ids: tuple[int, ...] | Literal["all"], smallest: int
) -> tuple[Outline, ...]:
    """Return the outlines of the connected pieces of some labels in a section.

    Parameters
    ----------
    labels : NDArray, (Y, X)
        Ids; 0 is background.
    ids : tuple of int or "all"
        Which count.
    smallest : int
        Pieces of fewer pixels do not.

    Returns
    -------
    tuple of Outline
        In pixels of `labels`; the far corner of the last pixel counts, so boxes are half open.
    """
    known = labels if ids == "all" else np.where(np.isin(labels, ids), labels, 0)
    pieces, count = _label(known, connectivity=1, background=0, return_num=True)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    found = []
    for number, window in enumerate(find_objects(pieces), start=1):
        if window is None or sizes[number] < max(1, smallest):
            continue
        corner = np.array([part.start for part in window], np.float32)
        found.append(_hull(pieces[window] == number) + corner)
    return tuple(found)


def _hull(mask: NDArray[np.bool_]) -> Outline:
    """Return the convex hull of a mask's pixels with their full squares."""
    rows = np.flatnonzero(mask.any(axis=1))
    first = mask[rows].argmax(axis=1)
    last = mask.shape[1] - mask[rows, ::-1].argmax(axis=1)
    # Of each row only the ends matter; a pixel's square has a corner above and one below.
    corners = np.array([(y + d, x) for y, a, b in zip(rows, first, last, strict=True)
                        for d in (0, 1) for x in (a, b)], np.float32)  # fmt: skip
    hull: Outline = corners[ConvexHull(corners).vertices]
    return hull


def read_images(
    recipe: DetectorRecipe, data_root: Path, part: Literal["train", "validation"]
) -> Iterator[DetectorImage]:
    """Give the images of all volumes, one section in memory at a time.

    Parameters
    ----------
    recipe : DetectorRecipe
        Which; its split is taken as checked.
    data_root : Path
        Folder that the recipe's paths start from.
    part : str
        ``train`` or ``validation``.

    Yields
    ------
    DetectorImage

    Raises
    ------
    NeuropilError
        If a volume is missing, image and labels do not fit, sections lie outside, or pixels
        cannot be brought to the recipe's size.
    """
    for number, volume in enumerate(recipe.volumes):
        sections = volume.train_sections if part == "train" else volume.validation_sections
        if sections is None:
            continue
        image, labels = _open_pair(volume, data_root)
        if sections[1] > image.shape[0]:
            raise SettingsError(
                f"{volume.name}: sections up to {sections[1] - 1}.",
                f"at most {image.shape[0] - 1}, the last of the volume",
                "",
            )
        factors = _factors(volume, recipe.pixel_size)
        for z in range(*sections, volume.step):
            yield from _cut_section(
                f"{part}-{number:02d}-{z:05d}",
                np.asarray(image.array[z : z + 1, :, :])[0],
                np.asarray(labels.array[z : z + 1, :, :])[0],
                (volume.ids, recipe, factors),
            )


def _open_pair(volume: DetectorVolume, root: Path) -> tuple[Volume, Volume]:
    image, labels = open_volume(root / volume.image), open_volume(root / volume.labels)
    if image.shape != labels.shape or image.dtype != np.uint8 or labels.dtype.kind not in "iu":
        raise VolumeFormatError(
            f"{volume.name}: image {image.shape} {image.dtype}, "
            f"labels {labels.shape} {labels.dtype}.",
            "an 8-bit image and whole numbers of the same shape",
            "convert the image to uint8, and crop both alike.",
        )
    return image, labels


def _factors(volume: DetectorVolume, wanted: float) -> tuple[int, int]:
    factors = pooling_factors(volume.voxel_size[1:], wanted)
    sizes = [size * f for size, f in zip(volume.voxel_size[1:], factors, strict=True)]
    if any(abs(size / wanted - 1) > _TOLERANCE for size in sizes):
        raise SettingsError(
            f"{volume.name}: pixels of {sizes[0]:g} x {sizes[1]:g} nm at best for a detector of "
            f"{wanted:g} nm.",
            f"within {_TOLERANCE:.0%} of it",
            "set pixel_size of the recipe to a multiple of the volume's own.",
        )
    return factors


def _cut_section(
    name: str,
    image: NDArray[np.uint8],
    labels: NDArray[Any],
    how: tuple[tuple[int, ...] | Literal["all"], DetectorRecipe, tuple[int, int]],
) -> Iterator[DetectorImage]:
    """Give the tiles of a section; what a tile's edge cuts off does not count for the tile."""
    ids, recipe, factors = how
    pooled = pool_section(image, factors)
    smallest = round(recipe.smallest_area * 1e6 / (recipe.pixel_size**2) * factors[0] * factors[1])
    for n, (y0, x0, y1, x1) in enumerate(
        tile_boxes((pooled.shape[0], pooled.shape[1]), recipe.image_side, recipe.overlap)
    ):
        (fy, fx), pixels = factors, pooled[y0:y1, x0:x1]
        seen = labels[y0 * fy : y1 * fy, x0 * fx : x1 * fx]
        outlines = outline_objects(seen, ids, smallest)
        scale = np.array(factors, np.float32)
        yield DetectorImage(f"{name}-{n:03d}", pixels, tuple(o / scale for o in outlines))
