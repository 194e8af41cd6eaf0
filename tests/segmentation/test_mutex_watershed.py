"""Against a plain loop over sorted edges, both libraries, and by hand."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import bioimage_cpp
import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from napari_neuropil.errors import CancelledError, SettingsError, VolumeFormatError
from napari_neuropil.geometry import Offset
from napari_neuropil.segmentation import mutex_clusters, mutex_edges
from napari_neuropil.segmentation import mutex_watershed as module
from napari_neuropil.segmentation.metric_offsets import OFFSETS
from napari_neuropil.segmentation.mutex_watershed import mutex_watershed

LINE: tuple[Offset, ...] = ((0, 0, -1), (0, 0, -2), (0, 0, 2))


def weights_of(affinities: NDArray[Any], attractive: int) -> NDArray[np.float32]:
    """Return attraction and repulsion, both in [0, 1]."""
    if affinities.dtype == np.uint8:
        whole = affinities.astype(np.float32)
        whole[attractive:] = 255 - whole[attractive:]
        return whole / np.float32(255)
    weights = affinities.copy()
    weights[attractive:] = 1 - weights[attractive:]
    return weights


def plain_loop(
    affinities: NDArray[Any],
    mask: NDArray[np.bool_] | None,
    offsets: Sequence[Offset],
    attractive: int,
) -> NDArray[np.uint64]:
    """Sort all edges, then take one after the other."""
    weights = weights_of(affinities, attractive)
    shape = affinities.shape[1:]
    number = np.arange(np.prod(shape)).reshape(shape)
    inside = np.ones(shape, bool) if mask is None else mask
    edges = []
    for channel, offset in enumerate(offsets):
        for at in np.ndindex(shape):
            to = tuple(a + b for a, b in zip(at, offset, strict=True))
            fits = all(0 <= i < n for i, n in zip(to, shape, strict=True))
            if fits and inside[at] and inside[to]:
                index = channel * number.size + int(number[at])
                edges.append((-weights[(channel, *at)], index, number[at], number[to], channel))
    cluster = {i: {i} for i in range(number.size)}
    enemies: dict[int, set[int]] = {i: set() for i in range(number.size)}
    name = list(range(number.size))
    for _, _, v, w, channel in sorted(edges, key=lambda edge: edge[:2]):
        a, b = name[v], name[w]
        if a == b:
            continue
        if channel >= attractive:
            enemies[a].add(b)
            enemies[b].add(a)
        elif b not in enemies[a]:
            for i in cluster[b]:
                name[i] = a
            cluster[a] |= cluster.pop(b)
            for enemy in enemies.pop(b):
                enemies[enemy].remove(b)
                enemies[enemy].add(a)
                enemies[a].add(enemy)
    labels = np.zeros(number.size, np.uint64)
    seen: dict[int, int] = {}
    for i in np.flatnonzero(inside.ravel()).tolist():
        labels[i] = seen.setdefault(name[i], len(seen) + 1)
    return labels.reshape(shape)


def library(
    affinities: NDArray[Any], mask: NDArray[np.bool_] | None, attractive: int = 3
) -> NDArray[np.uint64]:
    labels: NDArray[np.uint64] = bioimage_cpp.segmentation.mutex_watershed(
        weights_of(affinities, attractive), [list(o) for o in OFFSETS], attractive, mask=mask
    )
    return labels


def same_partition(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Tell whether the labels are equal but for their names."""
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1)
    return all(len(np.unique(side)) == pairs.shape[1] for side in pairs)


