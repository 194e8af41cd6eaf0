from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, maximum_flow

from napari_neuropil.errors import EditRejectedError, VolumeFormatError
from napari_neuropil.segmentation import graph_cuts
from napari_neuropil.segmentation.splitting import cut_capacity, min_cut, split_sides

Problem = tuple[int, NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]


def cut_value(side: NDArray[Any], ends: NDArray[Any], capacity: NDArray[Any]) -> float:
    return float(capacity[side[ends[:, 0]] != side[ends[:, 1]]].sum())


def least_value(problem: Problem) -> float:
    """Try every cut."""
    count, ends, capacity, side_a, side_b = problem
    free = np.setdiff1d(np.arange(count), np.concatenate([side_a, side_b]))
    side = np.zeros(count, bool)
    side[side_a] = True
    values = []
    for choice in product((False, True), repeat=len(free)):
        side[free] = choice
        values.append(cut_value(side, ends, capacity))
    return min(values)


def flow_value(problem: Problem) -> int:
    """Plain SciPy, seeds tied to a source and a sink."""
    count, ends, capacity, side_a, side_b = problem
    ties = [[count, a] for a in side_a] + [[b, count + 1] for b in side_b]
    rows, columns = np.concatenate([ends, ends[:, ::-1], ties]).T
    units = np.concatenate([capacity, capacity, np.full(len(ties), 2**30)]).astype(np.int32)
    graph = csr_array((units, (rows, columns)), shape=(count + 2,) * 2)
    return int(maximum_flow(graph, count, count + 1).flow_value)


def assert_connected(side: NDArray[Any], problem: Problem) -> None:
    """Each node that any seed can reach is connected to one within its own side."""
    count, ends, capacity, side_a, side_b = problem
    ends = ends[capacity > 0]
    seeds = np.concatenate([side_a, side_b])

    def parts(pairs: NDArray[Any]) -> NDArray[Any]:
        ones = np.ones(len(pairs))
        graph = csr_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(count, count))
        return np.asarray(connected_components(graph, directed=False)[1])

    whole, within = parts(ends), parts(ends[side[ends[:, 0]] == side[ends[:, 1]]])
    reachable = np.isin(whole, whole[seeds])
    assert np.isin(within[reachable], within[seeds]).all()
    assert side[~reachable].all()
    assert side[side_a].all()
    assert not side[side_b].any()


def random_problem(seed: int, count: int, contacts: int, most: int) -> Problem:
    random = np.random.default_rng(seed)
    ends = random.integers(0, count, (contacts, 2))
    capacity = random.integers(0, most + 1, contacts).astype(np.float64)
    seeds = random.permutation(count)
    wanted = random.integers(1, max(2, count // 4 + 1), 2)
    return count, ends, capacity, seeds[: wanted[0]], seeds[wanted[0] : wanted.sum()]


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(2, 9),
    contacts=st.integers(0, 24),
    most=st.sampled_from([1, 3, 100]),
)
def test_no_cut_is_cheaper(seed: int, count: int, contacts: int, most: int) -> None:
    problem = random_problem(seed, count, contacts, most)
    side = min_cut(*problem)
    assert cut_value(side, problem[1], problem[2]) == least_value(problem)
    assert_connected(side, problem)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), decades=st.sampled_from([2, 8, 16]))
def test_capacities_over_many_decades(seed: int, decades: int) -> None:
    count, ends, _, side_a, side_b = random_problem(seed, 9, 20, 1)
    capacity = 10.0 ** np.random.default_rng(seed).uniform(-decades / 2, decades / 2, len(ends))
    problem = count, ends, capacity, side_a, side_b
    side = min_cut(*problem)
    assert cut_value(side, ends, capacity) == pytest.approx(least_value(problem), rel=1e-6)
    assert_connected(side, problem)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(60, 300),
    density=st.floats(1.0, 6.0),
    most=st.sampled_from([1, 10, 10_000]),
)
def test_equals_plain_maximum_flow(seed: int, count: int, density: float, most: int) -> None:
    problem = random_problem(seed, count, int(density * count), most)
    side = min_cut(*problem)
    assert cut_value(side, problem[1], problem[2]) == flow_value(problem)
    assert_connected(side, problem)


