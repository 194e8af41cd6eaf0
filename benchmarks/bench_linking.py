"""3D objects from perfect 2D masks: our linking and propagation beside the usual ones.

The truth of each section, cut into its connected pieces, stands for a perfect segmenter, so what is
lost is lost by going from 2D to 3D. AC4 z 80-99 (cortex, 29 nm sections) and FIB-25 z 200-249
(8 nm): neurites of 5 sections or more with at least 5000 and 1000 voxels. Prints means over
neurites: 3D IoU, recall, leak (voxels outside over the neurite's own), completeness (share of its
sections found), the share of neurites with an IoU of 0.9 or more, and of those that leak by more
than a tenth.

    python benchmarks/bench_linking.py FOLDER [--neurites 40]

FOLDER holds `ac4_labels.tif` and `fib25_sample2.h5`. Linking sees all pieces; propagation begins
with the largest piece of a neurite and is run on every k-th of them. With micro_sam installed its
own merging and propagation run on the same masks.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

from napari_neuropil.evaluation.objects import (
    ObjectScore,
    object_completeness,
    score_objects,
    summarise_objects,
)
from napari_neuropil.prompts.link_rules import LinkSettings, chains
from napari_neuropil.prompts.linking import link_masks
from napari_neuropil.prompts.packed_mask import PackedMask
from napari_neuropil.prompts.prompt import Prompt, SectionMask
from napari_neuropil.prompts.propagation import propagate
from napari_neuropil.prompts.propagation_settings import PropagationSettings, Sections
from napari_neuropil.prompts.section_masks import SectionMasks, count_overlaps, masks_of_labels
from napari_neuropil.prompts.segmenter import ImageEmbedding

Labels = NDArray[np.int64]
Mask = NDArray[np.bool_]
Rule = Callable[[NDArray[Any], NDArray[Any], NDArray[Any]], NDArray[np.bool_]]


@dataclass
class Case:
    """A volume of truth, cut into pieces."""

    name: str
    truth: Labels
    pieces: Labels  # ids of pieces, ascending through the sections; 0 is none
    owner: Labels  # truth id of each piece
    area: Labels
    neurites: list[int]
    segments: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        """Prepare what every method asks for."""
        self.sections = [(z, masks_of_labels(section)) for z, section in enumerate(self.pieces)]
        self.voxels = np.bincount(self.truth.ravel())


def load(folder: Path) -> Iterator[Case]:
    """Yield both volumes."""
    ac4 = tifffile.imread(folder / "ac4_labels.tif", key=range(80, 100))
    yield prepare("AC4 z 80-99", ac4, 50, 5000)
    with h5py.File(folder / "fib25_sample2.h5") as file:
        truth, fragments = file["labels"][200:250], file["fragments"][200:250]
    yield prepare("FIB-25 z 200-249", truth, 20, 1000, fragments)


def prepare(
    name: str, labels: NDArray[Any], crumb: int, least: int, segments: NDArray[Any] | None = None
) -> Case:
    """Cut truth into pieces of at least `crumb` pixels, and choose the neurites."""
    truth = np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.int64)
    truth += int(labels.min() > 0)  # compact ids, 0 stays background
    pieces = np.zeros_like(truth)
    owner, area, spans = [0], [0], np.zeros(int(truth.max()) + 1, np.int64)
    for z, section in enumerate(truth):
        spans[np.unique(section)] += 1
        boxes: list[Any] = ndimage.find_objects(section)
        for label, box in enumerate(boxes, 1):
            if box is None:
                continue
            parts, count = ndimage.label(section[box] == label, np.ones((3, 3)))
            for part in range(1, count + 1):
                mask = parts == part
                if np.count_nonzero(mask) >= crumb:
                    pieces[z][box][mask] = len(owner)
                    owner.append(label)
                    area.append(int(np.count_nonzero(mask)))
    voxels = np.bincount(truth.ravel())
    neurites = np.flatnonzero((voxels >= least) & (spans >= 5))
    return Case(
        name,
        truth,
        pieces,
        np.array(owner),
        np.array(area),
        neurites[neurites > 0].tolist(),
        segments,
    )


def report(
    title: str, scores: Sequence[ObjectScore], complete: Sequence[float], begun: float
) -> None:
    """Print a row."""
    mean = summarise_objects(scores)
    print(
        f"  {title:<46} {mean.iou:6.3f} {mean.recall:7.3f} {mean.leak:8.3f} "
        f"{np.mean(complete):9.3f} {mean.whole:6.2f} {mean.leaking:6.2f} "
        f"{time.process_time() - begun:7.1f}",
        flush=True,
    )


def header(title: str, count: int) -> None:
    """Print the names of the columns."""
    print(f"{title}, {count} neurites")
    print(
        f"  {'':<46} {'IoU':>6} {'recall':>7} {'leak':>8} {'complete':>9} "
        f"{'whole':>6} {'leaky':>6}   CPU s"
    )


def score_groups(
    case: Case, title: str, group: NDArray[Any], begun: float, pieces: Labels | None = None
) -> None:
    """Score objects given as a number for each piece, from 0."""
    segments = np.append(0, group + 1)[case.pieces if pieces is None else pieces]
    scores = score_objects(segments, case.truth, ids=case.neurites)
    complete = object_completeness(segments, case.truth, scores)
    report(title, scores, list(complete.values()), begun)


def link_by_rule(case: Case, title: str, rule: Rule) -> None:
    """Link pieces by a rule on areas and overlap alone."""
    begun = time.process_time()
    masks = [SectionMasks.of(packed) for _, packed in case.sections]
    first = np.concatenate([[0], np.cumsum([len(m) for m in masks])])
    ends: list[NDArray[Any]] = []
    for z, (low, high) in enumerate(itertools.pairwise(masks)):
        table = count_overlaps(low, high)
        a, b = low.areas[table.first], high.areas[table.second]
        kept = rule(a, b, table.shared)
        if title.startswith("mutual"):
            overlap = table.shared / (a + b - table.shared)
            best_a, best_b = np.zeros(len(low)), np.zeros(len(high))
            np.maximum.at(best_a, table.first, overlap)
            np.maximum.at(best_b, table.second, overlap)
            kept &= (overlap == best_a[table.first]) & (overlap == best_b[table.second])
        rows = np.stack([table.first + first[z], table.second + first[z + 1]])
        ends.append(rows[:, kept])
    links = np.concatenate(ends, axis=1)
    score_groups(case, title, chains(links[0], links[1], int(first[-1])), begun)


def link_ours(case: Case, title: str, settings: LinkSettings, **options: Any) -> None:
    """Link pieces by our rules."""
    begun = time.process_time()
    linked = link_masks(options.pop("sections", case.sections), settings, **options)
    score_groups(case, title, linked.object_id - 1, begun)
    if title == "ours":
        ends = np.searchsorted(linked.z, np.arange(len(case.truth)))
        wrong = missing = 0
        for link in linked.doubtful[:50]:
            one = case.owner[1 + ends[link.z] + link.mask]
            other = case.owner[1 + ends[link.other_z] + link.other_mask]
            wrong += bool(link.linked and one != other)
            missing += bool(not link.linked and one == other)
        print(f"    of the 50 most worthwhile doubts {wrong + missing} are errors")


def lose_masks(case: Case, share: float) -> tuple[list[tuple[int, list[PackedMask]]], Labels]:
    """Return the sections without some of the masks, and the numbers of those left."""
    gone = np.random.default_rng(0).random(len(case.owner)) < share
    left = np.cumsum(~gone[1:])
    pieces = np.append(0, np.where(gone[1:], 0, left))[case.pieces]
    return [(z, masks_of_labels(section)) for z, section in enumerate(pieces)], pieces


def jolted(case: Case, pixels: float) -> list[tuple[int, list[PackedMask]]]:
    """Return the sections, each displaced at random."""
    chance, shape = np.random.default_rng(0), (10**6, 10**6)
    sections = []
    for z, masks in case.sections:
        by = np.round(chance.normal(0, pixels, 2)) + 100  # nothing leaves, the truth stays whole
        moved = [mask.moved((float(by[0]), float(by[1])), shape) for mask in masks]
        sections.append((z, [mask for mask in moved if mask is not None]))
    return sections


class Perfect:
    """Returns the piece that fits a mask best; or all pieces of its neurite in the section."""

    name, fingerprint, longest_side = "perfect", "0", 10**6

    def __init__(self, case: Case, whole: bool = False) -> None:
        self.case, self.whole, self.asked = case, whole, 0

    def embed(self, section: NDArray[np.uint8]) -> ImageEmbedding:
        """Never asked."""
        raise NotImplementedError

    def masks(self, embedding: ImageEmbedding, prompts: Sequence[Prompt]) -> list[SectionMask]:
        """Return the best piece for the mask of each prompt."""
        self.asked += len(prompts)
        pieces = self.case.pieces[int(embedding.arrays["z"][0])]
        return [SectionMask(self.best(pieces, p.mask), 1.0) for p in prompts if p.mask is not None]

    def best(self, pieces: Labels, asked: Mask) -> Mask:
        """Return a mask of the section."""
        met, shared = np.unique(pieces[asked], return_counts=True)
        met, shared = met[met > 0], shared[met > 0]
        if not len(met):
            return np.zeros(pieces.shape, np.bool_)
        areas = self.case.area[met]
        if self.whole:
            owners, inverse = np.unique(self.case.owner[met], return_inverse=True)
            best = owners[np.bincount(inverse, shared).argmax()]
            mine = np.flatnonzero(self.case.owner == best)
            low, high = mine[0], mine[-1]
            inside = (pieces >= low) & (pieces <= high)
            return np.asarray(inside & (self.case.owner[pieces] == best))
        union = areas + np.count_nonzero(asked) - shared
        return np.asarray(pieces == met[(shared / union).argmax()])


def seed_of(case: Case, neurite: int) -> tuple[int, Mask]:
    """Return the section and the mask of a neurite's largest piece."""
    mine = np.flatnonzero(case.owner == neurite)
    piece = mine[case.area[mine].argmax()]
    z = int(np.flatnonzero((case.pieces == piece).any(axis=(1, 2)))[0])
    return z, case.pieces[z] == piece


