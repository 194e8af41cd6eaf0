"""Windows: where they lie, and that a block is one pass."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from napari_neuropil.geometry import Roi, Shape
from napari_neuropil.inference.predict import TilingPlan
from napari_neuropil.inference.windows import WindowPredictor, even_windows, window_of


def test_windows_lie_around_their_blocks_and_inside_the_volume() -> None:
    shape, window = (20, 100, 40), (17, 33, 65)
    assert window_of(Roi((0, 32, 0), (13, 59, 40)), shape, window) == Roi((0, 29, 0), (17, 62, 40))
    assert window_of(Roi((13, 91, 0), (20, 100, 40)), shape, window) == Roi(
        (3, 67, 0), (20, 100, 40)
    )
    with pytest.raises(ValueError, match="does not fit"):
        window_of(Roi((0, 0, 0), (18, 9, 9)), shape, window)


@pytest.mark.parametrize(
    ("grid", "asked", "overlap", "window", "block"),
    [
        # Small enough for one window, and up to a quarter longer than one.
        ((5, 30, 40), (16, 160, 160), 0.2, (5, 30, 40), (5, 30, 40)),
        ((20, 200, 100), (16, 160, 160), 0.2, (20, 200, 100), (20, 200, 100)),
        # Longer: two.
        ((21, 201, 100), (16, 160, 160), 0.2, (16, 160, 100), (11, 101, 100)),
        # 50 = 4 windows of 16 that share 4 at least, on average; 13 + 13 + 13 + 11.
        ((50, 520, 520), (16, 160, 160), 0.2, (16, 160, 160), (13, 130, 130)),
        # As published: one plane is shared.
        ((33, 513, 257), (17, 257, 257), 0.0, (17, 257, 257), (17, 257, 257)),
        ((4, 66, 3), (1, 33, 2), 0.5, (1, 33, 2), (1, 17, 2)),
    ],
)
def test_as_few_windows_as_cover_the_volume(
    grid: Shape, asked: Shape, overlap: float, window: Shape, block: Shape
) -> None:
    assert even_windows(grid, asked, overlap) == (window, block)


def test_where_memory_is_short_no_window_grows() -> None:
    assert even_windows((20, 33, 33), (16, 33, 33), 0.2, 1.0) == ((16, 33, 33), (10, 33, 33))


@given(
    st.tuples(*[st.integers(1, 90)] * 3),
    st.tuples(*[st.integers(1, 40)] * 3),
    st.floats(0, 0.9),
)
def test_windows_of_neighbouring_blocks_share_planes(
    grid: Shape, asked: Shape, overlap: float
) -> None:
    window, block = even_windows(grid, asked, overlap)
    for axis, (n, w, b) in enumerate(zip(grid, window, block, strict=True)):
        assert b <= w <= n
        along = [
            window_of(_line(axis, start, min(start + b, n)), _line(axis, 0, n).stop, window)
            for start in range(0, n, b)
        ]
        wished = max(1, w - max(1, int(w * (1 - overlap))))
        for before, after in pairwise(along):
            shared = before.stop[axis] - after.start[axis]
            assert shared >= min(wished / 2, w - 1)


def _line(axis: int, start: int, stop: int) -> Roi:
    starts, stops = [0, 0, 0], [1, 1, 1]
    starts[axis], stops[axis] = start, stop
    return Roi((starts[0], starts[1], starts[2]), (stops[0], stops[1], stops[2]))


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
