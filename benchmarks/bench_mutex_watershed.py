"""Mutex watershed: ours beside bioimage-cpp and mwatershed, on the same affinities in one run.

The three alternate; minimum and median of wall and CPU time, the ratio counts. Memory is what a
process of its own needs above its input, labels included. "identical" compares with bioimage-cpp,
names of labels aside; mwatershed takes equal weights in another order, and there are many.

    python benchmarks/bench_mutex_watershed.py [--shape 32,256,256] [--kind metric] [--repeats 2]
    python benchmarks/bench_mutex_watershed.py --data FOLDER      (labels of AC4, z 80-99, 12 nm)

Affinities are made from labels (generated neuropil unless `--data` is given):

network  0 or 1, blurred and with noise, as a network's that predicts affinities
metric   from noisy vectors, one for each object, as the metric graph's of an embedding
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import multiprocessing
import os
import platform
import re
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_neuropil.geometry import Offset, Shape
from napari_neuropil.segmentation.metric_offsets import ATTRACTIVE, OFFSETS
from napari_neuropil.segmentation.mutex_watershed import mutex_watershed
from napari_neuropil.synthetic import make_neuropil
from napari_neuropil.volumes import open_volume

PACKAGES = ("bioimage-cpp", "mwatershed", "numba", "numpy")
DIMENSIONS, MARGIN = 24, 1.5
Labels = NDArray[np.integer[Any]]


def pair_slices(shape: Shape, offset: Offset) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return the voxels that have a partner at the offset, and the partners."""
    pairs = list(zip(offset, shape, strict=True))
    return (
        tuple(slice(max(0, -d), max(0, n - max(0, d))) for d, n in pairs),
        tuple(slice(max(0, d), max(0, n + min(0, d))) for d, n in pairs),
    )


def network_affinities(labels: Labels, noise: float) -> NDArray[np.float32]:
    """Return what a network might predict; `noise` is the standard deviation."""
    random = np.random.default_rng(0)
    affinities = np.zeros((len(OFFSETS), *labels.shape), np.float32)
    for channel, offset in zip(affinities, OFFSETS, strict=True):
        here, there = pair_slices(labels.shape, offset)
        channel[here] = (labels[here] == labels[there]) & (labels[here] > 0)
        grain = ndimage.gaussian_filter(random.standard_normal(labels.shape, np.float32), (0, 1, 1))
        channel[:] = ndimage.gaussian_filter(channel, (0, 1, 1)) + noise / grain.std() * grain
    return np.clip(affinities, 0, 1)


def metric_affinities(labels: Labels, noise: float) -> NDArray[np.float32]:
    """Return affinities of one random vector for each object plus noise, blurred at borders."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((int(labels.max()) + 1, DIMENSIONS), np.float32)
    distances = np.zeros((len(OFFSETS), *labels.shape), np.float32)
    for dimension in range(DIMENSIONS):
        grain = random.standard_normal(labels.shape, np.float32)
        field = centres[labels, dimension] + noise * grain
        field = ndimage.gaussian_filter(field, (0, 1, 1))
        for channel, offset in zip(distances, OFFSETS, strict=True):
            here, there = pair_slices(labels.shape, offset)
            channel[here] += np.abs(field[here] - field[there])
    closeness: NDArray[np.float32] = np.maximum(1 - distances / (2 * MARGIN), 0)
    return closeness**2


def read_labels(shape: Shape, data: Path | None) -> Labels:
    """Return generated labels, or those of AC4 at 12 nm, cut to the shape."""
    if data is None:
        return make_neuropil(shape, 0).labels
    z, y, x = shape
    array = open_volume(data / "ac4_labels.tif").array
    labels: Labels = np.asarray(array[80 : 80 + z, : 2 * y : 2, : 2 * x : 2])
    return labels


def run_ours(affinities: NDArray[Any]) -> NDArray[np.uint64]:
    """Run ours, on uint8 or float32."""
    return mutex_watershed(affinities, None, offsets=OFFSETS, attractive=len(ATTRACTIVE))


def run_bioimage_cpp(weights: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Run bioimage-cpp; repulsive channels hold repulsion."""
    import bioimage_cpp

    labels: NDArray[np.uint64] = bioimage_cpp.segmentation.mutex_watershed(
        weights, [list(o) for o in OFFSETS], len(ATTRACTIVE)
    )
    return labels


