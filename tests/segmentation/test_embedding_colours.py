"""Embeddings as colours: components by hand, and one colour for one object in every patch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import ortho_group

from napari_neuropil.geometry import Roi
from napari_neuropil.segmentation.embedding_colours import (
    ColourMosaic,
    blend_weights,
    fitted_projection,
    hull_of,
    principal_projection,
    stretch,
)
from napari_neuropil.segmentation.patch_walk import patches_from_middle

Embeddings = NDArray[np.float32]
OBJECTS = 12


def scene(
    shape: tuple[int, int, int], seed: int = 0, noise: float = 0.05
) -> tuple[Embeddings, NDArray[np.uint8]]:
    """Return 8-dimensional embeddings of rectangles of twelve objects, and the objects."""
    rng = np.random.default_rng(seed)
    _, y, x = np.indices(shape)
    cells = rng.integers(1, OBJECTS + 1, (shape[1] // 7 + 1, shape[2] // 9 + 1))
    objects = cells[y // 7, x // 9].astype(np.uint8)
    centres = rng.normal(0, 1, (8, OBJECTS + 1)).astype(np.float32)
    field = centres[:, objects] + rng.normal(0, noise, (8, *shape))
    return field.astype(np.float32), objects


def spread(colours: NDArray[Any], objects: NDArray[np.uint8]) -> float:
    """Return how much colours differ within objects, on average, of 255."""
    within = [colours[objects == number].astype(float) for number in np.unique(objects)]
    return float(np.mean([abs(part - np.median(part, axis=0)).mean() for part in within]))


def turned(embeddings: Embeddings, rng: np.random.Generator) -> Embeddings:
    """Return the same vectors in another frame: turned, mirrored, moved."""
    frame = ortho_group.rvs(len(embeddings), random_state=rng)
    moved = np.tensordot(frame, embeddings, 1) + rng.normal(0, 5, (len(frame), 1, 1, 1))
    return moved.astype(np.float32)


def mosaic_of(
    embeddings: Embeddings, inside: NDArray[np.bool_], patches: list[Roi], seed: int | None
) -> ColourMosaic:
    rng = np.random.default_rng(seed)
    mosaic = ColourMosaic(hull_of(patches))
    for patch in patches:
        part = embeddings[(slice(None), *patch.slices)]
        mosaic.add(patch, part if seed is None else turned(part, rng), inside[patch.slices])
    return mosaic


def test_components_of_vectors_by_hand() -> None:
    # Along (3, 4) / 5 the values -1, -1, 2; along (4, -3) / 5 the values 1, -1, 0; nothing else.
    along, across = np.array([0.6, 0.8]), np.array([0.8, -0.6])
    vectors = np.outer(along, [-1, -1, 2]) + 0.1 * np.outer(across, [1, -1, 0]) + 7
    projection = principal_projection(vectors.astype(np.float32), np.ones(3))
    components = projection.apply(vectors.astype(np.float32))
    np.testing.assert_allclose(components[0], [-1, -1, 2], atol=1e-5)
    np.testing.assert_allclose(abs(components[1]), [0.1, 0.1, 0], atol=1e-5)
    # Not skewed: the largest entry of the direction, 0.8 along the first axis, is positive.
    assert components[1][0] > 0
    np.testing.assert_array_equal(components[2], 0)


def test_weights_leave_the_background_out() -> None:
    rng = np.random.default_rng(3)
    vectors = np.zeros((4, 300), np.float32)
    vectors[1, :100] = rng.exponential(1, 100)
    vectors[2, 100:] = rng.normal(0, 50, 200)
    weights = (np.arange(300) < 100).astype(float)
    np.testing.assert_allclose(
        principal_projection(vectors, weights).matrix[0], [0, 1, 0, 0], atol=1e-6
    )
    everywhere = principal_projection(vectors, np.zeros(300)).matrix[0]
    np.testing.assert_allclose(abs(everywhere), [0, 0, 1, 0], atol=1e-2)


def test_the_fit_is_least_squares() -> None:
    rng = np.random.default_rng(4)
    vectors = rng.normal(0, 1, (5, 400)).astype(np.float32)
    matrix, offset = rng.normal(0, 1, (3, 5)), rng.normal(0, 1, (3, 1))
    wanted = (matrix @ vectors + offset + rng.normal(0, 0.1, (3, 400))).astype(np.float32)
    weights = rng.uniform(0, 1, 400)
    fitted = fitted_projection(vectors, wanted, weights)
    design = np.concatenate((vectors, np.ones((1, 400)))) * np.sqrt(weights)
    naive = np.linalg.lstsq(design.T, (wanted * np.sqrt(weights)).T, rcond=None)[0].T
    np.testing.assert_allclose(fitted.matrix, naive[:, :5], atol=5e-3)
    np.testing.assert_allclose(fitted.offset, naive[:, 5], atol=5e-3)


@pytest.mark.parametrize("seed", [0, 1])
def test_one_patch_in_any_frame_has_the_same_colours(seed: int) -> None:
    embeddings, objects = scene((4, 40, 40), seed)
    box = Roi.of_shape(objects.shape)
    plain = mosaic_of(embeddings, objects > 0, [box], None).colours(box)
    other = mosaic_of(embeddings, objects > 0, [box], seed + 5).colours(box)
    assert plain.shape == (4, 40, 40, 3)
    assert plain.dtype == np.uint8
    assert abs(plain.astype(int) - other).max() <= 1
    means = np.array([plain[objects == i].mean(axis=0) for i in np.unique(objects)])
    between = np.linalg.norm(means[:, None] - means, axis=-1)
    assert between[~np.eye(len(means), dtype=bool)].min() > 3 * spread(plain, objects)


@pytest.mark.parametrize("seed", [0, 1])
def test_patches_in_frames_of_their_own_agree(seed: int) -> None:
    shape = (6, 90, 110)
    embeddings, objects = scene(shape, seed)
    box = Roi.of_shape(shape)
    patches = patches_from_middle(box, shape, (6, 40, 40), (6, 26, 26))
    assert len(patches) > 9
    inside = objects > 0
    same = mosaic_of(embeddings, inside, patches, None).colours(box).astype(int)
    turned_each = mosaic_of(embeddings, inside, patches, seed + 9).colours(box).astype(int)
    assert abs(same - turned_each).mean() < 3
    assert spread(turned_each, objects) < 1.5 * spread(same, objects)
    alone = np.zeros_like(same)
    for patch in patches:
        part = embeddings[(slice(None), *patch.slices)]
        alone[patch.slices] = mosaic_of(
            part, inside[patch.slices], [Roi.of_shape(part.shape[1:])], seed
        ).colours(Roi.of_shape(part.shape[1:]))
    assert spread(alone, objects) > 3 * spread(turned_each, objects), "or nothing would be shown"


def test_constant_embeddings_are_grey() -> None:
    box = Roi((0, 0, 0), (2, 8, 12))
    left, right = Roi((0, 0, 0), (2, 8, 8)), Roi((0, 0, 4), (2, 8, 12))
    embeddings = np.full((5, 2, 8, 12), 3.3, np.float32)
    colours = mosaic_of(embeddings, np.ones(box.shape, bool), [left, right], None).colours(box)
    assert ((colours >= 127) & (colours <= 128)).all()


def test_without_foreground_all_voxels_count() -> None:
    embeddings, objects = scene((2, 30, 50), noise=0.01)
    box = Roi.of_shape(objects.shape)
    patches = [Roi((0, 0, 0), (2, 30, 30)), Roi((0, 0, 20), (2, 30, 50))]
    nothing = np.zeros(objects.shape, bool)
    with_it = mosaic_of(embeddings, objects > 0, patches, 2).colours(box).astype(int)
    without = mosaic_of(embeddings, nothing, patches, 2).colours(box).astype(int)
    assert abs(with_it - without).max() <= 1


def test_a_patch_without_a_neighbour_is_refused() -> None:
    mosaic = ColourMosaic(Roi((0, 0, 0), (1, 4, 12)))
    vectors = np.ones((4, 1, 4, 4), np.float32)
    mosaic.add(Roi((0, 0, 0), (1, 4, 4)), vectors, np.ones((1, 4, 4), bool))
    with pytest.raises(ValueError, match="overlaps none"):
        mosaic.add(Roi((0, 0, 8), (1, 4, 12)), vectors, np.ones((1, 4, 4), bool))
    with pytest.raises(ValueError, match="do not cover"):
        mosaic.colours(Roi((0, 0, 0), (1, 4, 12)))


def test_stretching_and_blending_by_hand() -> None:
    components = np.zeros((3, 1, 1, 101), np.float32)
    components[0] = np.arange(101)
    components[1] = 0.01 * np.arange(101) / 101
    colours = stretch(components, np.ones((1, 1, 101), bool))
    assert abs(colours[0, 0, 50].astype(int) - 128).max() <= 1
    assert colours[0, 0, [0, 2, 98, 100], 0].tolist() == [0, 0, 255, 255]
    assert abs(colours[..., 1].astype(int) - 128).max() < 15, "noise is not blown up"
    np.testing.assert_allclose(blend_weights((1, 1, 4))[0, 0], [0.25, 0.75, 0.75, 0.25])
    assert (blend_weights((3, 5, 64)) > 0).all()
