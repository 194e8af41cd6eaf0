"""Dendrites of AC4 80-99, from one box each: masks in sections, then in 3D, several segmenters.

    python benchmarks/bench_dendrites.py FOLDER [--segmenter watershed compact] [--detector FILE]
        [--walk ours ours+project segment mask box points points_and_mask single_point]
        [--project FOLDER]

FOLDER holds `ac4_image.tif` and `ac4_labels.tif`; pixels are averaged to 12 nm. The dendrites are
those of the detector's recipe. Every dendrite begins in the section where it is largest, with the
tight box of its largest piece there: the true one, and with --detector the detector's best box that
overlaps it by at least 0.5 (those it does not find count as recall 0). The mask of that box is
carried through all sections by `prompts.propagation`, as the dock does; the other walks are those
of micro_sam (`micro_sam_walk`), with the same segmenter and the same first mask. With --project, a
project of exactly these sections, `ours+project` takes its segments as evidence, and `segment` is
the project alone: the segments of which the first mask covers half, and the one with most of it.
Prints means over dendrites of IoU and Dice of the first mask, and of recall, leak (voxels outside
over the dendrite's own) and Dice in 3D.
"""

from __future__ import annotations

import argparse
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from micro_sam_walk import MODES, walk
from numpy.typing import NDArray
from scipy import ndimage

from napari_neuropil.prompts.prompt import Prompt
from napari_neuropil.prompts.propagation import propagate
from napari_neuropil.prompts.propagation_settings import Sections
from napari_neuropil.prompts.segmenter import ImageEmbedding, Segmenter
from napari_neuropil.prompts.segmenters import open_segmenter
from napari_neuropil.workflows.results import open_segments

FIRST, END = 80, 100
IDS = (1, 7, *range(8, 25))
SMALLEST = 300
AGREE = 0.5
OURS, GUIDED, ALONE = "ours", "ours+project", "segment"

Box = tuple[float, float, float, float]


