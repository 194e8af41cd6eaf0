"""Surfaces: closed, outside out, at the right place, the same whatever the chunks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_neuropil.errors import CancelledError, VolumeFormatError
from napari_neuropil.geometry import Roi, VoxelSize
from napari_neuropil.segmentation import mesh as mesh_module
from napari_neuropil.segmentation.mesh import Mesh, mesh_box, mesh_mask, pooling_factors

SIZE = VoxelSize(30.0, 8.0, 4.0)


def ball(radius: int, shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    grid = np.indices(shape) - np.array(shape).reshape(3, 1, 1, 1) // 2
    return np.asarray((grid**2).sum(axis=0) <= radius**2)


def edge_counts(mesh: Mesh) -> NDArray[Any]:
    """How often each directed edge has its opposite: 0 wherever the surface has a hole."""
    a, b, c = mesh.faces.T.astype(np.int64)
    n = len(mesh.vertices)
    forward = np.concatenate([a * n + b, b * n + c, c * n + a])
    backward = np.concatenate([b * n + a, c * n + b, a * n + c])
    return np.isin(forward, backward)


def test_volume_place_and_outside() -> None:
    mask = np.zeros((6, 20, 30), bool)
    mask[1:4, 5:15, 8:28] = True
    mesh = mesh_mask(mask, SIZE, origin=(10, 0, 7), translation=(3000.0, -50.0, 0.0))
    assert mesh.vertices.dtype == np.float32
    assert mesh.faces.dtype == np.int32
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    np.testing.assert_allclose(low, [3000 + 10.5 * 30, -50 + 4.5 * 8, 14.5 * 4])
    np.testing.assert_allclose(high, [3000 + 13.5 * 30, -50 + 14.5 * 8, 34.5 * 4])
    # Positive: the faces look outwards. Marching cubes cuts the corners, hence a little less.
    assert mesh.volume_um3 == pytest.approx(3 * 10 * 20 * SIZE.volume_um3, rel=0.08)
    assert mesh.volume_um3 > 0


def test_chunks_are_welded_into_the_surface_of_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    mask = ball(14, (40, 41, 39)) & (rng.random((40, 41, 39)) > 0.02)
    one = mesh_mask(mask, SIZE)
    monkeypatch.setattr(mesh_module, "_CHUNK", 7)
    many = mesh_mask(mask, SIZE)
    assert len(many) == len(one)
    assert len(many.vertices) == len(one.vertices)
    np.testing.assert_array_equal(np.unique(many.vertices, axis=0), np.unique(one.vertices, axis=0))
    assert many.volume_um3 == pytest.approx(one.volume_um3, rel=1e-6)
    assert edge_counts(many).all()


@pytest.mark.parametrize("factors", [(1, 1, 1), (1, 3, 5), (2, 2, 2)])
def test_surface_is_closed_where_the_box_cuts(factors: tuple[int, int, int]) -> None:
    mask = ball(12, (24, 25, 26))[6:, :, :18]
    mesh = mesh_mask(mask, SIZE, factors=factors)
    assert edge_counts(mesh).all()
    assert mesh.volume_um3 == pytest.approx(mask.sum() * SIZE.volume_um3, rel=0.3)


def test_pooling_keeps_a_thin_process() -> None:
    mask = np.zeros((8, 64, 8), bool)
    mask[3:5, :, 3:5] = True
    mesh = mesh_mask(mask, VoxelSize(8, 8, 8), factors=(3, 3, 3))
    extent = mesh.vertices.max(axis=0) - mesh.vertices.min(axis=0)
    assert extent[1] > 60 * 8
    assert edge_counts(mesh).all()


def test_reading_in_blocks_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = ball(11, (25, 31, 37))
    whole = mesh_mask(mask, SIZE, factors=(2, 3, 2))
    monkeypatch.setattr(mesh_module, "_SLAB_VOXELS", 500)
    boxes: list[Roi] = []

    def read(box: Roi) -> NDArray[np.bool_]:
        boxes.append(box)
        return mask[box.slices]

    parts = mesh_box(read, Roi.of_shape(mask.shape), SIZE, factors=(2, 3, 2))
    assert max(box.size for box in boxes) <= 500
    assert sum(box.size for box in boxes) == mask.size
    np.testing.assert_array_equal(parts.vertices, whole.vertices)
    np.testing.assert_array_equal(parts.faces, whole.faces)


def test_pooling_respects_budget_and_thick_sections() -> None:
    assert pooling_factors((20, 100, 100), SIZE, 200_000) == (1, 1, 1)
    # Sections of 30 nm stay whole until the pixels are as coarse.
    assert pooling_factors((100, 1000, 1000), VoxelSize(30, 6, 6), 4_000_000) == (1, 5, 5)
    factors = pooling_factors((100, 1000, 1000), VoxelSize(30, 6, 6), 100_000)
    assert factors[1] // factors[0] in (4, 5, 6)
    counts = [-(-n // f) for n, f in zip((100, 1000, 1000), factors, strict=True)]
    assert np.prod(counts) <= 100_000
    assert pooling_factors((3, 3, 3), SIZE, 1) == (3, 3, 3)


def test_nothing_gives_an_empty_mesh() -> None:
    assert len(mesh_mask(np.zeros((3, 4, 5), bool), SIZE)) == 0
    assert mesh_mask(np.zeros((0, 4, 5), bool), SIZE).volume_um3 == 0
    with pytest.raises(VolumeFormatError, match="shape"):
        mesh_mask(np.zeros((4, 5), bool), SIZE)


def test_stop_is_heard() -> None:
    asked = iter([False, True])
    with pytest.raises(CancelledError):
        mesh_box(
            lambda box: np.ones(box.shape, bool),
            Roi((0, 0, 0), (8, 8, 8)),
            SIZE,
            stop=lambda: next(asked),
        )
