"""Edges of a grid in the order of their weights, a share at a time: compiled.

Twelve edges a voxel do not fit into memory as a sorted list (a 4-byte index each would be four
times the affinities). So weights are counted first; then spans of weights are collected that fit a
buffer, heaviest first, each by one pass over the affinities. A weight that so many edges have that
they do not fit is a span of its own, collected buffer by buffer without sorting.

Edges of one weight come channel by channel, within a channel in raster order.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.compiled import compiled

Number = Any  # int64 in compiled code; int and numpy.int64 to a type checker

OUTSIDE: Final = -(1 << 31)  # the parent of a voxel that takes no part


class Steps(NamedTuple):
    """Who neighbours whom, in flat indices."""

    steps: NDArray[np.int64]  # (C,) from a voxel to its partner
    turns: NDArray[np.int64]  # of the repulsive channels, forth, then back
    attractive: int


class Grid(NamedTuple):
    """The edges: affinities, and which voxels have partners."""

    values: NDArray[Any]  # (C, Z, Y, X) uint8, or the bits of float32 as uint32
    floating: bool
    boxes: NDArray[np.int64]  # (C, 6) z0, z1, y0, y1, x0, x1: voxels that have a partner
    near: Steps


class Span(NamedTuple):
    """A range of sort keys; `(key >> shift) & 0xFFFF` is the bin of a key."""

    low: int
    high: int
    shift: int


class Edges(NamedTuple):
    """Edges of a span, of which each bin has its own stretch."""

    voxels: NDArray[np.uint32]
    channels: NDArray[np.uint8]
    lows: NDArray[np.uint16]  # the key's low half; empty for uint8, where it is 0


@compiled
def _sort_key(value: Number, repulsive: bool, floating: bool) -> Number:
    """Return a number that grows as the weight falls; the high half holds all 8 bits of a uint8."""
    if not floating:
        return np.int64(value if repulsive else 255 - value) << 16
    weight = np.uint32(value).view(np.float32)
    if repulsive:
        weight = np.float32(1) - weight
    weight = weight + np.float32(0)  # -0 and 0 weigh the same
    bits = np.int64(np.float32(weight).view(np.uint32))
    return bits if bits >= 0x80000000 else 0x7FFFFFFF - bits


@compiled
def count_keys(grid: Grid, parent: NDArray[np.int32], span: Span) -> NDArray[np.int64]:
    """Return how many edges fall into each of the 65,536 bins."""
    counts = np.zeros(1 << 16, np.int64)
    _, _, height, width = grid.values.shape
    for channel in range(len(grid.near.steps)):
        repulsive = channel >= grid.near.attractive
        step = grid.near.steps[channel]
        z0, z1, y0, y1, x0, x1 = grid.boxes[channel]
        for z in range(z0, z1):
            for y in range(y0, y1):
                row = (z * height + y) * width
                for x in range(x0, x1):
                    key = _sort_key(grid.values[channel, z, y, x], repulsive, grid.floating)
                    if (
                        span.low <= key <= span.high
                        and parent[row + x] != OUTSIDE
                        and parent[row + x + step] != OUTSIDE
                    ):
                        counts[(key >> span.shift) & 0xFFFF] += 1
    return counts


@compiled
def collect(
    grid: Grid,
    parent: NDArray[np.int32],
    span: Span,
    stops: NDArray[np.int64],
    edges: Edges,
    start: Number,
    room: Number,
) -> Number:
    """Put edges of a span into their bins, in their order; move `stops` to the ends of the bins.

    Edges inside a cluster are left out. Begins at row `start` of all rows of all channels; returns
    the row at which it stopped because another might not fit into `room` edges, or -1.
    """
    channels, depth, height, width = grid.values.shape
    hits = np.empty(width + 1, np.int64)
    total = 0
    for line in range(start, channels * depth * height):
        channel = line // (depth * height)
        above = line - channel * depth * height
        z, y = above // height, above % height
        z0, z1, y0, y1, x0, x1 = grid.boxes[channel]
        if z < z0 or z >= z1 or y < y0 or y >= y1:
            continue
        if total + width > room:
            return line
        repulsive = channel >= grid.near.attractive
        values = grid.values[channel, z, y]
        # Without a branch, so that the processor need not guess: three times as fast.
        found = np.int64(0)
        for x in range(x0, x1):
            key = _sort_key(values[x], repulsive, grid.floating)
            hits[found] = x
            found += np.int64(span.low <= key) & np.int64(key <= span.high)
        step = grid.near.steps[channel]
        for hit in range(found):
            voxel = above * width + hits[hit]
            p, q = parent[voxel], parent[voxel + step]
            outside = p == OUTSIDE or q == OUTSIDE
            if outside or p == voxel + step or q == voxel or (p == q and p >= 0):
                continue
            key = _sort_key(values[hits[hit]], repulsive, grid.floating)
            slot = (key >> span.shift) & 0xFFFF
            place = stops[slot]
            stops[slot] = place + 1
            edges.voxels[place] = voxel
            edges.channels[place] = channel
            if grid.floating:
                edges.lows[place] = key & 0xFFFF
            total += 1
    return -1


@compiled
def order(
    starts: NDArray[np.int64], stops: NDArray[np.int64], edges: Edges, spare: Edges, sort: bool
) -> Number:
    """Sort each bin by the low half of the key, stably; close the gaps; return the edges."""
    total = 0
    counts = np.zeros(257, np.int64)
    source, target = edges, spare
    for slot in range(len(starts)):
        start, size = starts[slot], stops[slot] - starts[slot]
        shifts = (0, 8)
        for turn in range(2 if sort and size > 1 else 0):
            source, target = (edges, spare) if turn == 0 else (spare, edges)
            base, goal = (start, 0) if turn == 0 else (0, start)
            counts[:] = 0
            for i in range(base, base + size):
                counts[((source.lows[i] >> shifts[turn]) & 255) + 1] += 1
            for digit in range(256):
                counts[digit + 1] += counts[digit]
            for i in range(base, base + size):
                digit = (source.lows[i] >> shifts[turn]) & 255
                place = goal + counts[digit]
                counts[digit] += 1
                target.voxels[place] = source.voxels[i]
                target.channels[place] = source.channels[i]
                target.lows[place] = source.lows[i]
        for i in range(start, start + size):
            edges.voxels[total] = edges.voxels[i]
            edges.channels[total] = edges.channels[i]
            total += 1
    return total