def load(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return image and labels at 12 nm."""
    image = tifffile.imread(folder / "ac4_image.tif", key=range(FIRST, END))
    labels = tifffile.imread(folder / "ac4_labels.tif", key=range(FIRST, END))
    z, y, x = image.shape
    pooled = image.reshape(z, y // 2, 2, x // 2, 2).mean(axis=(2, 4)).round().astype(np.uint8)
    return pooled, labels[:, ::2, ::2].astype(np.int64)


def load_segments(project: Path, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return a project's segments at 12 nm: those in the middle of each pixel."""
    with open_segments(project) as segments:
        found = np.asarray(segments.array[:, :, :])[:, 1::2, 1::2].astype(np.int64)
    if found.shape != shape:
        raise SystemExit(f"{project} holds {found.shape} pixels of 12 nm, not {shape}")
    return found


def alone(z: int, mask: NDArray[np.bool_], segments: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return the segments that the first mask means, in all other sections."""
    names, inside = np.unique(segments[z][mask & (segments[z] > 0)], return_counts=True)
    sizes = np.array([np.count_nonzero(segments[z] == name) for name in names])
    whole = np.isin(segments, [*names[2 * inside >= sizes], *names[np.argsort(inside)[-1:]]])
    whole[z] = mask
    return whole


def starts(labels: NDArray[np.int64]) -> dict[int, tuple[int, NDArray[np.bool_], Box]]:
    """Return for each dendrite a section, its largest piece there, and that piece's box."""
    found = {}
    for name in IDS:
        areas = (labels == name).sum(axis=(1, 2))
        if areas.max() < SMALLEST:
            continue
        z = int(areas.argmax())
        pieces, _ = ndimage.label(labels[z] == name)
        largest = int(np.bincount(pieces.ravel())[1:].argmax()) + 1
        rows, columns = ndimage.find_objects(pieces)[largest - 1]
        box = (rows.start, columns.start, rows.stop, columns.stop)
        found[name] = (z, pieces == largest, tuple(float(v) for v in box))
    return found


def detected(
    detector: Any, image: NDArray[np.uint8], wanted: dict[int, tuple[int, Any, Box]]
) -> dict[int, Box]:
    """Return the detector's best box for each dendrite that it finds."""
    from napari_neuropil.prompts.tiled_detection import detect_section

    cache: dict[int, Any] = {}
    found = {}
    for name, (z, _, box) in wanted.items():
        if z not in cache:
            cache[z] = detect_section(detector, image[z])
        boxes = np.asarray(cache[z].boxes, np.float64)
        overlaps = [overlap(box, tuple(b)) for b in boxes]
        if overlaps and max(overlaps) >= AGREE:
            found[name] = tuple(float(v) for v in boxes[int(np.argmax(overlaps))])
    return found


def overlap(a: Box, b: Box) -> float:
    """Return the intersection over union of two boxes."""
    height = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    width = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = height * width
    areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    return both / (sum(areas) - both)


class Embedded:
    """Embeddings of all sections, each made once; what is compared afterwards shares them."""

    def __init__(self, segmenter: Segmenter, image: NDArray[np.uint8]) -> None:
        self.seconds: list[float] = []
        self._kept = []
        for section in image:
            begun = time.perf_counter()
            self._kept.append(segmenter.embed(section))
            self.seconds.append(time.perf_counter() - begun)

    def __call__(self, z: int) -> ImageEmbedding:
        """Return that of a section."""
        return self._kept[z]


def run(
    segmenter: Segmenter,
    embed: Embedded,
    labels: NDArray[np.int64],
    wanted: dict[int, tuple[int, Any, Box]],
    boxes: dict[int, Box],
    way: str,
    segments: NDArray[np.int64] | None = None,
) -> dict[str, float]:
    """Return the means over all dendrites."""
    clicks: list[float] = []
    rows = []
    begun = time.perf_counter()
    for name, (z, piece, _) in wanted.items():
        if name not in boxes:
            rows.append((0.0, 0.0, 0.0, 0.0, 0.0))
            continue
        embedding = embed(z)
        asked = time.perf_counter()
        (first,) = segmenter.masks(embedding, [Prompt(box=boxes[name])])
        clicks.append(time.perf_counter() - asked)
        mask = np.asarray(first.mask)
        truth = labels == name
        whole = np.zeros(labels.shape, np.bool_)
        whole[z] = mask
        if mask.any() and way in (OURS, GUIDED):
            told = segments.__getitem__ if segments is not None and way == GUIDED else None
            sections = Sections(labels.shape, embed)
            for step in propagate({z: mask}, segmenter, sections, segments_of=told):
                whole[step.z] = step.mask
        elif mask.any() and way == ALONE and segments is not None:
            whole = alone(z, mask, segments)
        elif mask.any():
            whole = walk(z, mask, segmenter, embed, len(labels), way)
        both = np.count_nonzero(whole & truth)
        shared = np.count_nonzero(mask & piece)
        area = np.count_nonzero(mask) + np.count_nonzero(piece)
        size, found = np.count_nonzero(truth), np.count_nonzero(whole)
        rows.append(
            (
                shared / (area - shared),
                2 * shared / area,
                both / size,
                (found - both) / size,
                2 * both / (size + found),
            )
        )
    means = np.mean(rows, axis=0)
    return {
        **dict(zip(("iou", "dice", "recall 3D", "leak 3D", "dice 3D"), means, strict=True)),
        "embed s": float(np.median(embed.seconds)),
        "click ms": 1000 * float(np.median(clicks)) if clicks else 0.0,
        "s": time.perf_counter() - begun,
    }


def main() -> None:
    """Print a row for each segmenter and kind of box."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--segmenter", nargs="+", default=["box", "ellipse", "watershed", "compact"]
    )
    parser.add_argument("--detector", type=Path)
    parser.add_argument("--project", type=Path)
    ways = [OURS, GUIDED, ALONE, *MODES]
    parser.add_argument("--walk", nargs="+", choices=ways, default=[OURS])
    options = parser.parse_args()
    if options.project is None and {GUIDED, ALONE} & set(options.walk):
        parser.error(f"{GUIDED} and {ALONE} need --project")
    image, labels = load(options.folder)
    segments = load_segments(options.project, labels.shape) if options.project else None
    wanted = starts(labels)
    kinds = {"true boxes": {name: box for name, (_, _, box) in wanted.items()}}
    if options.detector:
        from napari_neuropil.prompts.yolo_detector import YoloDetector

        detector = YoloDetector.load(options.detector)
        kinds["detected"] = detected(detector, image, wanted)
    print(f"{len(wanted)} dendrites")
    for name in options.segmenter:
        segmenter = open_segmenter(name)
        embed = Embedded(segmenter, image)
        for (kind, boxes), way in product(kinds.items(), options.walk):
            found = run(segmenter, embed, labels, wanted, boxes, way, segments)
            line = "  ".join(f"{key} {value:.3f}" for key, value in found.items())
            print(f"  {name:10s} {kind} ({len(boxes)}) {way:15s} {line}", flush=True)


if __name__ == "__main__":
    main()
