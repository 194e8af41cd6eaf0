"""Exact minimum s-t cut of an undirected graph: reductions, then maximum flow on what is left.

SciPy's Dinic walks the whole graph once for every length of path, so on a long neurite it takes
seconds. Most contacts of a neurite can never be part of the cheapest cut; contracting them first
leaves a kernel of a few nodes. Each reduction keeps the value of the minimum cut:

1. *Bound.* Some cut of value U is known, so a contact stronger than U is in no minimum cut.
   U is the best of: the source alone, the sink alone, and the nested cuts along the path from
   source to sink in a maximum spanning tree (Gomory and Hu: that path holds the bottleneck).
2. *Dominance* (Padberg and Rinaldi, 1990). A node one of whose contacts carries at least half of
   its total capacity may always join that neighbour: moving it there never makes a cut dearer. It
   holds for all such nodes at once: each points to one neighbour, and in the order from the roots
   of these trees every move meets its neighbour on its final side. Covers nodes with one contact
   and the stronger contact of nodes with two.

Rounds repeat while they shrink the graph, since contracted contacts add up. Each costs
O(contacts log contacts) in numpy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

SOURCE: Final = 0
SINK: Final = 1
_UNITS: Final = 29
"""The bound becomes at most 2**29 units: an edge's residual, twice that, still fits int32."""
_WORTH: Final = 0.95
"""A round that leaves more than this share of the nodes is the last of its kind."""
_SMALL: Final = 64
"""Nodes that the maximum flow takes in less time than another round."""


@dataclass(frozen=True)
class Network:
    """An undirected graph without loops and doubles; node 0 is the source, node 1 the sink.

    Parameters
    ----------
    count : int
        Nodes, at least 2.
    lower, upper : NDArray[np.int64]
        (E,) ends of each edge, lower < upper.
    capacity : NDArray[np.float64]
        (E,) positive. Whole numbers below 2**53 once `_quantise` was called, so sums are exact.
    """

    count: int
    lower: NDArray[np.int64]
    upper: NDArray[np.int64]
    capacity: NDArray[np.float64]

    def value(self, source_side: NDArray[np.bool_]) -> float:
        """Return the capacity of the cut around `source_side`, (count,)."""
        crossing = source_side[self.lower] != source_side[self.upper]
        return float(self.capacity[crossing].sum())


def cut_graph(
    count: int,
    lower: NDArray[np.int64],
    upper: NDArray[np.int64],
    capacity: NDArray[np.float64],
    *,
    exact: bool = True,
) -> NDArray[np.bool_]:
    """Find a minimum cut between node 0, the source, and node 1, the sink.

    Capacities are rounded to 2**-29 of an upper bound of the cut's value, at least to one such
    unit; whole numbers whose cut stays below 2**28 are not rounded at all. So the result is
    optimal to that unit for each edge, and every node is connected within its side to the source or
    the sink: moving a loose piece over would save at least a unit.

    Parameters
    ----------
    count : int
        Nodes, at least 2.
    lower, upper : NDArray[np.int64]
        (E,) ends, in any order; doubles add up, loops are ignored.
    capacity : NDArray[np.float64]
        (E,) positive and finite.
    exact : bool
        False: the best cut known before the maximum flow.

    Returns
    -------
    NDArray[np.bool_]
        (count,) True on the source's side; what no edge connects to the sink is there. The same
        graph gives the same side.
    """
    node = np.arange(count)
    # The doubles of the input do no harm here: they only hide a few nodes from the first round.
    network, node = _shrink(Network(count, lower, upper, capacity), node, np.inf)
    network, node = _drop_unconnected(network, node)
    if network.count > 2:
        bound, known = _known_cut(network)
        if not exact:
            return _without_loose(network, known)[node]
        network = _quantise(network, bound)
        network, node = _shrink(network, node, network.value(known))
    return _flow_side(network)[node]