@pytest.mark.parametrize("capacity", ["equal", "noisy"])
def test_grid_where_little_can_be_contracted(capacity: str) -> None:
    """Here the kernel is large, so the maximum flow itself is at work."""
    index = np.arange(20 * 20 * 4).reshape(20, 20, 4)
    ends = np.concatenate(
        [
            np.stack([index[:-1].ravel(), index[1:].ravel()], axis=1),
            np.stack([index[:, :-1].ravel(), index[:, 1:].ravel()], axis=1),
            np.stack([index[..., :-1].ravel(), index[..., 1:].ravel()], axis=1),
        ]
    )
    random = np.random.default_rng(5)
    units = np.full(len(ends), 7.0) if capacity == "equal" else random.integers(5, 9, len(ends))
    problem = index.size, ends, units.astype(np.float64), index[0].ravel(), index[-1].ravel()
    side = min_cut(*problem)
    assert cut_value(side, ends, problem[2]) == flow_value(problem)
    assert_connected(side, problem)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(3, 60), density=st.floats(1.0, 5.0))
@example(seed=175, count=54, density=1.875)  # the source alone was cheapest, and held one node more
def test_the_quick_cut_is_a_cut_and_never_cheaper(seed: int, count: int, density: float) -> None:
    problem = random_problem(seed, count, int(density * count), 20)
    count, ends, capacity, side_a, side_b = problem
    quick = split_sides(ends, capacity, count, side_a, side_b, exact=False)
    exact = split_sides(ends, capacity, count, side_a, side_b, exact=True)
    assert_connected(quick, problem)
    assert cut_value(quick, ends, capacity) >= cut_value(exact, ends, capacity)
    np.testing.assert_array_equal(exact, min_cut(*problem))


