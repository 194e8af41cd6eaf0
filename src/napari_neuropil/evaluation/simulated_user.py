"""Clicks to a good mask: a simulated user corrects the largest error until the mask is good.

The measure of interactive segmentation: how many clicks until the intersection over union reaches
0.85 or 0.90. The user begins with a box or a point, then always clicks in the middle of the largest
region that is wrong: positive where the object is missing, negative where there is too much. With
`jitter` and `wrong_share` the user is as human as one wants. All chance comes from a seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_neuropil.errors import SettingsError, VolumeFormatError

Box = tuple[float, float, float, float]

Predict = Callable[[NDArray[np.float32], NDArray[np.bool_], Box | None], NDArray[np.bool_]]
"""Gives a mask, (Y, X), for points (n, 2) as (y, x), their signs (n,), and a box y0, x0, y1, x1."""


@dataclass(frozen=True, slots=True)
class UserSettings:
    """How the user behaves.

    Parameters
    ----------
    start : str
        "box": the tight box, which counts as no click. "point": the middle, the first click.
    max_clicks : int
        Then the user gives up.
    goals : tuple of float
        Intersections over union to reach; the user stops at the highest.
    jitter : float
        Standard deviation of a click from where it was meant, pixels.
    wrong_share : float
        Share of the clicks after the first with the wrong sign.
    box_jitter : float
        Standard deviation of each side of the box, as a share of its length.
    seed : int
        Of all chance.

    Raises
    ------
    SettingsError
        If a number is out of bounds.
    """

    start: Literal["box", "point"] = "box"
    max_clicks: int = 20
    goals: tuple[float, ...] = (0.85, 0.90)
    jitter: float = 0.0
    wrong_share: float = 0.0
    box_jitter: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what no user can be."""
        fine = (
            self.start in ("box", "point")
            and self.max_clicks >= 1
            and bool(self.goals)
            and all(0 < goal <= 1 for goal in self.goals)
            and min(self.jitter, self.box_jitter) >= 0
            and 0 <= self.wrong_share <= 1
        )
        if not fine:
            raise SettingsError(
                f"a simulated user with {self}",
                "start box or point, clicks >= 1, goals in (0, 1], noise >= 0, a share in [0, 1]",
            )


@dataclass(frozen=True, eq=False, slots=True)
class ClickRun:
    """How one object went.

    Parameters
    ----------
    overlaps : tuple of float
        Intersection over union after the start, and after each click that followed.
    clicks : tuple of int
        Clicks made at each of them; begins with 0 for a box, 1 for a point.
    points : NDArray[np.float32], (n, 2)
        All clicks, (y, x).
    positive : NDArray of bool, (n,)
        Their signs.
    reached : dict of float to int or None
        Clicks to each goal; None if it was not reached.
    """

    overlaps: tuple[float, ...]
    clicks: tuple[int, ...]
    points: NDArray[np.float32]
    positive: NDArray[np.bool_]
    reached: dict[float, int | None] = field(default_factory=dict)


def simulate_user(
    truth: NDArray[np.bool_], predict: Predict, settings: UserSettings | None = None
) -> ClickRun:
    """Let a user click until the mask of one object is good.

    Parameters
    ----------
    truth : NDArray of bool, (Y, X)
        The object.
    predict : callable
        The segmenter, with its section's embedding ready.
    settings : UserSettings, optional
        The user.

    Raises
    ------
    VolumeFormatError
        If the object is empty, or a mask has another shape.
    """
    settings = settings or UserSettings()
    if truth.ndim != 2 or not truth.any():
        raise VolumeFormatError(
            f"an object of shape {truth.shape} with {np.count_nonzero(truth)} pixels",
            "a section with at least one",
        )
    chance = np.random.default_rng(settings.seed)
    points, positive = np.zeros((0, 2), np.float32), np.zeros(0, np.bool_)
    box = _noisy_box(truth, settings, chance) if settings.start == "box" else None
    if box is None:
        points, positive = _click(
            points, positive, _middle(truth, points), True, truth, settings, chance
        )
    overlaps: list[float] = []
    clicks: list[int] = []
    while True:
        mask = np.asarray(predict(points, positive, box), np.bool_)
        if mask.shape != truth.shape:
            raise VolumeFormatError(f"a mask of shape {mask.shape}", f"one of {truth.shape}")
        union = np.count_nonzero(mask | truth)
        overlaps.append(float(np.count_nonzero(mask & truth) / union))
        clicks.append(len(points))
        if overlaps[-1] >= max(settings.goals) or len(points) >= settings.max_clicks:
            break
        place, sign = next_click(mask, truth, points)
        wrong = settings.wrong_share > 0 and chance.random() < settings.wrong_share
        points, positive = _click(points, positive, place, sign != wrong, truth, settings, chance)
    reached = {
        goal: next((n for n, o in zip(clicks, overlaps, strict=True) if o >= goal), None)
        for goal in settings.goals
    }
    return ClickRun(tuple(overlaps), tuple(clicks), points, positive, reached)


