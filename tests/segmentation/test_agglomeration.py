from __future__ import annotations

import heapq
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy import ndimage

from napari_neuropil.errors import NeuropilError, SettingsError, VolumeFormatError
from napari_neuropil.evaluation.scores import evaluate_segmentation
from napari_neuropil.segmentation.agglomeration import (
    AGGLOMERATIONS,
    MeanAffinitySettings,
    MulticutSettings,
    agglomerate,
    multicut_costs,
)
from napari_neuropil.segmentation.fragments import WatershedSettings, make_fragments
from napari_neuropil.segmentation.lookup import apply_lookup
from napari_neuropil.segmentation.rag import Rag, build_rag

FINE = WatershedSettings(sigma_seeds=1, sigma_weights=1, min_size=10)
BOTH = [MulticutSettings(), MeanAffinitySettings(threshold=0.4)]


def make_rag(contacts: list[tuple[int, int]], affinity: list[float], area: list[int]) -> Rag:
    count = len(contacts)
    values = np.array(affinity, np.float32)
    return Rag(
        contacts=np.array(contacts, np.uint64).reshape(count, 2),
        affinity=values,
        area=np.array(area, np.int64),
        boundary_length=np.array(area, np.float32),
        centroid=np.zeros((count, 3), np.float32),
        score=values,
    )


def merge_slowly(rag: Rag, fragment_count: int, threshold: float) -> NDArray[np.uint64]:
    """Mean-affinity agglomeration from its definition: merge the best pair until none is left."""
    borders: dict[tuple[int, int], tuple[float, float]] = {
        (int(a), int(b)): (float(score) * int(area), int(area))
        for (a, b), score, area in zip(rag.contacts, rag.score, rag.area, strict=True)
    }
    lookup = np.arange(fragment_count + 1, dtype=np.uint64)
    while borders:
        queue = [(-total / area, pair) for pair, (total, area) in borders.items()]
        heapq.heapify(queue)
        worst, (keep, lost) = queue[0]
        if -worst <= threshold:
            break
        lookup[lookup == lost] = keep
        merged: dict[tuple[int, int], tuple[float, float]] = {}
        for pair, (total, area) in borders.items():
            ends = sorted(keep if end == lost else end for end in pair)
            if ends[0] != ends[1]:
                before = merged.get((ends[0], ends[1]), (0.0, 0.0))
                merged[ends[0], ends[1]] = (before[0] + total, before[1] + area)
        borders = merged
    return lookup


@pytest.fixture(scope="module")
def blurred(cells: Any) -> tuple[Any, Rag, int]:
    """Fragments and graph of noisy affinities."""
    noise = np.random.default_rng(0).random(cells.affinities.shape, np.float32)
    values = ndimage.gaussian_filter(cells.affinities, (0, 0, 1, 1)) * 0.8 + 0.2 * noise
    fragments = make_fragments(values, cells.foreground, FINE)
    return fragments, build_rag(fragments, values), int(fragments.max())


@pytest.mark.parametrize("settings", BOTH)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_oracle_affinities_give_the_cells_back(settings: Any, seed: int, make_cells: Any) -> None:
    cells = make_cells((8, 80, 80), 10, seed)
    fragments = make_fragments(cells.affinities, cells.foreground, FINE)
    rag = build_rag(fragments, cells.affinities)
    lookup = agglomerate(rag, int(fragments.max()), settings)
    scores = evaluate_segmentation(apply_lookup(lookup, fragments), cells.labels)
    before = evaluate_segmentation(fragments, cells.labels)
    assert before.voi > 2
    assert scores.voi < 0.08
    assert scores.adapted_rand_error < 0.02


