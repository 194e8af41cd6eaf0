"""Mutex watershed: cut a volume along the strongest evidence, without thresholds or seeds.

Edges are taken strongest first: an attractive one joins two clusters unless they exclude each
other, a repulsive one makes them exclude each other unless they are one.

Source: Wolf et al., "The Mutex Watershed and its Objective", IEEE TPAMI 43(10), 2021, algorithm 1.

Labels equal those of bioimage-cpp's `mutex_watershed`, ties included, in less memory and time
(`benchmarks/bench_mutex_watershed.py`). Compiled by numba at the first call, some seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import CancelledError, SettingsError, VolumeFormatError
from napari_neuropil.geometry import Offset

if TYPE_CHECKING:
    from napari_neuropil.segmentation.mutex_clusters import Clusters
    from napari_neuropil.segmentation.mutex_edges import Edges, Grid, Span

_TOLERANCE: Final = 1e-3
_BUFFER: Final = {"uint8": 4, "float32": 2}  # edges a voxel; 5 and 7 bytes each
_AT_ONCE: Final = 1 << 21
_KEYS: Final = 1 << 32
_BINS: Final = 1 << 16
_MOST_VOXELS: Final = 1 << 30
_MOST_REPULSIVE: Final = 15  # as the kernel's, which must not be loaded for this
_MOST_NODES: Final = (1 << 31) - 1


def mutex_watershed(
    affinities: NDArray[np.uint8] | NDArray[np.float32],
    mask: NDArray[np.bool_] | None,
    *,
    offsets: Sequence[Offset],
    attractive: int = 3,
    cancelled: Callable[[], bool] = lambda: False,
) -> NDArray[np.uint64]:
    """Cut a volume into clusters.

    Parameters
    ----------
    affinities : NDArray[np.uint8] or NDArray[np.float32]
        (C, Z, Y, X) of each voxel with its neighbour at the offset; 255 or 1.0 says one object. An
        attractive edge weighs as much as its affinity a, a repulsive one 1 - a. Values whose
        neighbour lies outside the volume are not looked at, except that they must be numbers.
    mask : NDArray[np.bool_] or None
        (Z, Y, X) voxels that take part; edges to others do not count. None: all.
    offsets : sequence of tuple of int
        C neighbours (z, y, x), the attractive ones first; at most 15 repulsive ones.
    attractive : int
        How many attract.
    cancelled : callable
        Asked some times a second; the interpreter is free in between.

    Returns
    -------
    NDArray[np.uint64]
        (Z, Y, X) 1, 2, ... in raster order of the first voxels; 0 outside the mask.

    Raises
    ------
    VolumeFormatError
        If shapes or types do not fit, or an affinity is not a number in [0, 1].
    SettingsError
        If an offset is no neighbour, or there are too many.
    CancelledError
        If `cancelled` said so.

    Notes
    -----
    Of edges of equal weight the one with the lower channel comes first, then the one whose voxel
    comes first in raster order. So the result is the same on every machine. It is *not* the sum of
    its blocks: a cluster depends on edges of any distance.

    Needs about 60 bytes a voxel (uint8 affinities that are mostly certain; 80 for noise).
    """
    _check(affinities, mask, offsets, attractive)
    if affinities.size == 0 or (mask is not None and not mask.any()):
        return np.zeros(affinities.shape[1:], np.uint64)
    # Here, not above: numba takes a second to load.
    from napari_neuropil.segmentation.mutex_clusters import number

    parent, names = _cluster(affinities, mask, offsets, attractive, cancelled)
    return number(parent, names).reshape(affinities.shape[1:])


def _cluster(
    affinities: NDArray[Any],
    mask: NDArray[np.bool_] | None,
    offsets: Sequence[Offset],
    attractive: int,
    cancelled: Callable[[], bool],
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the parent of each voxel, and an array that is free to use; the rest is let go."""
    from napari_neuropil.segmentation.mutex_clusters import take_edges

    grid = _grid(affinities, offsets, attractive)
    clusters = _lone_voxels(affinities.shape[1:], mask)
    for edges, count in _edges_in_order(grid, clusters.parent):
        done = 0
        while done < count:
            if cancelled():
                raise CancelledError("The mutex watershed was stopped.", "", "run it again.")
            end = min(done + _AT_ONCE, count)
            done = take_edges(clusters, grid.near, edges, done, end)
            if done < end:
                _make_room(clusters)
    return clusters.parent, clusters.links


