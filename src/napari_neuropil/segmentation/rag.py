"""The region adjacency graph (rag): which fragments touch, and how strongly they belong together.

Two fragments are in *contact* where two face-neighbours carry their ids. The affinity of such a
voxel pair is read from the channel of the pair's axis, at the upper voxel p of (p - 1, p)
(SegNeuron, MICCAI 2024, section 2.4). A contact keeps the mean.

Along x, most voxels repeat their left neighbour's id, also where the pair runs along y or z. So
pairs are gathered as runs along x: one boolean per voxel tells where a run starts, `reduceat` sums
its affinities, and only runs (about a tenth of the voxels) are sorted by contact. Slabs of a few
sections keep everything in the cache. Cost: O(voxels) comparisons, O(runs log runs) sorting.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import VolumeFormatError

_SLAB_VOXELS: Final = 1 << 18
_DENSE: Final = 0.25
_ROUNDING: Final = 1e-4
_NAME: Final = "a region adjacency graph"


@dataclass(frozen=True)
class Rag:
    """Contacts between fragments and what was measured on them, one row each.

    Parameters
    ----------
    contacts : NDArray[np.uint64]
        (C, 2) fragment ids a < b, sorted by a, then b; no duplicates, no 0.
    affinity : NDArray[np.float32]
        (C,) mean affinity of the contact's voxel pairs, in [0, 1].
    area : NDArray[np.int64]
        (C,) voxel pairs.
    boundary_length : NDArray[np.float32]
        (C,) those of them that lie within a section (pairs along y or x).
    centroid : NDArray[np.float32]
        (C, 3) mean midpoint of the pairs, (z, y, x) in voxels of the analysed grid.
    score : NDArray[np.float32]
        (C,) how strongly the contact says merge, in [0, 1]; by default the affinity.
    """

    contacts: NDArray[np.uint64]
    affinity: NDArray[np.float32]
    area: NDArray[np.int64]
    boundary_length: NDArray[np.float32]
    centroid: NDArray[np.float32]
    score: NDArray[np.float32]

    def __len__(self) -> int:
        """Return the number of contacts."""
        return len(self.contacts)

    @classmethod
    def empty(cls) -> Rag:
        """Return a graph without contacts."""
        return _rag_from_sums(_Sums.empty())

    def validate(self, fragment_count: int | None = None) -> None:
        """Refuse a graph that breaks the promises above.

        Parameters
        ----------
        fragment_count : int, optional
            The highest id a contact may name.

        Raises
        ------
        VolumeFormatError
            Naming the field and what is wrong with it.
        """
        count = len(self.contacts)
        fields: tuple[tuple[str, NDArray[Any], tuple[int, ...], type[np.generic]], ...] = (
            ("contacts", self.contacts, (count, 2), np.uint64),
            ("affinity", self.affinity, (count,), np.float32),
            ("area", self.area, (count,), np.int64),
            ("boundary_length", self.boundary_length, (count,), np.float32),
            ("centroid", self.centroid, (count, 3), np.float32),
            ("score", self.score, (count,), np.float32),
        )
        for name, array, shape, dtype in fields:
            if array.shape != shape or array.dtype != np.dtype(dtype):
                raise VolumeFormatError(
                    f"{_NAME} with {name} of shape {array.shape}, type {array.dtype}",
                    f"shape {shape}, type {np.dtype(dtype)}",
                )
        self._validate_contacts(fragment_count)
        for name, values in (("affinity", self.affinity), ("score", self.score)):
            if not bool(np.all((values >= 0) & (values <= 1))):
                raise VolumeFormatError(
                    f"{_NAME} with {name} outside [0, 1] or not a number",
                    "numbers in [0, 1]",
                    "compute the affinities again; a network that gives NaN is broken",
                )
        if count and (int(self.area.min()) < 1 or not bool(np.isfinite(self.centroid).all())):
            raise VolumeFormatError(
                f"{_NAME} with empty or placeless contacts", "areas >= 1 and finite centroids"
            )

    def _validate_contacts(self, fragment_count: int | None) -> None:
        lower, upper = self.contacts[:, 0], self.contacts[:, 1]
        later = (lower[1:] > lower[:-1]) | ((lower[1:] == lower[:-1]) & (upper[1:] > upper[:-1]))
        if not (bool(np.all(lower < upper)) and bool(np.all(lower > 0)) and bool(np.all(later))):
            raise VolumeFormatError(
                f"{_NAME} whose contacts are unsorted, doubled or touch id 0",
                "pairs 0 < a < b, sorted, each once",
            )
        if fragment_count is not None and len(upper) and int(upper.max()) > fragment_count:
            raise VolumeFormatError(
                f"{_NAME} that names fragment {int(upper.max())}",
                f"ids up to {fragment_count}, the number of fragments",
            )


@dataclass(frozen=True)
class _Sums:
    """Sums over groups of pairs, exact to add, unlike means.

    Columns: affinity, pairs, pairs within sections, doubled z, y, x of the midpoints (so whole).
    """

    contacts: NDArray[np.uint64]
    columns: NDArray[np.float64]

    @classmethod
    def empty(cls) -> _Sums:
        return cls(np.zeros((0, 2), np.uint64), np.zeros((6, 0), np.float64))


def build_rag(
    fragments: NDArray[np.uint64] | NDArray[np.uint32],
    affinities: NDArray[np.float32] | NDArray[np.uint8],
    *,
    origin: tuple[int, int, int] = (0, 0, 0),
    first: tuple[int, int, int] = (0, 0, 0),
) -> Rag:
    """Find the contacts of fragments and measure them.

    Parameters
    ----------
    fragments : NDArray[np.uint64] or NDArray[np.uint32]
        (Z, Y, X) ids; 0 is background and touches nothing.
    affinities : NDArray[np.float32] or NDArray[np.uint8]
        (3, Z, Y, X); channel c at voxel p is the pair (p, p - 1) along axis c. uint8: 255 is 1.
        Further channels are ignored.
    origin : tuple of int
        Place of voxel (0, 0, 0) on the analysed grid, added to the centroids.
    first : tuple of int
        Only pairs whose upper voxel p has all indices >= `first` count. A block that reads one
        plane before itself passes 1 on that axis; so each pair of a volume counts exactly once.

    Returns
    -------
    Rag
        With the affinity as score.

    Raises
    ------
    VolumeFormatError
        If shapes or types do not fit, or an affinity is not a number in [0, 1] where it counts.
    """
    _check_arrays(fragments, affinities)
    sections, height, width = fragments.shape
    depth = max(1, _SLAB_VOXELS // max(1, height * width))
    parts = [
        _slab_sums(fragments, affinities, (start, min(start + depth, sections)), first)
        for start in range(first[0], sections, depth)
    ]
    sums = _add_sums(parts)
    shift = 2.0 * np.asarray(origin, np.float64)[:, None]
    sums.columns[3:6] += shift * sums.columns[1]
    if affinities.dtype == np.uint8:
        sums.columns[0] /= 255.0
    rag = _rag_from_sums(sums)
    rag.validate()
    return rag


def merge_rags(rags: Iterable[Rag]) -> Rag:
    """Put the graphs of blocks together.

    Equals `build_rag` on the whole volume for any split into blocks: contacts, areas and boundary
    lengths to the bit, means (weighted by area) to the rounding of float32.

    Parameters
    ----------
    rags : Iterable[Rag]
        Graphs over the same fragment ids, in any order; no voxel pair in two of them.

    Returns
    -------
    Rag
    """
    return _rag_from_sums(_add_sums([_sums_from_rag(rag) for rag in rags]))


def _check_arrays(fragments: NDArray[Any], affinities: NDArray[Any]) -> None:
    if fragments.ndim != 3 or fragments.dtype not in (np.uint32, np.uint64):
        raise VolumeFormatError(
            f"fragments of shape {fragments.shape}, type {fragments.dtype}",
            "shape (Z, Y, X), type uint32 or uint64",
        )
    if affinities.ndim != 4 or affinities.shape[0] < 3 or affinities.shape[1:] != fragments.shape:
        raise VolumeFormatError(
            f"affinities of shape {affinities.shape} for fragments of shape {fragments.shape}",
            "shape (3, Z, Y, X) over the same voxels",
        )
    if affinities.dtype not in (np.float32, np.uint8):
        raise VolumeFormatError(
            f"affinities of type {affinities.dtype}", "float32 in [0, 1] or uint8 (255 = 1)"
        )


def _slab_sums(
    fragments: NDArray[Any],
    affinities: NDArray[Any],
    slab: tuple[int, int],
    first: tuple[int, int, int],
) -> _Sums:
    """Sum over the pairs of the three axes whose upper voxel lies in sections [start, stop)."""
    below = max(slab[0] - 1, 0)
    ids, lowest = _narrow(fragments[below : slab[1]])
    parts: list[_Runs] = []
    for axis in range(3):
        begin = [slab[0], first[1], first[2]]
        begin[axis] = max(begin[axis], 1)
        end = (slab[1], fragments.shape[1], fragments.shape[2])
        if any(b >= e for b, e in zip(begin, end, strict=True)):
            continue
        step = [int(a == axis) for a in range(3)]
        z = slice(begin[0] - below, end[0] - below)
        y, x = slice(begin[1], end[1]), slice(begin[2], end[2])
        upper = ids[z, y, x]
        lower = ids[
            z.start - step[0] : z.stop - step[0],
            y.start - step[1] : y.stop - step[1],
            x.start - step[2] : x.stop - step[2],
        ]
        affinity = affinities[axis][begin[0] : end[0], y, x]
        parts.append(_axis_runs(upper, lower, affinity, axis, tuple(begin)))
    if not parts:
        return _Sums.empty()
    sums = _group(
        np.concatenate([part.lower for part in parts]),
        np.concatenate([part.upper for part in parts]),
        np.concatenate([part.columns for part in parts], axis=1),
    )
    if lowest:
        sums.contacts[...] += np.uint64(lowest)
    return sums


def _narrow(fragments: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """Return ids minus a constant as uint32 where they fit (half the memory to move), 0 kept."""
    highest = int(fragments.max())
    lowest = 0
    if highest >= 1 << 32:
        lowest = int(fragments.min(initial=highest, where=fragments > 0)) - 1
    if highest - lowest >= 1 << 32:
        return fragments, 0
    if lowest == 0:
        return fragments.astype(np.uint32, copy=False), 0
    narrow = np.where(fragments > 0, fragments - np.uint64(lowest), 0)
    return narrow.astype(np.uint32), lowest


@dataclass(frozen=True)
class _Runs:
    """Runs of equal pairs along x: the two ids, lower first, and the columns of `_Sums`."""

    lower: NDArray[Any]
    upper: NDArray[Any]
    columns: NDArray[np.float64]


def _axis_runs(
    upper: NDArray[Any],
    lower: NDArray[Any],
    affinity: NDArray[Any],
    axis: int,
    begin: tuple[int, ...],
) -> _Runs:
    """Gather the pairs along `axis` of one box that begins at voxel `begin`.

    Where most pairs touch (across sections cut one by one) they are summed along x first.
    """
    touching = upper != lower
    if axis == 0 and np.count_nonzero(touching) > _DENSE * touching.size:
        begins = np.empty(upper.shape, bool)
        begins[..., 0] = True
        np.not_equal(upper[..., 1:], upper[..., :-1], out=begins[..., 1:])
        begins[..., 1:] |= lower[..., 1:] != lower[..., :-1]
        starts = np.flatnonzero(begins)
        # float32 is exact here for uint8 values in rows under 65,793 voxels, and fast.
        flat = np.ascontiguousarray(affinity, np.float32).reshape(-1)
        values = np.add.reduceat(flat, starts)
        lengths = np.diff(starts, append=upper.size)
    else:
        starts = np.flatnonzero(touching)
        values = np.ascontiguousarray(affinity).reshape(-1)[starts]
        lengths = None
    ids_upper = np.ascontiguousarray(upper).reshape(-1)[starts]
    ids_lower = np.ascontiguousarray(lower).reshape(-1)[starts]
    low, high = np.minimum(ids_upper, ids_lower), np.maximum(ids_upper, ids_lower)
    counts = (low > 0) & (low != high)
    if not counts.all():
        low, high, starts, values = low[counts], high[counts], starts[counts], values[counts]
        lengths = lengths[counts] if lengths is not None else None
    columns = np.empty((6, len(starts)), np.float64)
    rows = starts // upper.shape[2]
    sections = rows // upper.shape[1]
    columns[0] = values
    columns[1] = 1.0
    columns[2] = float(axis != 0)
    columns[3] = 2 * (sections + begin[0])
    columns[4] = 2 * (rows - sections * upper.shape[1] + begin[1])
    columns[5] = 2 * (starts - rows * upper.shape[2] + begin[2])
    columns[3 + axis] -= 1.0
    if lengths is not None:
        columns[5] += lengths - 1
        columns[1:] *= lengths
    return _Runs(low, high, columns)


def _group(lower: NDArray[Any], upper: NDArray[Any], columns: NDArray[np.float64]) -> _Sums:
    """Add up the columns of rows with the same pair of ids; the result is sorted by the pair."""
    if len(lower) == 0:
        return _Sums.empty()
    lowest = int(lower.min())
    span = int(upper.max()) - lowest + 1
    if span < 1 << 32:
        key = lower.astype(np.uint64)
        key -= np.uint64(lowest)
        key *= np.uint64(span)
        key += upper
        order = np.argsort(key)
        ordered = key[order]
        begins = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    else:
        order = np.lexsort((upper, lower))
        differs = (np.diff(lower[order]) != 0) | (np.diff(upper[order]) != 0)
        begins = np.flatnonzero(np.concatenate(([True], differs)))
    rows = order[begins]
    contacts = np.stack([lower[rows], upper[rows]], axis=1).astype(np.uint64)
    sums = np.empty((len(columns), len(begins)), np.float64)
    for column, out in zip(columns, sums, strict=True):
        np.add.reduceat(column[order], begins, out=out)
    return _Sums(contacts, sums)


def _add_sums(parts: list[_Sums]) -> _Sums:
    if not parts:
        return _Sums.empty()
    contacts = np.concatenate([part.contacts for part in parts])
    return _group(
        contacts[:, 0],
        contacts[:, 1],
        np.concatenate([part.columns for part in parts], axis=1),
    )


def _rag_from_sums(sums: _Sums) -> Rag:
    """Turn sums into means; row 6, where there is one, holds summed scores."""
    columns = sums.columns
    area = np.rint(columns[1]).astype(np.int64)
    affinity = _mean(columns[0], columns[1])
    return Rag(
        contacts=np.ascontiguousarray(sums.contacts),
        affinity=affinity,
        area=area,
        boundary_length=columns[2].astype(np.float32),
        centroid=np.ascontiguousarray((0.5 * columns[3:6] / columns[1]).T, dtype=np.float32),
        score=_mean(columns[6], columns[1]) if len(columns) > 6 else affinity.copy(),
    )


def _mean(total: NDArray[np.float64], count: NDArray[np.float64]) -> NDArray[np.float32]:
    """Divide; put back what rounding pushed just past [0, 1]; `validate` refuses the rest."""
    mean = total / count
    bounded = np.clip(mean, 0.0, 1.0)
    return np.where(np.abs(mean - bounded) <= _ROUNDING, bounded, mean).astype(np.float32)


def _sums_from_rag(rag: Rag) -> _Sums:
    area = rag.area.astype(np.float64)
    columns = np.empty((7, len(area)), np.float64)
    columns[0] = rag.affinity * area
    columns[1] = area
    columns[2] = rag.boundary_length
    columns[3:6] = 2.0 * rag.centroid.T * area
    columns[6] = rag.score * area
    return _Sums(rag.contacts, columns)