def score_masks(case: Case, neurite: int, masks: dict[int, Mask]) -> tuple[ObjectScore, float]:
    """Compare one object, given by section, with a neurite."""
    shared = {z: int(np.count_nonzero(case.truth[z][m] == neurite)) for z, m in masks.items()}
    size = sum(int(np.count_nonzero(mask)) for mask in masks.values())
    score = ObjectScore(neurite, 1, int(case.voxels[neurite]), size, sum(shared.values()))
    lies = [int(np.count_nonzero(section == neurite)) for section in case.truth]
    found = [2 * shared.get(z, 0) >= n for z, n in enumerate(lies) if n]
    return score, float(np.mean(found))


def plain_steps(case: Case, z: int, mask: Mask, limit: float, oracle: Perfect) -> dict[int, Mask]:
    """Carry a mask on with one prompt a section; stop where the overlap falls below a limit."""
    masks = {z: mask}
    for step in (1, -1):
        before, here = mask, z + step
        while 0 <= here < len(case.truth):
            after = oracle.best(case.pieces[here], before)
            union = np.count_nonzero(before | after)
            if np.count_nonzero(before & after) < limit * union or not after.any():
                break
            masks[here] = before = after
            here += step
    return masks


def propagate_all(
    case: Case,
    title: str,
    neurites: Sequence[int],
    work: Callable[[int, Mask, int], dict[int, Mask]],
) -> None:
    """Run a propagation on several neurites."""
    begun = time.process_time()
    seeds = [(neurite, *seed_of(case, neurite)) for neurite in neurites]
    rows = [score_masks(case, n, work(z, mask, n)) for n, z, mask in seeds]
    report(title, [row[0] for row in rows], [row[1] for row in rows], begun)


