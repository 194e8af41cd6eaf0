"""What was answered, and what the answers teach about the probabilities.

Networks are too sure on what they were trained on, and less good elsewhere. So for each kind the
log-odds are shifted to fit the answers given: one parameter, the most probable value under a normal
prior. It moves the two kinds against each other in the ranking, and lets the stop line follow the
data at hand.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from napari_neuropil.proofreading.candidate_table import candidate_key
from napari_neuropil.proofreading.edits import Answer, Decision
from napari_neuropil.proofreading.pairs import CandidateKind

KINDS: Final[tuple[CandidateKind, ...]] = ("split_error", "merge_error")
YES: Final[dict[CandidateKind, Answer]] = {"split_error": "merge", "merge_error": "split"}
NO: Final[dict[CandidateKind, Answer]] = {"split_error": "apart", "merge_error": "merge"}
"""The answer that confirms an error of each kind, and the one that denies it."""


class AnswerBook:
    """The last answer to each candidate.

    Parameters
    ----------
    decisions : iterable of Decision
        Those of before, oldest first.
    """

    def __init__(self, decisions: Iterable[Decision] = ()) -> None:
        self._last: dict[str, Decision] = {}
        self._outcomes: dict[CandidateKind, list[tuple[float, bool]]] = {k: [] for k in KINDS}
        self._later: dict[tuple[CandidateKind, int, int], None] = {}
        self.shifts: dict[CandidateKind, float] = dict.fromkeys(KINDS, 0.0)
        """By how much the answers shift the log-odds of each kind."""
        for decision in decisions:
            self._enter(decision)
        self._fit(KINDS)

    def note(self, decision: Decision) -> None:
        """Take one more decision into account."""
        kind = self._enter(decision)
        self._fit(() if kind is None else (kind,))

    @property
    def count(self) -> int:
        """Candidates answered other than by later."""
        return len(self._last) - len(self._later)

    @property
    def later(self) -> list[tuple[CandidateKind, int, int]]:
        """Kind and fragments of the candidates put off, oldest first."""
        return list(self._later)

    def __contains__(self, key: str) -> bool:
        """Return whether a candidate was answered, later included."""
        return key in self._last

    def _enter(self, decision: Decision) -> CandidateKind | None:
        kind = next((k for k in KINDS if k == decision.kind), None)
        if kind is None:
            return None
        self._last[candidate_key(kind, decision.a, decision.b)] = decision
        place = (kind, decision.a, decision.b)
        self._later.pop(place, None)
        if decision.answer == "later":
            self._later[place] = None
        elif decision.answer != "unsure":
            self._outcomes[kind].append((decision.score, decision.answer == YES[kind]))
        return kind

    def _fit(self, kinds: Iterable[CandidateKind]) -> None:
        for kind in kinds:
            self.shifts[kind] = fit_shift(self._outcomes[kind])


def fit_shift(outcomes: list[tuple[float, bool]], spread: float = 0.5) -> float:
    """Return the shift of log-odds that fits the answers best.

    Maximises the likelihood of yes and no with probabilities logistic(log-odds + shift), times a
    normal prior of `spread` around 0, by Newton's method; the sum is concave, so it converges.

    Parameters
    ----------
    outcomes : list of (probability, yes)
        Probability when shown, and whether it was an error.
    spread : float
        Standard deviation of the prior, in log-odds; by default what biases differed by between
        volumes when the weights were fitted.
    """
    if not outcomes:
        return 0.0
    expected = np.clip([p for p, _ in outcomes], 1e-6, 1 - 1e-6)
    odds = np.log(expected / (1 - expected))
    yes = np.array([y for _, y in outcomes], float)
    shift = 0.0
    for _ in range(20):
        chance = 1 / (1 + np.exp(-(odds + shift)))
        slope = float((yes - chance).sum()) - shift / spread**2
        bend = float((chance * (1 - chance)).sum()) + 1 / spread**2
        step = float(np.clip(slope / bend, -1.0, 1.0))
        shift += step
        if abs(step) < 1e-6:
            break
    return shift
