"""Darkness of membranes: seen whatever the background, the same in blocks as in one piece."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_neuropil.geometry import Roi, VoxelSize
from napari_neuropil.segmentation.darkness import (
    affinities_from_depth,
    depth_halo,
    membrane_depth,
)

ISO = VoxelSize(8, 8, 8)
THICK = VoxelSize(30, 8, 8)


def test_a_membrane_is_as_deep_as_it_is_dark_on_any_background() -> None:
    grey = np.full((20, 20, 40), 0.8, np.float32)
    grey[..., 20:] = 0.4  # a dark cell beside a bright one
    grey[:, :, 8:10] -= 0.3
    grey[:, :, 30:32] -= 0.3
    depth = membrane_depth(grey, ISO)
    line = depth[10, 10]
    assert line[8] > 0.25
    assert line[30] == pytest.approx(line[8], abs=1e-5)
    assert line[3] == line[25] == line[36] == 0
    assert depth.dtype == np.float32


def test_thick_sections_are_compared_within_themselves() -> None:
    grey = np.full((5, 30, 30), 0.8, np.float32)
    grey[2] = 0.2  # a dark section is no membrane
    assert not membrane_depth(grey, THICK).any()
    assert depth_halo(THICK)[0] == 0
    assert membrane_depth(np.repeat(grey, 4, 0)[6:14], ISO).any()


def test_blocks_with_their_halo_equal_the_whole() -> None:
    grey = np.random.default_rng(0).random((24, 40, 40), dtype=np.float32)
    whole = membrane_depth(grey, ISO)
    roi = Roi((10, 14, 20), (13, 25, 30))
    wide = roi.grown(depth_halo(ISO), grey.shape)
    part = membrane_depth(grey[wide.slices], ISO)
    inner = roi.shifted([-a for a in wide.start])
    np.testing.assert_allclose(part[inner.slices], whole[roi.slices], atol=1e-6)


def test_affinities_take_the_deeper_voxel_of_a_pair() -> None:
    depth = np.array([[[0.0, 0.1, 0.5, 0.0]]], np.float32)
    affinities = affinities_from_depth(depth, 0.4)
    assert affinities.shape == (3, 1, 1, 4)
    np.testing.assert_allclose(affinities[2, 0, 0], [1, 0.75, 0, 0])
    np.testing.assert_allclose(affinities[0, 0, 0], [1, 0.75, 0, 1])


def test_real_contacts_are_told_apart(real_data: Path) -> None:
    """The mean over contacts of published fragments ranks right merges above wrong ones."""
    import h5py
    from scipy.stats import mannwhitneyu

    from napari_neuropil.segmentation.rag import build_rag

    with h5py.File(real_data / "fib25_sample2.h5") as file:
        box = np.s_[:40, :120, :120]
        image, fragments, labels = (file[n][box] for n in ("image", "fragments", "labels"))
    _, fragments = np.unique(fragments, return_inverse=True)
    fragments = fragments.reshape(image.shape).astype(np.uint64) + 1
    depth = membrane_depth(image.astype(np.float32) / 255, ISO)
    full = float(np.percentile(depth, 95))
    rag = build_rag(fragments, affinities_from_depth(depth, full))
    truth = np.zeros(int(fragments.max()) + 1, np.int64)
    for fragment in range(1, len(truth)):
        inside = labels[fragments == fragment]
        values, counts = np.unique(inside, return_counts=True)
        truth[fragment] = values[counts.argmax()]
    same = truth[rag.contacts[:, 0].astype(int)] == truth[rag.contacts[:, 1].astype(int)]
    area = mannwhitneyu(rag.score[same], rag.score[~same]).statistic / (same.sum() * (~same).sum())
    assert area > 0.8