def touching_tubes(length: int, score: float) -> tuple[NDArray[Any], ...]:
    """Two ladders of sure contacts, side by side, that touch at three rungs with `score`."""
    a, b = np.arange(2 * length).reshape(-1, 2), np.arange(2 * length, 4 * length).reshape(-1, 2)
    inner = [
        np.concatenate([np.stack([t[:-1, k], t[1:, k]], axis=1) for k in (0, 1)] + [t])
        for t in (a, b)
    ]
    middle = slice(length // 2 - 1, length // 2 + 2)
    cross = np.stack([a[middle, 1], b[middle, 0]], axis=1)
    ends = np.concatenate([*inner, cross])
    scores = np.full(len(ends), 0.9, np.float32)
    scores[-len(cross) :] = score
    return ends, scores, np.full(len(ends), 50), a.ravel(), b.ravel()


@pytest.mark.parametrize("exact", [True, False])
def test_two_neurites_come_apart_where_they_touch(exact: bool) -> None:
    ends, score, area, a, b = touching_tubes(200, 0.7)
    side = split_sides(ends, cut_capacity(score, area), 800, a[:1], b[-1:], exact=exact)
    assert side[a].all()
    assert not side[b].any()


def test_cheap_contacts_are_cut_before_a_sure_one() -> None:
    """A hundred contacts of score 0.2 against a single one of 0.9, a tenth of their area."""
    score = np.array([0.2] * 100 + [0.9], np.float32)
    capacity = cut_capacity(score, np.full(101, 10))
    assert capacity[:-1].sum() < capacity[-1]


def test_decisions_rule_the_cut() -> None:
    ends = np.array([[0, 1], [1, 2], [2, 3]])
    score, area = np.array([0.9, 0.2, 0.9], np.float32), np.array([30, 30, 30])
    seeds = np.array([0]), np.array([3])
    for decision, expected in (
        ([0, 0, 0], [True, True, False, False]),
        ([0, 1, -1], [True, True, True, False]),
        ([-1, 1, 0], [True, False, False, False]),
    ):
        capacity = cut_capacity(score, area, np.array(decision, np.int8))
        np.testing.assert_array_equal(min_cut(4, ends, capacity, *seeds), expected)


def test_capacity_grows_with_score_and_area_and_is_as_documented() -> None:
    score = np.array([0.0, 0.5, 0.9, 1.0], np.float32)
    area = np.array([1, 8, 1, 2])
    expected = [(1 / 99) ** 4, 8.0, 9.0**4, 2 * 99.0**4]
    np.testing.assert_allclose(cut_capacity(score, area), expected, rtol=1e-5)
    decided = cut_capacity(score, area, np.array([1, -1, 0, 0], np.int8))
    assert decided[0] > 100 * decided[3] / 2
    assert decided[1] == 0


def test_what_holds_no_seed_stays_with_a() -> None:
    ends, capacity = np.array([[0, 1], [2, 3], [4, 5], [5, 6]]), np.array([1.0, 1.0, 1.0, 0.0])
    side = min_cut(8, ends, capacity, np.array([0]), np.array([3]))
    np.testing.assert_array_equal(side, [True, True, False, False, True, True, True, True])


def test_seeds_of_one_side_in_several_parts() -> None:
    ends = np.array([[0, 1], [1, 2], [3, 4], [5, 6]])
    problem = 7, ends, np.array([3.0, 1.0, 1.0, 1.0]), np.array([0, 3]), np.array([2, 6])
    np.testing.assert_array_equal(min_cut(*problem), [True, True, False, True, True, False, False])


def test_same_input_gives_same_sides() -> None:
    problem = random_problem(3, 400, 2000, 3)
    first = min_cut(*problem)
    for _ in range(3):
        np.testing.assert_array_equal(min_cut(*problem), first)


def test_strong_contacts_never_reach_the_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    ends, score, area, a, b = touching_tubes(500, 0.4)
    kernels = []
    whole = graph_cuts._flow_side
    monkeypatch.setattr(
        graph_cuts, "_flow_side", lambda network: kernels.append(network.count) or whole(network)
    )
    min_cut(2000, ends, cut_capacity(score, area), a[:1], b[-1:])
    assert kernels
    assert max(kernels) < 64


@pytest.mark.parametrize(
    ("side_a", "side_b", "words"),
    [
        ([], [1], "no seed on side A"),
        ([0], [], "no seed on side B"),
        ([0, 1], [1], "both sides"),
        ([0], [3], "outside the segment"),
        ([-1], [1], "outside the segment"),
    ],
)
def test_impossible_seeds_are_refused(side_a: list[int], side_b: list[int], words: str) -> None:
    ends, capacity = np.array([[0, 1], [1, 2]]), np.ones(2)
    with pytest.raises(EditRejectedError, match=words) as caught:
        min_cut(3, ends, capacity, np.array(side_a, np.int64), np.array(side_b, np.int64))
    assert caught.value.cure


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf, 1e150, 1e-150])
def test_bad_capacities_are_refused(bad: float) -> None:
    with pytest.raises(VolumeFormatError, match="capacities"):
        min_cut(2, np.array([[0, 1]]), np.array([bad]), np.array([0]), np.array([1]))


@pytest.mark.parametrize("ends", [[[0, 2]], [[-1, 1]], [[0, 1], [1, 0]]])
def test_contacts_that_do_not_fit_are_refused(ends: list[list[int]]) -> None:
    with pytest.raises(VolumeFormatError):
        split_sides(
            np.array(ends), np.ones(1), 2, np.array([0]), np.array([1]), exact=False
        )  # fmt: skip


@pytest.mark.parametrize(
    ("score", "area", "decision"),
    [
        ([np.nan], [1], None),
        ([1.1], [1], None),
        ([0.5], [0], None),
        ([0.5], [1, 1], None),
        ([0.5], [1], [0, 0]),
    ],
)
def test_bad_scores_and_areas_are_refused(score: Any, area: Any, decision: Any) -> None:
    decisions = None if decision is None else np.array(decision, np.int8)
    with pytest.raises(VolumeFormatError):
        cut_capacity(np.array(score, np.float32), np.array(area), decisions)
