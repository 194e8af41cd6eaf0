"""Training examples of promptable networks: a section, objects in it, and all chance drawn ahead.

An object is a connected part of a label within the section. Every random number that prompting
will need lies in the example, so the same step gives the same prompts, whatever the device.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from napari_neuropil.training.embedding_patches import connected_objects


class SamPatchSettings(BaseModel):
    """Which objects of a section are pointed at."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    objects: int = Field(16, ge=1, description="Objects of one example at most.")
    smallest_part: int = Field(
        60, ge=1, description="Parts of fewer pixels, within the example, are never pointed at."
    )
    preference: float = Field(
        0.25, ge=0, le=1, description="Large objects are rarer: their chance is area to this power."
    )
    rounds: int = Field(
        3, ge=1, description="Prompts of one object in a row: the first, then corrections."
    )
    mask_share: float = Field(
        0.5, ge=0, le=1, description="How often a correction comes with the mask so far."
    )
    finest: int = Field(
        512,
        ge=16,
        description="Masks are compared on a grid of at most this side; more costs memory.",
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class SamChance:
    """Random numbers of one example; N objects, R rounds; all in [0, 1).

    Parameters
    ----------
    first_is_box : bool
        Whether the first prompt is a box, else a point.
    first : ndarray of float32, (N,)
        Place of the first point.
    jitter : ndarray of float32, (N, 4)
        Of the box's sides.
    positive, negative : ndarray of float32, (R, N)
        Places of the corrections.
    with_mask : ndarray of bool, (R,)
        Whether the mask so far is a prompt too.
    origin : ndarray of float32, (2,)
        Where the section lies in the frame of a network that takes larger ones.
    """

    first_is_box: bool
    first: NDArray[np.float32]
    jitter: NDArray[np.float32]
    positive: NDArray[np.float32]
    negative: NDArray[np.float32]
    with_mask: NDArray[np.bool_]
    origin: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SamPatch:
    """One training example.

    Parameters
    ----------
    image : ndarray of float32, (Y, X)
        Values in [0, 1].
    objects : ndarray of int64, (Y // step, X // step)
        1 to N where an object is that is pointed at; 0 elsewhere.
    boxes : ndarray of float32, (N, 4)
        Tight boxes (y0, x0, y1, x1), half open, in pixels of the image.
    step : int
        Pixels of the image from one value of `objects` to the next.
    chance : SamChance
        For the prompts.
    features : mapping of str to ndarray, optional
        What the encoder makes of the image, each (C, y, x), where it does not learn.
    """

    image: NDArray[np.float32]
    objects: NDArray[np.int64]
    boxes: NDArray[np.float32]
    step: int
    chance: SamChance
    features: Mapping[str, NDArray[np.float16]] | None = None

    @property
    def count(self) -> int:
        """N."""
        return len(self.boxes)


def make_sam_patch(
    image: NDArray[np.float32],
    labels: NDArray[np.uint32],
    *,
    through_sections: bool = False,
    settings: SamPatchSettings,
) -> SamPatch:
    """Return a training example of a crop of one section.

    Parameters
    ----------
    image : ndarray of float32, (1, Y, X)
        Values in [0, 1]. What is random follows from its bytes alone.
    labels : ndarray of uint32, (1, Y, X)
        Objects, 0 = background.
    through_sections : bool
        Without meaning here: there is one section.
    settings : SamPatchSettings
        Which objects.
    """
    del through_sections
    parts, _ = connected_objects(labels, settings.smallest_part)
    rng = np.random.default_rng(zlib.crc32(np.ascontiguousarray(image).data))
    return choose_objects(image[0], parts[0], settings, rng)


def choose_objects(
    image: NDArray[np.float32],
    parts: NDArray[np.int64],
    settings: SamPatchSettings,
    rng: np.random.Generator,
    features: Mapping[str, NDArray[np.float16]] | None = None,
) -> SamPatch:
    """Return a training example of a section whose objects are numbered already.

    Parameters
    ----------
    image : ndarray of float32, (Y, X)
        Values in [0, 1].
    parts : ndarray of int64, (Y, X)
        Objects 1 to C, 0 elsewhere.
    settings : SamPatchSettings
        How many are chosen.
    rng : Generator
        The source of all randomness.
    features : mapping of str to ndarray, optional
        The image, encoded.
    """
    areas = np.bincount(parts.ravel(), minlength=1)[1:]
    step = -(-max(parts.shape) // settings.finest)
    # The middles of whole cells.
    rows, columns = (np.arange(n // step) * step + step // 2 for n in parts.shape)
    grid = parts[np.ix_(rows, columns)]
    # A thin object may fall through a coarse grid; without a pixel there it has no mask.
    seen = np.bincount(grid.ravel(), minlength=len(areas) + 1)[1:] > 0
    # Gumbel noise on log weights, and the highest: drawing without repeats (Yellott 1977).
    score = settings.preference * np.log(np.maximum(areas, 1)) + rng.gumbel(size=len(areas))
    score[~seen] = -np.inf
    order = np.argsort(-score, kind="stable")[: min(settings.objects, int(seen.sum()))]
    numbers = np.zeros(len(areas) + 1, np.int64)
    numbers[order + 1] = np.arange(1, len(order) + 1)
    count, rounds = len(order), settings.rounds
    chance = SamChance(
        first_is_box=bool(rng.random() < 0.5),
        first=rng.random(count, np.float32),
        jitter=rng.random((count, 4), np.float32),
        positive=rng.random((rounds, count), np.float32),
        negative=rng.random((rounds, count), np.float32),
        with_mask=rng.random(rounds) < settings.mask_share,
        origin=rng.random(2, np.float32),
    )
    return SamPatch(image, numbers[grid], _boxes(numbers[parts], count), step, chance, features)


def _boxes(objects: NDArray[np.int64], count: int) -> NDArray[np.float32]:
    """Return the tight box of each object, (count, 4)."""
    ys, xs = np.nonzero(objects)
    which = objects[ys, xs] - 1
    boxes = np.empty((count, 4), np.float32)
    for column, places in enumerate((ys, xs)):
        low, high = np.full(count, np.iinfo(np.int64).max), np.zeros(count, np.int64)
        np.minimum.at(low, which, places)
        np.maximum.at(high, which, places + 1)
        boxes[:, column], boxes[:, column + 2] = low, high
    return boxes