def noisy_cells(shape: tuple[int, int, int], seed: int) -> NDArray[np.float32]:
    """Return affinities of boxes of 5 x 12 x 12 voxels, mostly certain."""
    random = np.random.default_rng(seed)
    z, y, x = np.indices(shape)
    labels = (z // 5) * 10_000 + (y // 12) * 100 + x // 12
    affinities = np.zeros((len(OFFSETS), *shape), np.float32)
    for channel, offset in enumerate(OFFSETS):
        partner = np.roll(labels, [-d for d in offset], (0, 1, 2))
        affinities[channel] = labels == partner
    noise = random.normal(0, 0.35, affinities.shape).astype(np.float32)
    clipped: NDArray[np.float32] = np.clip(affinities + noise, 0, 1)
    return clipped


@st.composite
def problems(draw: st.DrawFn) -> tuple[Any, ...]:
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 8), st.integers(1, 8)))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # Few levels make ties.
    levels = draw(st.sampled_from([1, 2, 5, 255]))
    steps = random.integers(0, levels + 1, (len(OFFSETS), *shape))
    if draw(st.booleans()):
        affinities: NDArray[Any] = (steps * (255 // levels)).astype(np.uint8)
    else:
        affinities = (steps / levels).astype(np.float32)
    mask = random.random(shape) < 0.8 if draw(st.booleans()) else None
    return affinities, mask, draw(st.integers(1, len(OFFSETS)).filter(lambda n: n in (1, 3, 12)))


@given(problems())
@settings(deadline=None, max_examples=150)
def test_matches_a_plain_loop(problem: tuple[Any, ...]) -> None:
    affinities, mask, attractive = problem
    before = affinities.copy()
    labels = mutex_watershed(affinities, mask, offsets=OFFSETS, attractive=attractive)
    np.testing.assert_array_equal(labels, plain_loop(affinities, mask, OFFSETS, attractive))
    assert labels.dtype == np.uint64
    np.testing.assert_array_equal(affinities, before)


@pytest.mark.parametrize("attractive", [3, 5])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_matches_bioimage_cpp(kind: type, masked: bool, attractive: int) -> None:
    affinities = noisy_cells((9, 40, 50), seed=attractive)
    mask = np.random.default_rng(1).random(affinities.shape[1:]) < 0.9 if masked else None
    if kind is np.uint8:
        affinities = np.round(affinities * 255).astype(np.uint8)
    labels = mutex_watershed(affinities, mask, offsets=OFFSETS, attractive=attractive)
    expected = library(affinities, mask, attractive)
    # Outside the mask it is 0 in both.
    assert same_partition(labels, expected)
    assert 20 < labels.max() == len(np.unique(labels[labels > 0]))


def test_matches_both_libraries_where_no_weights_are_equal() -> None:
    mwatershed = pytest.importorskip("mwatershed", reason="mwatershed is not installed")
    affinities = noisy_cells((8, 36, 36), seed=4)
    order = np.argsort(weights_of(affinities, 3).ravel(), kind="stable")
    weights = np.empty(order.size, np.float32)
    weights[order] = np.arange(1, order.size + 1) / 2**18
    signed = weights.reshape(affinities.shape).astype(np.float64)
    affinities = signed.astype(np.float32)
    affinities[3:] = 1 - affinities[3:]
    signed[3:] *= -1
    labels = mutex_watershed(affinities, None, offsets=OFFSETS)
    assert same_partition(labels, library(affinities, None))
    assert same_partition(labels, mwatershed.agglom(signed, [list(o) for o in OFFSETS]))


@pytest.mark.parametrize("kind", ["one weight", "one high half", "noise", "cells", "uint8 noise"])
@pytest.mark.parametrize("buffer", [0, 1])
def test_shares_and_growth_change_nothing(
    monkeypatch: pytest.MonkeyPatch, kind: str, buffer: int
) -> None:
    shape = (4, 20, 25)
    random = np.random.default_rng(3).random((len(OFFSETS), *shape), np.float32)
    kinds: dict[str, Any] = {
        "one weight": np.full_like(random, 0.5),
        "one high half": 0.9985 + np.round(random * 200) * np.float32(2**-22),
        "noise": random,
        "cells": noisy_cells(shape, 2),
        "uint8 noise": np.round(random * 255).astype(np.uint8),
    }
    affinities = kinds[kind]
    expected = plain_loop(affinities, None, OFFSETS, 3)
    grown: list[str] = []
    make_room, lone = module._make_room, module._lone_voxels

    def watched(clusters: Any) -> None:
        nodes = len(clusters.nodes)
        make_room(clusters)
        grown.append("nodes" if len(clusters.nodes) > nodes else "table")

    def small(voxels: Sequence[int], mask: Any) -> Any:
        clusters = lone(voxels, mask)
        return clusters._replace(table=np.zeros(128, np.int64), nodes=clusters.nodes[:200].copy())

    monkeypatch.setattr(module, "_BUFFER", {"uint8": buffer, "float32": buffer})
    monkeypatch.setattr(module, "_AT_ONCE", 700)
    monkeypatch.setattr(module, "_make_room", watched)
    monkeypatch.setattr(module, "_lone_voxels", small)
    labels = mutex_watershed(affinities, None, offsets=OFFSETS)
    np.testing.assert_array_equal(labels, expected)
    if "noise" in kind:
        assert {"nodes", "table"} <= set(grown)


def test_a_strong_repulsion_cuts_the_weakest_link_by_hand() -> None:
    affinities = np.ones((3, 1, 1, 5), np.float32)
    affinities[0, 0, 0] = [0, 0.9, 0.6, 0.7, 0.8]  # to the voxel before
    labels = mutex_watershed(affinities, None, offsets=LINE, attractive=1)
    assert labels.tolist() == [[[1, 1, 1, 1, 1]]]
    affinities[1, 0, 0, 3] = 0.05  # voxels 3 and 1 repel with 0.95
    labels = mutex_watershed(affinities, None, offsets=LINE, attractive=1)
    assert labels.tolist() == [[[1, 1, 2, 2, 2]]]
    affinities[1, 0, 0, 3] = 0.35  # 0.65: only the link of 0.6 comes later
    labels = mutex_watershed(affinities, None, offsets=LINE, attractive=1)
    assert labels.tolist() == [[[1, 1, 2, 2, 2]]]
    affinities[1, 0, 0, 3] = 0.45  # 0.55: too late
    labels = mutex_watershed(affinities, None, offsets=LINE, attractive=1)
    assert labels.tolist() == [[[1, 1, 1, 1, 1]]]


def test_equal_weights_are_taken_channel_by_channel_in_raster_order() -> None:
    # 0-1 and 1-2 attract, 0 and 2 repel, all equally: the repulsion comes last.
    affinities = np.full((2, 1, 1, 3), 0.5, np.float32)
    labels = mutex_watershed(affinities, None, offsets=LINE[:2], attractive=1)
    assert labels.tolist() == [[[1, 1, 1]]]
    # Four in a row: 1-3 repels first, then of the equal links 0-1, 1-2, 2-3 the last gives way.
    affinities = np.full((2, 1, 1, 4), 0.5, np.float32)
    affinities[1] = 1
    affinities[1, 0, 0, 3] = 0
    labels = mutex_watershed(affinities, None, offsets=LINE[:2], attractive=1)
    assert labels.tolist() == [[[1, 1, 1, 2]]]


def test_values_without_a_partner_do_not_count() -> None:
    affinities = noisy_cells((3, 12, 12), seed=0)
    other = affinities.copy()
    for channel, offset in enumerate(OFFSETS):
        for axis, step in enumerate(offset):
            edge = np.moveaxis(other[channel], axis, 0)
            if step:
                edge[slice(None, -step) if step < 0 else slice(-step, None)] = 0.77
    assert (other != affinities).any()
    np.testing.assert_array_equal(
        mutex_watershed(other, None, offsets=OFFSETS),
        mutex_watershed(affinities, None, offsets=OFFSETS),
    )


def test_any_memory_layout() -> None:
    affinities = noisy_cells((3, 10, 11), seed=5)
    expected = mutex_watershed(affinities, None, offsets=OFFSETS)
    turned = np.asfortranarray(affinities)
    np.testing.assert_array_equal(mutex_watershed(turned, None, offsets=OFFSETS), expected)
    sparse = affinities.repeat(2, axis=3)[..., ::2]
    mask = np.ones((3, 10, 22), bool)[..., ::2]
    np.testing.assert_array_equal(mutex_watershed(sparse, mask, offsets=OFFSETS), expected)


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_small_and_empty_volumes(kind: type) -> None:
    one: Any = np.ones((12, 1, 1, 1), kind)
    assert mutex_watershed(one, None, offsets=OFFSETS).tolist() == [[[1]]]
    assert mutex_watershed(one, np.zeros((1, 1, 1), bool), offsets=OFFSETS).tolist() == [[[0]]]
    empty = mutex_watershed(np.ones((12, 3, 0, 4), kind), None, offsets=OFFSETS)
    assert empty.shape == (3, 0, 4)
    assert empty.dtype == np.uint64
    nothing = mutex_watershed(
        np.ones((12, 2, 7, 7), kind), np.zeros((2, 7, 7), bool), offsets=OFFSETS
    )
    assert not nothing.any()
    alone = np.zeros((2, 7, 7), bool)
    alone[1, 3, 3] = True
    labels = mutex_watershed(np.ones((12, 2, 7, 7), kind), alone, offsets=OFFSETS)
    np.testing.assert_array_equal(labels, alone)


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.01, 1.01, 255])
def test_what_is_no_affinity_is_refused(value: float) -> None:
    affinities = np.full((12, 2, 3, 3), 0.5, np.float32)
    affinities[0, 0, 0, 0] = value  # has no partner, but says that something is broken
    with pytest.raises(VolumeFormatError, match="numbers in"):
        mutex_watershed(affinities, None, offsets=OFFSETS)


