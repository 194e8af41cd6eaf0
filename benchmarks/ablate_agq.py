"""What the parts of the shipped AGQ bring, taken away one at a time without training anew.

    python benchmarks/ablate_agq.py FOLDER [--windows 6] [--checkpoint FILE] [--times]

FOLDER holds `ac4_image.tif`, `ac4_labels.tif` and `fib25_sample2.h5`. Windows of one pass of the
network on sections that it has not seen (AC4 80-99 at 12 nm, FIB-25 200-249), at places that follow
from a seed. Prints the mean variation of information, split + merge, within windows. A part that
was there in training and is missing afterwards is missed more than one the network never had: this
bounds the paper's Table 4 from above, it does not repeat it. With --times, seconds of each part of
a pass instead, medians over windows: trunk, components, what was learned, labels with volumes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import bioimage_cpp
import h5py
import numpy as np
import tifffile
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_neuropil.evaluation import evaluate_segmentation
from napari_neuropil.networks import load_checkpoint, pretrained_path
from napari_neuropil.networks.agq import AGQOnMNet
from napari_neuropil.networks.agq.components import label_components
from napari_neuropil.networks.agq.labels import label_queries
from napari_neuropil.networks.agq.on_mnet import TrunkView
from napari_neuropil.networks.agq.places import Places
from napari_neuropil.segmentation.crumbs import fill_sections, without_crumbs

SMALLEST = 50
Window = tuple[str, NDArray[np.float32], NDArray[np.uint64]]


def windows(folder: Path, shape: tuple[int, int, int], count: int) -> Iterator[Window]:
    """Yield name, image in [0, 1] and labels of `count` windows of each volume."""
    rng = np.random.default_rng(0)
    image = tifffile.imread(folder / "ac4_image.tif", key=range(80, 100))
    labels = tifffile.imread(folder / "ac4_labels.tif", key=range(80, 100))
    z, y, x = image.shape
    pooled = image.reshape(z, y // 2, 2, x // 2, 2).mean(axis=(2, 4))
    with h5py.File(folder / "fib25_sample2.h5") as file:
        fib, truth = file["image"][200:250], file["labels"][200:250]
    for name, grey, ids in (("AC4", pooled, labels[:, ::2, ::2]), ("FIB-25", fib, truth)):
        for _ in range(count):
            low = [rng.integers(0, n - s + 1) for n, s in zip(grey.shape, shape, strict=True)]
            box = tuple(slice(a, a + s) for a, s in zip(low, shape, strict=True))
            yield name, (grey[box] / 255).astype(np.float32), ids[box].astype(np.uint64)


def score(masks: Tensor, truth: NDArray[np.uint64]) -> tuple[float, float]:
    """Return VI split and merge of masks (1, N, Z, y, x), made fragments as the method does."""
    labels = label_queries(masks[0], truth.shape).labels.numpy()
    parts = bioimage_cpp.segmentation.label(labels, connectivity=3).astype(np.uint64)
    found = evaluate_segmentation(fill_sections(without_crumbs(parts, SMALLEST)), truth)
    return found.voi_split, found.voi_merge


def variants(network: AGQOnMNet) -> dict[str, Callable[[TrunkView], Tensor]]:
    """Return what is compared: masks of what the trunk sees."""
    decoder = network.inst_decoder
    learned = decoder.rpn.learned_masks_embed.weight.shape[0]

    def stage(number: int) -> Callable[[TrunkView], Tensor]:
        return lambda view: network.decode(view).earlier_masks[number]

    def whole(view: TrunkView) -> Tensor:
        return network.decode(view, earlier=False).mask_logits

    def without_learned(view: TrunkView) -> Tensor:
        return whole(view)[:, :-learned] if learned else whole(view)

    def only_learned(view: TrunkView) -> Tensor:
        none = label_components(_mean(view), 0, network.smallest_component)
        return whole(TrunkView(view.features, view.affinities, none))

    def published_threshold(view: TrunkView) -> Tensor:
        found = label_components(_mean(view), network.most_components, network.smallest_component)
        return whole(TrunkView(view.features, view.affinities, found))

    def without_places(view: TrunkView) -> Tensor:
        places, decoder.places = decoder.places, None
        try:
            return whole(view)
        finally:
            decoder.places = places

    def only_places(view: TrunkView) -> Tensor:
        labels, sizes = view.components
        (terms,) = Places(1)(labels, len(sizes), 0)
        depth, height, width = labels.shape
        masks = torch.cat([terms.new_zeros(len(terms), 1), terms], dim=1)
        return masks.view(1, depth, height, width, -1).permute(0, 4, 1, 2, 3)

    return {
        "as it ships": whole,
        "masks before the first stage": stage(0),
        "masks before the second stage": stage(1),
        "learned queries taken away": without_learned,
        "learned queries only": only_learned,
        "components of the published threshold": published_threshold,
        "without the term of the place": without_places,
        "the place alone, nothing learned": only_places,
    }


def times(network: AGQOnMNet, images: list[NDArray[np.float32]]) -> dict[str, float]:
    """Return the median seconds of the parts of a pass."""
    taken: dict[str, list[float]] = {}

    def clock(name: str, begun: float) -> None:
        taken.setdefault(name, []).append(time.perf_counter() - begun)

    for image in images:
        x = 2 * torch.from_numpy(image)[None, None] - 1
        begun = time.perf_counter()
        network.trunk.logits_and_features((x + 1) / 2)
        clock("trunk", begun)
        view = network.look(x)
        begun = time.perf_counter()
        mean = _mean(view)
        label_components(
            mean,
            network.most_components,
            network.smallest_component,
            persistence=network.persistence,
        )
        clock("components", begun)
        begun = time.perf_counter()
        masks = network.decode(view, earlier=False).mask_logits
        clock("what was learned", begun)
        begun = time.perf_counter()
        label_queries(masks[0], image.shape)
        clock("labels", begun)
    return {name: float(np.median(values)) for name, values in taken.items()}


def _mean(view: TrunkView) -> Tensor:
    # What `look` made components of: the mean restricted affinities on the decoder's grid.
    shares = torch.sigmoid(view.affinities[0].transpose(0, 1))
    return torch.nn.functional.avg_pool2d(shares, 2, ceil_mode=True).mean(dim=1)


def main() -> None:
    """Print a row for each variant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--windows", type=int, default=6)
    parser.add_argument("--checkpoint", type=Path, default=None)
    parser.add_argument("--times", action="store_true")
    options = parser.parse_args()
    network, spec = load_checkpoint(options.checkpoint or pretrained_path("agq"), "agq")
    if not isinstance(network, AGQOnMNet):
        raise SystemExit("the checkpoint has no trunk")
    if options.times:
        shape = spec.tile_shape
        with torch.inference_mode():
            images = [image for _, image, _ in windows(options.folder, shape, options.windows)]
            found = times(network, images)
        total = sum(found.values())
        for name, seconds in found.items():
            print(f"{name:20s} {seconds:.3f} s  {100 * seconds / total:.1f} %")
        return
    compared = variants(network)
    rows: dict[tuple[str, str], list[tuple[float, float]]] = {}
    with torch.inference_mode():
        for name, image, truth in windows(options.folder, spec.tile_shape, options.windows):
            view = network.look(2 * torch.from_numpy(image)[None, None] - 1)
            for title, masks in compared.items():
                rows.setdefault((title, name), []).append(score(masks(view), truth))
    for title in compared:
        cells = []
        for name in ("AC4", "FIB-25"):
            split, merge = np.mean(rows[title, name], axis=0)
            cells.append(f"{name} {split + merge:.3f} ({split:.3f} + {merge:.3f})")
        print(f"{title:40s} {'   '.join(cells)}")


if __name__ == "__main__":
    main()
