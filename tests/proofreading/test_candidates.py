from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_neuropil.errors import EditRejectedError, SettingsError
from napari_neuropil.evaluation import evaluate_segmentation
from napari_neuropil.proofreading import Decision, ProofreadingSession
from napari_neuropil.proofreading.bottlenecks import measure_bottlenecks
from napari_neuropil.proofreading.candidate_table import parse_key
from napari_neuropil.proofreading.candidates import (
    CandidateSettings,
    FragmentFacts,
    apply_answers,
    change_of_vi,
    facts_of,
    find_candidates,
    find_in_arrays,
)
from napari_neuropil.proofreading.graph import Contacts
from napari_neuropil.proofreading.pairs import Pairs, measure_segments, pool_contacts
from napari_neuropil.proofreading.queue import CandidateQueue
from napari_neuropil.proofreading.scorers import PURITIES, SCORERS, Scorer, judge
from napari_neuropil.proofreading.weak_links import WeakLinks, tree_sides

Graph = tuple[FragmentFacts, Contacts]


def random_graph(seed: int, count: int = 60, links: int = 160, segments: int = 9) -> Graph:
    random = np.random.default_rng(seed)
    pairs = np.unique(np.sort(random.integers(1, count + 1, (links, 2)), axis=1), axis=0)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]].astype(np.uint64)
    lookup = np.zeros(count + 1, np.uint64)
    lookup[1:] = random.integers(1, segments + 1, count) * 7
    lookup[random.integers(1, count + 1, 3)] = 0
    n = len(pairs)
    contacts = Contacts(
        pairs[:, 0],
        pairs[:, 1],
        random.random(n).astype(np.float32),
        # Distinct, so that there is one spanning tree.
        random.permutation(n).astype(np.float32) / n,
        random.integers(1, 50, n).astype(np.int64),
        random.random((n, 3)).astype(np.float32),
        np.zeros(n, np.int8),
        np.where(random.random(n) < 0.5, random.random(n) * 5, np.nan).astype(np.float32),
    )
    size = random.integers(1, 900, count + 1)
    return FragmentFacts(lookup, size, random.random(count + 1) < 0.3), contacts


def pooled(graph: Graph) -> Pairs:
    facts, contacts = graph
    measures = measure_segments(facts.lookup, contacts, facts.size, facts.outer)
    return pool_contacts(facts.lookup, contacts, measures)


def links_of(graph: Graph) -> WeakLinks:
    facts, contacts = graph
    return WeakLinks(facts.lookup, contacts, facts.size, facts.outer)


@pytest.mark.parametrize("seed", range(4))
def test_pooling_matches_the_definition(seed: int) -> None:
    facts, contacts = graph = random_graph(seed)
    pairs = pooled(graph)
    found = {tuple(s): row for row, s in enumerate(pairs.segments.tolist())}
    expected: dict[tuple[int, int], list[int]] = {}
    for row, (a, b) in enumerate(zip(contacts.a.tolist(), contacts.b.tolist(), strict=True)):
        ends = sorted((int(facts.lookup[a]), int(facts.lookup[b])))
        if ends[0] and ends[0] != ends[1]:
            expected.setdefault((ends[0], ends[1]), []).append(row)
    assert found.keys() == expected.keys()
    for ends, rows in expected.items():
        pair = found[ends]
        areas = contacts.area[rows]
        assert pairs.area[pair] == areas.sum()
        mean = (areas * contacts.affinity[rows]).sum() / areas.sum()
        assert pairs.affinity[pair] == pytest.approx(mean, rel=1e-5)
        assert pairs.strongest[pair] == contacts.score[rows].max()
        known = [row for row in rows if not np.isnan(contacts.distance[row])]
        weights = contacts.area[known]
        if known:
            mean = (weights * contacts.distance[known]).sum() / weights.sum()
            assert pairs.distance[pair] == pytest.approx(mean, rel=1e-5)
        else:
            assert np.isnan(pairs.distance[pair])
        best = rows[int(np.argmax(areas * contacts.affinity[rows]))]
        assert pairs.position[pair].tolist() == contacts.centroid[best].tolist()
        assert set(pairs.fragments[pair].tolist()) == {contacts.a[best], contacts.b[best]}
        assert facts.lookup[pairs.fragments[pair].astype(int)].tolist() == list(ends)
        for column, segment in enumerate(ends):
            inside = facts.lookup == segment
            assert pairs.size[pair, column] == facts.size[inside].sum()
            assert pairs.inside[pair, column] == (not facts.outer[inside].any())
            crossing = inside[contacts.a.astype(int)] != inside[contacts.b.astype(int)]
            assert pairs.surface[pair, column] == contacts.area[crossing].sum()


