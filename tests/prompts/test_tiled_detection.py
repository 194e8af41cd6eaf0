"""Boxes of tiles become boxes of the section: each object once, whole, whatever the tiles."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.measure import label, regionprops

from napari_neuropil.errors import SettingsError, VolumeFormatError
from napari_neuropil.prompts.box_merging import (
    TileDetections,
    merge_tiles,
    suppress_duplicates,
)
from napari_neuropil.prompts.boxes import box_overlaps
from napari_neuropil.prompts.detector import Detections
from napari_neuropil.prompts.detector_scale import detect_pooled, pool_section, pooling_factors
from napari_neuropil.prompts.section_tiles import tile_boxes
from napari_neuropil.prompts.tiled_detection import detect_section
from napari_neuropil.synthetic import make_neuropil


def perfect_boxes(section: NDArray[np.integer], smallest: int = 1) -> NDArray[np.float32]:
    """Return the boxes of the connected pieces of equal grey, 0 left out."""
    pieces = regionprops(label(section, connectivity=1, background=0))
    return np.array([p.bbox for p in pieces if p.area >= smallest], np.float32).reshape(-1, 4)


class PerfectDetector:
    """Finds each piece of equal grey in what it is shown, and remembers what that was."""

    name, fingerprint = "perfect", "0"

    def __init__(self, tile_side: int, smallest: int = 1) -> None:
        self.tile_side, self.smallest = tile_side, smallest
        self.shown: list[tuple[int, ...]] = []

    def detect(self, section: NDArray[np.uint8]) -> Detections:
        assert max(section.shape) <= self.tile_side
        self.shown.append(section.shape)
        boxes = perfect_boxes(section, self.smallest)
        return Detections(boxes, np.linspace(0.5, 1, len(boxes), dtype=np.float32))


def rectangles(seed: int, shape: tuple[int, int], count: int, longest: int) -> NDArray[np.uint8]:
    """Return a section with rectangles that do not touch, each of its own grey."""
    random, section = np.random.default_rng(seed), np.zeros(shape, np.uint8)
    for grey in range(1, count + 1):
        for _ in range(200):
            height, width = random.integers(3, longest, 2)
            y, x = random.integers(0, shape[0] - height), random.integers(0, shape[1] - width)
            free = section[max(0, y - 1) : y + height + 1, max(0, x - 1) : x + width + 1]
            if not free.any():
                section[y : y + height, x : x + width] = grey
                break
    return section


def rows(boxes: NDArray[np.float32]) -> set[tuple[float, ...]]:
    return {tuple(float(v) for v in box) for box in boxes}


def matched_share(found: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    """Return F1 at an overlap of 0.5, each true box taken once."""
    overlaps, hits = box_overlaps(found, truth), 0
    while overlaps.size and overlaps.max() >= 0.5:
        row, column = np.unravel_index(overlaps.argmax(), overlaps.shape)
        overlaps[row], overlaps[:, column], hits = -1, -1, hits + 1
    return 2 * hits / (len(found) + len(truth))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("side", "overlap"), [(64, 16), (64, 32), (50, 9)])
def test_rectangles_come_back_exactly(seed: int, side: int, overlap: int) -> None:
    # Up to 1.5 tiles long: some are in no tile whole.
    section = rectangles(seed, (190, 150), 40, 90)
    found = detect_section(PerfectDetector(side), section, overlap)
    assert rows(found.boxes) == rows(perfect_boxes(section))
    assert len(found) == len(perfect_boxes(section))
    assert (np.diff(found.scores) <= 0).all()


def test_neurites_come_back_better_than_by_suppression_alone() -> None:
    labels = make_neuropil((4, 320, 320), seed=5).labels[2]
    section = (labels % 251 + 1).astype(np.uint8) * (labels > 0)
    truth = perfect_boxes(section, 60)
    parts = []
    for tile in tile_boxes((320, 320), 128, 32):
        corner = np.array([*tile[:2], *tile[:2]], np.float32)
        boxes = perfect_boxes(section[tile[0] : tile[2], tile[1] : tile[3]], 60) + corner
        parts.append(TileDetections(tile, Detections(boxes, np.ones(len(boxes), np.float32))))
    ours = merge_tiles(parts, (320, 320))
    every = np.concatenate([part.found.boxes for part in parts])
    alone = suppress_duplicates(Detections(every, np.ones(len(every), np.float32)), 0.5)
    assert matched_share(ours.boxes, truth) > 0.93
    assert matched_share(alone.boxes, truth) < matched_share(ours.boxes, truth) - 0.05


@pytest.mark.parametrize("seed", range(3))
def test_suppression_equals_loops(seed: int) -> None:
    random = np.random.default_rng(seed)
    corners = random.integers(0, 20, (60, 2))
    boxes = np.concatenate([corners, corners + random.integers(1, 20, (60, 2))], axis=1)
    boxes, scores = boxes.astype(np.float32), random.permutation(60).astype(np.float32)
    kept: list[int] = []
    for n in np.argsort(-scores):
        if all(box_overlaps(boxes[n : n + 1], boxes[k : k + 1])[0, 0] <= 0.4 for k in kept):
            kept.append(int(n))
    found = suppress_duplicates(Detections(boxes, scores), 0.4)
    np.testing.assert_array_equal(found.boxes, boxes[kept])
    np.testing.assert_array_equal(found.scores, scores[kept])


def _merge(*parts: tuple[tuple[int, int, int, int], list[list[float]]]) -> Detections:
    tiles = [
        TileDetections(
            tile, Detections(np.array(b, np.float32).reshape(-1, 4), np.ones(len(b), np.float32))
        )
        for tile, b in parts
    ]
    return merge_tiles(tiles, (100, 160))


_LEFT, _RIGHT = (0, 0, 100, 100), (0, 60, 100, 160)


def test_boxes_within_boxes_live() -> None:
    nested = [[10, 64, 50, 98], [14, 68, 46, 94]]
    found = _merge((_LEFT, nested), (_RIGHT, nested))
    assert rows(found.boxes) == rows(np.array(nested, np.float32))


def test_a_trembling_box_is_one() -> None:
    # Seen twice, 3 pixels apart: the overlap of 0.43 would pass suppression.
    found = _merge((_LEFT, [[20, 70, 32, 82]]), (_RIGHT, [[23, 72, 34, 86]]))
    assert len(found) == 1
    assert len(_merge((_LEFT, [[20, 70, 32, 82]]), (_RIGHT, [[29, 72, 40, 86]]))) == 2


def test_neighbours_that_meet_at_an_edge_stay_two() -> None:
    left, right = [20, 70, 40, 100], [20, 100, 40, 150]
    found = _merge((_LEFT, [left]), (_RIGHT, [left, right]))
    assert rows(found.boxes) == rows(np.array([left, right], np.float32))


def test_an_object_without_a_continuation_stays() -> None:
    found = _merge((_LEFT, [[20, 30, 40, 100]]), (_RIGHT, [[70, 90, 90, 150]]))
    assert len(found) == 2


def test_the_border_of_the_section_cuts_nothing() -> None:
    # The left one ends at the section's own border, where nothing goes on.
    left, right = [20, 0, 40, 58], [18, 61, 44, 160]
    found = _merge((_LEFT, [left, [18, 61, 44, 98]]), (_RIGHT, [right]))
    assert rows(found.boxes) == rows(np.array([left, right], np.float32))


def test_a_joined_box_has_the_better_score() -> None:
    parts = [
        TileDetections(tile, Detections(np.array([box], np.float32), np.array([s], np.float32)))
        for tile, box, s in ((_LEFT, [20, 30, 40, 98], 0.3), (_RIGHT, [21, 61, 41, 130], 0.8))
    ]
    found = merge_tiles(parts, (100, 160))
    assert rows(found.boxes) == {(20, 30, 41, 130)}
    assert found.scores == pytest.approx([0.8])


def test_a_small_section_is_one_tile() -> None:
    section = rectangles(0, (40, 30), 5, 12)
    detector = PerfectDetector(64)
    assert rows(detect_section(detector, section).boxes) == rows(perfect_boxes(section))
    assert detector.shown == [(40, 30)]


def test_no_tissue_is_not_looked_at() -> None:
    section = np.full((200, 200), 7, np.uint8)
    detector = PerfectDetector(64)
    found = detect_section(detector, section)
    assert found.boxes.shape == (0, 4)
    assert found.scores.shape == (0,)
    assert not detector.shown
    section[3:6, 3:6] = 9
    detect_section(detector, section)
    assert len(detector.shown) == 1
    assert len(detect_section(detector, np.zeros((0, 5), np.uint8))) == 0


def test_wild_boxes_are_limited_to_the_tile() -> None:
    class Wild(PerfectDetector):
        def detect(self, section: NDArray[np.uint8]) -> Detections:
            boxes = [[-5, -5, 500, 9], [10, 10, 10, 20], [30, 30, 20, 40], [90, 90, 95, 95]]
            return Detections(np.array(boxes, np.float32), np.ones(4, np.float32))

    found = detect_section(Wild(64), rectangles(0, (50, 40), 3, 9))
    assert rows(found.boxes) == {(0, 0, 50, 9)}


@pytest.mark.parametrize("overlap", [0, 4, 33])
def test_a_useless_overlap_is_refused(overlap: int) -> None:
    section = rectangles(0, (100, 100), 3, 9)
    with pytest.raises(SettingsError, match="share"):
        detect_section(PerfectDetector(64), section, overlap)


@pytest.mark.parametrize(
    "section", [np.zeros((4, 9, 9), np.uint8), np.zeros((9, 9)), np.zeros((9, 9), np.uint16)]
)
def test_bad_sections_are_refused(section: NDArray[np.generic]) -> None:
    with pytest.raises(VolumeFormatError):
        detect_section(PerfectDetector(64), section)


def test_factors_are_whole_and_never_enlarge() -> None:
    assert pooling_factors((6, 6), 12) == (2, 2)
    assert pooling_factors((4, 8.5), 12) == (3, 1)
    assert pooling_factors((30, 30), 12) == (1, 1)
    with pytest.raises(SettingsError):
        pooling_factors((0, 6), 12)


def test_pooling_averages() -> None:
    section = np.array([[0, 2, 9], [4, 7, 9], [1, 1, 9]], np.uint8)
    np.testing.assert_array_equal(pool_section(section, (2, 2)), [[3]])
    np.testing.assert_array_equal(pool_section(section, (1, 3)), [[4], [7], [4]])


def test_boxes_come_back_in_pixels_of_the_section() -> None:
    small = rectangles(3, (60, 50), 9, 20)
    section = np.repeat(np.repeat(small, 3, axis=0), 2, axis=1)
    left_over = np.pad(section, ((0, 2), (0, 1)))  # less than a pixel of the detector
    detector = PerfectDetector(32)
    found = detect_pooled(detector, left_over, (3, 2))
    assert rows(found.boxes) == rows(perfect_boxes(section))
    assert len(detect_pooled(detector, left_over[:2], (3, 2))) == 0
    with pytest.raises(VolumeFormatError):
        detect_pooled(detector, left_over[None], (3, 2))
    with pytest.raises(VolumeFormatError):
        detect_pooled(detector, left_over.astype(np.uint16), (3, 2))