def _contract(network: Network, count: int, node: NDArray[np.int64]) -> Network:
    """Renumber nodes; loops go, doubles are added up, edges come sorted by their ends."""
    first, second = node[network.lower], node[network.upper]
    apart = np.flatnonzero(first != second)
    first, second = first[apart], second[apart]
    key = np.minimum(first, second) * count + np.maximum(first, second)
    # Stable: the order of float additions, hence the last bit of a sum, follows the input.
    order = np.argsort(key, kind="stable")
    key = key[order]
    begins = np.flatnonzero(np.diff(key, prepend=-1))
    if len(begins) == 0:
        none = np.zeros(0, np.int64)
        return Network(count, none, none, np.zeros(0))
    key = key[begins]
    total = np.add.reduceat(network.capacity[apart[order]], begins)
    lower = key // count
    return Network(count, lower, key - lower * count, total)


def _drop_unconnected(
    network: Network, node: NDArray[np.int64]
) -> tuple[Network, NDArray[np.int64]]:
    """Join to the source what has no connection to the sink or none to the source."""
    pairs = np.stack([network.lower, network.upper], axis=1)
    groups, part = connected_groups(network.count, pairs)
    if groups == 1:
        return network, node
    kept = part == part[SINK]
    count = 1 + int(np.count_nonzero(kept[1:]))
    if kept[SOURCE]:
        renumbered = np.zeros(network.count, np.int64)
        renumbered[1:][kept[1:]] = np.arange(1, count)
    else:
        # Nothing to cut: two nodes without an edge.
        count = 2
        renumbered = kept.astype(np.int64)
    return _contract(network, count, renumbered), renumbered[node]


def _quantise(network: Network, bound: float) -> Network:
    """Turn capacities into whole units, at least 1, where nothing above the bound matters."""
    units = 2.0 ** (_UNITS - 1 - np.ceil(np.log2(bound)))
    capped = np.minimum(network.capacity, 2.0 * bound)
    return replace(network, capacity=np.maximum(np.rint(capped * units), 1.0))


def _shrink(
    network: Network, node: NDArray[np.int64], bound: float
) -> tuple[Network, NDArray[np.int64]]:
    """Contract until a round is no longer worth its cost; `node` maps the original nodes."""
    while True:
        joined = _dominated(network)
        strong = network.capacity > bound
        pairs = np.concatenate(
            [joined, np.stack([network.lower[strong], network.upper[strong]], axis=1)]
        )
        before = network.count
        count, group = _groups(before, pairs)
        network, node = _contract(network, count, group), group[node]
        if count > _WORTH * before or count <= _SMALL:
            return network, node


def _dominated(network: Network) -> NDArray[np.int64]:
    """Return (J, 2) pairs to join: a node and the neighbour that holds half of its capacity."""
    degree = np.bincount(network.lower, network.capacity, network.count)
    degree += np.bincount(network.upper, network.capacity, network.count)
    twice = 2.0 * network.capacity
    partner = np.full(network.count, -1)
    for ends, others in ((network.lower, network.upper), (network.upper, network.lower)):
        # Of two contacts with exactly half each, the later one written counts.
        counts = np.flatnonzero((twice >= degree[ends]) & (ends > SINK))
        partner[ends[counts]] = others[counts]
    joining = np.flatnonzero(partner >= 0)
    return np.stack([joining, partner[joining]], axis=1)


def _groups(count: int, pairs: NDArray[np.int64]) -> tuple[int, NDArray[np.int64]]:
    """Give each node the number of its group: 0 the source's, 1 the sink's, others from 2 on."""
    groups, label = connected_groups(count, pairs)
    rank = np.full(groups, -1)
    rank[label[SOURCE]] = SOURCE
    rank[label[SINK]] = SINK
    rest = np.flatnonzero(rank < 0)
    rank[rest] = np.arange(2, groups)
    return groups, rank[label]