def component(edges: list[tuple[int, int]], start: int) -> set[int]:
    reached, front = {start}, [start]
    while front:
        node = front.pop()
        near = [a + b - node for a, b in edges if node in (a, b)]
        front += [n for n in near if n not in reached]
        reached.update(near)
    return reached


def spanning_trees(graph: Graph) -> list[tuple[int, int]]:
    """Kruskal, one link at a time."""
    facts, contacts = graph
    tree: list[tuple[int, int]] = []
    for row in np.argsort(-contacts.score):
        a, b = int(contacts.a[row]), int(contacts.b[row])
        same = facts.lookup[a] == facts.lookup[b] != 0
        if same and b not in component(tree, a):
            tree.append((a, b))
    return tree


def assert_links_match(pairs: Pairs, graph: Graph, tree: list[tuple[int, int]]) -> None:
    facts, contacts = graph
    assert {tuple(sorted(f)) for f in pairs.fragments.tolist()} == set(tree)
    for row, (a, b) in enumerate(pairs.fragments.tolist()):
        rest = [link for link in tree if set(link) != {a, b}]
        sides = [component(rest, a), component(rest, b)]
        both = sides[0] | sides[1]
        ends = list(zip(contacts.a.tolist(), contacts.b.tolist(), strict=True))
        across = [
            i
            for i, (u, v) in enumerate(ends)
            if {u, v} <= both and (u in sides[0]) != (v in sides[0])
        ]
        areas = contacts.area[across]
        assert pairs.area[row] == areas.sum()
        mean = (areas * contacts.affinity[across]).sum() / areas.sum()
        assert pairs.affinity[row] == pytest.approx(mean, rel=1e-5)
        known = [i for i in across if not np.isnan(contacts.distance[i])]
        weights = contacts.area[known]
        mean = (weights * contacts.distance[known]).sum() / weights.sum() if known else np.nan
        assert pairs.distance[row] == pytest.approx(mean, rel=1e-5, nan_ok=True)
        for column, side in enumerate(sides):
            members = np.array(sorted(side))
            assert pairs.size[row, column] == facts.size[members].sum()
            assert pairs.inside[row, column] == (not facts.outer[members].any())
            border = [i for i, (u, v) in enumerate(ends) if (u in side) != (v in side)]
            assert pairs.surface[row, column] == contacts.area[border].sum()


@pytest.mark.parametrize("seed", range(4))
def test_weak_links_match_the_definition(seed: int) -> None:
    graph = random_graph(seed)
    tree = spanning_trees(graph)
    assert len(tree) >= 10
    assert_links_match(links_of(graph).measure(), graph, tree)


@pytest.mark.parametrize("seed", range(3))
def test_cut_links_leave_smaller_trees(seed: int) -> None:
    graph = random_graph(seed)
    links = links_of(graph)
    pairs = links.measure()
    gone = pairs.take(np.arange(0, len(pairs), 5))
    links.cut(gone.fragments[:, 0])
    cut = {tuple(sorted(f)) for f in gone.fragments.tolist()}
    left = [link for link in spanning_trees(graph) if link not in cut]
    assert_links_match(links.measure(), graph, left)
    tree = links.trees(links.measure().fragments[:, 0])
    for (a, _), number in zip(links.measure().fragments.tolist(), tree.tolist(), strict=True):
        assert {a in component(left, b) for b, m in zip(
            links.measure().fragments[:, 0].tolist(), tree.tolist(), strict=True
        ) if m == number} == {True}  # fmt: skip


def test_long_chains() -> None:
    count = 3000
    ids = np.arange(1, count, dtype=np.uint64)
    ones = np.ones(count - 1, np.float32)
    contacts = Contacts(
        ids, ids + 1, ones / 2, ones / 2, ones.astype(np.int64), np.zeros((count - 1, 3), "f4"),
        np.zeros(count - 1, np.int8), ones,
    )  # fmt: skip
    lookup = np.ones(count + 1, np.uint64)
    lookup[0] = 0
    size = np.ones(count + 1, np.int64)
    pairs = WeakLinks(lookup, contacts, size, np.zeros(count + 1, bool)).measure()
    assert sorted(pairs.size.min(axis=1).tolist()) == sorted(
        min(k, count - k) for k in range(1, count)
    )
    first, second = tree_sides(contacts, 100, 101)
    assert (len(first), len(second)) == (100, count - 100)