def _grid(affinities: NDArray[Any], offsets: Sequence[Offset], attractive: int) -> Grid:
    from napari_neuropil.segmentation.mutex_edges import Grid, Steps

    shape = affinities.shape[1:]
    values = np.ascontiguousarray(affinities)
    boxes = [
        # An offset longer than the axis leaves nothing.
        [end for d, n in zip(o, shape, strict=True) for end in (max(0, -d), n - max(0, d))]
        for o in offsets
    ]
    steps = np.array([(z * shape[1] + y) * shape[2] + x for z, y, x in offsets], np.int64)
    turns = np.concatenate([steps[attractive:], -steps[attractive:]])
    floating = affinities.dtype == np.float32
    if floating:
        values = values.view(np.uint32)
    return Grid(values, floating, np.array(boxes, np.int64), Steps(steps, turns, attractive))


def _lone_voxels(shape: Sequence[int], mask: NDArray[np.bool_] | None) -> Clusters:
    from napari_neuropil.segmentation.mutex_clusters import MOST_PARTNERS, Clusters
    from napari_neuropil.segmentation.mutex_edges import OUTSIDE

    voxels = int(np.prod(shape))
    parent = np.full(voxels, ~0, np.int32)
    if mask is not None:
        parent[~mask.reshape(-1)] = OUTSIDE
    return Clusters(
        parent,
        links=np.zeros(voxels, np.int32),
        length=np.zeros(voxels, np.int32),
        table=np.zeros(voxels // 2 + 4 * MOST_PARTNERS, np.int64),
        nodes=np.empty((voxels // 2 + 4 * MOST_PARTNERS, 2), np.int32),
        book=np.array([0, 0, -1, 0, 0], np.int64),
    )


@dataclass(frozen=True, eq=False)
class _Share:
    """A span of keys whose edges fit the buffer, or of one key whose edges need not.

    `bins` and `starts` say which bins have edges and where they begin; None: one key.
    """

    span: Span
    bins: NDArray[np.intp]
    starts: NDArray[np.int64] | None


def _edges_in_order(grid: Grid, parent: NDArray[np.int32]) -> Iterator[tuple[Edges, int]]:
    """Yield edges, heaviest first, and how many; each time in the same buffer."""
    from napari_neuropil.segmentation.mutex_edges import Edges, collect, order

    width = grid.values.shape[3]
    room = max(_BUFFER["float32" if grid.floating else "uint8"] * len(parent), width)

    def buffer(size: int) -> Edges:
        lows = np.empty(size if grid.floating else 0, np.uint16)
        return Edges(np.empty(size, np.uint32), np.empty(size, np.uint8), lows)

    edges = buffer(room)
    for share in _shares(grid, parent, room):
        stops = np.zeros(_BINS, np.int64)
        if share.starts is None:
            line = 0
            while line >= 0:
                stops[:] = 0
                line = collect(grid, parent, share.span, stops, edges, line, room)
                yield edges, int(stops[share.bins[0]])
            continue
        stops[share.bins] = share.starts
        collect(grid, parent, share.span, stops, edges, 0, room + width)
        ends = stops[share.bins]
        sort = grid.floating and share.span.shift > 0
        spare = buffer(int((ends - share.starts).max()) if sort else 0)
        yield edges, order(share.starts, ends, edges, spare, sort)


def _shares(grid: Grid, parent: NDArray[np.int32], room: int) -> Iterator[_Share]:
    """Divide all keys into shares of at most `room` edges, in order."""
    from napari_neuropil.segmentation.mutex_edges import Span, count_keys

    def divide(span: Span) -> Iterator[_Share]:
        counts = count_keys(grid, parent, span)
        used = np.flatnonzero(counts)
        width = 1 << span.shift
        first = 0
        while first < len(used):
            low = span.low + int(used[first]) * width
            sums = np.cumsum(counts[used[first:]])
            many = int(np.searchsorted(sums, room, side="right"))
            if many == 0 and grid.floating and span.shift:
                # The high half of the key does not tell these apart: look at the low half.
                yield from divide(Span(low, low + width - 1, 0))
            elif many == 0:
                yield _Share(Span(low, low + width - 1, span.shift), used[first : first + 1], None)
            else:
                bins = used[first : first + many]
                high = span.low + int(bins[-1]) * width + width - 1
                starts = sums[:many] - counts[bins]
                yield _Share(Span(low, high, span.shift), bins, starts)
            first += max(1, many)

    yield from divide(Span(0, _KEYS - 1, 16))


def _make_room(clusters: Clusters) -> None:
    """Add nodes, or clear the table of what is no longer, and perhaps enlarge it.

    In place: a copy would need room for old and new at once.
    """
    from napari_neuropil.segmentation.mutex_clusters import MOST_PARTNERS, SPARE, TOP, refill

    nodes, table = clusters.nodes, clusters.table
    if clusters.book[TOP] > len(nodes) - 2 * MOST_PARTNERS:
        size = len(nodes) + len(nodes) // 4 + 4 * MOST_PARTNERS
        if size > _MOST_NODES:
            raise VolumeFormatError(
                f"{len(clusters.parent)} voxels whose affinities contradict each other everywhere",
                "a smaller volume, or affinities that are not noise",
                "segment a smaller roi.",
            )
        nodes.resize((size, 2), refcheck=False)
        return
    pairs = int(clusters.book[TOP] - clusters.book[SPARE]) // 2
    needed = pairs + int(clusters.length.max()) + 2 * MOST_PARTNERS
    # At most half full, so that it is a while until the next time.
    table.resize(max(len(table), 2 * needed), refcheck=False)
    table[:] = 0
    refill(clusters)


def _check(
    affinities: NDArray[Any],
    mask: NDArray[np.bool_] | None,
    offsets: Sequence[Offset],
    attractive: int,
) -> None:
    """Refuse what does not fit."""
    repulsive = len(offsets) - attractive
    if attractive < 1 or repulsive < 0 or repulsive > _MOST_REPULSIVE:
        raise SettingsError(
            f"{len(offsets)} offsets of which {attractive} attract",
            f"at least one that attracts, and at most {_MOST_REPULSIVE} that repel",
        )
    if any(len(o) != 3 or not any(o) for o in offsets):
        raise SettingsError(
            f"offsets {[tuple(o) for o in offsets]}", "three numbers each, not all of them 0"
        )
    if affinities.ndim != 4 or len(affinities) != len(offsets):
        raise VolumeFormatError(
            f"affinities of shape {affinities.shape}", f"shape ({len(offsets)}, Z, Y, X)"
        )
    if affinities.dtype not in (np.uint8, np.float32):
        raise VolumeFormatError(
            f"affinities of type {affinities.dtype}", "float32 in [0, 1] or uint8 (255 = 1)"
        )
    if affinities[0].size >= _MOST_VOXELS:
        raise VolumeFormatError(
            f"{affinities[0].size} voxels", f"fewer than {_MOST_VOXELS}", "segment a smaller roi."
        )
    if mask is not None and (mask.shape != affinities.shape[1:] or mask.dtype != np.bool_):
        raise VolumeFormatError(
            f"a mask of shape {mask.shape}, type {mask.dtype}",
            f"shape {affinities.shape[1:]}, type bool",
        )
    if affinities.dtype != np.float32 or affinities.size == 0:
        return
    low, high = float(affinities.min()), float(affinities.max())
    # NaN fails both comparisons.
    if not (low >= -_TOLERANCE and high <= 1 + _TOLERANCE):
        raise VolumeFormatError(
            f"affinities from {low} to {high}",
            "float32 numbers in [0, 1]",
            "compute the affinities again; a network that gives NaN is broken",
        )
