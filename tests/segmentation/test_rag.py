from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from napari_neuropil.errors import VolumeFormatError
from napari_neuropil.segmentation import rag as rag_module
from napari_neuropil.segmentation.rag import Rag, build_rag, merge_rags


def slow_rag(fragments: NDArray[Any], affinities: NDArray[Any]) -> dict[tuple[int, int], Any]:
    """Pair by pair, straight from the definition."""
    found: dict[tuple[int, int], list[tuple[float, int, list[float]]]] = {}
    for p in np.ndindex(fragments.shape):
        for axis in range(3):
            if p[axis] == 0:
                continue
            q = tuple(i - (a == axis) for a, i in enumerate(p))
            ids = sorted((int(fragments[p]), int(fragments[q])))
            if ids[0] == 0 or ids[0] == ids[1]:
                continue
            middle = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
            found.setdefault((ids[0], ids[1]), []).append(
                (float(affinities[(axis, *p)]), axis, middle)
            )
    return {
        key: (
            np.mean([pair[0] for pair in pairs]),
            len(pairs),
            sum(pair[1] > 0 for pair in pairs),
            np.mean([pair[2] for pair in pairs], axis=0),
        )
        for key, pairs in sorted(found.items())
    }


def assert_matches(rag: Rag, expected: dict[tuple[int, int], Any]) -> None:
    assert [tuple(pair) for pair in rag.contacts.tolist()] == list(expected)
    for row, (affinity, area, length, centroid) in enumerate(expected.values()):
        assert rag.affinity[row] == pytest.approx(affinity, abs=1e-6)
        assert rag.score[row] == rag.affinity[row]
        assert rag.area[row] == area
        assert rag.boundary_length[row] == length
        np.testing.assert_allclose(rag.centroid[row], centroid, rtol=1e-5)


