"""Scores that keep up with proofreading: count the voxels once, then move fragments.

The voxels of each pair (fragment, label) are counted once, in runs along x, block by block. After
that a segmentation is a grouping of fragments, and its scores follow from the table. With n_ij the
voxels of segment i in label j, n_i and n_j their sums, and N all labelled voxels:

- VI split = (sum n_j log2 n_j - sum n_ij log2 n_ij) / N
- VI merge = (sum n_i log2 n_i - sum n_ij log2 n_ij) / N
- precision = (sum n_ij^2 - N) / (sum n_i^2 - N), recall = (sum n_ij^2 - N) / (sum n_j^2 - N),
  adapted Rand error = 1 - 2 / (1 / precision + 1 / recall)

An edit changes the terms of the segments it touches and no others, so scores cost the fragments it
moved. The numbers are those of `evaluate_segmentation` on the voxels: the counts are whole and the
sums of squares exact; logarithms differ in the last digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.blockwise import split_blocks
from napari_neuropil.errors import CancelledError, VolumeFormatError
from napari_neuropil.evaluation.scores import SegmentationScores
from napari_neuropil.geometry import Roi, Shape

_BLOCK: Final[Shape] = (32, 512, 512)

Pairs = tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.int64]]


@dataclass(frozen=True, eq=False)
class Contingency:
    """How many voxels each fragment shares with each label; unlabelled voxels are left out.

    Parameters
    ----------
    fragment : NDArray[np.uint64]
        (P,) ascending; 0 is background, a fragment like any other.
    label : NDArray[np.uint64]
        (P,) ascending within a fragment, never 0.
    count : NDArray[np.int64]
        (P,) voxels, at least 1.
    """

    fragment: NDArray[np.uint64]
    label: NDArray[np.uint64]
    count: NDArray[np.int64]

    @property
    def voxels(self) -> int:
        """Number of labelled voxels."""
        return int(self.count.sum())

    def of(self, fragment: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Return a fragment's labels and their voxels."""
        rows = _rows_of(self.fragment, fragment)
        return self.label[rows], self.count[rows]


def count_pairs(ids: NDArray[Any], labels: NDArray[Any]) -> Pairs:
    """Count the voxels of each pair (id, label > 0) of an array.

    Parameters
    ----------
    ids, labels : NDArray
        Whole numbers >= 0, of one shape.

    Returns
    -------
    ids, labels, counts : NDArray
        (P,) uint64, uint64 and int64, sorted by id, then label.
    """
    first = np.ascontiguousarray(ids).reshape(-1)
    second = np.ascontiguousarray(labels).reshape(-1)
    begins = np.ones(first.size, bool)
    np.not_equal(first[1:], first[:-1], out=begins[1:])
    begins[1:] |= second[1:] != second[:-1]
    starts = np.flatnonzero(begins)
    lengths = np.diff(starts, append=first.size)
    known = second[starts] != 0
    starts, lengths = starts[known], lengths[known]
    return _add_up(first[starts].astype(np.uint64), second[starts].astype(np.uint64), lengths)


def _add_up(
    ids: NDArray[np.uint64], labels: NDArray[np.uint64], counts: NDArray[np.int64]
) -> Pairs:
    """Add the counts of equal pairs."""
    if len(ids) == 0:
        return ids, labels, counts.astype(np.int64)
    order = np.lexsort((labels, ids))
    ids, labels = ids[order], labels[order]
    new = np.ones(len(ids), bool)
    new[1:] = (ids[1:] != ids[:-1]) | (labels[1:] != labels[:-1])
    rows = np.flatnonzero(new)
    return ids[rows], labels[rows], np.add.reduceat(counts[order], rows).astype(np.int64)


