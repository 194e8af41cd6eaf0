"""Choices made by measurement: threads on a CPU, batch on a GPU."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import psutil
import torch
from torch import nn

from napari_neuropil.geometry import Shape
from napari_neuropil.inference.devices import free_memory, usable_cores
from napari_neuropil.inference.predict import TilingPlan

MANY_CORES: Final = 2
_SMALLEST_EDGE: Final = 32

_MEMORY_SHARE: Final = 0.7
"""Of the free memory, what one pass may take; the rest is for fragmentation and others."""


def measure_pass(network: nn.Module, plan: TilingPlan) -> float:
    """Return the seconds of one forward pass of `plan`, after one to warm up."""
    device = torch.device(plan.device)
    form = torch.channels_last_3d if plan.channels_last else torch.contiguous_format
    network = network.eval().to(device).to(memory_format=form)  # type: ignore[call-overload]
    generator = torch.Generator().manual_seed(0)
    x = torch.rand((plan.batch, 1, *plan.tile_shape), generator=generator).to(device)
    x = x.contiguous(memory_format=form)
    best = float("inf")
    with (
        torch.inference_mode(),
        torch.autocast(device.type, enabled=plan.half, dtype=torch.bfloat16),
    ):
        for _ in range(2):
            begin = time.perf_counter()
            network(x)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            best = min(best, time.perf_counter() - begin)
    return best


def choose_cpu_plan(
    network: nn.Module,
    tile_shape: Shape,
    overlap: float,
    probe_shape: Shape,
) -> tuple[TilingPlan, float]:
    """Return the fastest plan for this CPU, and its seconds per voxel of a tile.

    Measured on a small probe tile, since speed per voxel hardly depends on the tile. Torch's
    global number of threads is left at the winner's. The memory format is not chosen anew each
    time: it changes the order of sums, hence the last bits of the result, and two runs would
    differ by the noise of a clock. Channels-last was measured once (AVX2, two cores, MNet of
    widths 16 to 64, 16 x 128 x 128 voxels): 0.87 s against 0.91 s, no clear gain.

    Parameters
    ----------
    network : Module
        The network.
    tile_shape : Shape
        The tile of the plan; never changed by this.
    overlap : float
        Of the plan.
    probe_shape : Shape
        The tile that is timed.
    """
    cores = usable_cores()
    # One thread per core is best on a quiet machine; half of them where two share a core.
    counts = [cores, cores // 2] if cores > MANY_CORES else [cores]
    best: tuple[float, TilingPlan] | None = None
    for threads in counts:
        torch.set_num_threads(threads)
        plan = TilingPlan(probe_shape, overlap, threads=threads)
        seconds = measure_pass(network, plan)
        if best is None or seconds < best[0]:
            best = seconds, plan
    assert best is not None  # noqa: S101 - there is at least one count
    seconds, plan = best
    torch.set_num_threads(plan.threads)
    return replace(plan, tile_shape=tile_shape), seconds / math.prod(probe_shape)


def choose_batch(network: nn.Module, plan: TilingPlan, largest: int) -> int:
    """Return how many tiles fit into the GPU's free memory at once, at most `largest`.

    Takes the peak of one real pass as the price of a tile.
    """
    device = torch.device(plan.device)
    if device.type != "cuda":
        return 1
    free = free_memory(device)
    torch.cuda.reset_peak_memory_stats(device)
    measure_pass(network, replace(plan, batch=1))
    peak = torch.cuda.max_memory_allocated(device)
    return max(1, min(largest, int(_MEMORY_SHARE * free / max(1, peak))))


def measure_peak_bytes(network: nn.Module, probe_shape: Shape) -> float:
    """Return the resident bytes per voxel that one pass on the CPU takes at its peak.

    A thread reads the process's memory every millisecond while a pass runs; torch keeps no
    account of memory on the CPU.
    """
    process, done = psutil.Process(), threading.Event()
    before = process.memory_info().rss
    peak = [before]

    def watch() -> None:
        while not done.wait(0.001):
            peak[0] = max(peak[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        measure_pass(network, TilingPlan(probe_shape))
    finally:
        done.set()
        watcher.join()
    return float(peak[0] - before) / math.prod(probe_shape)


def cpu_tile_that_fits(
    tile_shape: Shape, bytes_per_voxel: float, notice: Callable[[str], None]
) -> Shape:
    """Halve a tile in y and x until one pass fits into free memory; say so.

    Parameters
    ----------
    tile_shape : Shape
        Wanted.
    bytes_per_voxel : float
        Peak of a pass per voxel of the tile, as measured.
    notice : callable
        Told if the tile was made smaller.
    """
    free = free_memory(torch.device("cpu"))
    z, y, x = tile_shape
    while z * y * x * bytes_per_voxel > _MEMORY_SHARE * free and min(y, x) > _SMALLEST_EDGE:
        y, x = y // 2, x // 2
    if (z, y, x) != tile_shape:
        notice(
            f"Only {free / 2**30:.1f} GiB of memory are free: tile {(z, y, x)} instead of "
            f"{tile_shape}; results differ slightly from those of the full tile."
        )
    return z, y, x
