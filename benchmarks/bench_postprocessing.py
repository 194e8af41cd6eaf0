"""Seconds of each step from affinities to scores, ours beside what others call for it.

Ours and theirs alternate in one run on the same generated volume; the ratio counts, absolute
seconds depend on the machine. Prints minimum and median of wall time and the minimum of CPU time.

    python benchmarks/bench_postprocessing.py [--shape 20,512,512] [--repeats 5]

python-elf is optional; its lines are left out where it is missing.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import bioimage_cpp
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.metrics import adapted_rand_error, variation_of_information

from napari_neuropil.evaluation.scores import evaluate_segmentation
from napari_neuropil.segmentation.agglomeration import (
    MeanAffinitySettings,
    MulticutSettings,
    agglomerate,
    multicut_costs,
)
from napari_neuropil.segmentation.fragments import WatershedSettings, make_fragments
from napari_neuropil.segmentation.lookup import apply_lookup
from napari_neuropil.segmentation.rag import build_rag

OFFSETS = [(-1, 0, 0), (0, -1, 0), (0, 0, -1)]
WATERSHED = WatershedSettings(sigma_seeds=1.5, sigma_weights=1.0, threshold=0.4, min_size=25)
PACKAGES = ("bioimage-cpp", "python-elf", "waterz", "scikit-image", "numpy", "scipy")

Work = Callable[[], Any]


def make_volume(shape: tuple[int, int, int]) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
    """Return labels of Voronoi cells about 40 pixels wide and noisy affinities of them."""
    random = np.random.default_rng(0)
    scale = np.array([3.0, 1.0, 1.0])
    count = max(2, int(np.prod(shape) * 3.0 / 40**3))
    points = random.uniform(size=(count, 3)) * np.array(shape) * scale
    ids = np.empty(shape, np.uint64)
    tree = cKDTree(points)
    plane = np.stack(np.meshgrid(np.arange(shape[1]), np.arange(shape[2]), indexing="ij"), -1)
    for z in range(shape[0]):
        grid = np.concatenate([np.full((*shape[1:], 1), 3.0 * z), plane], axis=-1)
        ids[z] = tree.query(grid.reshape(-1, 3))[1].reshape(shape[1:]) + 1
    border = ndimage.maximum_filter(ids, (1, 3, 3)) != ndimage.minimum_filter(ids, (1, 3, 3))
    labels = np.where(border, 0, ids).astype(np.uint64)
    affinities = np.zeros((3, *shape), np.float32)
    for axis in range(3):
        along, channel = np.moveaxis(labels, axis, 0), np.moveaxis(affinities[axis], axis, 0)
        channel[1:] = (along[1:] == along[:-1]) & (along[1:] > 0)
        channel[0] = along[0] > 0
    noise = ndimage.gaussian_filter(random.standard_normal(affinities.shape), (0, 0, 1, 1))
    blurred = ndimage.gaussian_filter(affinities, (0, 0, 1, 1)) + 0.5 * noise
    return labels, np.clip(blurred, 0, 1).astype(np.float32)


def compare(step: str, works: dict[str, Work], voxels: int, repeats: int) -> None:
    """Run the works in turn and print a line for each, the ratio against the first."""
    wall: dict[str, list[float]] = {name: [] for name in works}
    cpu: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            started, used = time.perf_counter(), time.process_time()
            work()
            wall[name].append(time.perf_counter() - started)
            cpu[name].append(time.process_time() - used)
    first = next(iter(works))
    ours, ours_cpu = min(wall[first]), min(cpu[first])
    for name in works:
        fastest = min(wall[name])
        print(
            f"{step:<14} {name:<44} min {fastest:8.4f} s  median "
            f"{statistics.median(wall[name]):8.4f} s  cpu {min(cpu[name]):8.4f} s  "
            f"{voxels / fastest / 1e6:8.1f} Mvoxel/s  "
            f"x{fastest / ours:.2f} wall, x{min(cpu[name]) / max(ours_cpu, 1e-9):.2f} cpu of ours"
        )


def elf_fragments(affinities: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Cut sections by python-elf's distance-transform watershed, one after the other."""
    from elf.segmentation.watershed import distance_transform_watershed

    boundaries = 1 - np.minimum(affinities[1], affinities[2])
    result = np.empty(boundaries.shape, np.uint64)
    last = 0
    for z, section in enumerate(boundaries):
        labels, count = distance_transform_watershed(
            section, WATERSHED.threshold, WATERSHED.sigma_seeds,
            sigma_weights=WATERSHED.sigma_weights, min_size=WATERSHED.min_size,
        )  # fmt: skip
        result[z] = labels + np.uint64(last)
        last += count
    return result