@pytest.mark.parametrize("settings", BOTH)
def test_neurite_one_voxel_wide_is_followed_and_a_shift_breaks_it(
    settings: Any, make_oracle: Any
) -> None:
    labels = np.ones((6, 5, 9), np.uint64)
    labels[:, :, 5:] = 3
    labels[:, :, 4] = 2
    fragments = (labels + np.arange(0, 18, 3, dtype=np.uint64)[:, None, None]).astype(np.uint64)
    affinities = make_oracle(labels)
    lookup = agglomerate(build_rag(fragments, affinities), 18, settings)
    assert lookup.tolist() == [0, *[1, 2, 3] * 6]
    # The opposite convention stores the pair (p, p + 1) at p.
    shifted = np.stack([np.roll(channel, -1, axis) for axis, channel in enumerate(affinities)])
    wrong = agglomerate(build_rag(fragments, shifted), 18, settings)
    assert wrong.tolist() != lookup.tolist()


def test_costs_by_hand() -> None:
    rag = make_rag([(1, 2), (1, 3), (2, 3)], [1.0, 0.25, 0.0], [10, 20, 5])
    costs = multicut_costs(rag, 0.25)
    bias = math.log(3)
    squeezed = 0.998 * 0.75 + 0.001
    expected = [
        (math.log(0.999 / 0.001) + bias) * 0.5,
        math.log((1 - squeezed) / squeezed) + bias,
        (math.log(0.001 / 0.999) + bias) * 0.25,
    ]
    np.testing.assert_allclose(costs, expected, rtol=1e-6)
    # beta 0.25: a contact repels only where its boundary exceeds about 0.75.
    assert abs(costs[1]) < 0.02


def test_multicut_lets_a_long_border_outvote_a_leak() -> None:
    # 1-2 and 3-4 belong together; 2-3 leaks, 1-3, 1-4 and 2-4 say no.
    contacts = [(1, 2), (1, 3), (1, 4), (2, 3), (2, 4), (3, 4)]
    rag = make_rag(contacts, [0.95, 0.02, 0.02, 0.6, 0.02, 0.95], [50, 60, 60, 10, 60, 50])
    assert agglomerate(rag, 4, MulticutSettings()).tolist() == [0, 1, 1, 3, 3]
    mean = agglomerate(rag, 4, MeanAffinitySettings(threshold=0.5))
    assert mean.tolist() == [0, 1, 1, 3, 3]


def test_bias_and_threshold_split_more_as_they_rise(blurred: Any) -> None:
    _, rag, count = blurred
    for settings in (
        [MulticutSettings(beta=value) for value in (0.1, 0.4, 0.9)],
        [MeanAffinitySettings(threshold=value) for value in (0.2, 0.5, 0.8)],
    ):
        segments = [len(np.unique(agglomerate(rag, count, each))) for each in settings]
        assert segments == sorted(segments)
        assert segments[0] < segments[-1]


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_mean_affinity_matches_its_definition(threshold: float) -> None:
    random = np.random.default_rng(int(10 * threshold))
    fragments = np.arange(1, 126, dtype=np.uint64).reshape(5, 5, 5).repeat(2, 1).repeat(3, 2)
    affinities = random.random((3, *fragments.shape), np.float32)
    rag = build_rag(fragments, affinities)
    expected = merge_slowly(rag, 125, threshold)
    lookup = agglomerate(rag, 125, MeanAffinitySettings(threshold=threshold))
    groups = [np.unique(each, return_inverse=True)[1] for each in (expected, lookup)]
    np.testing.assert_array_equal(groups[0], groups[1])
    assert 1 < len(np.unique(lookup)) < 125


def test_mean_affinity_gives_the_segments_of_waterz(cells: Any) -> None:
    waterz = pytest.importorskip("waterz")
    noise = np.random.default_rng(0).random(cells.affinities.shape, np.float32)
    values = ndimage.gaussian_filter(cells.affinities, (0, 0, 1, 1)) * 0.8 + 0.2 * noise
    fragments = make_fragments(values, None, FINE)
    lookup = agglomerate(
        build_rag(fragments, values), int(fragments.max()), MeanAffinitySettings(threshold=0.5)
    )
    theirs = next(iter(waterz.agglomerate(values, [0.5], fragments=fragments.copy())))
    scores = evaluate_segmentation(apply_lookup(lookup, fragments), theirs)
    assert len(np.unique(theirs)) < int(fragments.max())
    assert scores.voi == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("settings", BOTH)
