"""The part of a labelled volume that segmenters are measured on, section by section."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import SettingsError, VolumeFormatError
from napari_neuropil.geometry import Roi
from napari_neuropil.inference.grey_values import find_grey_range
from napari_neuropil.volumes import check_image, open_volume

if TYPE_CHECKING:
    from napari_neuropil.training.section_objects import SectionObject


@dataclass(frozen=True, slots=True)
class Examined:
    """What of a volume is looked at.

    Parameters
    ----------
    roi : str, optional
        ``z0:z1,y0:y1,x0:x1``.
    every : int
        Only each n-th section; what is followed is followed through all of them.
    factor : int
        Pixels along y and x averaged to one.
    ids : sequence of int
        Labels that count; none = all.
    smallest : int
        Parts of fewer pixels do not count, pixels after averaging.

    Raises
    ------
    SettingsError
        If a number is below 1.
    """

    roi: str | None = None
    every: int = 1
    factor: int = 1
    ids: Sequence[int] = ()
    smallest: int = 200

    def __post_init__(self) -> None:
        """Refuse what cannot be counted."""
        if min(self.every, self.factor, self.smallest) < 1:
            raise SettingsError(str(self), "every, factor and smallest whole numbers from 1", "")


class ExaminedSections:
    """Reads image and labels of a section, on the pixels that are measured on.

    Parameters
    ----------
    image, labels : path-like
        Volumes of one shape; label 0 is nothing.
    examined : Examined
        What of them is looked at.

    Raises
    ------
    NeuropilError
        If a volume cannot be read, or the shapes differ.
    """

    def __init__(self, image: str | Path, labels: str | Path, examined: Examined) -> None:
        self._volume, self._truth = open_volume(image), open_volume(labels)
        check_image(self._volume)
        if self._volume.shape != self._truth.shape:
            raise VolumeFormatError(
                f"The image has shape {self._volume.shape}, the labels {self._truth.shape}.",
                "the same voxels",
                "give the labels of this image.",
            )
        self.examined = examined
        whole = Roi.of_shape(self._volume.shape)
        self._roi = (
            Roi.parse(examined.roi, self._volume.shape) if examined.roi is not None else whole
        )
        self._grey, _ = find_grey_range(self._volume, self._roi, "auto", invert=False)

    @property
    def every(self) -> range:
        """The sections that single masks are measured in."""
        return self.all[:: self.examined.every]

    @property
    def all(self) -> range:
        """All sections of the part, numbers of the volume."""
        return range(self._roi.start[0], self._roi.stop[0])

    @property
    def shape(self) -> tuple[int, int, int]:
        """(Z, Y, X) of the part, after averaging."""
        z, y, x = (b - a for a, b in zip(self._roi.start, self._roi.stop, strict=True))
        return z, y // self.examined.factor, x // self.examined.factor

    def image(self, z: int) -> NDArray[np.uint8]:
        """Return the pixels of a section, (Y, X)."""
        from napari_neuropil.prompts.detector_scale import pool_section

        section = np.round(self._grey.apply(self._volume.read(self._plane(z)))[0] * 255)
        return pool_section(section.astype(np.uint8), (self.examined.factor,) * 2)

    def labels(self, z: int) -> NDArray[Any]:
        """Return the labels of a section, (Y, X), one of each group of pixels."""
        factor = self.examined.factor
        _, height, width = self.shape
        found: NDArray[Any] = self._truth.read(self._plane(z))[0]
        return found[::factor, ::factor][:height, :width]

    def check_same(self, shape: tuple[int, ...], what: str) -> None:
        """Refuse what does not hold the voxels of the part.

        Raises
        ------
        VolumeFormatError
            If its shape is another one.
        """
        own = tuple(b - a for a, b in zip(self._roi.start, self._roi.stop, strict=True))
        if tuple(shape) != own:
            raise VolumeFormatError(
                f"{what} holds {shape} voxels, the part that is looked at {own}.",
                "the same voxels",
                "give the --roi that it was made of.",
            )

    def chosen(self, labels: NDArray[Any]) -> list[int]:
        """Return the labels of a section that count."""
        present = np.unique(labels)
        return [int(n) for n in present if n and (not self.examined.ids or n in self.examined.ids)]

    def objects(self, z: int) -> list[SectionObject]:
        """Return the parts of these labels that are large enough."""
        from napari_neuropil.training.section_objects import find_objects

        labels = self.labels(z)
        return find_objects(labels, z, self.chosen(labels), smallest=self.examined.smallest)

    def _plane(self, z: int) -> Roi:
        return Roi((z, *self._roi.start[1:]), (z + 1, *self._roi.stop[1:]))