def their_rag(
    fragments: NDArray[np.uint64], affinities: NDArray[np.float32]
) -> tuple[Any, NDArray[np.float64]]:
    """Build bioimage-cpp's graph with mean affinities and sizes (no lengths, no centroids)."""
    graph = bioimage_cpp.graph.region_adjacency_graph(fragments, number_of_threads=1)
    features = bioimage_cpp.graph.features.affinity_features(
        graph, fragments, affinities, OFFSETS, number_of_threads=1
    )
    return graph, features


@contextlib.contextmanager
def silent_stdout() -> Iterator[None]:
    """Send file descriptor 1 to nowhere: waterz reports from C++."""
    sys.stdout.flush()
    kept = os.dup(1)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        try:
            yield
        finally:
            os.dup2(kept, 1)
            os.close(kept)


def waterz_segments(
    fragments: NDArray[np.uint64], affinities: NDArray[np.float32]
) -> NDArray[np.uint64]:
    """Agglomerate by waterz; it builds its own graph and relabels the voxels in place."""
    import waterz

    with silent_stdout():
        return next(iter(waterz.agglomerate(affinities, [0.5], fragments=fragments.copy())))


def has(package: str) -> bool:
    """Tell whether a package can be imported."""
    return importlib.util.find_spec(package) is not None


def print_conditions() -> None:
    """Print what the figures depend on."""
    versions = []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            versions.append(f"{name} missing")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    print(f"{platform.platform()}, {os.cpu_count()} cores, load {load:.1f}, 1 thread unless said")
    print(", ".join(versions))


def main() -> None:
    """Run all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", default="20,512,512")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    z, y, x = (int(part) for part in options.shape.split(","))
    print_conditions()
    labels, affinities = make_volume((z, y, x))
    fragments = make_fragments(affinities, None, WATERSHED)
    count = int(fragments.max())
    rag = build_rag(fragments, affinities)
    print(f"volume {labels.shape}, {count} fragments, {len(rag)} contacts")
    stored = np.round(affinities * 255).astype(np.uint8)
    multicut, mean = MulticutSettings(), MeanAffinitySettings()
    lookup = agglomerate(rag, count, multicut)
    segments = apply_lookup(lookup, fragments)
    graph = bioimage_cpp.graph.UndirectedGraph(count + 1)
    graph.insert_edges(rag.contacts)
    costs = multicut_costs(rag, multicut.beta)
    module = bioimage_cpp.graph.multicut

    def solve_bare() -> Any:
        objective = module.MulticutObjective(graph, costs)
        module.GreedyAdditiveMulticut().optimize(objective)
        return module.KernighanLinMulticut().optimize(objective)

    def scikit_image() -> Any:
        truth, result = labels.astype(np.int64), segments.astype(np.int64)
        return (
            variation_of_information(truth, result, ignore_labels=(0,)),
            adapted_rand_error(truth, result),
        )

    steps: dict[str, dict[str, Work]] = {
        "fragments": {
            "ours": lambda: make_fragments(affinities, None, WATERSHED),
            "ours, 2 threads": lambda: make_fragments(affinities, None, WATERSHED, workers=2),
            "python-elf, section by section": lambda: elf_fragments(affinities),
        },
        "rag": {
            "ours (with lengths and centroids)": lambda: build_rag(fragments, affinities),
            "ours, 8-bit affinities": lambda: build_rag(fragments, stored),
            "bioimage-cpp graph + affinity_features": lambda: their_rag(fragments, affinities),
        },
        "multicut": {
            "ours": lambda: agglomerate(rag, count, multicut),
            "bioimage-cpp solvers alone": solve_bare,
        },
        "mean affinity": {
            "ours: rag + agglomerate + lookup": lambda: apply_lookup(
                agglomerate(build_rag(fragments, affinities), count, mean), fragments
            ),
            "waterz on the volume": lambda: waterz_segments(fragments, affinities),
        },
        "lookup": {
            "ours": lambda: apply_lookup(lookup, fragments),
            "numpy lookup[fragments] (no check)": lambda: lookup[fragments],
        },
        "scores": {"ours": lambda: evaluate_segmentation(segments, labels),
                   "scikit-image on the volume": scikit_image},
    }  # fmt: skip
    if not has("elf"):
        del steps["fragments"]["python-elf, section by section"]
    if not has("waterz"):
        del steps["mean affinity"]["waterz on the volume"]
    for step, works in steps.items():
        compare(step, works, fragments.size, options.repeats)


if __name__ == "__main__":
    main()