def test_rounding_past_the_ends_keeps_the_order() -> None:
    random = np.random.default_rng(0)
    values = np.array([-1e-4, -1e-6, -0.0, 0.0, 1e-6, 1, 1 + 1e-6, 1 + 1e-4], np.float32)
    for _ in range(20):
        affinities = random.choice(values, (12, 2, 5, 6))
        labels = mutex_watershed(affinities, None, offsets=OFFSETS)
        np.testing.assert_array_equal(labels, plain_loop(affinities, None, OFFSETS, 3))


@pytest.mark.parametrize(
    ("shape", "kind", "mask", "message"),
    [
        ((11, 2, 3, 3), np.uint8, None, "shape"),
        ((12, 3, 3), np.uint8, None, "shape"),
        ((12, 2, 3, 3), np.float64, None, "type float64"),
        ((12, 2, 3, 3), np.int64, None, "type int64"),
        ((12, 2, 3, 3), np.uint8, np.ones((2, 3, 4), bool), "mask of shape"),
        ((12, 2, 3, 3), np.uint8, np.ones((2, 3, 3), np.uint8), "type uint8"),
    ],
)
def test_what_does_not_fit_is_refused(
    shape: tuple[int, ...], kind: type, mask: Any, message: str
) -> None:
    with pytest.raises(VolumeFormatError, match=message):
        mutex_watershed(np.zeros(shape, kind), mask, offsets=OFFSETS)