def connected_groups(count: int, pairs: NDArray[np.int64]) -> tuple[int, NDArray[np.int64]]:
    """Return the number of connected groups and the group of each node, (count,)."""
    # Here, not above: a quarter of a second that opening the package need not pay.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    # int32 and float64 are what csgraph works with; others it would convert.
    rows, columns = pairs[:, 0].astype(np.int32), pairs[:, 1].astype(np.int32)
    graph = coo_array((np.ones(len(pairs)), (rows, columns)), shape=(count, count))
    groups, label = connected_components(graph, directed=False)
    return int(groups), np.asarray(label)


def _known_cut(network: Network) -> tuple[float, NDArray[np.bool_]]:
    """Return the value and the source's side of a good cut, found in O(E log E)."""
    known = _best_tree_cut(network)
    alone = np.zeros(network.count, bool)
    alone[SOURCE] = True
    without_sink = np.ones(network.count, bool)
    without_sink[SINK] = False
    cuts = [(network.value(side), side) for side in (known, alone, without_sink)]
    return min(cuts, key=lambda cut: cut[0])


def _without_loose(network: Network, side: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Move over what its own side does not connect to the source or the sink.

    Around one of the two alone, nodes that only it holds are left on the other side. All edges of
    such a piece to the other side are cut, so moving it makes the cut cheaper.
    """
    within = side[network.lower] == side[network.upper]
    pairs = np.stack([network.lower[within], network.upper[within]], axis=1)
    _, label = connected_groups(network.count, pairs)
    loose: NDArray[np.bool_] = (label != label[SOURCE]) & (label != label[SINK])
    return np.logical_xor(side, loose)


def _best_tree_cut(network: Network) -> NDArray[np.bool_]:
    """Return the best of the cuts along the tree path from source to sink."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

    count = network.count
    # Ranks, not 1 / capacity: without ties the tree does not depend on how SciPy sorts.
    rank = np.empty(len(network.capacity))
    rank[np.argsort(-network.capacity, kind="stable")] = np.arange(1.0, len(rank) + 1)
    graph = csr_array((rank, (network.lower, network.upper)), shape=(count, count))
    order, parent = breadth_first_order(minimum_spanning_tree(graph), SOURCE, directed=False)
    path = [SINK]
    while path[-1] != SOURCE:
        path.append(int(parent[path[-1]]))
    path.reverse()
    on_path = np.zeros(count, bool)
    on_path[path] = True
    rest = order[1:]
    twigs = rest[~on_path[rest]]
    groups, label = connected_groups(count, np.stack([twigs, parent[twigs]], axis=1))
    place = np.zeros(groups, np.int64)
    place[label[path]] = np.arange(len(path))
    # Cut k lies between path nodes k and k + 1; an edge counts in all cuts between its ends.
    where = place[label]
    first, second = where[network.lower], where[network.upper]
    steps = np.bincount(np.minimum(first, second), network.capacity, len(path))
    steps -= np.bincount(np.maximum(first, second), network.capacity, len(path))
    best = int(np.argmin(np.cumsum(steps)[:-1]))
    side: NDArray[np.bool_] = where <= best
    return side


def _flow_side(network: Network) -> NDArray[np.bool_]:
    """Return what the source still reaches when the flow is greatest."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import breadth_first_order, maximum_flow

    side = np.zeros(network.count, bool)
    side[SOURCE] = True
    if network.count == 2:
        return side
    rows = np.concatenate([network.lower, network.upper])
    columns = np.concatenate([network.upper, network.lower])
    units = np.tile(network.capacity.astype(np.int32), 2)
    shape = (network.count, network.count)
    graph = csr_array((units, (rows, columns)), shape=shape)
    left = csr_array(graph - maximum_flow(graph, SOURCE, SINK).flow)
    left.eliminate_zeros()
    side[breadth_first_order(left, SOURCE, return_predecessors=False)] = True
    return side
