"""Centre lines: in the middle, whole after pooling, at their place; SWC as readers expect it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_neuropil.errors import SettingsError
from napari_neuropil.geometry import Roi, VoxelSize
from napari_neuropil.tracing import SKELETON_METHODS, Skeleton, skeletonize, write_swc

SIZE = VoxelSize(30, 10, 10)


def trace(mask: NDArray[np.bool_], **options: object) -> Skeleton:
    return skeletonize(lambda roi: mask[roi.slices], Roi.of_shape(mask.shape), SIZE, **options)  # type: ignore[arg-type]


def tube() -> NDArray[np.bool_]:
    """A tube along x of 90 nm, its middle at y = 10, z = 3 voxels."""
    z, y, _ = np.mgrid[:7, :21, :80]
    return ((z - 3) * 30.0) ** 2 + ((y - 10) * 10.0) ** 2 <= 45.0**2


@pytest.mark.parametrize("method", sorted(SKELETON_METHODS))
@pytest.mark.parametrize("factors", [(1, 1, 1), (1, 3, 3)])
def test_a_tube_has_its_axis(method: str, factors: tuple[int, int, int]) -> None:
    if method == "kimimaro":
        pytest.importorskip("kimimaro")
    skeleton = trace(tube(), method=method, factors=factors, translation=(1000.0, 0.0, 0.0))
    assert 600 < skeleton.length_nm < 900
    inner = np.abs(skeleton.vertices[:, 2] - 400) < 250
    assert inner.any()
    np.testing.assert_allclose(skeleton.vertices[inner, 1], 100, atol=15)
    np.testing.assert_allclose(skeleton.vertices[inner, 0], 1090, atol=1)
    assert (skeleton.radii > 0).all()


def test_thin_neurites_stay_whole_when_pooled() -> None:
    mask = np.zeros((4, 40, 40), bool)
    mask[1, np.arange(40), np.arange(40)] = True
    mask[1, np.arange(1, 40), np.arange(39)] = True
    skeleton = trace(mask, factors=(1, 4, 4), constant_nm=0.0)
    assert skeleton.length_nm > 450  # of 566 nm; half a pooled voxel is missing at each end
    assert len(skeleton.edges) == len(skeleton) - 1


def test_slabs_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = np.random.default_rng(0).random((9, 22, 31)) < 0.02
    mask[4] |= tube()[3, :1, :31]
    whole = trace(mask, factors=(2, 3, 4))
    monkeypatch.setattr("napari_neuropil.tracing.skeleton._SLAB_VOXELS", 100)
    in_slabs = trace(mask, factors=(2, 3, 4))
    np.testing.assert_array_equal(in_slabs.vertices, whole.vertices)
    np.testing.assert_array_equal(in_slabs.edges, whole.edges)


@pytest.mark.parametrize("method", sorted(SKELETON_METHODS))
def test_small_and_empty_masks(method: str) -> None:
    if method == "kimimaro":
        pytest.importorskip("kimimaro")
    mask = np.zeros((3, 5, 5), bool)
    assert len(trace(mask, method=method)) == 0
    mask[1, 2, 3] = True
    skeleton = trace(mask, method=method)
    assert len(skeleton) <= 1
    if len(skeleton):
        np.testing.assert_allclose(skeleton.vertices, [[30, 20, 30]])


def test_unknown_methods_are_named() -> None:
    with pytest.raises(SettingsError, match="magic"):
        trace(tube(), method="magic")


def test_swc_names_parents_before_children_and_states_its_unit(tmp_path: Path) -> None:
    # Two trees: a Y whose middle (vertex 1) is thickest, and a pair.
    vertices = np.array([[0, 0, 0], [0, 0, 10], [0, 5, 20], [0, -5, 20], [90, 1, 1], [90, 1, 3]])
    edges = np.array([[0, 1], [1, 2], [3, 1], [5, 4]])
    radii = np.array([1.0, 9.0, 1.0, 1.0, 2.0, 3.0])
    skeleton = Skeleton(vertices.astype(float), edges, radii)
    file = tmp_path / "a.swc"
    write_swc(file, skeleton, unit="nm", comments=["segment 5"])
    text = file.read_text().splitlines()
    assert text[0].startswith("# unit nanometre")
    assert text[1] == "# segment 5"
    table = np.loadtxt(file)
    assert len(table) == 6
    np.testing.assert_array_equal(table[:, 0], np.arange(1, 7))
    assert (table[:, 6] < table[:, 0]).all()
    roots = table[table[:, 6] == -1]
    np.testing.assert_array_equal(sorted(roots[:, 5]), [3, 9])
    drawn = {
        frozenset((tuple(row[2:5]), tuple(table[int(row[6]) - 1, 2:5])))
        for row in table
        if row[6] > 0
    }
    meant = {frozenset((tuple(vertices[a, ::-1]), tuple(vertices[b, ::-1]))) for a, b in edges}
    assert drawn == meant
    write_swc(file, skeleton)
    np.testing.assert_allclose(np.loadtxt(file)[:, 2:6] * 1000, table[:, 2:6], rtol=1e-5)


def test_swc_has_no_cycles_even_of_a_cyclic_graph(tmp_path: Path) -> None:
    ring = Skeleton(np.eye(3), np.array([[0, 1], [1, 2], [2, 0]]), np.ones(3))
    write_swc(tmp_path / "ring.swc", ring)
    parents = np.loadtxt(tmp_path / "ring.swc")[:, 6]
    assert (parents == -1).sum() == 1


def test_swc_of_nothing_is_a_header(tmp_path: Path) -> None:
    empty = Skeleton(np.zeros((0, 3)), np.zeros((0, 2), np.int64), np.zeros(0))
    write_swc(tmp_path / "e.swc", empty)
    assert all(line.startswith("#") for line in (tmp_path / "e.swc").read_text().splitlines())