def random_problem(seed: int, shape: tuple[int, int, int], ids: int) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    coarse = random.integers(0, ids, [-(-n // 3) for n in shape])
    fragments = coarse.repeat(3, 0).repeat(3, 1).repeat(3, 2)[tuple(slice(n) for n in shape)]
    return fragments.astype(np.uint64), random.random((3, *shape), np.float32)


def test_two_cells_by_hand() -> None:
    fragments = np.array([[[1, 1, 2], [1, 2, 2]]], np.uint64)
    affinities = np.zeros((3, 1, 2, 3), np.float32)
    affinities[2, 0, 0, 2] = 0.25  # pair (0, 1)-(0, 2) along x
    affinities[2, 0, 1, 1] = 0.5  # pair (1, 0)-(1, 1) along x
    affinities[1, 0, 1, 1] = 0.75  # pair (0, 1)-(1, 1) along y
    rag = build_rag(fragments, affinities, origin=(5, 10, 20))
    assert rag.contacts.tolist() == [[1, 2]]
    assert rag.affinity[0] == pytest.approx(0.5)
    assert (rag.area[0], rag.boundary_length[0]) == (3, 3)
    np.testing.assert_allclose(rag.centroid[0], [5, 10 + 2 / 3 - 1 / 6, 20 + (1.5 + 0.5 + 1) / 3])


def test_affinity_is_read_at_the_upper_voxel_of_the_pair() -> None:
    # A wall one voxel wide: with the value of a pair read one voxel off, or in another channel,
    # its two sides would change places or vanish.
    fragments = np.array([[[1, 1, 2, 3, 3]]], np.uint64)
    affinities = np.zeros((3, 1, 1, 5), np.float32)
    affinities[2, 0, 0] = [0.9, 0.8, 0.1, 0.6, 0.7]
    rag = build_rag(fragments, affinities)
    assert rag.contacts.tolist() == [[1, 2], [2, 3]]
    np.testing.assert_allclose(rag.affinity, [0.1, 0.6])
    shifted = np.roll(affinities, -1, axis=3)
    assert not np.allclose(build_rag(fragments, shifted).affinity, [0.1, 0.6])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_each_axis_reads_its_own_channel(axis: int) -> None:
    fragments = np.ones((4, 4, 4), np.uint64)
    np.moveaxis(fragments, axis, 0)[2:] = 2
    affinities = np.zeros((3, 4, 4, 4), np.float32)
    np.moveaxis(affinities[axis], axis, 0)[2] = 0.5
    rag = build_rag(fragments, affinities)
    assert rag.affinity.tolist() == [0.5]
    assert rag.area.tolist() == [16]
    assert rag.boundary_length.tolist() == [0 if axis == 0 else 16]
    expected = [1.5, 1.5, 1.5]
    assert rag.centroid[0].tolist() == expected


def test_contact_with_a_hole_counts_the_ring_only() -> None:
    fragments = np.ones((2, 5, 5), np.uint64)
    fragments[1] = 2
    fragments[1, 2, 2] = 0
    fragments[0, 0, 0] = 0
    rag = build_rag(fragments, np.full((3, 2, 5, 5), 0.5, np.float32))
    assert rag.contacts.tolist() == [[1, 2]]
    assert rag.area.tolist() == [23]
    assert rag.boundary_length.tolist() == [0]


@pytest.mark.parametrize("ids", [3, 40])
@pytest.mark.parametrize("dense", [0.0, 2.0])
def test_matches_the_definition(monkeypatch: pytest.MonkeyPatch, ids: int, dense: float) -> None:
    monkeypatch.setattr(rag_module, "_DENSE", dense)
    monkeypatch.setattr(rag_module, "_SLAB_VOXELS", 200)
    fragments, affinities = random_problem(ids, (5, 9, 8), ids)
    assert_matches(build_rag(fragments, affinities), slow_rag(fragments, affinities))
    assert_matches(
        build_rag(fragments.astype(np.uint32), affinities), slow_rag(fragments, affinities)
    )


def test_sections_cut_one_by_one_match_the_definition() -> None:
    random = np.random.default_rng(0)
    fragments = np.sort(random.integers(1, 4, (4, 6, 12)), axis=2).astype(np.uint64)
    fragments += np.arange(0, 16, 4, dtype=np.uint64)[:, None, None]
    affinities = random.random((3, 4, 6, 12), np.float32)
    assert_matches(build_rag(fragments, affinities), slow_rag(fragments, affinities))


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_any_split_into_blocks_gives_the_same_graph(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(*[st.integers(1, 9)] * 3))
    fragments, affinities = random_problem(data.draw(st.integers(0, 99)), shape, 12)
    cuts = [sorted({0, n, *data.draw(st.lists(st.integers(0, n), max_size=3))}) for n in shape]
    parts = []
    for z0, z1 in zip(cuts[0], cuts[0][1:], strict=False):
        for y0, y1 in zip(cuts[1], cuts[1][1:], strict=False):
            for x0, x1 in zip(cuts[2], cuts[2][1:], strict=False):
                first = (int(z0 > 0), int(y0 > 0), int(x0 > 0))
                origin = (z0 - first[0], y0 - first[1], x0 - first[2])
                box = tuple(slice(o, e) for o, e in zip(origin, (z1, y1, x1), strict=True))
                parts.append(
                    build_rag(
                        fragments[box], affinities[(slice(None), *box)], origin=origin, first=first
                    )
                )
    order = data.draw(st.permutations(range(len(parts))))
    merged = merge_rags(parts[i] for i in order)
    whole = build_rag(fragments, affinities)
    np.testing.assert_array_equal(merged.contacts, whole.contacts)
    np.testing.assert_array_equal(merged.area, whole.area)
    np.testing.assert_array_equal(merged.boundary_length, whole.boundary_length)
    np.testing.assert_allclose(merged.affinity, whole.affinity, atol=1e-6)
    np.testing.assert_allclose(merged.score, whole.score, atol=1e-6)
    np.testing.assert_allclose(merged.centroid, whole.centroid, atol=1e-5)
    merged.validate()


def test_8_bit_affinities_mean_255_is_1() -> None:
    fragments, affinities = random_problem(4, (4, 9, 9), 9)
    stored = np.round(affinities * 255).astype(np.uint8)
    coarse = build_rag(fragments, stored)
    exact = build_rag(fragments, stored.astype(np.float32) / 255)
    np.testing.assert_allclose(coarse.affinity, exact.affinity, atol=1e-6)
    full = build_rag(fragments, np.full_like(stored, 255))
    assert (full.affinity == 1).all()


def test_ids_beyond_32_bits() -> None:
    fragments, affinities = random_problem(4, (4, 9, 9), 9)
    far = np.where(fragments > 0, fragments + np.uint64(1 << 40), 0).astype(np.uint64)
    near, distant = build_rag(fragments, affinities), build_rag(far, affinities)
    np.testing.assert_array_equal(distant.contacts, near.contacts + np.uint64(1 << 40))
    np.testing.assert_array_equal(distant.affinity, near.affinity)
    spread = np.where(fragments > 4, fragments + np.uint64(1 << 60), fragments).astype(np.uint64)
    wide = build_rag(spread, affinities)
    wide.validate()
    np.testing.assert_array_equal(np.sort(wide.area), np.sort(near.area))


def test_order_of_ids_does_not_matter() -> None:
    fragments, affinities = random_problem(7, (4, 12, 12), 20)
    renamed = np.concatenate(([0], np.random.default_rng(1).permutation(19) + 1)).astype(np.uint64)
    plain, permuted = build_rag(fragments, affinities), build_rag(renamed[fragments], affinities)
    pairs = np.sort(renamed[plain.contacts.astype(int)], axis=1)
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    np.testing.assert_array_equal(permuted.contacts, pairs[order])
    np.testing.assert_allclose(permuted.affinity, plain.affinity[order], atol=1e-6)


def test_no_contacts() -> None:
    alone = build_rag(np.ones((2, 3, 4), np.uint64), np.ones((3, 2, 3, 4), np.float32))
    for rag in (alone, Rag.empty(), merge_rags([]), merge_rags([alone, Rag.empty()])):
        assert len(rag) == 0
        assert rag.centroid.shape == (0, 3)
        rag.validate()


@pytest.mark.parametrize(
    ("fragments", "affinities"),
    [
        (np.ones((2, 2), np.uint64), np.ones((3, 2, 2), np.float32)),
        (np.ones((2, 2, 2), np.int64), np.ones((3, 2, 2, 2), np.float32)),
        (np.ones((2, 2, 2), np.uint64), np.ones((3, 2, 2, 3), np.float32)),
        (np.ones((2, 2, 2), np.uint64), np.ones((2, 2, 2, 2), np.float32)),
        (np.ones((2, 2, 2), np.uint64), np.ones((3, 2, 2, 2), np.float64)),
        (np.arange(1, 9, dtype=np.uint64).reshape(2, 2, 2), np.full((3, 2, 2, 2), np.nan, "f4")),
        (np.arange(1, 9, dtype=np.uint64).reshape(2, 2, 2), np.full((3, 2, 2, 2), 2, "f4")),
    ],
)
def test_bad_input_is_refused(fragments: Any, affinities: Any) -> None:
    with pytest.raises(VolumeFormatError):
        build_rag(fragments, affinities)


def test_validate_names_what_is_wrong() -> None:
    good = build_rag(*random_problem(4, (4, 9, 9), 9))
    good.validate(8)
    with pytest.raises(VolumeFormatError, match="fragment 8"):
        good.validate(7)
    broken = {
        "contacts": good.contacts[::-1],
        "affinity": good.affinity.astype(np.float64),
        "area": np.zeros_like(good.area),
        "boundary_length": good.boundary_length[1:],
        "centroid": np.full_like(good.centroid, np.nan),
        "score": np.full_like(good.score, np.nan),
    }
    for field, value in broken.items():
        changed: dict[str, Any] = {field: value}
        with pytest.raises(VolumeFormatError):
            replace(good, **changed).validate()
