"""The protocol of detectors: a section in, boxes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.prompts.boxes import Boxes


@dataclass(frozen=True, eq=False, slots=True)
class Detections:
    """Boxes found in a section.

    Parameters
    ----------
    boxes : NDArray of float32, (n, 4)
        y0, x0, y1, x1, half open, pixels.
    scores : NDArray of float32, (n,)
        Confidence in [0, 1].
    """

    boxes: Boxes
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.scores)


class Detector(Protocol):
    """Finds objects of one kind."""

    @property
    def name(self) -> str:
        """What users call it."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash of its weights."""
        ...

    @property
    def tile_side(self) -> int:
        """Pixels of the square it looks at; larger sections are tiled."""
        ...

    def detect(self, section: NDArray[np.uint8]) -> Detections:
        """Return the boxes of one tile, (Y, X) uint8, at most `tile_side` long."""
        ...