def test_ids_are_the_smallest_fragment_and_segments_connected(settings: Any, blurred: Any) -> None:
    fragments, rag, count = blurred
    lookup = agglomerate(rag, count, settings)
    assert lookup.dtype == np.uint64
    assert lookup.shape == (count + 1,)
    assert lookup[0] == 0
    for segment in np.unique(lookup[1:]):
        assert np.flatnonzero(lookup == segment)[0] == segment
    segments = apply_lookup(lookup, fragments)
    for segment in np.unique(segments)[:20]:
        assert ndimage.label(segments == segment)[1] == 1


@pytest.mark.parametrize("settings", BOTH)
def test_same_input_same_output_and_names_do_not_matter(settings: Any, blurred: Any) -> None:
    _, rag, count = blurred
    lookup = agglomerate(rag, count, settings)
    np.testing.assert_array_equal(lookup, agglomerate(rag, count, settings))
    renamed = np.random.default_rng(1).permutation(count).astype(np.uint64) + np.uint64(1)
    renamed = np.concatenate(([np.uint64(0)], renamed))
    contacts = np.sort(renamed[rag.contacts.astype(int)], axis=1)
    order = np.lexsort((contacts[:, 1], contacts[:, 0]))
    other = agglomerate(
        Rag(
            contacts[order], rag.affinity[order], rag.area[order],
            rag.boundary_length[order], rag.centroid[order], rag.score[order],
        ),
        count,
        settings,
    )  # fmt: skip
    # Kernighan-Lin visits contacts in their order, so nearly equal partitions may differ a little.
    scores = evaluate_segmentation(other[renamed][1:], lookup[1:])
    assert scores.voi < 0.05


@pytest.mark.parametrize("settings", BOTH)
def test_small_and_disconnected_graphs(settings: Any) -> None:
    assert agglomerate(Rag.empty(), 0, settings).tolist() == [0]
    assert agglomerate(Rag.empty(), 1, settings).tolist() == [0, 1]
    assert agglomerate(Rag.empty(), 3, settings).tolist() == [0, 1, 2, 3]
    two_parts = make_rag([(2, 3), (5, 6), (6, 7)], [1, 1, 0], [4, 4, 4])
    assert agglomerate(two_parts, 8, settings).tolist() == [0, 1, 2, 2, 4, 5, 5, 7, 8]
    one = make_rag([(1, 2)], [1], [1])
    assert agglomerate(one, 2, settings).tolist() == [0, 1, 1]


@pytest.mark.parametrize("settings", BOTH)
@pytest.mark.parametrize("value", [math.nan, -0.5, 1.5, math.inf])
def test_scores_that_are_no_probabilities_are_refused(settings: Any, value: float) -> None:
    with pytest.raises(VolumeFormatError, match="affinity"):
        agglomerate(make_rag([(1, 2), (1, 3)], [0.5, value], [1, 1]), 3, settings)


@pytest.mark.parametrize(
    "contacts", [[(2, 1)], [(1, 1)], [(0, 1)], [(1, 4)], [(2, 3), (1, 2)], [(1, 2), (1, 2)]]
)
def test_malformed_graphs_are_refused(contacts: list[tuple[int, int]]) -> None:
    rag = make_rag(contacts, [0.5] * len(contacts), [1] * len(contacts))
    with pytest.raises(NeuropilError):
        agglomerate(rag, 3, MulticutSettings())


def test_settings_choose_the_method() -> None:
    for name, method in AGGLOMERATIONS.items():
        assert method.settings().model_dump()["kind"] == name
        for field in method.settings.model_fields.values():
            assert field.title
            assert field.description
    unknown: Any = WatershedSettings()
    with pytest.raises(SettingsError, match="MulticutSettings"):
        agglomerate(Rag.empty(), 1, unknown)
    with pytest.raises(SettingsError):
        agglomerate(Rag.empty(), -1, MulticutSettings())
    for wrong in ({"beta": 0.0}, {"beta": 1.0}, {"iterations": -1}):
        with pytest.raises(ValidationError):
            MulticutSettings(**wrong)
