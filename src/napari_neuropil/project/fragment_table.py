"""Size and bounding box of each fragment: what a click must know without touching voxels.

A fragment's voxels form runs along x. A run is found by comparing each voxel with its left
neighbour, and only runs (a few per cent of the voxels) are sorted by id and summed. Sums, minima
and maxima of blocks add up exactly, so the table is the same for any blocks.
Cost: O(voxels) comparisons, O(runs log runs) sorting; memory 32 bytes a fragment and one block.

The table is kept as ``PROJECT/fragments.npz``. It is a cache: a missing, damaged or foreign one is
made anew, and a folder that cannot be written goes without.
"""

from __future__ import annotations

import os
import struct
import tokenize
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.blockwise import split_blocks
from napari_neuropil.errors import ProjectError, VolumeFormatError
from napari_neuropil.geometry import Roi, Shape
from napari_neuropil.project.project import Project

TABLE_NAME: Final = "fragments.npz"
_FORMAT: Final = 1
_BLOCK_VOXELS: Final = 1 << 23
_SLAB_VOXELS: Final = 1 << 20
_FAR: Final = np.iinfo(np.int32).max
_FALLBACK_CHUNKS: Final = (32, 256, 256)
_DAMAGE: Final = (
    OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, ArithmeticError,
    MemoryError, SyntaxError, zipfile.BadZipFile, struct.error, tokenize.TokenError,
)  # fmt: skip
"""What numpy and zipfile raise on damaged files: a flipped bit may stand for a size or a method."""


@dataclass(frozen=True)
class FragmentTable:
    """What there is to know of fragments without their voxels; row f is fragment f.

    Row 0 (background) is zeros, and so is the row of an id that no voxel carries.

    Parameters
    ----------
    size : NDArray[np.int64]
        (F + 1,) voxels.
    start : NDArray[np.int32]
        (F + 1, 3) first voxel of the bounding box, (z, y, x).
    stop : NDArray[np.int32]
        (F + 1, 3) one past its last voxel.
    """

    size: NDArray[np.int64]
    start: NDArray[np.int32]
    stop: NDArray[np.int32]

    def __len__(self) -> int:
        """Return the number of rows, background included."""
        return len(self.size)

    def box_of(self, fragments: NDArray[np.uint64]) -> Roi | None:
        """Return the box around some fragments, None where none of them has a voxel."""
        ids = fragments.astype(np.int64)
        kept = ids[self.size[ids] > 0]
        if len(kept) == 0:
            return None
        a, b, c = (int(v) for v in self.start[kept].min(axis=0))
        d, e, f = (int(v) for v in self.stop[kept].max(axis=0))
        return Roi((a, b, c), (d, e, f))


def measure_fragments(
    fragments: NDArray[np.uint64] | NDArray[np.uint32],
    fragment_count: int,
    origin: Shape = (0, 0, 0),
) -> FragmentTable:
    """Measure the fragments of an array.

    Parameters
    ----------
    fragments : NDArray[np.uint64] or NDArray[np.uint32]
        (Z, Y, X) ids 0 to `fragment_count`.
    fragment_count : int
        Number of fragments, F.
    origin : tuple of int
        Place of voxel (0, 0, 0), added to the boxes.

    Returns
    -------
    FragmentTable
        With F + 1 rows.

    Raises
    ------
    VolumeFormatError
        If an id is above `fragment_count`, or the array is not three-dimensional.
    """
    sums = TableBuilder(fragment_count)
    sums.add(fragments, origin)
    return sums.table()


def fragment_table(
    project: Project, report: Callable[[int, int], None] | None = None
) -> FragmentTable:
    """Return the table of a project: the stored one, else measured block by block and stored.

    Parameters
    ----------
    project : Project
        A finished project.
    report : callable, optional
        Called with (blocks done, blocks in all) while measuring; may raise to stop.

    Returns
    -------
    FragmentTable
        With ``fragment_count + 1`` rows.

    Raises
    ------
    ProjectError
        If the fragments hold an id above the project's count.
    VolumeFormatError
        If the fragments cannot be read.
    """
    file = project.path / TABLE_NAME
    stored = _read_table(file, project)
    if stored is not None:
        return stored
    sums = TableBuilder(project.info.fragment_count)
    chunks = getattr(project.fragments.array, "chunks", None) or _FALLBACK_CHUNKS
    shape = project.fragments.shape
    blocks = split_blocks(shape, whole_chunks(shape, chunks, _BLOCK_VOXELS))
    for block in blocks:
        try:
            sums.add(project.fragments.read(block.roi), block.roi.start)
        except FragmentIdError as error:
            raise ProjectError(
                f"The fragments of {project.path} hold {error.found}.",
                f"ids up to {project.info.fragment_count}, as project.json says",
                "restore the folder from a copy, or segment anew.",
            ) from error
        if report is not None:
            report(block.index + 1, len(blocks))
    table = sums.table()
    if project.info.fingerprint:
        write_table(project.path, table, project.info.fingerprint)
    return table


class FragmentIdError(VolumeFormatError):
    """An id above the number of fragments."""


