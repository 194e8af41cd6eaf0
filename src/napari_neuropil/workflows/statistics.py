"""A table of all segments, for spreadsheets and scripts."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import OutputError
from napari_neuropil.geometry import Shape
from napari_neuropil.project.fragment_table import FragmentTable
from napari_neuropil.proofreading import ProofreadingSession
from napari_neuropil.workflows.results import choose_segments, open_edited

COLUMNS: Final = (
    "id", "name", "status", "comment", "voxels", "volume_um3",
    "z_start", "y_start", "x_start", "z_stop", "y_stop", "x_stop",
    "fragments", "contacts", "contact_area_faces", "touches_border",
)  # fmt: skip
"""Boxes are in voxels, half-open; a contact's area counts pairs of voxels with other segments."""


@dataclass(frozen=True, eq=False)
class SegmentStatistics:
    """What is known of segments, one row each, in ascending order of the ids.

    Parameters
    ----------
    ids : NDArray[np.uint64]
        (S,).
    voxels : NDArray[np.int64]
        (S,).
    start, stop : NDArray[np.int32]
        (S, 3) bounding boxes, (z, y, x) voxels, half-open.
    fragments : NDArray[np.int64]
        (S,) fragments with voxels.
    contacts : NDArray[np.int64]
        (S,) other segments it touches.
    contact_area : NDArray[np.int64]
        (S,) pairs of voxels with them.
    touches_border : NDArray[np.bool_]
        (S,) its box reaches a face of the volume.
    """

    ids: NDArray[np.uint64]
    voxels: NDArray[np.int64]
    start: NDArray[np.int32]
    stop: NDArray[np.int32]
    fragments: NDArray[np.int64]
    contacts: NDArray[np.int64]
    contact_area: NDArray[np.int64]
    touches_border: NDArray[np.bool_]


def measure_statistics(
    lookup: NDArray[np.uint64],
    table: FragmentTable,
    pairs: tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.int64]],
    shape: Shape,
) -> SegmentStatistics:
    """Add up fragments over their segments.

    Parameters
    ----------
    lookup : NDArray[np.uint64]
        (F + 1,) segment of each fragment, 0 for none.
    table : FragmentTable
        Sizes and boxes of the fragments.
    pairs : tuple of NDArray
        (n,) fragments a and b of each contact, and its area.
    shape : tuple of int
        Of the volume, voxels.
    """
    fragments = np.flatnonzero((lookup > 0) & (table.size[: len(lookup)] > 0))
    ids, row = np.unique(lookup[fragments], return_inverse=True)
    count = len(ids)
    order = np.argsort(row, kind="stable")
    begins = np.searchsorted(row[order], np.arange(count))
    kept = fragments[order]
    start = np.minimum.reduceat(table.start[kept], begins) if count else np.zeros((0, 3), np.int32)
    stop = np.maximum.reduceat(table.stop[kept], begins) if count else np.zeros((0, 3), np.int32)
    voxels = np.add.reduceat(table.size[kept], begins) if count else np.zeros(0, np.int64)
    contacts, area = _add_contacts(lookup, pairs, ids)
    return SegmentStatistics(
        ids=ids,
        voxels=voxels,
        start=start,
        stop=stop,
        fragments=np.bincount(row, minlength=count).astype(np.int64),
        contacts=contacts,
        contact_area=area,
        touches_border=((start == 0) | (stop == np.array(shape))).any(axis=1),
    )


def write_statistics(
    project: str | Path, file: str | Path, *, segments: str = "all", overwrite: bool = False
) -> int:
    """Write the table of a project's segments as CSV, UTF-8, with a line of names.

    Parameters
    ----------
    project : path-like
        The project folder.
    file : path-like
        To write; there whole or not at all.
    segments : str
        Ids with commas between them, a status or ``all``.
    overwrite : bool
        Replace a file that exists.

    Returns
    -------
    int
        Segments written.

    Raises
    ------
    NeuropilError
        No project, no such segment, or the file exists or cannot be written.
    """
    target = Path(file)
    if target.exists() and not overwrite:
        raise OutputError(
            f"{target} exists.", "a new file", "choose another name, or --overwrite it."
        )
    partial = target.with_name(f".{target.name}.partial")
    with open_edited(project) as session:
        chosen = choose_segments(session, segments)
        try:
            with partial.open("w", newline="", encoding="utf-8") as opened:
                writer = csv.writer(opened)
                writer.writerow(COLUMNS)
                written = 0
                for line in _lines(session, chosen):
                    writer.writerow(line)
                    written += 1
            partial.replace(target)
        except OSError as error:
            raise OutputError(
                f"{target} cannot be written: {error}", "a file that can be written", ""
            ) from error
        finally:
            partial.unlink(missing_ok=True)
    return written


def _lines(session: ProofreadingSession, chosen: NDArray[np.uint64]) -> Iterator[tuple[Any, ...]]:
    contacts = session.graph.all()
    found = measure_statistics(
        session.lookup,
        session.table,
        (contacts.a, contacts.b, contacts.area),
        session.segments().shape,
    )
    volume = session.info.voxel_size_nm.volume_um3
    for row in np.flatnonzero(np.isin(found.ids, chosen)):
        segment = int(found.ids[row])
        note = session.annotation(segment)
        yield (
            segment,
            note.name,
            note.status,
            note.comment,
            int(found.voxels[row]),
            f"{found.voxels[row] * volume:.6g}",
            *found.start[row].tolist(),
            *found.stop[row].tolist(),
            int(found.fragments[row]),
            int(found.contacts[row]),
            int(found.contact_area[row]),
            "yes" if found.touches_border[row] else "no",
        )


def _add_contacts(
    lookup: NDArray[np.uint64],
    pairs: tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.int64]],
    ids: NDArray[np.uint64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return each segment's number of neighbours, and the area it shares with them."""
    a, b, area = pairs
    ends = np.stack([lookup[a.astype(np.int64)], lookup[b.astype(np.int64)]])
    between = (ends[0] != ends[1]) & (ends > 0).all(axis=0)
    rows = np.searchsorted(ids, ends[:, between])
    low, high = rows.min(axis=0), rows.max(axis=0)
    count = len(ids)
    touching = np.unique(low * count + high) if len(low) else np.zeros(0, np.int64)
    neighbours = np.bincount(touching // max(1, count), minlength=count)
    neighbours = neighbours + np.bincount(touching % max(1, count), minlength=count)
    total = np.zeros(count, np.float64)
    for side in (low, high):
        total += np.bincount(side, area[between], count)
    return neighbours.astype(np.int64), np.rint(total).astype(np.int64)
