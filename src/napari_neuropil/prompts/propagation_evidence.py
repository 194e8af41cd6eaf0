"""What propagation says besides masks: why it believes in them, and where and why it stopped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from napari_neuropil.prompts.mask_prompts import inner_points
from napari_neuropil.prompts.packed_mask import PackedMask

StopReason = Literal["overlap", "return", "area", "score", "empty", "volume", "gap", "cancelled"]


@dataclass(frozen=True, slots=True)
class Stop:
    """Where a piece of the object was not carried on, and why.

    Parameters
    ----------
    z : int
        The section in which it has no mask; the last one for "volume".
    direction : int
        1 upwards, -1 downwards.
    reason : str
        "overlap": too little in common with the section before. "return": the way back leads
        elsewhere. "area": a jump. "score": the segmenter expects a bad mask. "empty": it returned
        none. "volume": the volume ends. "gap": what comes from one end of a gap misses the other
        end. "cancelled".
    value : float
        What was measured: the overlap, the ratio, the score.
    place : tuple of int
        (y, x) inside the piece, in the section before.
    area : int
        Pixels of the piece.
    """

    z: int
    direction: int
    reason: StopReason
    value: float
    place: tuple[int, int]
    area: int

    @classmethod
    def of_piece(
        cls, z: int, direction: int, reason: StopReason, value: float, piece: PackedMask
    ) -> Stop:
        """Say where a piece ends."""
        y, x = (int(n) for n in inner_points(piece)[0])
        return cls(z, direction, reason, value, (y, x), piece.area)

    @property
    def is_doubtful(self) -> bool:
        """Whether a look is worthwhile."""
        return self.reason not in ("volume", "cancelled")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for a mask.

    Parameters
    ----------
    origin : int
        The accepted section it comes from.
    direction : int
        1 upwards, -1 downwards.
    overlap : float
        Intersection over union with the section it was carried on from.
    area_ratio : float
        Area over that of the section before.
    score : float
        Least quality the segmenter expects of a part.
    pieces : int
        Masks that were united.
    agreement : float, optional
        In a gap: intersection over union of what its two ends say; None where one only says
        something.
    """

    origin: int
    direction: int
    overlap: float
    area_ratio: float
    score: float
    pieces: int
    agreement: float | None = None