def ours(
    case: Case, oracle: Perfect, settings: PropagationSettings, accept: int
) -> Callable[[int, Mask, int], dict[int, Mask]]:
    """Return our propagation from the seed, and from `accept` - 1 more accepted sections."""
    depth = len(case.truth)
    sections = Sections(
        case.truth.shape,
        lambda z: ImageEmbedding({"z": np.array([z])}, (0, 0)),
    )

    def work(z: int, mask: Mask, neurite: int) -> dict[int, Mask]:
        accepted = {z: mask}
        if accept > 1:
            lies = [n for n in range(depth) if (case.truth[n] == neurite).any()]
            for place in np.linspace(0, len(lies) - 1, accept - 1).astype(int):
                accepted[lies[place]] = case.truth[lies[place]] == neurite
        masks = dict(accepted)
        for step in propagate(accepted, oracle, sections, settings):
            masks[step.z] = step.mask
        return masks

    return work


def micro_sam_rows(case: Case, neurites: Sequence[int], module: Any) -> None:
    """Run micro_sam's own merging and propagation on the same masks."""
    begun = time.process_time()
    merged = module.merge_instance_segmentation_3d(case.pieces.astype("uint32"), verbose=False)
    scores = score_objects(merged.astype(np.uint64), case.truth, ids=case.neurites)
    complete = object_completeness(merged.astype(np.uint64), case.truth, scores)
    report("micro_sam, merge_instance_segmentation_3d", scores, list(complete.values()), begun)
    for whole, limit in itertools.product((False, True), (0.8, 0.5)):
        oracle = Perfect(case, whole)

        def from_mask(
            _predictor: Any, mask: Mask, *, oracle: Perfect = oracle, **options: Any
        ) -> Any:
            found = oracle.best(case.pieces[options["i"]], mask > 0)
            return (found, 1.0, None) if options.get("return_all") else found

        def work(z: int, mask: Mask, _: int, limit: float = limit) -> dict[int, Mask]:
            volume = np.zeros(case.truth.shape, np.uint8)
            volume[z] = mask
            found, _ends = module.segment_mask_in_volume(
                volume, None, None, np.array([z]), False, False, limit, "mask"
            )
            return {n: section > 0 for n, section in enumerate(found) if section.any()}

        module.segment_from_mask = from_mask
        kind = "whole sections" if whole else "pieces"
        propagate_all(case, f"micro_sam, stop at IoU < {limit}, {kind}", neurites, work)


