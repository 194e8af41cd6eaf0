"""What an object looks like in one section, and the prompts that say so. No Qt.

Prompts are compared by identity: an answer belongs to exactly the prompts it was asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from napari_neuropil.prompts.packed_mask import PackedMask
from napari_neuropil.workflows.prompting.messages import MaskBits, MaskWish

Box = tuple[float, float, float, float]
"""y0, x0, y1, x1, half open."""

MOST_SAMPLES: Final = 12
"""Points that stand for a scribble: more say little that is new, and each costs the segmenter."""


class Dot(NamedTuple):
    """A point prompt: (y, x) pixels, and whether the object is there."""

    y: float
    x: float
    positive: bool = True


@dataclass(frozen=True, eq=False, slots=True)
class Prompts:
    """What a segmenter is told of one section.

    Parameters
    ----------
    box : tuple of float, optional
        Around the object.
    dots : tuple of Dot
        On and beside it.
    base : PackedMask, optional
        What it looks like so far: painted, loaded, or carried on from another section.
    """

    box: Box | None = None
    dots: tuple[Dot, ...] = ()
    base: PackedMask | None = None

    @property
    def askable(self) -> bool:
        """Whether they say where the object is."""
        return self.box is not None or self.base is not None or any(d.positive for d in self.dots)


@dataclass(frozen=True, eq=False, slots=True)
class CrossSection:
    """An object in one section.

    Parameters
    ----------
    prompts : Prompts
        What was asked.
    mask : PackedMask, optional
        The last mask; None if the object is not there, or nothing is known yet.
    known : bool
        Whether `mask` is the answer to `prompts`; otherwise it is an older one.
    score : float, optional
        Intersection over union that the segmenter expects.
    accepted : bool
        The user has said so; otherwise it was carried on from another section.
    overlap, segments : float, optional
        Of a mask carried on: intersection over union with the section before, and its share in
        the project's segments of its origin.
    """

    prompts: Prompts = field(default_factory=Prompts)
    mask: PackedMask | None = None
    known: bool = False
    score: float | None = None
    accepted: bool = False
    overlap: float | None = None
    segments: float | None = None

    @property
    def wants_mask(self) -> bool:
        """Whether a segmenter is to be asked."""
        return not self.known and self.prompts.askable


def mask_wish(number: int, key: str, z: int, prompts: Prompts) -> MaskWish:
    """Return prompts as the worker takes them."""
    return MaskWish(
        id=number,
        key=key,
        z=z,
        box=prompts.box,
        points=tuple((dot.y, dot.x) for dot in prompts.dots),
        positive=tuple(dot.positive for dot in prompts.dots),
        mask=None if prompts.base is None else MaskBits.of(prompts.base),
    )


def sample_path(
    vertices: Sequence[tuple[float, float]], *, most: int = MOST_SAMPLES
) -> list[tuple[float, float]]:
    """Return points evenly spaced along a path, its ends among them.

    Parameters
    ----------
    vertices : sequence of (y, x)
        At least one.
    most : int
        Points at most; never nearer to each other than two pixels.
    """
    path = np.asarray(vertices, float).reshape(-1, 2)
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
    at = np.concatenate(([0.0], np.cumsum(steps)))
    count = min(most, 1 + math.floor(at[-1] / 2))
    if count < 2:
        y, x = path[len(path) // 2]
        return [(float(y), float(x))]
    wanted = np.linspace(0.0, at[-1], count)
    found = (np.interp(wanted, at, path[:, axis]) for axis in (0, 1))
    return [(float(y), float(x)) for y, x in zip(*found, strict=True)]
