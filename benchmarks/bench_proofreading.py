"""How long edits take on a graph of a million segments, and a baseline beside them.

    python benchmarks/bench_proofreading.py [--small] [--repeats 200] [--edits 100000]

The volume is 1000^3 voxels that exist only when read (2 million fragments of 5 x 10 x 10 voxels,
10 million contacts, a million segments), so nothing but the graph has a size. Two segments are
larger: 10^4 and 10^5 fragments. The baseline is what a labels layer without fragments has to do
for a merge: rewrite the voxels, here of a volume seven times smaller.

Printed: median and 99th percentile in milliseconds. A durable merge is everything from the ids
to the acknowledged commit; "section" adds reading the 1000 x 1000 section on screen anew.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from napari_neuropil.errors import EditRejectedError
from napari_neuropil.geometry import Roi, VoxelSize
from napari_neuropil.project import Project, ProjectInfo
from napari_neuropil.project.fragment_table import FragmentTable
from napari_neuropil.proofreading import ProofreadingSession
from napari_neuropil.proofreading.database import SessionDatabase
from napari_neuropil.proofreading.lock import WriterLock
from napari_neuropil.segmentation.rag import Rag
from napari_neuropil.volumes import Volume

EDGE = (5, 10, 10)


class Bricks:
    """Fragment ids of a wall of bricks, computed when read."""

    def __init__(self, grid: tuple[int, int, int]) -> None:
        self.grid = grid
        self.shape = tuple(n * e for n, e in zip(grid, EDGE, strict=True))
        self.dtype = np.dtype(np.uint64)

    def __getitem__(self, key: tuple[slice, slice, slice]) -> np.ndarray:
        z, y, x = (
            np.arange(*s.indices(n)) // e for s, n, e in zip(key, self.shape, EDGE, strict=True)
        )
        _, height, width = self.grid
        row = (z[:, None] * height + y[None])[..., None] * width
        return (row + x + 1).astype(np.uint64)


def make_rag(grid: tuple[int, int, int], rng: np.random.Generator) -> Rag:
    """Five contacts for each brick: along the axes and two diagonals."""
    ids = np.arange(1, int(np.prod(grid)) + 1, dtype=np.uint64).reshape(grid)
    where = np.stack(np.meshgrid(*(np.arange(n) for n in grid), indexing="ij"), -1)
    pairs, centres = [], []
    for dz, dy, dx in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1)):
        low = (slice(0, -dz or None), slice(0, -dy or None), slice(0, -dx or None))
        high = (slice(dz, None), slice(dy, None), slice(dx, None))
        pairs.append(np.stack([ids[low].ravel(), ids[high].ravel()], 1))
        middle = (where[low].reshape(-1, 3) + where[high].reshape(-1, 3) + 1) / 2
        centres.append((middle * EDGE).astype(np.float32))
    contacts, centroid = np.concatenate(pairs), np.concatenate(centres)
    order = np.lexsort((contacts[:, 1], contacts[:, 0]))
    score = rng.random(len(order), dtype=np.float32)
    area = rng.integers(1, 100, len(order))
    return Rag(contacts[order], score, area, area.astype(np.float32), centroid[order], score.copy())


def make_project(
    folder: Path, grid: tuple[int, int, int], seed: int
) -> tuple[Project, FragmentTable]:
    """Make a project in memory: pairs of bricks are segments, and two boxes of bricks."""
    rng = np.random.default_rng(seed)
    count = int(np.prod(grid))
    lookup = np.arange(count + 1, dtype=np.uint64)
    lookup[2::2] -= 1
    ids = np.arange(1, count + 1, dtype=np.uint64).reshape(grid)
    large = min(100, grid[0] // 2)
    for box in (
        (slice(0, 25), slice(0, 20), slice(0, 20)),
        (slice(25, 25 + large), slice(30, 62), slice(30, 62)),
    ):
        members = ids[box].ravel()
        lookup[members] = members[0]
    lookup[np.isin(lookup, 0)] = 0
    where = np.stack(np.meshgrid(*(np.arange(n) for n in grid), indexing="ij"), -1).reshape(-1, 3)
    start = np.zeros((count + 1, 3), np.int32)
    start[1:] = where * np.array(EDGE)
    stop = start + np.array(EDGE, np.int32)
    stop[0] = 0
    size = np.full(count + 1, int(np.prod(EDGE)), np.int64)
    size[0] = 0
    voxel_size = VoxelSize(30, 8, 8)
    info = ProjectInfo(
        state="finished",
        voxel_size=tuple(voxel_size),
        roi=str(Roi.of_shape([n * e for n, e in zip(grid, EDGE, strict=True)])),
        fragment_count=count,
    )
    project = Project(folder, info, Volume(Bricks(grid), voxel_size), lookup)
    project.__dict__["rag"] = make_rag(grid, rng)
    return project, FragmentTable(size, start, stop)


def open_session(project: Project, table: FragmentTable) -> ProofreadingSession:
    """Open as `ProofreadingSession.open` does, on the project in memory."""
    lock = WriterLock(project.path)
    lock.acquire()
    return ProofreadingSession(
        project, table, SessionDatabase(project.path, "bench", read_only=False), lock
    )


def timed(action: Callable[[], object]) -> float:
    """Return the milliseconds of one call."""
    begin = time.perf_counter()
    action()
    return 1000 * (time.perf_counter() - begin)


def show(name: str, times: list[float], note: str = "") -> None:
    """Print a line of figures."""
    ordered = sorted(times)
    p99 = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    print(
        f"{name:42s} median {statistics.median(times):9.2f}  p99 {p99:9.2f}  "
        f"min {ordered[0]:9.2f} ms  n {len(times):4d}  {note}"
    )


def rewrite(labels: np.ndarray, rng: np.random.Generator) -> None:
    """Merge as the baseline does: find the voxels of one label, and write another."""
    a, b = rng.integers(1, int(labels[-1, -1, -1]), 2)
    labels[labels == a] = b


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="a graph a hundred times smaller")
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--edits", type=int, default=100_000, help="in the log that is opened")
    words = parser.parse_args()
    grid = (70, 64, 64) if words.small else (200, 100, 100)
    print(
        f"Python {platform.python_version()}, numpy {np.__version__}, "
        f"scipy {importlib.metadata.version('scipy')}, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}"
    )
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as name:
        project, table = make_project(Path(name), grid, 0)
        print(
            f"{project.info.fragment_count} fragments, {len(project.rag)} contacts, "
            f"{len(np.unique(project.lookup)) - 1} segments, {project.fragments.shape} voxels"
        )
        with open_session(project, table) as session:
            _measure(session, rng, words.repeats, grid)
            _fill(session, rng, words.edits)
        times = []
        for _ in range(5):
            begin = time.perf_counter()
            session = open_session(project, table)
            times.append(1000 * (time.perf_counter() - begin))
            session.close()
        show(f"opening a log of {words.edits} lines", times)
        show("  first merge after it (indices are built)", [_first_merge(project, table)])


def _first_merge(project: Project, table: FragmentTable) -> float:
    with open_session(project, table) as session:
        pairs = session.project.rag.contacts
        row = next(
            r for r in range(len(pairs)) if len(set(session.lookup[pairs[r].astype(int)])) == 2
        )
        a, b = session.lookup[pairs[row].astype(int)]
        return timed(lambda: session.merge(int(a), int(b)))


def _measure(
    session: ProofreadingSession, rng: np.random.Generator, repeats: int, grid: tuple[int, int, int]
) -> None:
    show(
        "building the indices, once", [timed(lambda: session.graph.contacts_of(session.members(1)))]
    )
    merges, sections, baselines, undos = [], [], [], []
    contacts = session.project.rag.contacts
    labels = Bricks((grid[0] // 2, grid[1] // 2, 55))[:, :, :].copy()
    segments = session.segments()
    middle = segments.shape[0] // 2
    while len(merges) < repeats:
        a, b = session.lookup[contacts[rng.integers(len(contacts))].astype(np.intp)]
        if a == b:
            continue
        merges.append(timed(lambda a=a, b=b: session.merge(int(a), int(b))))
        section = Roi((middle, 0, 0), (middle + 1, *segments.shape[1:]))
        sections.append(merges[-1] + timed(lambda r=section: segments.read(r)))
        if len(merges) % max(1, repeats // 10) == 0:
            baselines.append(timed(lambda: rewrite(labels, rng)))
        if len(merges) % 4 == 0:
            undos.append(timed(session.undo))
    show("durable merge", merges)
    show("durable merge + section looked up", sections)
    show("baseline: voxels rewritten", baselines, f"{labels.size / 1e6:.0f} Mvoxel, not durable")
    show("undo", undos)
    deep = min(100, grid[0] // 2)
    for corners in (((0, 0, 0), (24, 19, 19)), ((25, 30, 30), (24 + deep, 61, 61))):
        ends = [int(np.ravel_multi_index(c, grid)) + 1 for c in corners]
        segment = int(session.lookup[ends[0]])
        count = len(session.members(segment))
        quick, exact = [], []
        for _ in range(7):
            offsets = rng.integers(0, 4, (2, 3))
            a = int(np.ravel_multi_index(np.array(corners[0]) + offsets[0], grid)) + 1
            b = int(np.ravel_multi_index(np.array(corners[1]) - offsets[1], grid)) + 1
            quick.append(timed(lambda a=a, b=b: session.propose_split(a, b, quick=True)))
            begin = time.perf_counter()
            session.split(a, b)
            exact.append(1000 * (time.perf_counter() - begin))
            session.undo()
        show(f"split of {count} fragments, exact, durable", exact)
        show(f"split of {count} fragments, quick preview", quick)


def _fill(session: ProofreadingSession, rng: np.random.Generator, edits: int) -> None:
    """Make the log long; not synced, since only its length matters here."""
    connection = session._database._connection
    connection.execute("PRAGMA synchronous = OFF")
    contacts = session.project.rag.contacts
    while len(session.edits) < edits:
        for row in rng.integers(len(contacts), size=min(5000, edits)):
            a, b = session.lookup[contacts[row].astype(np.intp)]
            if a != b and a and b:
                try:
                    session.merge(int(a), int(b))
                except EditRejectedError:
                    continue
            if rng.random() < 0.05:
                session.undo()


if __name__ == "__main__":
    main()
