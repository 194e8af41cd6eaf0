"""A section of a project's segments, of which only what is asked for is read.

Following an object looks at windows around it; a whole section of a large volume is 0.5 GB of ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.prompts.segment_evidence import SectionSegments


@dataclass(frozen=True, eq=False, slots=True)
class FineSection:
    """A section on the pixels of the volume.

    Parameters
    ----------
    volume : array_like, (Z, Y, X)
        Segments, read when indexed.
    z : int
        The section.
    """

    volume: Any
    z: int

    @property
    def shape(self) -> tuple[int, int]:
        """(Y, X)."""
        return int(self.volume.shape[1]), int(self.volume.shape[2])

    def __getitem__(self, window: tuple[slice, slice]) -> NDArray[Any]:
        """Read a window, (y, x)."""
        places = (slice(self.z, self.z + 1), *window)
        found: NDArray[Any] = np.asarray(self.volume[places])[0]
        return found


@dataclass(frozen=True, eq=False, slots=True)
class CoarseSection:
    """The same on a segmenter's pixels: what lies in the middle of each.

    Parameters
    ----------
    fine : SectionSegments
        On the pixels of the volume.
    factors : tuple of int
        Pixels (y, x) that are one here.
    """

    fine: SectionSegments
    factors: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int]:
        """(Y, X); what does not fill a pixel is left out."""
        (height, width), (fy, fx) = self.fine.shape, self.factors
        return height // fy, width // fx

    def __getitem__(self, window: tuple[slice, slice]) -> NDArray[Any]:
        """Read a window, (y, x)."""
        (y0, y1, _), (x0, x1, _) = (
            part.indices(length) for part, length in zip(window, self.shape, strict=True)
        )
        fy, fx = self.factors
        part = self.fine[y0 * fy : y1 * fy, x0 * fx : x1 * fx]
        return part[fy // 2 :: fy, fx // 2 :: fx]
