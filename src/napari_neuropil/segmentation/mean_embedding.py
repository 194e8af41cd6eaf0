"""Mean-embedding agglomeration: which segments to look at, and what their embeddings say.

Two segments that touch in several separate places may be one neuron that was cut where it left
the network's field of view. At the strongest place the embeddings of one patch are averaged over
each segment; segments whose means agree are joined.

Source: Lee et al., IEEE TMI 40(12), 2021, section IV. What the paper leaves open: faces belong to
one place where their voxels touch, corners included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from napari_neuropil.errors import VolumeFormatError
from napari_neuropil.geometry import Roi, Shape

CANDIDATE_AFFINITY: Final = 0.25
"""The paper's least mean affinity of a candidate's best place."""

# Rows (z, y) that touch a row and come after it.
_LATER_ROWS: Final = ((0, 1), (1, -1), (1, 0), (1, 1))


@dataclass(frozen=True, eq=False)
class Candidates:
    """Pairs of segments that touch, one row each.

    Parameters
    ----------
    pairs : ndarray of uint64, (N, 2)
        a < b, sorted.
    location : ndarray of float32, (N, 3)
        Mean midpoint of the best place's faces, (z, y, x) voxels.
    score : ndarray of float32, (N,)
        Mean affinity of the best place's faces.
    places : ndarray of int32, (N,)
        Separate places of contact.
    """

    pairs: NDArray[np.uint64]
    location: NDArray[np.float32]
    score: NDArray[np.float32]
    places: NDArray[np.int32]

    @classmethod
    def none(cls) -> Candidates:
        """Return no pairs."""
        return cls(
            np.zeros((0, 2), np.uint64),
            np.zeros((0, 3), np.float32),
            np.zeros(0, np.float32),
            np.zeros(0, np.int32),
        )

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.pairs)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Candidates:
        """Return some rows."""
        return Candidates(*(getattr(self, f.name)[rows] for f in fields(self)))


def find_candidates(
    segments: NDArray[np.uint64],
    affinities: NDArray[np.float32] | NDArray[np.uint8],
    *,
    origin: Sequence[int] = (0, 0, 0),
    first: Sequence[int] = (0, 0, 0),
    minimum_places: int = 2,
    minimum_affinity: float = CANDIDATE_AFFINITY,
) -> Candidates:
    """Return the pairs that touch in several places, one of them strongly.

    Parameters
    ----------
    segments : ndarray of uint64, (Z, Y, X)
        0 is background: membranes between segments are no contact.
    affinities : ndarray of float32 or uint8, (3, Z, Y, X)
        Of each voxel with the one before it along z, y, x, in [0, 1]; uint8: 255 is 1.
    origin : sequence of int
        Position of voxel (0, 0, 0) in the volume.
    first : sequence of int
        Pairs whose upper voxel lies before this belong to another block.
    minimum_places, minimum_affinity
        Fewer places, or a weaker best one, make no candidate.

    Returns
    -------
    Candidates

    Raises
    ------
    VolumeFormatError
        If shapes or types do not fit, or an affinity at a contact is not a number.

    Notes
    -----
    About 1 microsecond and 250 bytes a face between segments, beside one pass over the volume.
    """
    if affinities.shape != (3, *segments.shape):
        raise VolumeFormatError(
            f"affinities of shape {affinities.shape}", f"(3, z, y, x) over {segments.shape}"
        )
    if affinities.dtype not in (np.float32, np.uint8):
        raise VolumeFormatError(
            f"affinities of type {affinities.dtype}", "float32 in [0, 1] or uint8 (255 = 1)"
        )
    pair, upper, lower, value = _faces(segments, affinities, first)
    if not len(pair):
        return Candidates.none()
    if not bool(np.isfinite(value).all()):
        raise VolumeFormatError(
            "affinities that are not numbers",
            "numbers in [0, 1]",
            "compute the affinities again; a network that gives NaN is broken",
        )
    ids, index = _distinct(pair)
    place, owner = _places(index, upper, lower, segments.shape)
    count = len(owner)
    area = np.bincount(place, minlength=count)
    mean = np.bincount(place, value, count) / area
    middle = (
        np.stack(np.unravel_index(upper, segments.shape), 1)
        + np.stack(np.unravel_index(lower, segments.shape), 1)
    ) / 2
    centre = np.stack([np.bincount(place, middle[:, a], count) / area for a in range(3)], 1)
    # Of equal ones the first: writing backwards leaves it.
    order = np.argsort(mean, kind="stable")
    best = np.zeros(len(ids), np.intp)
    best[owner[order]] = order
    found = Candidates(
        ids,
        (centre[best] + np.array(origin)).astype(np.float32),
        mean[best].astype(np.float32),
        np.bincount(owner, minlength=len(ids)).astype(np.int32),
    )
    return found.take((found.places >= minimum_places) & (found.score > minimum_affinity))


def _faces(
    segments: NDArray[np.uint64], affinities: NDArray[Any], first: Sequence[int]
) -> tuple[NDArray[np.uint64], NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Return pair, upper voxel, lower voxel and affinity of every face between two segments."""
    strides = (segments.shape[1] * segments.shape[2], segments.shape[2], 1)
    parts = []
    for axis in range(3):
        low = [slice(f, None) for f in first]
        low[axis] = slice(max(1, first[axis]), None)
        high = list(low)
        high[axis] = slice(low[axis].start - 1, -1)
        a, b = segments[tuple(low)], segments[tuple(high)]
        at = np.nonzero((a != b) & (a > 0) & (b > 0))
        if not len(at[0]):
            continue
        one, other = a[at], b[at]
        value = affinities[axis][tuple(low)][at].astype(np.float32)
        shifted = tuple(place + s.start for place, s in zip(at, low, strict=True))
        upper = np.ravel_multi_index(shifted, segments.shape)
        ends = np.stack([np.minimum(one, other), np.maximum(one, other)], 1)
        parts.append((ends, upper, upper - strides[axis], value))
    if not parts:
        nothing = np.zeros(0, np.intp)
        return np.zeros((0, 2), np.uint64), nothing, nothing, np.zeros(0, np.float32)
    pair, upper, lower, value = (np.concatenate(column) for column in zip(*parts, strict=True))
    if affinities.dtype == np.uint8:
        value /= 255
    return pair, upper, lower, value


