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
from scipy.ndimage import gaussian_filter

from napari_neuropil.networks.flood import Box, ellipse, flood_box
from napari_neuropil.prompts.prompt import Prompt, SectionMask
from napari_neuropil.prompts.prompt_check import box_around, check_prompts, check_section
from napari_neuropil.prompts.segmenter import ImageEmbedding

_REACH: Final = 32
"""Pixels around a point in which its object is sought when there is no box."""
_LONGEST: Final = 1 << 20


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
        return ellipse((box[2] - box[0], box[3] - box[1]), 1.0)


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
        return flood_box(
            darkness, box, prompt.points, prompt.positive, prompt.mask, core=self._core
        )


CLASSICAL: Final = {
    segmenter().name: segmenter
    for segmenter in (BoxFillSegmenter, EllipseSegmenter, WatershedSegmenter)
}
"""The segmenters of this file by name."""
