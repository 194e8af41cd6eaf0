"""Scorers: what speaks for an error at a pair of pieces, and how much it counts.

A scorer turns measurements of pairs into evidence: positive speaks for an error, 0 says nothing.
The log-odds of an error are a bias plus the weighted sum of the evidence, as in logistic
regression, so a scorer can be added, weighted or switched off without touching the others. To add
one, write a function and give it a row in `SCORERS`; settings, filters and tables follow.

Default weights and biases come from logistic regression (`benchmarks/bench_queue.py --fit`) on
sections that the shipped network was trained on. For split errors, on five segmentations of two
tissues, the weights came out as 1.2 to 2.3 for affinity, 0.7 to 1.0 for size, 0.0 to 0.4 for
orphans, and the bias as -0.7 to 0.6; the bias is what the queue learns from the answers. For merge
errors, of which there are few, 1.4 to 2.7 for affinity, 0.1 to 0.6 for orphans, -1.3 to -0.1 for
the bias, and size was left out. The weight of shape is a guess. Tried and left out, since they
moved neither the likelihood nor the curve: the strongest single contact, affinity beside the best
other neighbour's, the contact's pull beside the largest, and its share of the smaller's surface.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.proofreading.pairs import CandidateKind, Pairs
from napari_neuropil.segmentation.metric_offsets import HALF_WAY

_SQUEEZE: Final = 0.02
_REFERENCE_UM3: Final = 1e-3
"""A piece of this volume, about a thousand voxels of usual data, is neither large nor small."""


@dataclass(frozen=True)
class Scorer:
    """One row of the table.

    Parameters
    ----------
    title : str
        For people.
    help : str
        What it looks at, one or two sentences.
    function : callable
        Pairs -> (n,) evidence; NaN where it cannot say, which counts as 0.
    weights : Mapping[str, float]
        Default weight for each kind of candidate; a kind that is missing has 0.
    enabled : bool
        Whether it takes part by default.
    """

    title: str
    help: str
    function: Callable[[Pairs], NDArray[np.float64]]
    weights: Mapping[CandidateKind, float]
    enabled: bool = True

    @property
    def counts(self) -> bool:
        """Whether it says anything by default."""
        return self.enabled and any(self.weights.values())


def score_affinity(pairs: Pairs) -> NDArray[np.float64]:
    """Log-odds of the mean affinity; of its opposite for merge errors."""
    squeezed = np.clip(pairs.affinity, _SQUEEZE, 1.0 - _SQUEEZE)
    odds: NDArray[np.float64] = np.log(squeezed / (1.0 - squeezed))
    return odds if pairs.kind == "split_error" else -odds


def score_area(pairs: Pairs) -> NDArray[np.float64]:
    """Doublings of the contact's share in the smaller surface above 1/16; negated for merge errors.

    A neurite that was cut shows most of its cross-section; two that touch in passing show little.
    """
    share = pairs.area / np.maximum(pairs.surface.min(axis=1), pairs.area)
    doublings: NDArray[np.float64] = np.log2(share) + 4.0
    return doublings if pairs.kind == "split_error" else -doublings


def score_size(pairs: Pairs) -> NDArray[np.float64]:
    """Decades by which the smaller piece is below 0.001 cubic micrometres; above for merge errors.

    Crumbs nearly always belong to a neighbour, and are rarely neurons that were swallowed.
    """
    volume = np.maximum(pairs.size.min(axis=1), 1.0) * pairs.voxel_um3
    decades: NDArray[np.float64] = np.log10(_REFERENCE_UM3 / volume)
    return decades if pairs.kind == "split_error" else -decades


def score_orphans(pairs: Pairs) -> NDArray[np.float64]:
    """Count the pieces that end inside the volume; neurites rarely do.

    Of a merge error's sides, those that would be orphans speak against a split.
    """
    orphans: NDArray[np.float64] = pairs.inside.sum(axis=1).astype(np.float64)
    return orphans if pairs.kind == "split_error" else -orphans


def score_embedding(pairs: Pairs) -> NDArray[np.float64]:
    """How far the distance of the mean embeddings is below 1.5, in units of that; negated inside.

    1.5 is half of what the network was taught to keep between objects. Nothing where no distance
    was measured.
    """
    below: NDArray[np.float64] = np.clip(1.0 - pairs.distance / HALF_WAY, -2.0, 1.0)
    return below if pairs.kind == "split_error" else -below


def score_shape(pairs: Pairs) -> NDArray[np.float64]:
    """Decades by which the narrower fragment's bottleneck is below its usual width.

    Needs the measurement "bottleneck" (F + 1,): narrowest over usual width in (0, 1], NaN where not
    measured.
    """
    narrowest = np.fmin(*_of_fragments(pairs, "bottleneck").T)
    decades: NDArray[np.float64] = -np.log10(np.clip(narrowest, 1e-3, 1.0))
    return decades if pairs.kind == "merge_error" else np.full(len(pairs), np.nan)


def score_confidence(pairs: Pairs) -> NDArray[np.float64]:
    """Log-odds that a voxel of the fragment of which the queries were less sure is not its.

    Needs the measurement "confidence" (F + 1,): mean share of a fragment's query, in [0, 1].
    """
    least = np.fmin(*_of_fragments(pairs, "confidence").T)
    squeezed = np.clip(least, _SQUEEZE, 1.0 - _SQUEEZE)
    doubt: NDArray[np.float64] = np.log((1.0 - squeezed) / squeezed)
    return doubt


def score_rivals(pairs: Pairs) -> NDArray[np.float64]:
    """How much one side's query claims of the other's voxels, 1 = as much as the other's own.

    Needs the measurements "rival" and "rival_share" (F + 1,): the fragment whose query comes second
    on a fragment, and its mean share.
    """
    rival, share = _of_fragments(pairs, "rival"), _of_fragments(pairs, "rival_share")
    meant = rival == pairs.fragments[:, ::-1]
    claimed: NDArray[np.float64] = 2.0 * np.where(meant, share, 0.0).max(axis=1)
    claimed[np.isnan(share).all(axis=1)] = np.nan
    return claimed if pairs.kind == "split_error" else -claimed


def _of_fragments(pairs: Pairs, name: str) -> NDArray[np.float64]:
    """Return a measurement of both fragments (n, 2); NaN where there is none, as of new pieces."""
    values = pairs.measurements.get(name)
    if values is None:
        return np.full((len(pairs), 2), np.nan)
    known = np.append(values.astype(np.float64), np.nan)
    found: NDArray[np.float64] = known[np.minimum(pairs.fragments.astype(np.intp), len(values))]
    return found


SCORERS: Final[dict[str, Scorer]] = {
    "affinity": Scorer(
        "Affinity",
        "How strongly the network says that both sides are one object, over the whole contact.",
        score_affinity,
        {"split_error": 1.7, "merge_error": 1.4},
    ),
    "area": Scorer(
        "Contact area",
        "The contact's share in the surface of the piece with the smaller surface.",
        score_area,
        {"split_error": 0.1, "merge_error": 0.1},
        # Measured: beside affinity and size it adds nothing that lasts from volume to volume.
        enabled=False,
    ),
    "size": Scorer(
        "Size",
        "Tiny pieces are rarely objects of their own.",
        score_size,
        {"split_error": 0.8},
    ),
    "orphans": Scorer(
        "Orphans",
        "Pieces that end inside the volume: neurites go on until they leave it.",
        score_orphans,
        {"split_error": 0.3, "merge_error": 0.5},
    ),
    "embedding": Scorer(
        "Embedding distance",
        "Whether the voxels of both sides look like one neuron to the embedding network. Needs "
        "distances: neuropil distances, or Measure distances in the dock.",
        score_embedding,
        # Regression on AC4 80-99 with the shipped weights gave 0.08 and 0.59: the distances say
        # little. With 1.0 for both, 1000 right answers bring VI from 0.909 to 0.768, with these to
        # 0.687, without distances to 0.673.
        {"split_error": 0.1, "merge_error": 0.6},
    ),
    "confidence": Scorer(
        "Doubt of the queries",
        "How unsure the queries were of the less sure side. Only where queries made the fragments "
        "(AGQ).",
        score_confidence,
        # Regression gave 0.1 (FIB-25) and -0.1 (AC4) for split errors, 0.5 and 0.8 for merge
        # errors; but with 0.6 for these 200 right answers bring VI to 2.384 and 1.150, without to
        # 2.381 and 1.136.
        {"split_error": 0.0, "merge_error": 0.0},
        enabled=False,
    ),
    "rivals": Scorer(
        "Shared queries",
        "Whether the query of one side claims voxels of the other. Only where queries made the "
        "fragments (AGQ).",
        score_rivals,
        # Regression on two segmentations by AGQ gave 0.65 (FIB-25 200-249) and 0.02 (AC4 80-99),
        # and moved the likelihood by less than 0.001: claims are small, mostly below 0.2. Alone
        # its area under the ROC curve is 0.56 and 0.54, that of affinity 0.83 and 0.78. 400 right
        # answers bring VI from 2.513 to 2.332 with 1.0 and to 2.373 without, from 1.228 to 1.115
        # and 1.119. Of 753 links within segments it was 0 on each: rivals are parts of one block,
        # and segments are joined across blocks.
        {"split_error": 1.0},
    ),
    "shape": Scorer(
        "Shape",
        "A fragment with a bottleneck may hold two neurites that touch. Measured on demand, for "
        "large fragments.",
        score_shape,
        {"merge_error": 1.0},
    ),
}

BIASES: Final[dict[CandidateKind, float]] = {"split_error": 0.0, "merge_error": -1.35}
"""Log-odds of an error where no scorer says anything."""

PURITIES: Final[dict[CandidateKind, float]] = {"split_error": 0.8, "merge_error": 0.4}
"""Part of the change of VI that right answers brought: pieces are rarely of one neuron only."""


@dataclass(frozen=True)
class Judgement:
    """What the scorers say together.

    Parameters
    ----------
    probability : NDArray[np.float32]
        (n,) of an error.
    parts : Mapping[str, NDArray[np.float32]]
        (n,) what each scorer adds to the log-odds.
    """

    probability: NDArray[np.float32]
    parts: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


def judge(
    pairs: Pairs, weights: Mapping[str, float | None], bias: float | None = None
) -> Judgement:
    """Combine the scorers' evidence.

    Parameters
    ----------
    pairs : Pairs
        What to judge.
    weights : Mapping[str, float or None]
        By scorer: a factor on its default weight; None or 0 switches it off. Scorers that are not
        named have factor 1 where they are enabled by default.
    bias : float, optional
        Log-odds before any evidence; the kind's default if not given.

    Returns
    -------
    Judgement
    """
    total = np.full(len(pairs), BIASES[pairs.kind] if bias is None else bias)
    parts: dict[str, NDArray[np.float32]] = {}
    for name, scorer in SCORERS.items():
        factor = weights.get(name, 1.0 if scorer.enabled else 0.0)
        weight = (factor or 0.0) * scorer.weights.get(pairs.kind, 0.0)
        if weight == 0.0:
            continue
        part: NDArray[Any] = np.nan_to_num(weight * scorer.function(pairs), nan=0.0)
        total += part
        parts[name] = part.astype(np.float32)
    return Judgement((1.0 / (1.0 + np.exp(-total))).astype(np.float32), parts)