def run_mwatershed(signed: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Run mwatershed; repulsive channels hold repulsion below 0."""
    agglom = importlib.import_module("mwatershed").agglom  # optional, and without types
    labels: NDArray[np.uint64] = agglom(signed, [list(o) for o in OFFSETS])
    return labels


ENGINES: dict[str, Callable[[NDArray[Any]], NDArray[np.uint64]]] = {
    "ours, uint8": run_ours,
    "ours, float32": run_ours,
    "bioimage-cpp": run_bioimage_cpp,
    "mwatershed": run_mwatershed,
}


def inputs_of(stored: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """Return the same affinities as each engine wants them."""
    affinities = (stored / np.float32(255)).astype(np.float32)
    weights = affinities.copy()
    weights[len(ATTRACTIVE) :] = 1 - weights[len(ATTRACTIVE) :]
    signed = weights.astype(np.float64)
    signed[len(ATTRACTIVE) :] *= -1
    inputs: dict[str, NDArray[Any]] = {
        "ours, uint8": stored,
        "ours, float32": affinities,
        "bioimage-cpp": weights,
    }
    if importlib.util.find_spec("mwatershed"):
        inputs["mwatershed"] = signed
    return inputs


def same_partition(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Tell whether labels are equal but for their names."""
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1)
    return all(len(np.unique(side)) == pairs.shape[1] for side in pairs)


def peak_bytes() -> int:
    """Return the most memory the process held since the last reset, or ever."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        return int(found[1]) * 1024 if found else 0
    except OSError:
        unit = 1 if platform.system() == "Darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def memory_of(engine: str, file: Path) -> float:
    """Return bytes a voxel above the input; to be run in a fresh process."""
    values = np.load(file)
    # Whatever is compiled or loaded is so now. Offsets of 5 need 6 voxels.
    ENGINES[engine](np.ascontiguousarray(values[:, :4, :8, :8]))
    if Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")
    before = peak_bytes()
    ENGINES[engine](values)
    return float((peak_bytes() - before) / values[0].size)


def measure_memory(inputs: dict[str, NDArray[Any]]) -> dict[str, float]:
    """Return bytes a voxel of each engine."""
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        for engine, values in inputs.items():
            file = Path(folder) / "input.npy"
            np.save(file, values)
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                result[engine] = pool.apply(memory_of, (engine, file))
    return result


def measure(stored: NDArray[np.uint8], repeats: int) -> None:
    """Print a line for each engine."""
    inputs = inputs_of(stored)
    voxels = stored[0].size
    for engine in ("ours, uint8", "ours, float32"):
        started = time.perf_counter()
        ENGINES[engine](np.ascontiguousarray(inputs[engine][:, :4, :8, :8]))
        print(f"{engine:<14} first call (compiles, or loads) {time.perf_counter() - started:.1f} s")
    wall: dict[str, list[float]] = {engine: [] for engine in inputs}
    cpu: dict[str, list[float]] = {engine: [] for engine in inputs}
    labels = {}
    for _ in range(repeats):
        for engine, values in inputs.items():
            started, used = time.perf_counter(), time.process_time()
            labels[engine] = ENGINES[engine](values)
            wall[engine].append(time.perf_counter() - started)
            cpu[engine].append(time.process_time() - used)
    memory = measure_memory(inputs)
    ours, ours_cpu = min(wall["ours, uint8"]), min(cpu["ours, uint8"])
    for engine in inputs:
        fastest = min(wall[engine])
        identical = same_partition(labels[engine], labels["bioimage-cpp"])
        print(
            f"{engine:<14} min {fastest:7.2f} s  median {statistics.median(wall[engine]):7.2f} s  "
            f"cpu {min(cpu[engine]):7.2f} s  {voxels / fastest / 1e6:6.3f} Mvoxel/s  "
            f"x{fastest / ours:.1f} wall, x{min(cpu[engine]) / ours_cpu:.1f} cpu of ours  "
            f"{memory[engine]:6.0f} B/voxel  {len(np.unique(labels[engine]))} labels, "
            f"identical {'yes' if identical else 'no'}"
        )


def print_conditions() -> None:
    """Print what the figures depend on."""
    versions = []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            versions.append(f"{name} missing")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    print(f"{platform.platform()}, {os.cpu_count()} cores, load {load:.1f}, 1 thread")
    print(", ".join(versions))


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--shape", default="32,256,256")
    parser.add_argument("--kind", choices=("network", "metric"), default="network")
    parser.add_argument("--noise", type=float, default=0.15)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    z, y, x = (int(part) for part in options.shape.split(","))
    print_conditions()
    labels = read_labels((z, y, x), options.data)
    make = {"network": network_affinities, "metric": metric_affinities}[options.kind]
    stored = np.round(make(labels, options.noise) * 255).astype(np.uint8)
    print(f"{options.kind} affinities of {labels.shape}, {len(np.unique(labels))} objects")
    measure(stored, options.repeats)


if __name__ == "__main__":
    main()