def _distinct(pair: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.intp]]:
    """Return the distinct rows, sorted, and which of them each row is.

    Sorting whole rows takes ten times as long as sorting one number for each.
    """
    ids, ends = np.unique(pair, return_inverse=True)
    ends = ends.reshape(pair.shape)
    keys, index = np.unique(ends[:, 0] * len(ids) + ends[:, 1], return_inverse=True)
    return ids[np.stack(np.divmod(keys, len(ids)), 1)], index


def _places(
    index: NDArray[np.intp], upper: NDArray[np.intp], lower: NDArray[np.intp], shape: Shape
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the place of each face, and the pair of each place.

    The voxels at the faces of a pair are gathered into runs along x. Runs that touch are one place.
    """
    # One voxel more along each axis keeps ends of rows, sections and pairs apart.
    depth, height, width = (n + 1 for n in shape)

    def keys_of(voxels: NDArray[np.intp]) -> NDArray[np.intp]:
        z, y, x = np.unravel_index(voxels, shape)
        return ((index * depth + z) * height + y) * width + x

    faces = keys_of(upper)
    keys = np.concatenate([faces, keys_of(lower)])
    keys.sort()
    # Equal keys follow each other too; a run goes on over them.
    breaks = np.flatnonzero(np.diff(keys) > 1)
    begin, end = keys[np.append(0, breaks + 1)], keys[np.append(breaks, len(keys) - 1)]
    links = [np.zeros((2, 0), np.intp)]
    for dz, dy in _LATER_ROWS:
        step = (dz * height + dy) * width
        earliest = np.searchsorted(end, begin + (step - 1))
        number = np.searchsorted(begin, end + (step + 1), side="right") - earliest
        rows = np.repeat(np.arange(len(begin)), number)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(number) - number, number)
        links.append(np.stack([rows, earliest[rows] + within]))
    joined = np.concatenate(links, axis=1)
    graph = coo_array(
        (np.ones(joined.shape[1], np.uint8), (joined[0], joined[1])), (len(begin),) * 2
    )
    count, group = connected_components(graph, directed=False)
    place = group[np.searchsorted(begin, faces, side="right") - 1].astype(np.intp)
    owner = np.zeros(count, np.intp)
    owner[place] = index
    return place, owner


def merge_candidates(
    parts: Sequence[Candidates],
    *,
    minimum_places: int = 2,
    minimum_affinity: float = CANDIDATE_AFFINITY,
) -> Candidates:
    """Put the pairs of several blocks together.

    A place that is cut by a face between blocks counts once in each: where that makes one place
    two, a pair is looked at that need not be; none is lost.

    Parameters
    ----------
    parts : sequence of Candidates
        Of each block, found with ``minimum_places=1``.
    minimum_places, minimum_affinity
        As `find_candidates`.
    """
    parts = [part for part in parts if len(part)]
    if not parts:
        return Candidates.none()
    whole = Candidates(
        *(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Candidates))
    )
    ids, owner = np.unique(whole.pairs, axis=0, return_inverse=True)
    owner = owner.ravel()
    order = np.argsort(whole.score, kind="stable")
    best = np.zeros(len(ids), np.intp)
    best[owner[order]] = order
    places = np.bincount(owner, whole.places).astype(np.int32)
    merged = Candidates(ids, whole.location[best], whole.score[best], places)
    return merged.take((places >= minimum_places) & (merged.score > minimum_affinity))


def window_roi(place: NDArray[np.float32], window_shape: Shape, patch: Roi) -> Roi:
    """Return the focal window centred at a place, shifted and cut so that it lies in the patch."""
    start, stop = [], []
    for at, size, low, high in zip(place, window_shape, patch.start, patch.stop, strict=True):
        begin = int(np.clip(round(float(at) - (size - 1) / 2), low, max(low, high - size)))
        start.append(begin)
        stop.append(min(begin + size, high))
    return Roi((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def focal_means(
    embeddings: NDArray[np.float32],
    segments: NDArray[np.uint64],
    ids: NDArray[np.uint64],
    window: Roi,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the mean embeddings of some segments in a window, and their voxels there.

    Parameters
    ----------
    embeddings : ndarray of float32, (D, Z, Y, X)
        Of a patch.
    segments : ndarray of uint64, (Z, Y, X)
        Of the same patch.
    ids : ndarray of uint64, (K,)
        Segments.
    window : Roi
        In voxels of the patch.

    Returns
    -------
    means : ndarray of float32, (K, D)
        NaN for a segment without a voxel.
    counts : ndarray of int64, (K,)
    """
    near = segments[window.slices]
    vectors = embeddings[(slice(None), *window.slices)]
    means = np.full((len(ids), len(embeddings)), np.nan, np.float32)
    counts = np.zeros(len(ids), np.int64)
    for row, segment in enumerate(ids):
        inside = near == segment
        counts[row] = inside.sum()
        if counts[row]:
            means[row] = vectors[:, inside].mean(axis=1)
    return means, counts


def mean_embedding_distance(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Return the L1 distance of two mean embeddings, (D,) each."""
    return float(np.abs(a.astype(np.float64) - b).sum())


def join(
    lookup: NDArray[np.uint64],
    pairs: NDArray[np.uint64],
    distances: NDArray[np.float32],
    *,
    threshold: float,
) -> NDArray[np.uint64]:
    """Join the pairs of segments whose distance is below the threshold; NaN joins nothing."""
    return join_pairs(lookup, pairs[distances < threshold])


def join_pairs(lookup: NDArray[np.uint64], pairs: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Join pairs of segments, in whatever order; the smallest id of a group is its name.

    Parameters
    ----------
    lookup : ndarray of uint64, (F + 1,)
        Segment of each fragment.
    pairs : ndarray of uint64, (N, 2)
        Segments.
    """
    ids, ends = np.unique(pairs, return_inverse=True)
    ends = ends.reshape(-1, 2)
    graph = coo_array((np.ones(len(ends), np.uint8), (ends[:, 0], ends[:, 1])), (len(ids),) * 2)
    _, group = connected_components(graph, directed=False)
    names = np.full(int(group.max(initial=-1)) + 1, np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(names, group, ids)
    result = lookup.copy()
    if len(ids):
        place = np.minimum(np.searchsorted(ids, lookup), len(ids) - 1)
        known = ids[place] == lookup
        result[known] = names[group[place[known]]]
    return result