@pytest.mark.parametrize("seed", range(3))
def test_sides_of_a_link(seed: int) -> None:
    graph = random_graph(seed)
    facts, contacts = graph
    tree = spanning_trees(graph)
    for a, b in tree[:12]:
        members = facts.lookup == facts.lookup[a]
        inner = contacts[members[contacts.a.astype(int)] & members[contacts.b.astype(int)]]
        rest = [link for link in tree if link != (a, b)]
        first, second = tree_sides(inner, b, a)
        assert set(first.tolist()) == component(rest, b)
        assert set(second.tolist()) == component(rest, a)
    assert [len(side) for side in tree_sides(contacts, 1, 1)] == [0, 0]
    assert [len(side) for side in tree_sides(contacts, 998, 999)] == [0, 0]


@pytest.mark.parametrize(("a", "b"), [(1, 1), (40, 8), (3, 500)])
def test_change_of_vi_is_what_evaluation_sees(a: int, b: int) -> None:
    rest = 200
    truth = np.repeat([1, 2], [a + b, rest]).reshape(1, 1, -1)
    apart = np.repeat([1, 2, 3], [a, b, rest]).reshape(1, 1, -1)
    total = a + b + rest
    before, after = (evaluate_segmentation(s, truth) for s in (apart, truth))
    change = float(change_of_vi(a, b, total))
    assert change == pytest.approx(before.voi_split - after.voi_split, abs=1e-9)
    assert before.voi_merge == pytest.approx(after.voi_merge, abs=1e-9)
    # The same pieces as two neurons in one segment: the roles change.
    merged = evaluate_segmentation(truth, apart)
    assert change == pytest.approx(merged.voi_merge, abs=1e-9)


def test_ranked_by_expected_gain() -> None:
    facts, contacts = random_graph(0)
    found = find_in_arrays(facts, contacts, CandidateSettings())
    gains = [c.gain for c in found]
    assert gains == sorted(gains, reverse=True)
    assert {c.kind for c in found} == {"split_error", "merge_error"}
    assert all(0.01 <= c.probability <= 1 and c.gain > 0 for c in found)
    first = found[0]
    total = float(facts.size[facts.lookup > 0].sum())
    if first.kind == "split_error":
        sizes = [facts.size[facts.lookup == s].sum() for s in (first.segment_a, first.segment_b)]
        promised = float(change_of_vi(*sizes, total))
        assert first.change == pytest.approx(0.98 * PURITIES["split_error"] * promised, rel=1e-5)
        assert first.loss == pytest.approx(0.02 * promised, rel=1e-5)
    assert parse_key(first.key)[0] == first.kind
    assert set(parse_key(first.key)[1:]) == {first.a, first.b}


def test_settings_choose_what_is_found() -> None:
    facts, contacts = random_graph(1)

    def find(**wish: object) -> list[str]:
        return [c.key for c in find_in_arrays(facts, contacts, CandidateSettings(**wish))]

    everything = find()
    splits, merges = find(merge_errors=False), find(split_errors=False)
    assert sorted(splits + merges) == sorted(everything)
    assert splits
    assert merges
    assert len(find(limit=3, merge_errors=False)) == 3
    assert find(limit=3, merge_errors=False) == splits[:3]
    assert len(find(depth=1)) < len(everything)
    likely = find_in_arrays(facts, contacts, CandidateSettings(smallest_probability=0.5))
    assert likely.probability.min() >= 0.5
    with pytest.raises(SettingsError, match="nonsense"):
        find(weights={"nonsense": 1.0})


def test_what_would_do_more_harm_than_good_is_not_asked() -> None:
    facts, contacts = random_graph(1)
    bold = find_in_arrays(facts, contacts, CandidateSettings(wrong_answers=0.0))
    careful = find_in_arrays(facts, contacts, CandidateSettings(wrong_answers=0.3))
    assert {c.key for c in careful} < {c.key for c in bold}
    assert bold.probability.min() < 0.3 < careful.probability.min()
    assert (bold.loss == 0).all()
    assert (careful.gain > 0).all()


def test_nothing_to_find() -> None:
    facts, contacts = random_graph(0)
    none = contacts[np.zeros(len(contacts), bool)]
    assert len(find_in_arrays(facts, none, CandidateSettings())) == 0
    empty = FragmentFacts(np.zeros(1, np.uint64), np.zeros(1, np.int64), np.zeros(1, bool))
    assert len(find_in_arrays(empty, none, CandidateSettings())) == 0


