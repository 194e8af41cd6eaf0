"""Patches: repeatable by step; image and labels move together; damage spares the labels."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from napari_neuropil.training.augmentation import (
    AugmentationSettings,
    damage_image,
    flip_and_turn,
    warp_sections,
)
from napari_neuropil.training.patches import LabelledVolume, PatchSampler, make_patch

_NEAREST = partial(make_patch, offsets=((-1, 0, 0), (0, -1, 0), (0, 0, -1)))
_SHAPE = (6, 24, 20)


def _volume(*, isotropic: bool = False, **options: int) -> LabelledVolume:
    """Return blocks of eight voxels whose grey value tells their id."""
    z, y, x = np.indices((20, 80, 80)) // 8
    labels = (1 + z + 3 * y + 31 * x).astype(np.uint32)
    image = ((labels * 37) % 200 + 20).astype(np.uint8)
    return LabelledVolume("blocks", image, labels, isotropic, **options)


@pytest.mark.parametrize("isotropic", [False, True])
def test_same_step_same_patch(isotropic: bool) -> None:
    sampler = PatchSampler(
        [_volume(isotropic=isotropic)], _SHAPE, _NEAREST, AugmentationSettings(), 3
    )
    first, again, other = sampler.draw(7), sampler.draw(7), sampler.draw(8)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.affinities, again.affinities)
    assert not np.array_equal(first.image, other.image)
    assert first.image.shape == _SHAPE
    assert first.affinities.shape == (3, *_SHAPE)
    assert first.image.dtype == np.float32
    assert 0 <= first.image.min() <= first.image.max() <= 1


def test_volumes_join_at_their_step() -> None:
    white = np.full((8, 40, 40), 255, np.uint8)
    late = LabelledVolume(
        "late", white, np.ones_like(white, np.uint32), isotropic=False, share=1e9, from_step=5
    )
    still = AugmentationSettings(
        warp=0, translate=0, slip=0, damage=0, grey=0, noise=0, blur=0, occlude=0
    )
    sampler = PatchSampler([_volume(), late], _SHAPE, _NEAREST, still, 0)
    assert sampler.draw(4).image.max() < 1
    assert sampler.draw(5).image.min() == 1


def test_image_and_labels_move_together() -> None:
    volume = _volume()
    rng = np.random.default_rng(4)
    settings = AugmentationSettings(warp=1, translate=1, slip=0)
    grey_of = dict(zip(volume.labels.ravel().tolist(), volume.image.ravel().tolist(), strict=True))
    for _ in range(5):
        crop, labels = volume.image[:6].astype(np.float32), volume.labels[:6]
        crop, labels = flip_and_turn(crop, labels, rng)
        image, moved = warp_sections(crop, labels, _SHAPE, settings, rng)
        wanted = np.vectorize(grey_of.get)(moved)
        # Bilinear sampling mixes colours at edges; elsewhere they must agree.
        assert (np.abs(image - wanted) < 1).mean() > 0.6


def test_slip_moves_the_image_alone() -> None:
    volume = _volume()
    settings = AugmentationSettings(warp=0, translate=0, slip=1, jump_pixels=8)
    image, labels = warp_sections(
        volume.image[:6].astype(np.float32), volume.labels[:6], _SHAPE, settings,
        np.random.default_rng(1),
    )  # fmt: skip
    whole = volume.labels[:6, 28:52, 30:50]
    np.testing.assert_array_equal(labels, whole)
    moved = [
        not np.allclose(a, b, atol=0.1)
        for a, b in zip(image, volume.image[:6, 28:52, 30:50], strict=True)
    ]
    assert sum(moved) == 1


def test_damage_keeps_the_range_and_changes_something() -> None:
    always = AugmentationSettings(damage=1, grey=1, noise=1, blur=1, occlude=1)
    image = np.random.default_rng(0).random((8, 32, 32), dtype=np.float32)
    found = damage_image(image, always, np.random.default_rng(1))
    assert found.dtype == np.float32
    assert 0 <= found.min() <= found.max() <= 1
    assert np.abs(found - image).mean() > 0.01
    none = AugmentationSettings(damage=0, grey=0, noise=0, blur=0, occlude=0)
    np.testing.assert_array_equal(damage_image(image, none, np.random.default_rng(1)), image)
