"""Kill a proofreading session at random moments, again and again, and count what is lost.

    python benchmarks/kill_session.py [--rounds 1000] [--seed 1]

Each round a child process opens the project, makes random edits (merges, splits, undos, redos,
notes) and names each edit on a pipe once it is acknowledged; the parent kills it (SIGKILL) at a
random moment, opens the project and checks that every acknowledged edit is in the log, that the
log leads to the same lookup as a fold of it by hand, and that the session can be written again.
The children are forked, so that a round costs milliseconds; runs where there is os.fork.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import struct
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from napari_neuropil.errors import EditRejectedError
from napari_neuropil.geometry import Roi, VoxelSize
from napari_neuropil.project import ProjectInfo, write_graph, write_info
from napari_neuropil.proofreading import ProofreadingSession
from napari_neuropil.segmentation.rag import build_rag
from napari_neuropil.volumes import create_volume

_EDGE = 4
_GRID = (3, 6, 6)


def make_project(path: Path) -> None:
    """Write a project of cubes, each a segment."""
    path.mkdir()
    count = int(np.prod(_GRID))
    ids = np.arange(1, count + 1, dtype=np.uint64).reshape(_GRID)
    for axis in range(3):
        ids = ids.repeat(_EDGE, axis)
    size = VoxelSize(30, 8, 8)
    volume = create_volume(path / "fragments.zarr", ids.shape, "uint64", size)
    volume.write(Roi.of_shape(ids.shape), ids)
    rng = np.random.default_rng(0)
    rag = build_rag(ids, rng.random((3, *ids.shape)).astype(np.float32))
    write_graph(path, rag, np.arange(count + 1, dtype=np.uint64))
    write_info(
        path,
        ProjectInfo(
            state="finished",
            voxel_size=tuple(size),
            roi=str(Roi.of_shape(ids.shape)),
            fragment_count=count,
        ),
    )


def edit_at_random(session: ProofreadingSession, rng: random.Random) -> None:
    """Make one edit; one that is refused is tried otherwise by the caller's next turn."""
    shape = session.fragments().shape
    points = [tuple(rng.randrange(n) for n in shape) for _ in range(2)]
    kind = rng.random()
    with suppress(EditRejectedError):
        if kind < 0.5:
            session.merge(*points, force=True)
        elif kind < 0.75:
            session.split(points[0], points[1])
        elif kind < 0.9:
            session.undo()
        elif kind < 0.97:
            session.redo()
        else:
            session.annotate(session.segment_at(points[0]), comment=str(rng.random()))


def _child(path: Path, seed: int, pipe: int) -> None:
    rng = random.Random(seed)
    session = ProofreadingSession.open(path)
    said = len(session.edits)
    os.write(pipe, struct.pack("<q", said))
    while True:
        edit_at_random(session, rng)
        if len(session.edits) != said:
            said = len(session.edits)
            os.write(pipe, struct.pack("<q", said))


def _acknowledged(pipe: int, data: bytes) -> int:
    while part := os.read(pipe, 1 << 16):
        data += part
    whole = len(data) // 8
    return struct.unpack_from("<q", data, 8 * (whole - 1))[0] if whole else 0


def run_round(path: Path, seed: int, longest: float) -> tuple[int, int]:
    """Let a child work, kill it, and check the project.

    Returns
    -------
    tuple of int
        Edits acknowledged in all, and of these found in the log.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _child(path, seed, writer)
        finally:
            os._exit(1)
    os.close(writer)
    # Three rounds of four let some edits pass, however slow the machine is; the fourth kills
    # anywhere, also while the session is being opened.
    rng = random.Random(seed)
    data = b""
    if seed % 4:
        wanted = 8 * rng.randint(1, 6)
        while len(data) < wanted:
            data += os.read(reader, wanted - len(data))
    time.sleep(rng.uniform(0.0, longest / 5 if data else longest))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    acknowledged = _acknowledged(reader, data)
    os.close(reader)
    with ProofreadingSession.open(path) as session:
        if session.read_only:
            raise SystemExit("a dead owner's lock was not taken over")
        found = sum(1 for e in session.edits if e.id <= acknowledged)
        np.testing.assert_array_equal(session.lookup, fold_by_hand(session))
    return acknowledged, found


def fold_by_hand(session: ProofreadingSession) -> np.ndarray:
    """Return the lookup that the log leads to, gone through line by line."""
    lookup = np.zeros(len(session.lookup), np.uint64)
    lookup[: len(session.project.lookup)] = session.project.lookup
    parents = {e.id: e.parent for e in session.edits}
    at = session.cursor
    path = []
    while at:
        path.append(at)
        at = parents[at]
    for number in reversed(path):
        effect = session.edits[number - 1].effect
        if effect is not None:
            lookup[effect.fragments] = effect.after
    return lookup


def run_rounds(
    folder: Path, rounds: int, seed: int, *, longest: float = 0.25, fresh_every: int = 50
) -> tuple[int, int]:
    """Run rounds, on a new project now and then; return acknowledged and lost edits."""
    acknowledged = lost = 0
    for index in range(rounds):
        path = folder / f"{index // fresh_every}.neuropil"
        before = 0
        if not path.exists():
            make_project(path)
        else:
            with ProofreadingSession.open(path, read_only=True) as session:
                before = len(session.edits)
        told, found = run_round(path, seed + index, longest)
        acknowledged += max(0, told - before)
        lost += told - found if told else 0
    return acknowledged, lost


def main() -> None:
    """Print what was lost; exit code 1 if anything was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    words = parser.parse_args()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        acknowledged, lost = run_rounds(Path(folder), words.rounds, words.seed)
    seconds = time.perf_counter() - began
    print(f"{words.rounds} kills, {acknowledged} edits acknowledged, {lost} lost, {seconds:.0f} s")
    if lost:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