def run(case: Case, count: int, micro_sam: Any | None) -> None:
    """Print the tables of a volume."""
    header(f"{case.name}: linking {len(case.owner) - 1} masks", len(case.neurites))
    link_by_rule(case, "overlap / smaller >= 0.5", lambda a, b, o: o >= 0.5 * np.minimum(a, b))
    link_by_rule(case, "child majority: 0.7 of it lies in the next", lambda a, b, o: o >= 0.7 * a)
    link_by_rule(case, "mutual best, IoU >= 0.2", lambda a, b, o: o >= 0.2 * (a + b - o))
    link_ours(case, "ours", LinkSettings())
    if case.segments is not None:
        known = case.segments.__getitem__
        link_ours(case, "ours, with fragments", LinkSettings(), segments_of=known)
    sections = jolted(case, 4.0)
    for align in (False, True):
        title = f"ours, sections jolted by 4 px, align {align}"
        link_ours(case, title, LinkSettings(align=align), sections=sections)
    sections, pieces = lose_masks(case, 0.05)
    for bridge in (False, True):
        begun = time.process_time()
        linked = link_masks(sections, LinkSettings(bridge=bridge))
        title = f"ours, 5 % of the masks missing, bridge {bridge}"
        score_groups(case, title, linked.object_id - 1, begun, pieces)

    chosen = case.neurites[:: max(1, len(case.neurites) // count)]
    header(f"{case.name}: propagation from one mask", len(chosen))
    for whole in (False, True):
        oracle = Perfect(case, whole)
        kind = "whole sections" if whole else "pieces"
        for limit in (0.8, 0.5, 0.2):

            def work(
                z: int, mask: Mask, _: int, limit: float = limit, oracle: Perfect = oracle
            ) -> dict[int, Mask]:
                return plain_steps(case, z, mask, limit, oracle)

            propagate_all(case, f"one prompt, stop at IoU < {limit}, {kind}", chosen, work)
    for title, settings, accept in (
        ("ours without branches", PropagationSettings(branches=False), 1),
        ("ours", PropagationSettings(), 1),
        ("ours, three more sections accepted", PropagationSettings(), 4),
    ):
        propagate_all(case, title, chosen, ours(case, Perfect(case), settings, accept))
    if micro_sam is not None:
        micro_sam_rows(case, chosen, micro_sam)


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--neurites", type=int, default=40)
    options = parser.parse_args()
    try:
        micro_sam = importlib.import_module("micro_sam.multi_dimensional_segmentation")
    except ImportError as error:
        micro_sam = None
        print(f"micro_sam's own modes are not run: {error}")
    for case in load(options.folder):
        run(case, options.neurites, micro_sam)


if __name__ == "__main__":
    main()