def next_click(
    mask: NDArray[np.bool_], truth: NDArray[np.bool_], points: NDArray[Any]
) -> tuple[tuple[int, int], bool]:
    """Return the middle of the largest wrong region, and whether the object is missing there.

    Parameters
    ----------
    mask, truth : NDArray of bool, (Y, X)
        What is, and what should be. Of equal regions a missing one comes first, then the upper.
    points : NDArray, (n, 2)
        Where was clicked already: nobody clicks twice on a pixel.
    """
    best: tuple[int, NDArray[np.bool_], bool] | None = None
    for wrong, missing in ((truth & ~mask, True), (mask & ~truth, False)):
        labels, count = ndimage.label(wrong)
        if count:
            sizes = np.bincount(labels.ravel())
            sizes[0] = 0
            largest = int(sizes.argmax())
            if best is None or sizes[largest] > best[0]:
                best = int(sizes[largest]), labels == largest, missing
    if best is None:
        return _middle(truth, points), True
    return _middle(best[1], points), best[2]


def mean_clicks(runs: Sequence[ClickRun], goal: float, max_clicks: int) -> tuple[float, float]:
    """Return the mean clicks to a goal and the share of objects that reached it.

    Parameters
    ----------
    runs : sequence of ClickRun
        At least one.
    goal : float
        One of the goals the users had.
    max_clicks : int
        What an object counts that did not reach it.
    """
    reached = [run.reached[goal] for run in runs]
    clicks = [max_clicks if n is None else n for n in reached]
    return float(np.mean(clicks)), float(np.mean([n is not None for n in reached]))


def _middle(region: NDArray[np.bool_], points: NDArray[Any]) -> tuple[int, int]:
    """Return the pixel farthest from the edge of a region; the section's border is an edge."""
    depth = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
    if len(points):
        rows, columns = np.round(points).astype(np.intp).T
        depth[rows.clip(0, depth.shape[0] - 1), columns.clip(0, depth.shape[1] - 1)] = 0
    y, x = divmod(int(depth.argmax()), depth.shape[1])
    return y, x


def _click(
    points: NDArray[np.float32],
    positive: NDArray[np.bool_],
    place: tuple[int, int],
    sign: bool,
    truth: NDArray[np.bool_],
    settings: UserSettings,
    chance: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Add a click, a little beside where it was meant."""
    spot = np.array(place, np.float64)
    if settings.jitter > 0:
        spot = np.round(spot + chance.normal(0, settings.jitter, 2))
        spot = spot.clip(0, np.array(truth.shape) - 1)
    return np.vstack([points, spot.astype(np.float32)]), np.append(positive, sign)


def _noisy_box(
    truth: NDArray[np.bool_], settings: UserSettings, chance: np.random.Generator
) -> Box:
    rows, columns = np.flatnonzero(truth.any(axis=1)), np.flatnonzero(truth.any(axis=0))
    box = np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1], np.float64)
    if settings.box_jitter > 0:
        sides = np.tile(box[2:] - box[:2], 2)
        moved = box + chance.normal(0, settings.box_jitter, 4) * sides
        moved = moved.clip(0, np.tile(truth.shape, 2))
        # A box turned inside out is no box: such a side stays where it was.
        for low, high in ((0, 2), (1, 3)):
            if moved[low] + 1 <= moved[high]:
                box[[low, high]] = moved[[low, high]]
    y0, x0, y1, x1 = (float(n) for n in box)
    return y0, x0, y1, x1