class TableBuilder:
    """Adds up the tables of blocks.

    Parameters
    ----------
    fragment_count : int
        Number of fragments.
    """

    def __init__(self, fragment_count: int) -> None:
        rows = fragment_count + 1
        self._size = np.zeros(rows, np.int64)
        self._start = np.full((rows, 3), _FAR, np.int32)
        self._stop = np.zeros((rows, 3), np.int32)

    def add(
        self, fragments: NDArray[np.uint64] | NDArray[np.uint32], origin: Shape = (0, 0, 0)
    ) -> None:
        """Add the voxels of a box that begins at `origin`; each voxel once in all.

        Raises
        ------
        VolumeFormatError
            If an id is above the count, or the array is not (Z, Y, X) of unsigned integers.
        """
        if fragments.ndim != 3 or fragments.dtype.kind != "u":
            raise VolumeFormatError(
                f"fragments of shape {fragments.shape}, type {fragments.dtype}",
                "shape (Z, Y, X), unsigned integers",
            )
        sections, height, width = fragments.shape
        # Slabs whose temporaries stay near the cache: twice as fast as the whole block at once.
        depth = max(1, _SLAB_VOXELS // max(1, height * width))
        for z in range(0, sections, depth):
            oz, oy, ox = origin
            self._add_slab(fragments[z : z + depth], (oz + z, oy, ox))

    def table(self) -> FragmentTable:
        """Return what was added so far."""
        start = np.where((self._size > 0)[:, None], self._start, 0).astype(np.int32)
        return FragmentTable(self._size.copy(), start, self._stop.copy())

    def _add_slab(self, slab: NDArray[Any], origin: Shape) -> None:
        begins = np.empty(slab.shape, bool)
        begins[..., :1] = True
        np.not_equal(slab[..., 1:], slab[..., :-1], out=begins[..., 1:])
        first = np.flatnonzero(begins)
        lengths = np.diff(first, append=slab.size)
        ids = np.ascontiguousarray(slab).reshape(-1)[first]
        inside = ids > 0
        if not inside.all():
            first, lengths, ids = first[inside], lengths[inside], ids[inside]
        if len(ids) == 0:
            return
        if int(ids.max()) >= len(self._size):
            raise FragmentIdError(
                f"fragment id {int(ids.max())}", f"ids up to {len(self._size) - 1}"
            )
        order = np.argsort(ids)
        ordered = ids[order]
        groups = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
        rows = ordered[groups].astype(np.int64)
        first, lengths = first[order], lengths[order]
        row, x = np.divmod(first, slab.shape[2])
        z, y = np.divmod(row, slab.shape[1])
        self._size[rows] += np.add.reduceat(lengths, groups)
        for axis, (low, high) in enumerate(((z, z + 1), (y, y + 1), (x, x + lengths))):
            lowest = np.minimum.reduceat(low, groups) + origin[axis]
            highest = np.maximum.reduceat(high, groups) + origin[axis]
            self._start[rows, axis] = np.minimum(self._start[rows, axis], lowest)
            self._stop[rows, axis] = np.maximum(self._stop[rows, axis], highest)


def write_table(folder: Path, table: FragmentTable, fingerprint: str) -> bool:
    """Store a table in a project folder, whole or not at all.

    Parameters
    ----------
    folder : Path
        The project.
    table : FragmentTable
        The table.
    fingerprint : str
        Of the fragments it was measured on.

    Returns
    -------
    bool
        False where the folder cannot be written; the table is a cache, so that is no error.
    """
    # Two programs may measure the same project at once: each has its own partial file.
    partial = folder / f"{TABLE_NAME}.{os.getpid()}.partial"
    try:
        with partial.open("wb") as opened:
            np.savez(
                opened,
                format=np.int64(_FORMAT),
                fingerprint=np.array(fingerprint),
                size=table.size,
                start=table.start,
                stop=table.stop,
            )
        partial.replace(folder / TABLE_NAME)
    except OSError:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        return False
    return True


def _read_table(file: Path, project: Project) -> FragmentTable | None:
    rows = project.info.fragment_count + 1
    if not project.info.fingerprint:
        return None  # nothing says that the stored table is of these fragments
    try:
        with np.load(file, allow_pickle=False) as content:
            known = int(content["format"]) == _FORMAT
            same = str(content["fingerprint"]) == project.info.fingerprint
            table = FragmentTable(content["size"], content["start"], content["stop"])
    except _DAMAGE:
        return None
    expected = (
        (table.size, (rows,), np.int64),
        (table.start, (rows, 3), np.int32),
        (table.stop, (rows, 3), np.int32),
    )
    fits = all(a.shape == shape and a.dtype == np.dtype(dtype) for a, shape, dtype in expected)
    return table if known and same and fits else None


def whole_chunks(shape: Shape, chunks: Shape, voxels: int) -> Shape:
    """Return a block of whole chunks, so that each chunk is read or written once.

    Parameters
    ----------
    shape : tuple of int
        Of the volume; the block does not exceed it.
    chunks : tuple of int
        Of its storage.
    voxels : int
        The block's size at most, unless a single chunk is larger; filled along x, then y, then z.
    """
    edges = [min(c, n) for c, n in zip(chunks, shape, strict=True)]
    for axis in (2, 1, 0):
        fitting = max(1, voxels // (edges[0] * edges[1] * edges[2]))
        edges[axis] = min(shape[axis], edges[axis] * fitting)
    return edges[0], edges[1], edges[2]
