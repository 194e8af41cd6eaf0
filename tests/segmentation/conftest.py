"""Generated cells with known affinities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree


@dataclass(frozen=True)
class Cells:
    labels: NDArray[np.uint64]
    affinities: NDArray[np.float32]
    foreground: NDArray[np.float32]

    @property
    def inside(self) -> NDArray[np.bool_]:
        return self.labels > 0


def oracle_affinities(labels: NDArray[Any]) -> NDArray[np.float32]:
    """Value at p is the pair (p, p - 1) along the channel's axis; 1 iff equal and > 0."""
    affinities = np.zeros((3, *labels.shape), np.float32)
    for axis in range(3):
        ids = np.moveaxis(labels, axis, 0)
        channel = np.moveaxis(affinities[axis], axis, 0)
        channel[1:] = (ids[1:] == ids[:-1]) & (ids[1:] > 0)
        channel[0] = ids[0] > 0
    return affinities


def voronoi_cells(shape: tuple[int, int, int], count: int, seed: int) -> Cells:
    """Cells around random points, sections 4 times as thick as pixels, membranes of 2-3 pixels."""
    random = np.random.default_rng(seed)
    scale = np.array([4.0, 1.0, 1.0])
    points = random.uniform(size=(count, 3)) * np.array(shape) * scale
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1) * scale
    ids = cKDTree(points).query(grid.reshape(-1, 3))[1].reshape(shape) + 1
    border = ndimage.maximum_filter(ids, (1, 3, 3)) != ndimage.minimum_filter(ids, (1, 3, 3))
    labels = np.where(border, 0, ids).astype(np.uint64)
    return Cells(labels, oracle_affinities(labels), (labels > 0).astype(np.float32))


@pytest.fixture(scope="session")
def cells() -> Cells:
    return voronoi_cells((10, 96, 96), 14, seed=3)


@pytest.fixture(scope="session")
def make_oracle() -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    return oracle_affinities


@pytest.fixture(scope="session")
def make_cells() -> Callable[[tuple[int, int, int], int, int], Cells]:
    return voronoi_cells
