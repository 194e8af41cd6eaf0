"""Targets by hand."""

from __future__ import annotations

import numpy as np

from napari_neuropil.training.targets import affinities_of_labels, widen_borders


def test_affinities_look_back() -> None:
    labels = np.zeros((2, 3, 4), np.uint32)
    labels[:, 1, 1] = 5  # a column one voxel wide
    labels[0, 1, 2] = 6
    affinities, known = affinities_of_labels(labels, ((-1, 0, 0), (0, -1, 0), (0, 0, -1)))
    assert affinities[0].sum() == 1
    assert affinities[0, 1, 1, 1] == 1  # the pair (z=1, z=0) is stored at z=1
    assert affinities[1].sum() == 0
    assert affinities[2].sum() == 0
    assert not known[0, 0].any()
    assert known[0, 1].all()
    assert not known[2, :, :, 0].any()


def test_long_and_forward_offsets() -> None:
    labels = np.ones((1, 5, 5), np.uint32)
    affinities, known = affinities_of_labels(labels, ((0, -2, 0), (0, 2, -1)))
    assert known[0, 0, :2].sum() == 0
    assert affinities[0].sum() == 15
    assert known[1, 0, :3, 1:].all()
    assert known[1].sum() == 12
    assert (affinities[1] == known[1]).all()


def test_borders_are_widened_between_objects_only() -> None:
    labels = np.zeros((3, 1, 8), np.uint32)
    labels[:, 0, :3] = 1
    labels[:, 0, 3:6] = 2
    wide = widen_borders(labels, through_sections=False)
    np.testing.assert_array_equal(wide[0, 0], [1, 1, 0, 0, 2, 2, 0, 0])
    labels[2] = np.where(labels[2] > 0, 9, 0)
    np.testing.assert_array_equal(widen_borders(labels, through_sections=False)[1], wide[1])
    assert (widen_borders(labels, through_sections=True)[1:] == 0).all()
