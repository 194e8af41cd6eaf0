"""Tiles cover the volume; blending is right; a block's result does not depend on the blocks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_neuropil.blockwise import split_blocks
from napari_neuropil.errors import NeuropilError
from napari_neuropil.geometry import Roi
from napari_neuropil.inference.predict import (
    VIEWS,
    Predictor,
    TilingPlan,
    turn,
    turn_back,
    turned_tile,
)
from napari_neuropil.inference.tiles import (
    blending_weight,
    count_passes,
    tile_starts,
    tiles_touching,
    without_margin,
)


@given(st.integers(1, 400), st.integers(1, 64), st.floats(0, 0.75))
def test_starts_cover_the_axis(length: int, tile: int, overlap: float) -> None:
    starts = tile_starts(length, tile, overlap)
    assert starts[0] == 0
    assert starts[-1] == max(0, length - tile)
    stride = max(1, int(tile * (1 - overlap)))
    assert all(0 < b - a <= stride + 1 for a, b in itertools.pairwise(starts))


@given(
    st.tuples(st.integers(1, 40), st.integers(1, 90), st.integers(1, 90)),
    st.tuples(st.integers(2, 20), st.integers(8, 60), st.integers(8, 60)),
)
def test_passes_are_counted_without_listing_them(
    shape: tuple[int, int, int], block_shape: tuple[int, int, int]
) -> None:
    tile = (8, 32, 32)
    listed = sum(
        len(tiles_touching(b.roi, shape, tile, 0.25)) for b in split_blocks(shape, block_shape)
    )
    assert count_passes(shape, block_shape, tile, 0.25) == listed


@given(
    st.integers(1, 200), st.integers(1, 200), st.floats(0, 0.75), st.integers(1, 5),
    st.integers(12, 40),
)  # fmt: skip
def test_every_voxel_is_answered_for_despite_margins(
    low: int, length: int, overlap: float, margin: int, tile: int
) -> None:
    shape, low = (1, 1, length), min(low, length) - 1
    roi = Roi((0, 0, low), (1, 1, length))
    weights = np.zeros(length)
    for place in tiles_touching(roi, shape, (1, 1, tile), overlap, (0, 0, margin)):
        weight = without_margin(blending_weight(place.shape, overlap), place, shape, (0, 0, margin))
        weights[place.start[2] : place.stop[2]] += weight[0, 0]
        # What a tile cannot know does not count, except at the volume's faces.
        assert (weight[0, 0, :margin] == 0).all() == (place.start[2] > 0)
        assert (weight[0, 0, -margin:] == 0).all() == (place.stop[2] < length)
    assert (weights[low:] > 0).all()


def test_tiles_by_hand() -> None:
    # 24 sections need two tiles of 16; elsewhere one is enough.
    whole = Roi.of_shape((24, 32, 32))
    assert tiles_touching(whole, whole.shape, (16, 32, 32), 0.25) == [
        Roi((0, 0, 0), (16, 32, 32)),
        Roi((8, 0, 0), (24, 32, 32)),
    ]
    part = Roi((17, 0, 0), (24, 5, 5))
    assert len(tiles_touching(part, whole.shape, (16, 32, 32), 0.25)) == 1


def test_weight_is_positive_and_highest_inside() -> None:
    weight = blending_weight((8, 16, 16), 0.25)
    assert weight.min() > 0
    assert weight[4, 8, 8] == 1
    assert weight[4, 0, 8] < weight[4, 1, 8] < weight[4, 8, 8]


class _Local(nn.Module):
    """Depends on the voxel alone, so that blending must give it back exactly."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.cat([x * 0.5, x * x, 1 - x], 1), x