def count_contingency(
    fragments: Any,
    labels: Any,
    *,
    offset: tuple[int, int, int] = (0, 0, 0),
    report: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Contingency:
    """Count fragments against labels where the two volumes overlap; memory of a block.

    Parameters
    ----------
    fragments, labels : LazyArray
        (Z, Y, X) whole numbers >= 0, indexed by boxes.
    offset : tuple of int
        Voxel of `fragments` at which voxel 0 of `labels` lies.
    report : callable, optional
        Receives blocks done and all blocks.
    stop : callable, optional
        Asked before each block; True ends the work.

    Returns
    -------
    Contingency

    Raises
    ------
    VolumeFormatError
        If the two do not overlap, no voxel is labelled, or the labels are not whole numbers >= 0.
    CancelledError
        If `stop` said so.
    """
    if np.dtype(labels.dtype).kind not in "iu":
        raise VolumeFormatError(
            f"labels of type {labels.dtype}",
            "whole numbers: one id per object",
            "choose the layer of the labels, not an image or a mask.",
        )
    box = _overlap(fragments.shape, labels.shape, offset)
    blocks = split_blocks(box.shape, _BLOCK)
    parts: list[Pairs] = []
    for block in blocks:
        if stop is not None and stop():
            raise CancelledError("The evaluation was cancelled.")
        if report is not None:
            report(block.index, len(blocks))
        here = block.roi.shifted(box.start)
        truth = np.asarray(labels[here.shifted([-n for n in offset]).slices])
        _check_labels(truth)
        if truth.any():
            parts.append(count_pairs(np.asarray(fragments[here.slices]), truth))
    if not parts:
        raise VolumeFormatError(
            "labels without an object where the segmentation is",
            "at least one labelled voxel",
            "choose a layer with truth painted there.",
        )
    ids, names, counts = (np.concatenate([part[i] for part in parts]) for i in range(3))
    return Contingency(*_add_up(ids.astype(np.uint64), names.astype(np.uint64), counts))


def _check_labels(labels: NDArray[Any]) -> None:
    if labels.dtype.kind == "i" and labels.size and int(labels.min()) < 0:
        raise VolumeFormatError(
            f"the label {int(labels.min())}", "labels of 0 (not labelled) and above"
        )


def _overlap(shape: tuple[int, ...], other: tuple[int, ...], offset: tuple[int, int, int]) -> Roi:
    start = [max(0, o) for o in offset]
    stop = [min(n, o + m) for n, m, o in zip(shape, other, offset, strict=True)]
    if any(a >= b for a, b in zip(start, stop, strict=True)):
        raise VolumeFormatError(
            f"labels of shape {tuple(other)} at voxel {tuple(offset)} of a segmentation of shape "
            f"{tuple(shape)}",
            "two volumes that overlap",
            "choose the labels of this image, and check voxel size and translation.",
        )
    return Roi((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


@dataclass
class _Terms:
    """Sums over segments, exact where they are whole."""

    cells_log: float = 0.0
    cells_square: int = 0
    rows_log: float = 0.0
    rows_square: int = 0

    def add(self, cells: dict[int, int], sign: int) -> None:
        """Add or take away the terms of one segment."""
        total = 0
        for count in cells.values():
            total += count
            self.cells_log += sign * count * math.log2(count)
            self.cells_square += sign * count * count
        if total:
            self.rows_log += sign * total * math.log2(total)
            self.rows_square += sign * total * total


class EditedScores:
    """The scores of a segmentation while its fragments move between segments.

    Parameters
    ----------
    table : Contingency
        Of the fragments as segmented.
    lookup : NDArray[np.uint64]
        (F + 1,) segment of each fragment as segmented; not changed.
    """

    def __init__(self, table: Contingency, lookup: NDArray[np.uint64]) -> None:
        self._table = table
        self._pieces: dict[int, dict[int, int]] = {}
        self._lookup = lookup
        inside = table.fragment < np.uint64(len(lookup))
        if not inside.all():
            raise VolumeFormatError(
                f"fragment {int(table.fragment.max())} and a lookup that ends at {len(lookup) - 1}",
                "the lookup of these fragments",
            )
        segment, label, count = _add_up(
            lookup[table.fragment.astype(np.int64)], table.label, table.count
        )
        self._base: Pairs = (segment, label, count)
        # Only segments that an edit touched have a dict of their own: 10^6 of them cost too much.
        self._touched: dict[int, dict[int, int]] = {}
        rows = np.flatnonzero(np.concatenate(([True], segment[1:] != segment[:-1])))
        totals = np.add.reduceat(count, rows)
        names = np.unique(label, return_inverse=True)[1]
        columns = np.bincount(names, weights=count).astype(np.int64)
        self._voxels = int(count.sum())
        self._columns_log = _sum_log(columns)
        self._columns_square = _sum_square(columns)
        self._terms = _Terms(
            _sum_log(count), _sum_square(count), _sum_log(totals), _sum_square(totals)
        )

    def scores(self) -> SegmentationScores:
        """Return the scores now; costs nothing."""
        terms, voxels = self._terms, self._voxels
        # Rounding may leave a perfect score a hair below 0.
        split = max(0.0, (self._columns_log - terms.cells_log) / voxels)
        merge = max(0.0, (terms.rows_log - terms.cells_log) / voxels)
        common = terms.cells_square - voxels
        in_segments = terms.rows_square - voxels
        in_labels = self._columns_square - voxels
        pairs = in_segments + in_labels
        precision = common / in_segments if in_segments > 0 else 1.0
        recall = common / in_labels if in_labels > 0 else 1.0
        return SegmentationScores(
            voi_split=split,
            voi_merge=merge,
            voi=split + merge,
            adapted_rand_error=1 - 2 * common / pairs if pairs > 0 else 0.0,
            precision=precision,
            recall=recall,
        )

    def add_pieces(self, ids: NDArray[Any], labels: NDArray[Any]) -> None:
        """Count the pieces of a fragment that was split; nothing moves yet.

        Parameters
        ----------
        ids, labels : NDArray
            Of one shape: piece ids (0 where there is none) and labels in the fragment's box.
        """
        pieces, names, counts = count_pairs(ids, labels)
        for piece in np.unique(ids[ids != 0]).tolist():
            self._pieces[int(piece)] = {}
        for piece, name, count in zip(
            pieces.tolist(), names.tolist(), counts.tolist(), strict=True
        ):
            if piece:
                self._pieces[piece][name] = count

    def move(
        self,
        fragments: NDArray[np.uint64],
        before: NDArray[np.uint64],
        after: NDArray[np.uint64],
        *,
        born: frozenset[int] = frozenset(),
        gone: frozenset[int] = frozenset(),
    ) -> None:
        """Move fragments from one segment to another.

        Parameters
        ----------
        fragments, before, after : NDArray[np.uint64]
            (M,) each, and the segments it leaves and enters.
        born : frozenset of int
            Fragments that were in no segment before (pieces of a split).
        gone : frozenset of int
            Fragments that are in no segment afterwards (what pieces replace).
        """
        changed = {int(s) for s in np.unique(np.concatenate((before, after)))}
        for segment in changed:
            self._terms.add(self._cells(segment), -1)
        for fragment, source, target in zip(
            fragments.tolist(), before.tolist(), after.tolist(), strict=True
        ):
            cells = self._cells_of_fragment(fragment)
            if fragment not in born:
                _add_cells(self._touched[source], cells, -1)
            if fragment not in gone:
                _add_cells(self._touched[target], cells, 1)
        for segment in changed:
            self._terms.add(self._touched[segment], 1)

    def _cells(self, segment: int) -> dict[int, int]:
        """Return the voxels of each label in a segment, the dict that edits change."""
        cells = self._touched.get(segment)
        if cells is None:
            segments, labels, counts = self._base
            rows = _rows_of(segments, segment)
            cells = dict(zip(labels[rows].tolist(), counts[rows].tolist(), strict=True))
            self._touched[segment] = cells
        return cells

    def _cells_of_fragment(self, fragment: int) -> dict[int, int]:
        piece = self._pieces.get(fragment)
        if piece is not None:
            return piece
        labels, counts = self._table.of(fragment)
        return dict(zip(labels.tolist(), counts.tolist(), strict=True))


def _rows_of(ids: NDArray[np.uint64], wanted: int) -> slice:
    # A plain int would turn the whole array to float64, which also loses ids above 2^53.
    key = np.uint64(wanted)
    return slice(int(np.searchsorted(ids, key)), int(np.searchsorted(ids, key, "right")))


def _add_cells(target: dict[int, int], cells: dict[int, int], sign: int) -> None:
    for label, count in cells.items():
        left = target.get(label, 0) + sign * count
        if left:
            target[label] = left
        else:
            target.pop(label, None)


def _sum_log(counts: NDArray[np.int64]) -> float:
    return float(np.sum(counts * np.log2(counts)))


def _sum_square(counts: NDArray[np.int64]) -> int:
    # Of 10^9 voxels in one segment the square still fits; the sum over many is taken in halves.
    high, low = np.divmod(counts, 1 << 20)
    parts = (int((high * high).sum()), int((high * low).sum()), int((low * low).sum()))
    return (parts[0] << 40) + (parts[1] << 21) + parts[2]
