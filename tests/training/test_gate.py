"""The gate, on made-up scores."""

from __future__ import annotations

import numpy as np
import pytest

from napari_neuropil.training.gate import GateSettings, judge

_BEFORE = np.linspace(0.5, 0.9, 40)
_SEGMENTS = list(np.repeat(np.arange(10), 4))


def _gains(mean: float, spread: float, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 1, 40)
    return mean + spread * (noise - noise.mean()) / noise.std()


def _judge(box: np.ndarray, point: np.ndarray, **options: float) -> object:
    return judge(
        {"box": _BEFORE, "point": _BEFORE},
        {"box": _BEFORE + box, "point": _BEFORE + point},
        _SEGMENTS,
        GateSettings(**options),
    )


def test_a_clear_gain_is_used() -> None:
    decision = _judge(_gains(0.05, 0.05), _gains(0.03, 0.05, 1))
    assert decision.accepted
    assert decision.verdict == "better"
    assert decision.gain == pytest.approx(0.04)
    assert 0 < decision.low < 0.04 < decision.high
    assert decision.before["box"] == pytest.approx(0.7)
    assert decision.after == {"box": pytest.approx(0.75), "point": pytest.approx(0.73)}
    assert (decision.objects, decision.segments) == (40, 10)
    assert "is used: better on 40 held-out objects" in decision.text


@pytest.mark.parametrize("mean", [0.0, 0.005, -0.05])
def test_no_more_than_chance_is_rolled_back(mean: float) -> None:
    decision = _judge(_gains(mean, 0.1), _gains(mean, 0.1, 1))
    assert not decision.accepted
    assert decision.verdict == "no clear gain"
    assert "the one before stays" in decision.text


def test_the_margin_counts() -> None:
    box, point = _gains(0.05, 0.02), _gains(0.05, 0.02, 1)
    assert _judge(box, point, margin=0.03).accepted
    assert not _judge(box, point, margin=0.05).accepted


def test_one_prompt_may_not_pay_for_the_other() -> None:
    decision = _judge(_gains(0.15, 0.02), _gains(-0.05, 0.02, 1))
    assert decision.low > 0
    assert decision.verdict == "worse with one prompt"
    assert not decision.accepted
    assert _judge(_gains(0.15, 0.02), _gains(-0.001, 0.05, 1)).accepted


def test_one_long_segment_proves_little() -> None:
    """40 cross-sections of one segment gain, and 5 other segments lose: that may be chance."""
    before = np.full(45, 0.6)
    after = before + np.r_[np.full(40, 0.1), np.full(5, -0.05)]
    scores = [{"box": s} for s in (before, after)]
    assert judge(*scores, segments=list(range(45))).accepted
    assert judge(*scores, segments=[0] * 40 + [1, 2, 3, 4, 5]).verdict == "no clear gain"


def test_few_objects_prove_nothing() -> None:
    scores = [{"box": np.full(7, 0.2)}, {"box": np.full(7, 0.9)}]
    assert judge(*scores, segments=range(7)).verdict == "too few objects"
    empty = judge({"box": np.zeros(0)}, {"box": np.zeros(0)}, [])
    assert not empty.accepted
    assert empty.verdict == "too few objects"


def test_the_bounds_are_those_of_a_bootstrap() -> None:
    gains = _gains(0.02, 0.1)
    found = judge(
        {"box": _BEFORE}, {"box": _BEFORE + gains}, range(40), GateSettings(resamples=20000)
    )
    rng = np.random.default_rng(5)
    means = [rng.choice(gains, 40).mean() for _ in range(20000)]
    assert found.low == pytest.approx(np.quantile(means, 0.05), abs=0.001)
    assert found.high == pytest.approx(np.quantile(means, 0.95), abs=0.001)
    again = judge(
        {"box": _BEFORE}, {"box": _BEFORE + gains}, range(40), GateSettings(resamples=20000)
    )
    assert again == found


def test_scores_that_are_no_number_count_as_nothing_found() -> None:
    broken = {"box": np.full(40, np.nan)}
    decision = judge({"box": _BEFORE}, broken, _SEGMENTS)
    assert not decision.accepted
    assert decision.after == {"box": 0}


def test_scores_must_belong_together() -> None:
    with pytest.raises(ValueError, match="kinds"):
        judge({"box": _BEFORE}, {"point": _BEFORE}, _SEGMENTS)
    with pytest.raises(ValueError, match="40 objects"):
        judge({"box": _BEFORE[:5]}, {"box": _BEFORE[:5]}, _SEGMENTS)


def test_two_segments_alike_prove_nothing_by_being_two() -> None:
    """Both gain 0.01 on average while their cross-sections vary by 0.3: that is chance."""
    after = np.full(40, 0.5) + np.tile([0.31, -0.29], 20)
    decision = judge({"box": np.full(40, 0.5)}, {"box": after}, [1] * 20 + [2] * 20)
    assert decision.low < 0 < decision.gain
    assert decision.verdict == "no clear gain"
