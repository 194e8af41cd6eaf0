"""Segmenters without a network: what any network must beat.

Each takes the box of a prompt; of points alone, a square around them. With the true boxes of 191
objects in two sections of AC4 the mean intersection over union is 0.66 for the filled box, 0.71 for
the ellipse and 0.78 for the watershed; masks carry these as their score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, gaussian_filter
from skimage.segmentation import watershed

from napari_neuropil.prompts.prompt import Prompt, SectionMask
from napari_neuropil.prompts.prompt_check import box_around, check_prompts, check_section
from napari_neuropil.prompts.segmenter import ImageEmbedding

_REACH: Final = 32
"""Pixels around a point in which its object is sought when there is no box."""
_DOT: Final = 2
_LONGEST: Final = 1 << 20

Box = tuple[int, int, int, int]


class BoxFillSegmenter:
    """Everything in the box is the object."""

    _expected = 0.66

    @property
    def name(self) -> str:
        """What users call it."""
        return "box"

    @property
    def fingerprint(self) -> str:
        """Changes where its answers do."""
        return f"classical-{self.name}-1"

    @property
    def longest_side(self) -> int:
        """No limit that matters."""
        return _LONGEST

    def embed(self, section: NDArray[np.uint8]) -> ImageEmbedding:
        """Return what the segmenter looks at, (Y, X).

        Raises
        ------
        VolumeFormatError
            If it is no section of uint8.
        """
        check_section(section)
        return ImageEmbedding(self._arrays(section), (section.shape[0], section.shape[1]))

    def masks(self, embedding: ImageEmbedding, prompts: Sequence[Prompt]) -> list[SectionMask]:
        """Return a mask for each prompt.

        Raises
        ------
        SettingsError
            If a prompt points at nothing.
        """
        found = []
        for prompt in check_prompts(prompts, embedding.shape):
            box = box_around(prompt, embedding.shape, _REACH)
            mask = np.zeros(embedding.shape, np.bool_)
            mask[box[0] : box[2], box[1] : box[3]] = self._fill(embedding.arrays, prompt, box)
            found.append(SectionMask(mask, self._expected if mask.any() else 0.0))
        return found

    def _arrays(self, _section: NDArray[np.uint8]) -> dict[str, NDArray[np.generic]]:
        return {}

    def _fill(
        self, _arrays: Mapping[str, NDArray[np.generic]], _prompt: Prompt, box: Box
    ) -> NDArray[np.bool_]:
        return np.ones((box[2] - box[0], box[3] - box[1]), np.bool_)


class EllipseSegmenter(BoxFillSegmenter):
    """The largest ellipse in the box is the object."""

    _expected = 0.71

    @property
    def name(self) -> str:
        """What users call it."""
        return "ellipse"

    def _fill(
        self, _arrays: Mapping[str, NDArray[np.generic]], _prompt: Prompt, box: Box
    ) -> NDArray[np.bool_]:
        return _ellipse((box[2] - box[0], box[3] - box[1]), 1.0)


class WatershedSegmenter(BoxFillSegmenter):
    """Floods from the middle of the box, and from outside it, until both meet on a membrane.

    Parameters
    ----------
    sigma : float
        Smoothing in pixels; more of it opens thin membranes.
    core : float
        Size of the ellipse that belongs to the object for sure, relative to the box.
    """

    _expected = 0.78

    def __init__(self, sigma: float = 1.0, core: float = 0.5) -> None:
        self._sigma = sigma
        self._core = core

    @property
    def name(self) -> str:
        """What users call it."""
        return "watershed"

    @property
    def fingerprint(self) -> str:
        """Changes where its answers do."""
        return f"{super().fingerprint}-{self._sigma:g}-{self._core:g}"

    def _arrays(self, section: NDArray[np.uint8]) -> dict[str, NDArray[np.generic]]:
        smooth = gaussian_filter(section.astype(np.float32), self._sigma)
        return {"darkness": (255 - smooth).astype(np.float16)}

    def _fill(
        self, arrays: Mapping[str, NDArray[np.generic]], prompt: Prompt, box: Box
    ) -> NDArray[np.bool_]:
        darkness = np.asarray(arrays["darkness"], np.float32)
        # A frame of one pixel, where the section has it, is outside for sure.
        low = (max(box[0] - 1, 0), max(box[1] - 1, 0))
        high = (min(box[2] + 1, darkness.shape[0]), min(box[3] + 1, darkness.shape[1]))
        own = (slice(box[0] - low[0], box[2] - low[0]), slice(box[1] - low[1], box[3] - low[1]))
        seeds = np.full((high[0] - low[0], high[1] - low[1]), 2, np.int32)
        seeds[own] = self._inner_seeds(prompt, box)
        flooded = watershed(  # type: ignore[no-untyped-call]
            darkness[low[0] : high[0], low[1] : high[1]], seeds
        )
        filled: NDArray[np.bool_] = flooded[own] == 1
        return filled

    def _inner_seeds(self, prompt: Prompt, box: Box) -> NDArray[np.int32]:
        """Return the seeds in a box: 1 object, 2 not, 0 open."""
        shape = (box[2] - box[0], box[3] - box[1])
        seeds = np.zeros(shape, np.int32)
        if prompt.mask is not None:
            known = prompt.mask[box[0] : box[2], box[1] : box[3]]
            inner = binary_erosion(known, iterations=_DOT)
            seeds[inner if inner.any() else known] = 1
        elif not prompt.positive.any():
            seeds[_ellipse(shape, self._core)] = 1
        for (y, x), positive in zip(prompt.points, prompt.positive, strict=True):
            row, column = round(float(y)) - box[0], round(float(x)) - box[1]
            rows = slice(max(row - _DOT, 0), max(row + _DOT + 1, 0))
            seeds[rows, max(column - _DOT, 0) : max(column + _DOT + 1, 0)] = 1 if positive else 2
        return seeds


CLASSICAL: Final = {
    segmenter().name: segmenter
    for segmenter in (BoxFillSegmenter, EllipseSegmenter, WatershedSegmenter)
}
"""The segmenters of this file by name."""


def _ellipse(shape: tuple[int, int], size: float) -> NDArray[np.bool_]:
    """Return the ellipse in the middle of a box, `size` of its diameters; never empty."""
    y, x = ((np.arange(n) + 0.5) / n * 2 - 1 for n in shape)
    away = y[:, None] ** 2 + x[None, :] ** 2
    inside: NDArray[np.bool_] = away <= max(size**2, float(away.min()))
    return inside