@pytest.mark.parametrize(
    ("offsets", "attractive"),
    [
        (OFFSETS, 0),
        (OFFSETS, 13),
        (OFFSETS + OFFSETS[:7], 3),
        (((0, 0, 0), *OFFSETS[1:]), 3),
        (((0, 1), *OFFSETS[1:]), 3),
    ],
)
def test_impossible_neighbours_are_refused(offsets: Any, attractive: int) -> None:
    affinities = np.zeros((len(offsets), 2, 3, 3), np.uint8)
    with pytest.raises(SettingsError, match="offset"):
        mutex_watershed(affinities, None, offsets=offsets, attractive=attractive)


def test_the_most_repulsive_channels_that_fit() -> None:
    assert mutex_clusters.MOST_REPULSIVE == module._MOST_REPULSIVE == 15
    random = np.random.default_rng(8)
    offsets = (*OFFSETS[:3], *[(0, a, b) for a in (2, 3, 4) for b in range(-2, 3)])
    affinities = random.integers(0, 256, (18, 3, 7, 8)).astype(np.uint8)
    labels = mutex_watershed(affinities, None, offsets=offsets)
    np.testing.assert_array_equal(labels, plain_loop(affinities, None, offsets, 3))


def test_stops_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", 100)
    affinities = noisy_cells((3, 12, 12), seed=0)
    asked = iter([False] * 5 + [True] * 100)
    with pytest.raises(CancelledError):
        mutex_watershed(affinities, None, offsets=OFFSETS, cancelled=lambda: next(asked))
    assert len(list(asked)) == 99, "it went on after the answer"


def test_other_threads_run_meanwhile() -> None:
    kernels: list[Any] = [mutex_edges.count_keys, mutex_edges.collect, mutex_clusters.take_edges]
    assert all(kernel.targetoptions["nogil"] for kernel in kernels)


def test_compiles_where_nothing_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    real = numba.njit

    def njit(**options: Any) -> Any:
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return real(**options)

    monkeypatch.setattr(numba, "njit", njit)

    def twice(value: int) -> int:
        return 2 * value

    assert mutex_edges.compiled(twice)(21) == 42


def test_numba_is_loaded_at_the_first_call_only() -> None:
    script = (
        "import napari_neuropil.segmentation.mutex_watershed, sys; print('numba' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
