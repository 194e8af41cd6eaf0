"""Between a volume's pixels and the larger ones that a segmenter was trained on. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import SettingsError
from napari_neuropil.geometry import Shape
from napari_neuropil.prompts.detector_scale import pool_section, pooling_factors
from napari_neuropil.prompts.packed_mask import PackedMask
from napari_neuropil.prompts.prompt import Prompt


def best_factors(
    pixel_size: Sequence[float], trained: Sequence[float], section: tuple[int, int]
) -> tuple[int, int]:
    """Return the whole factors (y, x) that bring pixels nearest to one of the trained sizes.

    Parameters
    ----------
    pixel_size : sequence of float
        Of the section, (y, x) in nm.
    trained : sequence of float
        Edges of pixels in nm; none: any size will do.
    section : tuple of int
        Its shape; no factor is larger.
    """
    best, least = (1, 1), math.inf
    for wanted in trained:
        fy, fx = pooling_factors(pixel_size, wanted)
        factors = min(fy, section[0]), min(fx, section[1])
        sizes = [p * f for p, f in zip(pixel_size, factors, strict=True)]
        away = max(abs(math.log(size / wanted)) for size in sizes)
        if away < least:
            best, least = factors, away
    return best


@dataclass(frozen=True, slots=True)
class SectionGrid:
    """The sections of a volume, fine as they are and coarse as they are segmented.

    Parameters
    ----------
    shape : tuple of int
        Of the volume, (Z, Y, X).
    factors : tuple of int
        Fine pixels (y, x) of a coarse one. What does not fill one at the far borders belongs to
        the last one.
    """

    shape: Shape
    factors: tuple[int, int] = (1, 1)

    @property
    def section(self) -> tuple[int, int]:
        """Shape of a fine section."""
        return self.shape[1], self.shape[2]

    @property
    def coarse_shape(self) -> Shape:
        """Of the volume of coarse sections."""
        (depth, height, width), (fy, fx) = self.shape, self.factors
        return depth, height // fy, width // fx

    @property
    def coarse_section(self) -> tuple[int, int]:
        """Shape of a coarse section."""
        _, height, width = self.coarse_shape
        return height, width

    def pool(self, section: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a section, coarse."""
        return pool_section(section, self.factors)

    def check_mask(self, z: int, mask: PackedMask | None = None) -> None:
        """Refuse sections outside the volume, and masks that leave them.

        Raises
        ------
        SettingsError
            Naming what is outside.
        """
        depth, height, width = self.shape
        if not 0 <= z < depth:
            raise SettingsError(
                f"Section {z} of {depth}.", f"0 to {depth - 1}", "choose a section of the volume."
            )
        if mask is not None and (mask.box[2] > height or mask.box[3] > width):
            raise SettingsError(
                f"A mask in the box {mask.box} of a section of {height} by {width} pixels.",
                "a mask inside the section",
                "",
            )

    def coarse_prompt(self, prompt: Prompt, mask: PackedMask | None = None) -> Prompt:
        """Return a checked prompt in coarse pixels.

        Parameters
        ----------
        prompt : Prompt
            In fine pixels; its mask does not count.
        mask : PackedMask, optional
            Counts instead, in fine pixels.
        """
        known = None
        if mask is not None:
            known = self.coarse_mask(mask).onto(self.coarse_section)
        if self.factors == (1, 1):
            return replace(prompt, mask=known)
        fy, fx = self.factors
        height, width = self.coarse_section
        box = None
        if prompt.box is not None:
            y0, x0, y1, x1 = prompt.box
            # A box within the last, incomplete pixels must not become empty.
            y0, x0 = min(y0 / fy, height - 1), min(x0 / fx, width - 1)
            box = (y0, x0, min(y1 / fy, height), min(x1 / fx, width))
        # A pixel's place is that of its middle.
        points = (prompt.points + 0.5) / self.factors - 0.5
        inside = points.clip(-0.5, (height - 1, width - 1)).astype(np.float32)
        return replace(prompt, box=box, points=inside, mask=known)

    def coarse_mask(self, mask: PackedMask) -> PackedMask:
        """Return a mask in coarse pixels: those it fills by half; failing that, all it meets."""
        if self.factors == (1, 1):
            return mask
        fy, fx = self.factors
        height, width = self.coarse_section
        rows, columns = np.nonzero(mask.crop())
        rows = np.minimum((rows + mask.start[0]) // fy, height - 1)
        columns = np.minimum((columns + mask.start[1]) // fx, width - 1)
        y, x = int(rows.min()), int(columns.min())
        counts = np.zeros((int(rows.max()) - y + 1, int(columns.max()) - x + 1), np.int64)
        np.add.at(counts, (rows - y, columns - x), 1)
        packed = PackedMask.of(2 * counts >= fy * fx, (y, x)) or PackedMask.of(counts > 0, (y, x))
        if packed is None:
            raise ValueError("a packed mask holds a pixel")
        return packed

    def fine_mask(self, mask: PackedMask) -> PackedMask:
        """Return a coarse mask in fine pixels."""
        if self.factors == (1, 1):
            return mask
        crop = mask.crop()
        for axis, factor in enumerate(self.factors):
            crop = np.repeat(crop, factor, axis)
        rests = [
            fine - coarse * factor if end == coarse else 0
            for fine, coarse, factor, end in zip(
                self.section, self.coarse_section, self.factors, mask.box[2:], strict=True
            )
        ]
        crop = np.pad(crop, [(0, rest) for rest in rests], mode="edge")
        (y, x), (fy, fx) = mask.start, self.factors
        packed = PackedMask.of(crop, (y * fy, x * fx))
        if packed is None:
            raise ValueError("a packed mask holds a pixel")
        return packed
