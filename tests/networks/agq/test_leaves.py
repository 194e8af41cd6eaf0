"""Leaves of the components' tree: two neurons behind a leak, bumps, and a naive reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from napari_neuropil.networks.agq.components import (
    LEAF_QUANTILES,
    component_leaves,
    label_components,
)


def _leaking() -> NDArray[np.float32]:
    """Return two bright halves, the left one a little brighter, whose membrane leaks."""
    shares = np.full((3, 20, 20), 0.05, np.float32)
    shares[:, 2:18, 2:9] = 0.9
    shares[:, 2:18, 11:18] = 0.8
    shares[:, 9:11, 9:11] = 0.6
    # Networks give no plateaus.
    slopes = np.linspace(0, 0.04, shares.size, dtype=np.float32).reshape(shares.shape)
    return shares - slopes


def test_a_leak_does_not_join_two_neurons() -> None:
    leaves = component_leaves(_leaking(), 20)
    assert leaves.max() == 2
    for number, half in ((1, leaves[:, 2:18, 2:9]), (2, leaves[:, 2:18, 11:18])):
        assert set(np.unique(half[half > 0])) == {number}
    assert not leaves[:, 9:11, 9:11].any()
    assert not leaves[:, :2].any()
    logits = torch.logit(torch.from_numpy(_leaking()))[:, None].expand(-1, 3, -1, -1)
    assert len(label_components(logits, 100, 20)[1]) == 1  # as published: the leak joins
    labels, sizes = label_components(logits, 100, 20, leaves=True)
    assert sizes.tolist() == np.bincount(leaves.ravel())[1:].tolist()
    np.testing.assert_array_equal(labels.numpy(), leaves)
    labels, sizes = label_components(logits, 1, 20, leaves=True)
    assert len(sizes) == labels.max() == 1


def test_small_ones_and_flat_volumes_have_none() -> None:
    assert component_leaves(_leaking(), 20).max() == 2
    assert component_leaves(_leaking(), 3 * 16 * 7).max() < 2
    assert not component_leaves(np.full((2, 5, 5), 0.5, np.float32), 1).any()
    logits = torch.zeros(2, 3, 4, 4)
    assert len(label_components(logits, 100, 1, leaves=True)[1]) == 0


def _naive(shares: NDArray[np.float32], smallest: int) -> list[NDArray[np.bool_]]:
    leaves: list[NDArray[np.bool_]] = []
    for threshold in sorted({float(np.quantile(shares, q)) for q in LEAF_QUANTILES}, reverse=True):
        parts, count = ndimage.label(shares > threshold)
        for part in range(1, count + 1):
            mask = parts == part
            if mask.sum() > smallest and not any((mask & leaf).any() for leaf in leaves):
                leaves.append(mask)
    return sorted(leaves, key=lambda mask: int(np.flatnonzero(mask.ravel())[0]))


@pytest.mark.parametrize("smallest", [0, 10, 60])
def test_equal_a_naive_search_in_the_order_of_first_voxels(smallest: int) -> None:
    noise = np.random.default_rng(3).random((5, 24, 24))
    shares = ndimage.gaussian_filter(noise, (0.5, 1.5, 1.5)).astype(np.float32)
    leaves = component_leaves(shares, smallest)
    wanted = _naive(shares, smallest)
    assert leaves.max() == len(wanted) > 3
    for number, mask in enumerate(wanted, start=1):
        np.testing.assert_array_equal(leaves == number, mask)
