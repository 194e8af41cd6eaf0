"""What the events of a fine-tuning add up to while it runs. No Qt."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from napari_neuropil.plugin.dendrites.dendrite_text import count_text

_CURVE: Final = "held-out"
_LOSS: Final = "mask"
_STAGES: Final = {
    "read": ("Reading the segments", "section"),
    "embed": ("Looking at the image", "tile"),
    "write": ("Writing the training set", "section"),
    "before": ("Measuring the one in use", "section"),
    "train": ("Training", ""),
    "after": ("Measuring the tuned one", "section"),
}

Points = tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class TuningRun:
    """A run so far.

    Parameters
    ----------
    stage : str
        The last one heard of, but for points of the curve.
    done, total : float
        In its units.
    message : str
        What it says by itself.
    losses, curve : tuple of (step, value)
        Loss of the masks; held-out intersection over union.
    before, after : mapping of str to float
        On the held-out part, by prompt.
    """

    stage: str = ""
    done: float = 0.0
    total: float = 0.0
    message: str = ""
    losses: Points = ()
    curve: Points = ()
    before: Mapping[str, float] = field(default_factory=dict)
    after: Mapping[str, float] = field(default_factory=dict)

    def heard(self, event: Mapping[str, Any]) -> TuningRun:
        """Return the run after an event ``progress``; what is no number is left out."""
        stage, values = str(event.get("stage", "")), _numbers(event.get("values"))
        done, total = _number(event.get("done")), _number(event.get("total"))
        if stage == _CURVE:
            return replace(self, curve=_added(self.curve, done, values.get("held_out")))
        run = replace(
            self, stage=stage, done=done, total=total, message=str(event.get("message") or "")
        )
        if stage == "train":
            return replace(run, losses=_added(self.losses, done, values.get(_LOSS)))
        if stage == "before" and values:
            return replace(run, before=values)
        return replace(run, after=values) if stage == "after" and values else run

    @property
    def text(self) -> str:
        """How far it is, in words."""
        what, unit = _STAGES.get(self.stage, (self.stage.capitalize(), ""))
        if not self.total:
            return what
        text = f"{what}: {self.done:g} of {self.total:g}"
        if self.stage == "train" and self.losses:
            return f"{what}: step {self.done:g} of {self.total:g}, loss {self.losses[-1][1]:.3f}"
        if unit:
            return f"{what}: {self.done:g} of {count_text(round(self.total), unit)}"
        return f"{text} ({self.message})" if self.message else text

    @property
    def curve_text(self) -> str:
        """The held-out part so far; empty before its first point."""
        if not self.curve:
            return ""
        step, last = self.curve[-1]
        best = max(value for _, value in self.curve)
        return f"Held-out IoU at step {step}: {last:.3f} (best {best:.3f})"

    @property
    def lines(self) -> list[list[float]]:
        """Held-out IoU and loss with a value for each step from 0, straight between those known."""
        return [_each_step(self.curve), _each_step(self.losses)]


def _each_step(points: Points) -> list[float]:
    if not points:
        return []
    found = [points[0][1]] * points[0][0]
    for (a, low), (b, high) in itertools.pairwise(points):
        found += [low + (high - low) * k / (b - a) for k in range(b - a)]
    return [*found, points[-1][1]]


def _added(points: Points, step: float, value: float | None) -> Points:
    """Return the points with one more; a run that went back to a saved state begins there anew."""
    if value is None:
        return points
    at = max(0, round(step))
    return (*(point for point in points if point[0] < at), (at, value))


def _numbers(values: object) -> dict[str, float]:
    if not isinstance(values, Mapping):
        return {}
    return {str(k): float(v) for k, v in values.items() if isinstance(v, int | float)}


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
