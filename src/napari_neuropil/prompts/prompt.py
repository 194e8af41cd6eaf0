"""What a user points with, and what comes back, in one section."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


def _no_points() -> NDArray[np.float32]:
    return np.zeros((0, 2), np.float32)


def _no_signs() -> NDArray[np.bool_]:
    return np.zeros(0, np.bool_)


@dataclass(frozen=True, eq=False, slots=True)
class Prompt:
    """One object, pointed at.

    Parameters
    ----------
    box : tuple of float, optional
        (y0, x0, y1, x1), half open, pixels of the section.
    points : NDArray, (n, 2)
        (y, x), pixels.
    positive : NDArray of bool, (n,)
        Whether each point lies in the object; False means "not this".
    mask : NDArray of bool, (Y, X), optional
        What the object looks like so far.
    """

    box: tuple[float, float, float, float] | None = None
    points: NDArray[np.float32] = field(default_factory=_no_points)
    positive: NDArray[np.bool_] = field(default_factory=_no_signs)
    mask: NDArray[np.bool_] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is pointed at."""
        return self.box is None and not len(self.points) and self.mask is None


@dataclass(frozen=True, eq=False, slots=True)
class SectionMask:
    """What a segmenter makes of a prompt.

    Parameters
    ----------
    mask : NDArray of bool, (Y, X)
        Of the whole section.
    score : float
        Quality the segmenter expects, in [0, 1]: the predicted intersection over union.
    stability : float
        Overlap of the masks at a lower and a higher threshold; 1 at best.
    """

    mask: NDArray[np.bool_]
    score: float
    stability: float = 1.0
