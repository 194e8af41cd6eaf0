"""Milliseconds to split a segment, ours beside SciPy's maximum flow on the whole graph.

Both cut the same generated segments between the same seeds, in turn, in one run; the ratio counts,
absolute times depend on the machine. A segment is two branching neurites that touch and are merged
where they do, or a compact body in two halves, where little can be contracted. Prints minimum,
median and 95th percentile of wall and of CPU time, and how the values of the cuts compare.

    python benchmarks/bench_splitting.py [--fragments 10000,100000] [--repeats 5] [--segments 4]

SciPy needs whole int32 capacities: it gets ours in units of 2**-26 of the cheapest cut. Above
`--plain-limit` fragments it runs once a segment only, since it takes up to half a minute.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components, maximum_flow
from scipy.spatial import cKDTree

from napari_neuropil.segmentation.splitting import cut_capacity, split_sides

PACKAGES = ("numpy", "scipy")
NEIGHBOURS = 8
BRANCHES = 6

Points = NDArray[np.float64]
Segment = tuple[int, NDArray[np.int64], NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]


def grow_neurite(random: np.random.Generator, count: int, start: Points) -> Points:
    """Return `count` fragment centres along a branching tube about three fragments wide."""
    branch_length = count // (6 * BRANCHES)
    lines: list[Points] = []
    for branch in range(BRANCHES):
        place = start
        if branch:
            line = lines[int(random.integers(len(lines)))]
            place = line[int(random.integers(len(line)))]
        direction = random.normal(size=3)
        steps = np.empty((branch_length, 3))
        for step, turn in enumerate(random.normal(size=(branch_length, 3)) * 0.25):
            direction = direction + turn
            direction /= np.linalg.norm(direction)
            steps[step] = direction
        lines.append(place + np.cumsum(steps, axis=0))
    centres = np.concatenate(lines)
    spread = random.uniform(-1.2, 1.2, size=(count, 3))
    return centres[random.integers(len(centres), size=count)] + spread


def make_points(kind: str, random: np.random.Generator, count: int) -> tuple[Points, Any]:
    """Return fragment centres and which of the two objects each belongs to."""
    if kind == "neurites":
        first = grow_neurite(random, count // 2, np.zeros(3))
        start = first[int(random.integers(len(first)))] + 1.5
        second = grow_neurite(random, count - count // 2, start)
        owner = np.repeat([0, 1], [len(first), len(second)])
        return np.concatenate([first, second]), owner
    points = random.uniform(size=(count, 3)) * count ** (1 / 3)
    return points, (points[:, 0] > count ** (1 / 3) / 2).astype(int)


def make_segment(kind: str, count: int, seed: int) -> Segment:
    """Return nodes, contacts, capacities and seeds of one segment that holds two objects."""
    random = np.random.default_rng(seed)
    points, owner = make_points(kind, random, count)
    nearest = cKDTree(points).query(points, NEIGHBOURS + 1)[1][:, 1:]
    ends = np.stack([np.repeat(np.arange(count), NEIGHBOURS), nearest.ravel()], axis=1)
    ends = np.unique(np.sort(ends, axis=1), axis=0)
    same = owner[ends[:, 0]] == owner[ends[:, 1]]
    score = np.where(same, random.beta(8, 1.5, len(ends)), random.beta(1.5, 6, len(ends)))
    between = np.flatnonzero(~same)
    middles = points[ends[between]].mean(axis=1)
    site = middles[int(random.integers(len(between)))]
    merged = between[np.linalg.norm(middles - site, axis=1) < 2.0]
    score[merged] = random.uniform(0.55, 0.85, len(merged))
    area = np.maximum(1, random.lognormal(4.0, 1.0, len(ends))).astype(np.int64)
    graph = csr_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(count, count))
    part = connected_components(graph, directed=False)[1]
    largest = part == np.bincount(part).argmax()
    inside = largest[ends[:, 0]]
    number = np.cumsum(largest) - 1
    sides = [random.choice(np.flatnonzero((owner == o) & largest), 3) for o in (0, 1)]
    return (
        int(largest.sum()),
        number[ends[inside]],
        cut_capacity(score[inside], area[inside]),
        number[sides[0]],
        number[sides[1]],
    )


def plain_sides(segment: Segment, cheapest: float) -> NDArray[np.bool_]:
    """Cut by SciPy's maximum flow alone; units are shares of the cheapest cut."""
    count, ends, capacity, side_a, side_b = segment
    capped = np.minimum(capacity, 2 * cheapest)
    units = np.maximum(1, np.rint(capped * (2**26 / cheapest)))
    ties = [[count, int(a)] for a in side_a] + [[int(b), count + 1] for b in side_b]
    rows, columns = np.concatenate([ends, ends[:, ::-1], ties]).T
    values = np.concatenate([units, units, np.full(len(ties), 2.0**30)]).astype(np.int32)
    graph = csr_array((values, (rows, columns)), shape=(count + 2, count + 2))
    left = csr_array(graph - maximum_flow(graph, count, count + 1).flow)
    left.eliminate_zeros()
    side = np.zeros(count + 2, bool)
    side[breadth_first_order(left, count, return_predecessors=False)] = True
    return side[:count]


