"""Boxes merged across tiles, beside suppression by overlap alone, with a perfect detector per tile.

The detector answers with the exact boxes of the connected pieces it sees in each tile of real
sections, or with boxes whose edges tremble by a few pixels. Prints the F1 (overlap of 0.5) of each
way against the boxes of the whole section. Everything runs on the same boxes in one run.

    python benchmarks/bench_box_merging.py LABELS [--sections 80:100:5] [--ids 1,7,8-24]
        [--tile 512] [--overlap 128] [--tremble 0,3]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from skimage.measure import label, regionprops

from napari_neuropil.evaluation.detection import evaluate_detections
from napari_neuropil.prompts.box_merging import TileDetections, merge_tiles, suppress_duplicates
from napari_neuropil.prompts.boxes import box_areas
from napari_neuropil.prompts.detector import Detections
from napari_neuropil.prompts.section_tiles import tile_boxes
from napari_neuropil.volumes import open_volume

SMALLEST = 400  # pixels

Parts = list[TileDetections]
Merge = Callable[[Parts, tuple[int, int]], Detections]


def piece_boxes(section: NDArray[np.integer]) -> NDArray[np.float32]:
    """Return the boxes of the connected pieces of a section's labels."""
    pieces = regionprops(label(section, connectivity=1, background=0))
    return np.array([p.bbox for p in pieces if p.area >= SMALLEST], np.float32).reshape(-1, 4)


def detect_tiles(
    section: NDArray[np.integer], side: int, overlap: int, tremble: float, seed: int
) -> Parts:
    """Return what the detector says of each tile; trembling boxes get random scores."""
    random, parts = np.random.default_rng(seed), []
    for tile in tile_boxes((section.shape[0], section.shape[1]), side, overlap):
        boxes = piece_boxes(section[tile[0] : tile[2], tile[1] : tile[3]])
        scores = np.ones(len(boxes), np.float32)
        if tremble:
            boxes = boxes + random.normal(0, tremble, boxes.shape).clip(-6, 6)
            boxes, scores = boxes.clip(0, side), random.random(len(boxes))
        boxes = boxes + np.array([*tile[:2], *tile[:2]])
        found = Detections(boxes.astype(np.float32), scores.astype(np.float32))
        parts.append(TileDetections(tile, found))
    return parts


def all_boxes(parts: Parts) -> Detections:
    """Return the boxes of all tiles as they are."""
    return Detections(
        np.concatenate([part.found.boxes for part in parts]),
        np.concatenate([part.found.scores for part in parts]),
    )


def suppress_inside(parts: Parts, _shape: tuple[int, int]) -> Detections:
    """Suppress boxes of which seven tenths lie in a larger one."""
    found = all_boxes(parts)
    areas, kept = box_areas(found.boxes), []
    for row in np.argsort(-areas, kind="stable"):
        box, others = found.boxes[row], found.boxes[kept]
        sides = np.minimum(others[:, 2:], box[2:]) - np.maximum(others[:, :2], box[:2])
        if not (sides.clip(0).prod(axis=1) > 0.7 * areas[row]).any():
            kept.append(int(row))
    return Detections(found.boxes[kept], found.scores[kept])


WAYS: dict[str, Merge] = {
    "ours": merge_tiles,
    "suppression at 0.5": lambda parts, _shape: suppress_duplicates(all_boxes(parts), 0.5),
    "suppression at 0.7": lambda parts, _shape: suppress_duplicates(all_boxes(parts), 0.7),
    "suppression of what lies inside": suppress_inside,
}


def parse_ids(text: str) -> list[int]:
    """Return the ids of ``1,7,8-24``."""
    ids: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        ids += range(int(first), int(last or first) + 1)
    return ids


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("labels")
    parser.add_argument("--sections", default="80:100:5")
    parser.add_argument("--ids", type=parse_ids)
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--overlap", type=int, default=128)
    parser.add_argument("--tremble", default="0,3")
    options = parser.parse_args()
    volume = open_volume(options.labels)
    sections = []
    for z in range(*(int(n) for n in options.sections.split(":"))):
        section = np.asarray(volume.array[z : z + 1, :, :])[0]
        known = True if options.ids is None else np.isin(section, options.ids)
        sections.append(np.where(known, section, 0))
    truth = [piece_boxes(section) for section in sections]
    total = sum(map(len, truth))
    print(f"{len(sections)} sections, {total} objects, tiles of {options.tile}/{options.overlap}")
    for tremble in (float(t) for t in options.tremble.split(",")):
        parts = [
            detect_tiles(section, options.tile, options.overlap, tremble, seed)
            for seed, section in enumerate(sections)
        ]
        for name, way in WAYS.items():
            merged = [
                way(p, (s.shape[0], s.shape[1])) for p, s in zip(parts, sections, strict=True)
            ]
            scores = evaluate_detections([(m.boxes, m.scores) for m in merged], truth)
            print(
                f"tremble {tremble:g}: {name:32} F1 {scores.f1:.3f}  "
                f"precision {scores.precision:.3f}  recall {scores.recall:.3f}"
            )


if __name__ == "__main__":
    main()
