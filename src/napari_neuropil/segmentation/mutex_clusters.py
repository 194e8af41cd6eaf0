"""Clusters that exclude each other: the compiled inner loop of the mutex watershed.

`mutex_watershed` imports this when it runs: numba takes a second to load. What the first call
compiles is kept on disk for later ones.

Almost all clusters that ever exist are single voxels, and almost all exclusions concern them. So
a voxel that is alone keeps no list: one bit for each of its repulsive edges says whether the edge
has been taken. Only when the voxel joins a cluster do these bits become exclusions between
clusters. That leaves a fifth of the exclusions to store, and most repulsive edges cost two writes.

An exclusion between clusters stands in a hash table (is this pair excluded?) and in a linked list
of each of both (whom does this cluster exclude?). When two clusters join, the shorter list is
walked. What the walk makes stale elsewhere stays: roots are looked up when a list is read.

`parent` holds the whole state of a voxel in 32 bits:

    >= 0                   another voxel of its cluster
    ~bits                  alone, with its bits (below 2**30)
    ~(CLUSTER + size)      the root of a cluster of two voxels or more
    OUTSIDE                not in the mask
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.compiled import compiled
from napari_neuropil.segmentation.mutex_edges import OUTSIDE, Edges, Number, Steps

CLUSTER: Final = 1 << 30
MOST_REPULSIVE: Final = 15  # each takes two bits, forth and back
MOST_PARTNERS: Final = 4 * MOST_REPULSIVE  # of two lone voxels that join

# Places in `Clusters.book`: pairs in the table, nodes handed out, first free node and number of
# free nodes; the last only keeps the compiler from dropping reads made ahead.
USED, TOP, FREE, SPARE, SINK = range(5)

_AHEAD: Final = 32
_LOAD: Final = 0.75

# Multiplying a power of two by this number puts five bits on top that tell which power it was.
_SPREAD: Final = 0x077CB531
_BIT: Final = np.zeros(32, np.int64)
for _r in range(32):
    _BIT[((_SPREAD << _r) & 0xFFFFFFFF) >> 27] = _r
_MIX: Final = np.int64(-7046029254386353131)


class Clusters(NamedTuple):
    """Clusters and what excludes them; see the head of the file for `parent`."""

    parent: NDArray[np.int32]  # (voxels,)
    links: NDArray[np.int32]  # (voxels,) first node of a root's list, or -1
    length: NDArray[np.int32]  # (voxels,) nodes in it
    table: NDArray[np.int64]  # pairs of roots (a << 32 | b, a < b), and former roots; 0 is free
    nodes: NDArray[np.int32]  # (nodes, 2) partner, next node or -1
    book: NDArray[np.int64]  # (5,)


@compiled
def _find(parent: NDArray[np.int32], voxel: Number) -> Number:
    """Return the root, halving the path on the way."""
    while True:
        above = np.int64(parent[voxel])
        if above < 0:
            return voxel
        further = np.int64(parent[above])
        if further < 0:
            return above
        parent[voxel] = further
        voxel = further


@compiled
def _slot(table: NDArray[np.int64], a: Number, b: Number) -> tuple[Number, Number]:
    """Return the key of a pair and the place where it is or belongs."""
    key = (a << 32) | b if a < b else (b << 32) | a
    size = len(table)
    place = ((((key * _MIX) >> 32) & 0xFFFFFFFF) * size) >> 32
    while table[place] != 0 and table[place] != key:
        place = place + 1 if place + 1 < size else 0
    return key, place


@compiled
def _new_node(clusters: Clusters) -> Number:
    node = clusters.book[FREE]
    if node >= 0:
        clusters.book[FREE] = clusters.nodes[node, 1]
        clusters.book[SPARE] -= 1
        return node
    node = clusters.book[TOP]
    clusters.book[TOP] = node + 1
    return node


@compiled
def _hang(clusters: Clusters, node: Number, root: Number, partner: Number) -> None:
    clusters.nodes[node, 0] = partner
    clusters.nodes[node, 1] = clusters.links[root]
    clusters.links[root] = node
    clusters.length[root] += 1


@compiled
def _exclude(clusters: Clusters, a: Number, b: Number) -> None:
    key, place = _slot(clusters.table, a, b)
    if clusters.table[place] != key:
        clusters.table[place] = key
        clusters.book[USED] += 1
        _hang(clusters, _new_node(clusters), a, b)
        _hang(clusters, _new_node(clusters), b, a)


@compiled
def _partners(
    parent: NDArray[np.int32],
    turns: NDArray[np.int64],
    voxel: Number,
    found: NDArray[np.int64],
    count: Number,
) -> Number:
    """Append the roots that a lone voxel excludes to `found`, which holds `count`."""
    bits = ~np.int64(parent[voxel])
    while bits != 0:
        lowest = bits & -bits
        bits ^= lowest
        turn = _BIT[((lowest * _SPREAD) & 0xFFFFFFFF) >> 27]
        found[count] = _find(parent, voxel + turns[turn])
        count += 1
    return count


@compiled
def _join_single(
    clusters: Clusters,
    turns: NDArray[np.int64],
    single: Number,
    root: Number,
    found: NDArray[np.int64],
) -> None:
    """Join a lone voxel with a cluster or another lone voxel, unless they exclude each other."""
    parent = clusters.parent
    count = _partners(parent, turns, single, found, 0)
    for i in range(count):
        if found[i] == root:
            return
    if parent[root] >= -CLUSTER:
        count = _partners(parent, turns, root, found, count)
        parent[root] = ~(CLUSTER + 1)
        clusters.links[root] = -1
    parent[root] -= 1
    parent[single] = root
    for i in range(count):
        partner = found[i]
        # Those still alone have the edge among their own bits.
        if parent[partner] < -CLUSTER and partner != root:
            _exclude(clusters, root, partner)


@compiled
def _join_clusters(clusters: Clusters, kept: Number, gone: Number) -> None:
    """Join two clusters that do not exclude each other."""
    parent, table, nodes, book = clusters.parent, clusters.table, clusters.nodes, clusters.book
    parent[kept] += parent[gone] + CLUSTER + 1
    parent[gone] = kept
    node = np.int64(clusters.links[gone])
    while node >= 0:
        following = np.int64(nodes[node, 1])
        partner = _find(parent, np.int64(nodes[node, 0]))
        key, place = _slot(table, kept, partner)
        if table[place] == key:
            nodes[node, 1] = book[FREE]
            book[FREE] = node
            book[SPARE] += 1
        else:
            table[place] = key
            book[USED] += 1
            _hang(clusters, node, kept, partner)
        node = following
    clusters.length[gone] = 0


@compiled
def take_edges(clusters: Clusters, near: Steps, edges: Edges, begin: Number, end: Number) -> Number:
    """Take edges in their order.

    Returns `end`, or the edge before which the table or the nodes must grow.
    """
    parent, length, book = clusters.parent, clusters.length, clusters.book
    most_pairs = np.int64(len(clusters.table) * _LOAD) - MOST_PARTNERS
    most_nodes = len(clusters.nodes) - 2 * MOST_PARTNERS
    found = np.empty(MOST_PARTNERS, np.int64)
    backwards = len(near.steps) - 2 * near.attractive
    ahead, sink = begin, np.int64(0)
    last_a, last_b = np.int64(-1), np.int64(-1)
    for i in range(begin, end):
        if i == ahead:
            # Edges of one weight lie all over the volume: what they need is fetched together.
            ahead = min(end, i + _AHEAD)
            for j in range(i, ahead):
                v = np.int64(edges.voxels[j])
                w = v + near.steps[edges.channels[j]]
                p, q = np.int64(parent[v]), np.int64(parent[w])
                sink += parent[v if p < 0 else p] + parent[w if q < 0 else q]
        channel = np.int64(edges.channels[i])
        v = np.int64(edges.voxels[i])
        w = v + near.steps[channel]
        if channel >= near.attractive:
            p, q = np.int64(parent[v]), np.int64(parent[w])
            v_alone, w_alone = -CLUSTER <= p < 0, -CLUSTER <= q < 0
            if v_alone or w_alone:
                if v_alone:
                    parent[v] = ~(~p | (1 << (channel - near.attractive)))
                if w_alone:
                    parent[w] = ~(~q | (1 << (channel + backwards)))
                continue
        a, b = _find(parent, v), _find(parent, w)
        if a == b:
            continue
        if book[USED] > most_pairs or book[TOP] > most_nodes:
            return i
        if channel >= near.attractive:
            # Neighbouring edges mostly say the same, and what is excluded stays so.
            if not ((a == last_a and b == last_b) or (a == last_b and b == last_a)):
                _exclude(clusters, a, b)
            last_a, last_b = a, b
            continue
        if parent[a] >= -CLUSTER:
            _join_single(clusters, near.turns, a, b, found)
        elif parent[b] >= -CLUSTER:
            _join_single(clusters, near.turns, b, a, found)
        else:
            if length[a] > 0 and length[b] > 0:
                key, place = _slot(clusters.table, a, b)
                if clusters.table[place] == key:
                    continue
            if length[a] < length[b] or (length[a] == length[b] and parent[a] > parent[b]):
                a, b = b, a
            if book[USED] + length[b] > most_pairs:
                return i
            _join_clusters(clusters, a, b)
    book[SINK] = sink
    return end


@compiled
def refill(clusters: Clusters) -> None:
    """Fill an empty table from the lists: so the old one can go before the new one comes."""
    parent, nodes = clusters.parent, clusters.nodes
    clusters.book[USED] = 0
    for root in range(len(parent)):
        if clusters.length[root] == 0:
            continue
        node = np.int64(clusters.links[root])
        while node >= 0:
            partner = _find(parent, np.int64(nodes[node, 0]))
            nodes[node, 0] = partner
            if root < partner:
                key, place = _slot(clusters.table, root, partner)
                if clusters.table[place] == 0:
                    clusters.table[place] = key
                    clusters.book[USED] += 1
            node = np.int64(nodes[node, 1])


@compiled
def number(parent: NDArray[np.int32], names: NDArray[np.int32]) -> NDArray[np.uint64]:
    """Return labels 1, 2, ... in raster order of first voxels; `names` is overwritten."""
    labels = np.zeros(len(parent), np.uint64)
    names[:] = 0
    count = 0
    for voxel in range(len(parent)):
        if parent[voxel] != OUTSIDE:
            root = _find(parent, voxel)
            if names[root] == 0:
                count += 1
                names[root] = count
            labels[voxel] = names[root]
    return labels
