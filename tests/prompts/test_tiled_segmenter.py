"""Tiles cover a section, prompts find theirs, and masks come back into the section."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from napari_neuropil.errors import SettingsError
from napari_neuropil.prompts.prompt import Prompt
from napari_neuropil.prompts.section_tiles import (
    prompt_in_tile,
    tile_boxes,
    tile_of_prompt,
)
from napari_neuropil.prompts.tiled_segmenter import TiledSegmenter


@pytest.mark.parametrize(
    ("shape", "side", "overlap"), [((10, 7), 10, 3), ((100, 31), 16, 4), ((17, 300), 16, 15)]
)
def test_tiles_cover_the_section_and_overlap(
    shape: tuple[int, int], side: int, overlap: int
) -> None:
    boxes = tile_boxes(shape, side, overlap)
    covered = np.zeros(shape, int)
    for y0, x0, y1, x1 in boxes:
        assert (y1 - y0, x1 - x0) == (min(side, shape[0]), min(side, shape[1]))
        covered[y0:y1, x0:x1] += 1
    assert covered.min() == 1
    for axis in (0, 1):
        starts = sorted({box[axis] for box in boxes})
        assert all(a + side - b >= overlap for a, b in pairwise(starts))
    # One tile fewer along an axis would leave less overlap.
    rows = len({box[0] for box in boxes})
    assert rows == 1 or (rows - 1) * (side - overlap) + overlap < shape[0]


def test_tiles_by_hand() -> None:
    # 3 tiles of 10 over 28 pixels share 1 each; to share 2, one more is needed.
    assert [b[1] for b in tile_boxes((10, 28), 10, 1)] == [0, 9, 18]
    assert [b[1] for b in tile_boxes((10, 28), 10, 2)] == [0, 6, 12, 18]


def _points(*places: tuple[float, float], positive: list[bool] | None = None) -> Prompt:
    signs = [True] * len(places) if positive is None else positive
    return Prompt(points=np.array(places, np.float32), positive=np.array(signs))


def test_prompts_find_the_nearest_tile() -> None:
    boxes = tile_boxes((10, 28), 10, 1)  # centres at x = 5, 14, 23
    assert tile_of_prompt(boxes, Prompt(box=(0, 6, 4, 14))) == 1
    assert tile_of_prompt(boxes, Prompt(box=(0, 6, 4, 12))) == 0
    assert tile_of_prompt(boxes, _points((5, 20))) == 2
    # A negative point far away does not pull.
    assert tile_of_prompt(boxes, _points((5, 2), (5, 27), positive=[True, False])) == 0
    # The middle of these lies in tile 1, which holds neither.
    assert tile_of_prompt(boxes, _points((5, 1), (5, 26), (5, 27))) == 2
    # Both see the point; the nearer centre wins.
    assert [tile_of_prompt(boxes, _points((5, x))) for x in (9, 9.6)] == [0, 1]
    mask = np.zeros((10, 28), bool)
    mask[2:4, 24] = True
    assert tile_of_prompt(boxes, Prompt(mask=mask)) == 2
    assert tile_of_prompt(boxes, Prompt()) == 0


def test_a_prompt_moves_into_its_tile() -> None:
    mask = np.zeros((10, 28), bool)
    mask[4, 20] = True
    prompt = Prompt(
        box=(-2, 15, 5, 40),
        points=np.array([(1, 17.4), (1, 18), (9, 27.4), (9, 27.5)], np.float32),
        positive=np.array([True, True, False, True]),
        mask=mask,
    )
    moved = prompt_in_tile(prompt, (0, 18, 10, 28))
    assert moved.box == (0, 0, 5, 10)
    assert moved.points.tolist() == [[1, 0], [9, pytest.approx(9.4)]]
    assert moved.positive.tolist() == [True, False]
    assert moved.mask is not None
    assert np.argwhere(moved.mask).tolist() == [[4, 2]]
    assert prompt_in_tile(prompt, (0, 0, 10, 10)).mask is None


def _section() -> np.ndarray:
    section = np.zeros((20, 45), np.uint8)
    section[3:9, 5:12], section[10:18, 30:40] = 100, 200
    return section


def test_masks_come_back_into_the_section(fake_segmenter: Callable[..., Any]) -> None:
    inner = fake_segmenter(side=24)
    tiled = TiledSegmenter(inner, overlap=8)
    section = _section()
    embedding = tiled.embed(section)
    assert embedding.shape == section.shape
    assert len(inner.embedded) == len(tiled.tiles(embedding.shape)) == 3
    prompts = [_points((12, 35)), Prompt(box=(3, 5, 9, 12)), _points((17, 39), (12, 33))]
    found = tiled.masks(embedding, prompts)
    for mask, value in zip(found, (200, 100, 200), strict=True):
        np.testing.assert_array_equal(mask.mask, section == value)
    # Prompts of one tile are asked for together.
    assert [len(asked) for _, asked in inner.asked] == [1, 2]


def test_a_section_that_fits_is_one_tile(fake_segmenter: Callable[..., Any]) -> None:
    inner = fake_segmenter(side=45)
    tiled = TiledSegmenter(inner)
    embedding = tiled.embed(_section())
    assert inner.embedded == [(0, 45)]
    (found,) = tiled.masks(embedding, [_points((4, 6))])
    np.testing.assert_array_equal(found.mask, _section() == 100)
    assert tiled.masks(embedding, []) == []


def test_bad_prompts_are_refused_in_the_words_of_the_section(
    fake_segmenter: Callable[..., Any],
) -> None:
    tiled = TiledSegmenter(fake_segmenter(side=24), overlap=8)
    embedding = tiled.embed(_section())
    for prompt, words in (
        (Prompt(box=(30, 0, 40, 10)), "outside the section of 20 by 45"),
        (_points((4, 60)), "outside the section of 20 by 45"),
        (Prompt(box=(3, 9, 3, 12)), "empty or inside out"),
        (Prompt(), "empty prompt"),
    ):
        with pytest.raises(SettingsError, match=words):
            tiled.masks(embedding, [prompt])
    # A box that reaches beyond the section is cut.
    (found,) = tiled.masks(embedding, [Prompt(box=(-9, -7, 12, 16))])
    np.testing.assert_array_equal(found.mask, _section() == 100)


def test_a_missing_tile_is_named(fake_segmenter: Callable[..., Any]) -> None:
    tiled = TiledSegmenter(fake_segmenter(side=24), overlap=8)
    part = tiled.join((20, 45), {0: tiled.embed_tile(_section(), 0)})
    assert tiled.masks(part, [_points((4, 6))])[0].mask.sum() == 42
    with pytest.raises(LookupError, match="tile 2"):
        tiled.masks(part, [_points((12, 38))])


def test_what_tiles_cannot_be(fake_segmenter: Callable[..., Any]) -> None:
    with pytest.raises(SettingsError, match="overlap by 24"):
        TiledSegmenter(fake_segmenter(side=24), overlap=24)
    one, other = (TiledSegmenter(fake_segmenter(side=24), overlap=n) for n in (4, 5))
    assert one.fingerprint != other.fingerprint
