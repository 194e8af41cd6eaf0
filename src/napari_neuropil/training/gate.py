"""Whether a tuned network may replace the one before: only if it is better on held-out objects.

A few corrections drive the training loss to nothing while masks of everything else get worse. So
both networks answer the same prompts for the same held-out objects, and the mean gain must lie
above zero by more than chance explains: a paired bootstrap (Efron 1979). Cross-sections of one
segment resemble each other, so whole segments are drawn where there are enough of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Verdict = Literal["better", "no clear gain", "worse with one prompt", "too few objects"]

_ENOUGH_SEGMENTS: Final = 5
"""Fewer give a bootstrap that hardly varies; then objects are drawn."""


class GateSettings(BaseModel):
    """How sure one must be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    margin: float = Field(
        0.0, ge=0, lt=1, description="The lower bound of the mean gain must lie above this."
    )
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Of each one-sided bound.")
    least_objects: int = Field(8, ge=2, description="Fewer held-out objects prove nothing.")
    resamples: int = Field(4000, ge=100, description="Of the bootstrap.")
    seed: int = Field(0, ge=0, description="Of the bootstrap.")


@dataclass(frozen=True, slots=True)
class GateDecision:
    """What the gate found.

    Parameters
    ----------
    accepted : bool
        Whether the tuned network may be used; if not, the one before stays.
    verdict : str
        Why, in a few words.
    before, after : mapping of str to float
        Mean intersection over union by kind of prompt.
    gain, low, high : float
        Mean gain over all prompts, and its bounds.
    objects, segments : int
        Held out.
    """

    accepted: bool
    verdict: Verdict
    before: Mapping[str, float]
    after: Mapping[str, float]
    gain: float
    low: float
    high: float
    objects: int
    segments: int

    @property
    def text(self) -> str:
        """One sentence for the user."""
        kinds = ", ".join(
            f"{kind} {self.before[kind]:.3f} -> {self.after[kind]:.3f}" for kind in self.before
        )
        use = "is used" if self.accepted else "is not used, the one before stays"
        return (
            f"The tuned network {use}: {self.verdict} on {self.objects} held-out objects of "
            f"{self.segments} segments ({kinds}; gain {self.gain:+.3f}, "
            f"between {self.low:+.3f} and {self.high:+.3f})."
        )


def judge(
    before: Mapping[str, NDArray[Any]],
    after: Mapping[str, NDArray[Any]],
    segments: Sequence[int],
    settings: GateSettings | None = None,
) -> GateDecision:
    """Decide whether a tuned network is used.

    Parameters
    ----------
    before, after : mapping of str to ndarray, each (n,)
        Intersection over union of each held-out object, by kind of prompt (``box``, ``point``).
    segments : sequence of int, (n,)
        The segment of each object.
    settings : GateSettings, optional
        How sure one must be.

    Returns
    -------
    GateDecision
        Accepted if the lower bound of the gain, all kinds of prompt together, lies above the
        margin, and no kind has become worse by more than chance explains.

    Raises
    ------
    ValueError
        If the two do not belong to the same objects and prompts.
    """
    settings = settings or GateSettings()
    kinds = list(before)
    count = len(segments)
    if kinds != list(after) or not kinds:
        raise ValueError(f"kinds of prompts differ: {kinds}, {list(after)}")
    # (n, kinds); not a number counts as nothing found.
    old, new = (
        np.nan_to_num(np.stack([np.asarray(side[kind], float) for kind in kinds], axis=1))
        for side in (before, after)
    )
    if old.shape != (count, len(kinds)) or new.shape != old.shape:
        raise ValueError(f"{count} objects, but scores {old.shape} and {new.shape}")
    gains = new - old
    drawn = _resampled_means(np.column_stack([gains.mean(axis=1), gains]), segments, settings)
    low, high = (
        np.quantile(drawn, q, axis=0) for q in (1 - settings.confidence, settings.confidence)
    )
    verdict: Verdict = "better"
    if count < settings.least_objects:
        verdict = "too few objects"
    elif low[0] <= settings.margin:
        verdict = "no clear gain"
    elif (high[1:] < 0).any():
        verdict = "worse with one prompt"
    means = [dict(zip(kinds, (float(v) for v in _mean(side)), strict=True)) for side in (old, new)]
    return GateDecision(
        accepted=verdict == "better",
        verdict=verdict,
        before=means[0],
        after=means[1],
        gain=float(_mean(gains).mean()),
        low=float(low[0]),
        high=float(high[0]),
        objects=count,
        segments=len(set(segments)),
    )


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values.mean(axis=0) if len(values) else np.zeros(values.shape[1])


def _resampled_means(
    values: NDArray[np.float64], segments: Sequence[int], settings: GateSettings
) -> NDArray[np.float64]:
    """Return means (resamples, columns) of values (n, columns), drawn by segments or objects."""
    if not len(values):
        return np.zeros((1, values.shape[1]))
    _, groups = np.unique(np.asarray(segments), return_inverse=True)
    if groups.max() + 1 < _ENOUGH_SEGMENTS:
        groups = np.arange(len(values))
    count = int(groups.max()) + 1
    sums = np.zeros((count, values.shape[1]))
    np.add.at(sums, groups, values)
    sizes = np.bincount(groups)
    rng = np.random.default_rng(settings.seed)
    # How often each group is drawn: one row a resample.
    times = rng.multinomial(count, np.full(count, 1 / count), size=settings.resamples)
    means: NDArray[np.float64] = (times @ sums) / (times @ sizes)[:, None]
    return means