class _Contextual(nn.Module):
    """Depends on the tile as instance norm does."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = torch.sigmoid(x - x.mean((2, 3, 4), keepdim=True))
        return torch.cat([y, y, y], 1), y


def _image(shape: tuple[int, int, int]) -> NDArray[np.float32]:
    return np.random.default_rng(0).random(shape, dtype=np.float32)


@pytest.mark.parametrize("shape", [(20, 70, 90), (3, 10, 7), (8, 32, 32)])
def test_local_network_comes_back_exactly(shape: tuple[int, int, int]) -> None:
    image = _image(shape)
    whole = Roi.of_shape(shape)
    predictor = Predictor(_Local(), TilingPlan((8, 32, 32), 0.25))
    found = predictor.predict(image, whole, whole, shape)
    assert found.shape == (4, *shape)
    np.testing.assert_allclose(found, [image * 0.5, image**2, 1 - image, image], atol=1e-6)
    chosen = Predictor(_Local(), TilingPlan((8, 32, 32), 0.25), channels=[2, 3])
    np.testing.assert_allclose(
        chosen.predict(image, whole, whole, shape), [1 - image, image], atol=1e-6
    )


@settings(max_examples=25, deadline=None)
@given(st.tuples(st.integers(3, 20), st.integers(10, 60), st.integers(10, 60)))
def test_any_blocks_give_the_one_shot_result(block_shape: tuple[int, int, int]) -> None:
    shape = (18, 50, 45)
    image = _image(shape)
    predictor = Predictor(_Contextual(), TilingPlan((8, 32, 32), 0.25, batch=2))
    whole = Roi.of_shape(shape)
    wanted = predictor.predict(image, whole, whole, shape)
    found = np.zeros_like(wanted)
    for block in split_blocks(shape, block_shape):
        halo = predictor.halo_roi(block.roi, shape)
        part = predictor.predict(image[halo.slices], halo, block.roi, shape)
        found[(slice(None), *block.roi.slices)] = part
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert wanted.std() > 0.01


class _Slopes(nn.Module):
    """Channels are differences along the network's own z, y, x: it sees which way it looks."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        before = [
            torch.cat([x.narrow(a, 0, 1), x.narrow(a, 0, x.shape[a] - 1)], a) for a in (2, 3, 4)
        ]
        steps = [x - b for b in before]
        return torch.cat(steps, 1), x


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_comes_back_to_the_volumes_axes(view: tuple[int, int, int]) -> None:
    image = _image((32, 48, 32))
    network = _Slopes()
    own = np.concatenate([t.numpy() for t in network(torch.from_numpy(image)[None, None])], 1)
    turned = turn(image[None], view)
    seen = network(torch.from_numpy(np.ascontiguousarray(turned))[:, None])
    found = turn_back(np.concatenate([t.numpy() for t in seen], 1), view)
    np.testing.assert_allclose(found, own, atol=1e-6)
    assert turned_tile((8, 16, 32), view)[view[0]] == 8


def test_three_views_keep_the_lowest_and_do_not_depend_on_blocks() -> None:
    shape = (26, 50, 45)
    image, whole = _image(shape), Roi.of_shape(shape)
    one = Predictor(_Contextual(), TilingPlan((8, 32, 32), 0.25))
    three = Predictor(_Contextual(), TilingPlan((8, 32, 32), 0.25, views=3))
    single = one.predict(image, whole, whole, shape)
    wanted = three.predict(image, whole, whole, shape)
    assert (wanted <= single + 1e-6).all()
    assert (wanted < single - 1e-3).mean() > 0.1
    found = np.zeros_like(wanted)
    for block in split_blocks(shape, (13, 30, 20)):
        halo = three.halo_roi(block.roi, shape)
        part = three.predict(image[halo.slices], halo, block.roi, shape)
        found[(slice(None), *block.roi.slices)] = part
    np.testing.assert_allclose(found, wanted, atol=1e-6)


class _Hungry(_Local):
    """Runs out of memory on more than so many voxels."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if x.numel() > self.limit:
            raise torch.OutOfMemoryError("planted")
        return super().forward(x)


def test_out_of_memory_halves_batch_then_tile_and_says_so() -> None:
    image = _image((8, 64, 64))
    whole = Roi.of_shape(image.shape)
    notices: list[str] = []
    plan = TilingPlan((8, 64, 64), 0.25, batch=2)
    predictor = Predictor(_Hungry(8 * 32 * 32), plan, None, notices.append)
    found = predictor.predict(image, whole, whole, image.shape)
    np.testing.assert_allclose(found[3], image, atol=1e-6)
    assert predictor.plan.batch == 1
    assert predictor.plan.tile_shape == (8, 32, 32)
    assert [("tiles at a time" in n, "tile (8, 32, 32)" in n) for n in notices] == [
        (True, False),
        (False, True),
    ]
    with pytest.raises(NeuropilError, match="even with the smallest tile"):
        Predictor(_Hungry(10), plan).predict(image, whole, whole, image.shape)


def test_other_runtime_errors_are_not_swallowed() -> None:
    class _Broken(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor]:
            raise RuntimeError("shapes differ")

    image = _image((4, 32, 32))
    whole = Roi.of_shape(image.shape)
    with pytest.raises(RuntimeError, match="shapes differ"):
        Predictor(_Broken(), TilingPlan((4, 32, 32))).predict(image, whole, whole, image.shape)


def test_every_tile_lies_inside() -> None:
    whole = Roi.of_shape((20, 45, 33))
    tiles = tiles_touching(whole, whole.shape, (16, 32, 32), 0.2)
    assert all(t.intersection(whole) == t for t in tiles)
