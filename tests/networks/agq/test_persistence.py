"""Components that last: two neurons behind a leak, shallow bumps, and a naive reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from napari_neuropil.networks.agq.components import label_components
from napari_neuropil.networks.agq.persistence import persistent_components


def _leaking() -> NDArray[np.float32]:
    """Return two bright halves whose membrane leaks."""
    shares = np.full((3, 20, 20), 0.05, np.float32)
    shares[:, 2:18, 2:9] = 0.9
    shares[:, 2:18, 11:18] = 0.8
    shares[:, 9:11, 9:11] = 0.6
    return shares


def test_a_leak_does_not_join_two_neurons() -> None:
    parts = persistent_components(_leaking(), 20, 0.1, 0.3)
    assert parts.max() == 2
    for number, half in ((1, parts[:, 2:18, 2:9]), (2, parts[:, 2:18, 11:18])):
        assert (half == number).all()
    # Of the leak only what came before the halves met is anybody's.
    assert np.count_nonzero(parts[:, 9:11, 9:11]) < 3
    assert not parts[:, :2].any()
    deeper = persistent_components(_leaking(), 20, 0.25, 0.3)
    assert deeper.max() == 1  # the right half lies 0.2 above the leak
    assert (deeper[_leaking() > 0.3] == 1).all()
    # Parts as small as these end nobody: they are one.
    assert persistent_components(_leaking(), 3 * 16 * 8, 0.1, 0.3).max() == 1
    assert persistent_components(_leaking(), 1000, 0.1, 0.3).max() == 0


def test_as_queries() -> None:
    shares = torch.from_numpy(_leaking())
    assert len(label_components(shares, 100, 20)[1]) == 1  # as published: the leak joins
    labels, sizes = label_components(shares, 100, 20, persistence=0.1)
    np.testing.assert_array_equal(labels.numpy(), persistent_components(_leaking(), 20, 0.1, 0.3))
    assert sizes.tolist() == np.bincount(labels.numpy().ravel())[1:].tolist()
    assert sizes.min() >= 3 * 16 * 7
    labels, sizes = label_components(shares, 1, 20, persistence=0.1)
    assert len(sizes) == labels.max() == 1
    assert len(label_components(torch.zeros(2, 4, 4), 100, 1, persistence=0.1)[1]) == 0


def _naive(
    shares: NDArray[np.float32], smallest: int, persistence: float, lowest: float
) -> list[set[int]]:
    """Return the parts as sets of places, by looking at all that is above each value again."""
    flat = shares.ravel()
    owner = np.full(flat.size, -1)  # the peak
    for value in np.unique(flat[flat > lowest])[::-1]:
        (voxel,) = np.flatnonzero(flat == value)
        above, _ = ndimage.label(shares > value)
        with_it, _ = ndimage.label(shares >= value)
        here = with_it.ravel() == with_it.ravel()[voxel]
        regions = set(above.ravel()[here].tolist()) - {0}
        ends, deep, tops = False, [], []
        for region in regions:
            inside = np.flatnonzero(above.ravel() == region)
            owners = set(owner[inside].tolist())
            if len(owners) > 1:  # closed before: it holds several, or voxels of nobody
                ends = True
                continue
            (top,) = owners
            tops.append(top)
            if flat[top] - value >= persistence and len(inside) > smallest:
                deep.append(top)
        if ends or len(deep) > 1:
            continue
        own = deep[0] if deep else max(tops, key=lambda t: flat[t], default=int(voxel))
        for top in tops:
            owner[owner == top] = own
        owner[voxel] = own
    found = [set(np.flatnonzero(owner == t).tolist()) for t in np.unique(owner[owner >= 0])]
    return [part for part in found if len(part) > smallest]


@pytest.mark.parametrize("seed", range(6))
def test_against_a_naive_reference(seed: int) -> None:
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.random((4, 11, 13)), 1.2)
    shares = ((noise - noise.min()) / np.ptp(noise)).astype(np.float32)
    assert len(np.unique(shares)) == shares.size
    for smallest, persistence in ((0, 0.05), (3, 0.2), (10, 0.1)):
        parts = persistent_components(shares, smallest, persistence, 0.25)
        wanted = _naive(shares, smallest, persistence, 0.25)
        numbers = range(1, int(parts.max()) + 1)
        found = [set(np.flatnonzero(parts.ravel() == n).tolist()) for n in numbers]
        assert [min(part) for part in found] == sorted(min(part) for part in found)
        assert sorted(map(sorted, found)) == sorted(map(sorted, wanted))
