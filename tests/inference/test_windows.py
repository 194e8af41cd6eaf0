"""Windows: where they lie, and that a block is one pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from napari_neuropil.geometry import Roi
from napari_neuropil.inference.predict import TilingPlan
from napari_neuropil.inference.windows import WindowPredictor, window_of


def test_windows_lie_around_their_blocks_and_inside_the_volume() -> None:
    shape, window = (20, 100, 40), (17, 33, 65)
    assert window_of(Roi((0, 32, 0), (13, 59, 40)), shape, window) == Roi((0, 29, 0), (17, 62, 40))
    assert window_of(Roi((13, 91, 0), (20, 100, 40)), shape, window) == Roi(
        (3, 67, 0), (20, 100, 40)
    )
    with pytest.raises(ValueError, match="does not fit"):
        window_of(Roi((0, 0, 0), (18, 9, 9)), shape, window)


class _Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.shapes.append(tuple(x.shape))
        return x, x + len(self.shapes)


def test_a_block_is_one_pass_over_its_window() -> None:
    rng = np.random.default_rng(0)
    image = rng.random((5, 50, 60), dtype=np.float32)
    network = _Counting()
    predictor = WindowPredictor(network, TilingPlan((4, 40, 41)))
    kept = []
    predictor.keep = lambda window, values: kept.append((window, values))
    block = Roi((1, 20, 30), (4, 50, 60))
    window = predictor.halo_roi(block, image.shape)
    assert window.shape == (4, 40, 41)
    values = predictor.predict(image[window.slices], window, block, image.shape)
    assert network.shapes == [(1, 1, 4, 40, 41)], "not padded"
    np.testing.assert_array_equal(values[0], image[block.slices])
    np.testing.assert_array_equal(values[1], image[block.slices] + 1)
    assert kept[0][0] == window
    assert kept[0][1].shape == (2, 4, 40, 41)


def test_small_volumes_are_mirrored() -> None:
    image = np.ones((2, 8, 50), np.float32)
    network = _Counting()
    predictor = WindowPredictor(network, TilingPlan((4, 40, 41)))
    block = Roi((0, 0, 0), (2, 8, 41))
    values = predictor.predict(image, Roi.of_shape(image.shape), block, image.shape)
    assert network.shapes == [(1, 1, 2, 33, 41)]
    assert values.shape == (2, 2, 8, 41)
