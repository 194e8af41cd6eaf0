"""Prompts lie where they must: positive in what is missing, negative in what is too much."""

from __future__ import annotations

import numpy as np
import torch

from napari_neuropil.training.sam_prompts import (
    ABSENT,
    correct_masks,
    draw_cells,
    inside_boxes,
    shake_boxes,
)


def test_cells_are_drawn_in_raster_order() -> None:
    mask = torch.zeros(4, 3, 5, dtype=torch.bool)
    cells = [(0, 4), (1, 2), (2, 0)]
    for y, x in cells:
        mask[:3, y, x] = True
    found, there = draw_cells(mask, torch.tensor([0.0, 0.34, 0.9999999, 0.5]))
    assert found.tolist() == [[0, 4], [1, 2], [2, 0], [0, 0]]
    assert there.tolist() == [True, True, True, False]


def test_all_cells_are_drawn_alike() -> None:
    rng = np.random.default_rng(0)
    mask = torch.from_numpy(rng.random((1, 7, 9)) < 0.3)
    wanted = np.argwhere(mask[0].numpy())
    count = len(wanted)
    chance = (torch.arange(3 * count) + 0.5) / (3 * count)
    found, _ = draw_cells(mask.expand(3 * count, -1, -1), chance)
    np.testing.assert_array_equal(found.numpy(), np.repeat(wanted, 3, axis=0))


def test_corrections_lie_in_the_errors() -> None:
    rng = np.random.default_rng(1)
    wanted = torch.from_numpy(rng.random((50, 6, 8)) < 0.4)
    predicted = torch.from_numpy(rng.random((50, 6, 8)) < 0.4)
    near = torch.ones_like(wanted)
    chances = [torch.from_numpy(rng.random(50, np.float32)) for _ in range(2)]
    cells, signs = correct_masks(predicted, wanted, near, chances[0], chances[1])
    assert cells.shape == (50, 2, 2)
    for n in range(50):
        (py, px), (ny, nx) = cells[n].long().tolist()
        assert wanted[n, py, px]
        assert not predicted[n, py, px]
        assert predicted[n, ny, nx]
        assert not wanted[n, ny, nx]
    assert (signs == torch.tensor([1.0, 0.0])).all()


def test_corrections_without_errors() -> None:
    wanted = torch.zeros(3, 4, 4, dtype=torch.bool)
    wanted[:2, 1:3, 1:3] = True
    wanted[2] = True
    predicted = wanted.clone()
    near = torch.zeros_like(wanted)
    near[0, 0, 0] = True
    half = torch.full((3,), 0.5)
    cells, signs = correct_masks(predicted, wanted, near, half, half)
    # The positive point lies in the object, the negative one near it, and if nothing is near it
    # is none.
    assert [bool(wanted[n][tuple(cells[n, 0].long())]) for n in range(3)] == [True] * 3
    assert cells[0, 1].tolist() == [0, 0]
    assert signs.tolist() == [[1, 0], [1, ABSENT], [1, ABSENT]]


def test_boxes_are_shaken_by_a_share_and_stay_inside() -> None:
    boxes = torch.tensor([[10.0, 20.0, 30.0, 60.0], [0.0, 0.0, 50.0, 100.0]])
    still = shake_boxes(boxes, torch.full((2, 4), 0.5), 0.1, (50, 100))
    assert torch.equal(still, boxes)
    low = shake_boxes(boxes, torch.zeros(2, 4), 0.1, (50, 100))
    assert low.tolist() == [[8, 16, 28, 56], [0, 0, 45, 90]]
    high = shake_boxes(boxes, torch.ones(2, 4), 0.1, (50, 100))
    assert high.tolist() == [[12, 24, 32, 64], [5, 10, 50, 100]]


def test_cells_inside_boxes_by_hand() -> None:
    boxes = torch.tensor([[1.0, 2.0, 2.0, 6.0]])
    assert inside_boxes(boxes, (4, 8)).nonzero().tolist() == [[0, 1, x] for x in range(2, 6)]
    # A quarter of 4 columns, and a whole cell of the one row.
    grown = inside_boxes(boxes, (4, 8), 0.25)[0]
    assert grown.any(1).tolist() == [True, True, True, False]
    assert grown.any(0).tolist() == [False, True, True, True, True, True, True, False]