def test_decided_contacts_are_not_asked() -> None:
    facts, contacts = random_graph(2)
    found = find_in_arrays(facts, contacts, CandidateSettings())
    asked = [found[0], next(c for c in found if c.kind != found[0].kind)]
    answers = [
        Decision(c.key, c.kind, "apart" if c.kind == "split_error" else "merge", 1, c.a, c.b, 0)
        for c in asked
    ]
    settled = apply_answers(contacts, answers)
    assert np.count_nonzero(settled.decision) == 2
    again = {c.key for c in find_in_arrays(facts, settled, CandidateSettings())}
    assert not again & {c.key for c in asked}
    pair = {asked[0].segment_a, asked[0].segment_b}
    if asked[0].kind == "split_error":
        left = find_in_arrays(facts, settled, CandidateSettings(merge_errors=False))
        assert pair not in [{c.segment_a, c.segment_b} for c in left]
    # The last answer counts, and an edit's mark wins.
    taken_back = [*answers, *(replace(d, answer="later") for d in answers)]
    assert not apply_answers(contacts, taken_back).decision.any()
    joined = replace(contacts, decision=np.ones(len(contacts), np.int8))
    assert (apply_answers(joined, answers).decision == 1).all()


def two_pieces(kind: str, **changes: object) -> Pairs:
    base = {
        "kind": kind,
        "fragments": np.array([[1, 2]], np.uint64),
        "segments": np.array([[1, 2]], np.uint64),
        "position": np.zeros((1, 3), np.float32),
        "affinity": np.array([0.5]),
        "strongest": np.array([0.5]),
        "area": np.array([100.0]),
        "size": np.array([[1000.0, 5000.0]]),
        "surface": np.array([[1000.0, 4000.0]]),
        "inside": np.zeros((1, 2), bool),
        "distance": np.array([np.nan]),
    }
    return Pairs(**{**base, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("scorer", "change"),
    [
        ("affinity", {"affinity": np.array([0.9])}),
        ("area", {"area": np.array([500.0])}),
        ("size", {"size": np.array([[10.0, 5000.0]])}),
        ("orphans", {"inside": np.array([[True, False]])}),
        ("embedding", {"distance": np.array([0.2])}),
    ],
)
def test_scorers_point_opposite_ways_for_the_two_kinds(
    scorer: str, change: dict[str, NDArray[np.float64]]
) -> None:
    function = SCORERS[scorer].function
    more = {k: function(two_pieces(k, **change))[0] for k in ("split_error", "merge_error")}
    usual = {"distance": np.array([3.0])}
    base = {k: function(two_pieces(k, **usual))[0] for k in ("split_error", "merge_error")}
    assert more["split_error"] > base["split_error"]
    assert more["merge_error"] < base["merge_error"]


def test_log_odds_are_the_sum_of_the_parts() -> None:
    pairs = two_pieces("split_error", affinity=np.array([0.8]))
    whole = judge(pairs, {}, bias=0.25)
    odds = np.log(whole.probability / (1 - whole.probability))
    assert odds[0] == pytest.approx(0.25 + sum(p[0] for p in whole.parts.values()), rel=1e-4)
    without = judge(pairs, {"affinity": 0.0}, bias=0.25)
    assert "affinity" not in without.parts
    assert without.probability[0] < whole.probability[0]
    double = judge(pairs, {"affinity": 2.0}, bias=0.25)
    assert double.parts["affinity"][0] == pytest.approx(2 * whole.parts["affinity"][0])


def test_embedding_says_nothing_where_nobody_looked() -> None:
    assert judge(two_pieces("split_error"), {}).parts["embedding"][0] == 0


def test_shape_counts_only_where_it_was_measured() -> None:
    pairs = two_pieces("merge_error")
    assert judge(pairs, {}).parts["shape"][0] == 0
    narrow = np.array([np.nan, 0.01, np.nan])
    measured = judge(two_pieces("merge_error", measurements={"bottleneck": narrow}), {})
    assert measured.parts["shape"][0] > 0
    assert measured.probability[0] > judge(pairs, {}).probability[0]


def _queries(rival: list[int], share: list[float], confidence: list[float]) -> dict[str, object]:
    return {
        "measurements": {
            "rival": np.array(rival, np.uint64),
            "rival_share": np.array(share, np.float32),
            "confidence": np.array(confidence, np.float32),
        }
    }


def test_shared_queries_speak_for_one_neuron() -> None:
    function = SCORERS["rivals"].function
    sure = [np.nan, 0.9, 0.9]
    shared = _queries([0, 2, 0], [0, 0.4, 0.1], sure)
    assert function(two_pieces("split_error", **shared))[0] == pytest.approx(0.8)
    assert function(two_pieces("merge_error", **shared))[0] == pytest.approx(-0.8)
    turned = np.array([[2, 1]], np.uint64)
    assert function(two_pieces("split_error", fragments=turned, **shared))[0] == pytest.approx(0.8)
    of_others = _queries([0, 3, 3], [0, 0.4, 0.4], sure)
    assert function(two_pieces("split_error", **of_others))[0] == 0
    # Pieces that were cut since have no row, and other methods none at all.
    later = np.array([[8, 9]], np.uint64)
    assert np.isnan(function(two_pieces("split_error", fragments=later, **shared))[0])
    assert np.isnan(function(two_pieces("split_error"))[0])


def test_shared_queries_count_for_split_errors_only() -> None:
    shared = _queries([0, 2, 0], [0, 0.4, 0.1], [np.nan, 0.9, 0.9])
    pairs = two_pieces("split_error", **shared)
    usual = judge(pairs, {})
    # The regression's weight times the claim; off with factor 0.
    assert usual.parts["rivals"][0] == pytest.approx(0.8)
    assert usual.probability[0] > judge(pairs, {"rivals": 0.0}).probability[0]
    assert "rivals" not in judge(two_pieces("merge_error", **shared), {}).parts


def test_doubt_is_that_of_the_less_sure_side() -> None:
    function = SCORERS["confidence"].function
    queries = _queries([0, 0, 0], [0, 0, 0], [np.nan, 0.9, 0.2])
    assert function(two_pieces("split_error", **queries))[0] == pytest.approx(np.log(4))
    one_known = _queries([0, 0, 0], [0, 0, 0], [np.nan, 0.9, np.nan])
    assert function(two_pieces("split_error", **one_known))[0] == pytest.approx(-np.log(9))
    assert np.isnan(function(two_pieces("split_error"))[0])


def test_a_new_scorer_is_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = Scorer("Even", "Even areas.", lambda p: (p.area % 2 == 0) * 5.0, {"split_error": 1.0})
    monkeypatch.setitem(SCORERS, "even", scorer)
    facts, contacts = random_graph(3)
    found = find_in_arrays(facts, contacts, CandidateSettings(weights={"even": 2.0}))
    assert set(found.parts["even"].tolist()) == {0.0, 10.0}
    assert found[0].parts["even"] in (0.0, 10.0)


def test_candidates_are_a_sequence() -> None:
    facts, contacts = random_graph(4)
    found = find_in_arrays(facts, contacts, CandidateSettings())
    assert found[-1] == found[len(found) - 1]
    assert list(found[2:5]) == [found[2], found[3], found[4]]
    with pytest.raises(IndexError):
        found[len(found)]
    row = found.find(found[3].kind, found[3].b, found[3].a)
    assert row == 3
    assert found.find("split_error", 10_000, 10_001) is None
    with pytest.raises(EditRejectedError):
        parse_key("contact:1:x")


def test_candidates_of_a_session(session: ProofreadingSession) -> None:
    found = find_candidates(session)
    # 3 x 4 cubes: 17 faces between neighbours, all the same.
    assert len(found) == 17
    assert {c.kind for c in found} == {"split_error"}
    whole = facts_of(session)
    assert whole.outer[1:].all()
    assert whole.voxel_um3 == pytest.approx(30 * 8 * 8 * 1e-9)
    candidate = found[0]
    assert all(0 <= p < n for p, n in zip(candidate.position, (4, 12, 16), strict=True))
    session.merge(1, 2)
    after = find_candidates(session)
    merges = [c for c in after if c.kind == "merge_error"]
    assert merges == []  # the link was joined by hand
    assert len([c for c in after if c.kind == "split_error"]) == 16


def test_a_necked_fragment_makes_its_links_doubtful(make_project: Callable[..., Path]) -> None:
    """Two balls joined by a bridge are one fragment; its contact to a third tells of it."""
    fragments = np.zeros((9, 24, 60), np.uint64)
    z, y, x = np.indices(fragments.shape)
    for centre in (14, 34):
        fragments[(z - 4) ** 2 + (y - 12) ** 2 + (x - centre) ** 2 < 81] = 1
    fragments[3:6, 11:14, 14:34] = 1
    fragments[:, :, 42:] = 2
    path = make_project(fragments, np.array([0, 1, 1], np.uint64))
    with ProofreadingSession.open(path) as session:
        narrowness = measure_bottlenecks(session, 8)
        assert narrowness[1] < 0.6
        assert narrowness[2] > narrowness[1]
        assert np.isnan(measure_bottlenecks(session, 1)[2]), "only the largest was looked at"
        with_shape = CandidateQueue(session, CandidateSettings(smallest_probability=0)).next()
        without = CandidateQueue(
            session, CandidateSettings(smallest_probability=0, bottlenecks=0)
        ).next()
    assert with_shape is not None
    assert without is not None
    assert with_shape.parts["shape"] > 0
    assert with_shape.probability > without.probability