def value(segment: Segment, side: NDArray[np.bool_]) -> float:
    """Return the capacity of the contacts cut."""
    ends, capacity = segment[1], segment[2]
    return float(capacity[side[ends[:, 0]] != side[ends[:, 1]]].sum())


def compare(kind: str, count: int, options: argparse.Namespace) -> None:
    """Cut some segments in turn by each way and print a line for each way."""
    wall: dict[str, list[float]] = {}
    cpu: dict[str, list[float]] = {}
    ratios: dict[str, list[float]] = {}
    contacts = 0
    for seed in range(options.segments):
        segment = make_segment(kind, count, seed)
        nodes, ends, capacity, side_a, side_b = segment
        contacts = len(ends)
        exact = value(segment, split_sides(ends, capacity, nodes, side_a, side_b, exact=True))
        ways: dict[str, Callable[[], NDArray[np.bool_]]] = {
            "ours, exact": lambda s=segment: split_sides(s[1], s[2], s[0], s[3], s[4], exact=True),
            "ours, quick": lambda s=segment: split_sides(s[1], s[2], s[0], s[3], s[4], exact=False),
            "SciPy maximum_flow": lambda s=segment, v=exact: plain_sides(s, v),
        }
        for repeat in range(options.repeats):
            for name, way in ways.items():
                if name.startswith("SciPy") and repeat and count > options.plain_limit:
                    continue
                started, used = time.perf_counter(), time.process_time()
                side = way()
                wall.setdefault(name, []).append(time.perf_counter() - started)
                cpu.setdefault(name, []).append(time.process_time() - used)
                ratios.setdefault(name, []).append(value(segment, side) / exact)
    print(f"{kind}, {count} fragments, about {contacts} contacts, {options.segments} segments")
    ours = wall["ours, exact"]
    for name, times in wall.items():
        ratio = statistics.median(times) / statistics.median(ours)
        print(
            f"  {name:<20} runs {len(times):3}  wall {describe(times)}  cpu {describe(cpu[name])}  "
            f"x{ratio:.2f} of ours  cut / exact {max(ratios[name]):.6f} at most"
        )


def describe(seconds: list[float]) -> str:
    """Return minimum, median and 95th percentile in milliseconds."""
    return (
        f"min {min(seconds) * 1e3:8.1f} median {statistics.median(seconds) * 1e3:8.1f} "
        f"p95 {np.percentile(seconds, 95) * 1e3:8.1f} ms"
    )


def main() -> None:
    """Run all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fragments", default="10000,100000")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--segments", type=int, default=4)
    parser.add_argument("--plain-limit", type=int, default=20_000)
    options = parser.parse_args()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    print(f"{platform.platform()}, {os.cpu_count()} cores, load {load:.1f}, 1 thread")
    print(", ".join(f"{name} {version(name)}" for name in PACKAGES))
    for count in (int(part) for part in options.fragments.split(",")):
        for kind in ("neurites", "body"):
            compare(kind, count, options)


if __name__ == "__main__":
    main()
