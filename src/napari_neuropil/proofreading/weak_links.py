"""Weak links within segments: where one segment may be two.

Of each segment's contacts the maximum spanning tree by score is kept. Cutting one of its links
leaves two connected sides, and no contact between the sides scores higher than the link (the cut
property): of all ways to part its two fragments, it is the one that gives up least. For all links
at once, sums over a side are sums over a subtree, and the contacts that run between the sides are
those of the subtree less twice those within it, counted at the lowest common ancestor (Tarjan).

Both by pointer doubling: with p_k the 2^k-th ancestor, adding sums to p_0, p_1, ... in turn gives
sums over all descendants, since the inverse of 1 - P is the product of 1 + P^(2^k). O(n log d) for
trees of n fragments and depth d; a few seconds for millions, no loop over links.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree

from napari_neuropil.proofreading.pairs import ContactArrays, Pairs


@dataclass(frozen=True)
class Forest:
    """A spanning tree for each connected set of fragments, over compact node numbers.

    Parameters
    ----------
    parent : NDArray[np.intp]
        (n,) parent of each node; a root is its own.
    root : NDArray[np.intp]
        (n,) root of each node's tree.
    depth : NDArray[np.int64]
        (n,) links to the root.
    ancestors : tuple of NDArray[np.intp]
        Ancestors 1, 2, 4, ... links up, ending at the root.
    """

    parent: NDArray[np.intp]
    root: NDArray[np.intp]
    depth: NDArray[np.int64]
    ancestors: tuple[NDArray[np.intp], ...]

    @classmethod
    def rooted(cls, parent: NDArray[np.intp]) -> Forest:
        """Return the forest of these parents."""
        depth = (parent != np.arange(len(parent))).astype(np.int64)
        ancestors = [parent]
        while len(parent):
            last = ancestors[-1]
            further = depth[last]
            if not further.any():
                break
            depth = depth + further
            ancestors.append(last[last])
        return cls(parent, ancestors[-1], depth, tuple(ancestors))

    def cut(self, nodes: NDArray[np.intp]) -> Forest:
        """Return the forest without the links of these nodes to their parents."""
        parent = self.parent.copy()
        parent[nodes] = nodes
        return Forest.rooted(parent)

    def sum_subtrees(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return for each node the sum of `values` (n,) over it and its descendants."""
        # A step that reaches past the root leaves the tree: it is sent to a node of no one.
        nowhere = len(self.parent)
        total = np.append(np.asarray(values, np.float64), 0.0)
        for step, ancestor in enumerate(self.ancestors):
            target = np.where(self.depth >= 1 << step, ancestor, nowhere)
            total += np.bincount(target, total[:-1], nowhere + 1)
            total[-1] = 0.0
        return total[:-1]

    def common_ancestor(self, first: NDArray[np.intp], second: NDArray[np.intp]) -> NDArray[Any]:
        """Return the lowest common ancestor of pairs (n,) of nodes of one tree each."""
        deeper = self.depth[first] >= self.depth[second]
        low, high = np.where(deeper, first, second), np.where(deeper, second, first)
        climb = self.depth[low] - self.depth[high]
        for step, ancestor in enumerate(self.ancestors):
            low = np.where((climb >> step) & 1 == 1, ancestor[low], low)
        for ancestor in reversed(self.ancestors):
            apart = ancestor[low] != ancestor[high]
            low, high = np.where(apart, ancestor[low], low), np.where(apart, ancestor[high], high)
        return np.where(low == high, low, self.parent[low])


def span_forest(count: int, ends: NDArray[np.intp], strength: NDArray[Any]) -> Forest:
    """Return maximum spanning trees.

    Parameters
    ----------
    count : int
        Nodes.
    ends : NDArray[np.intp]
        (E, 2) links, each once.
    strength : NDArray
        (E,) in [0, 1].
    """
    # scipy takes a weight of 0 for no link, so weights are lifted above it.
    if count == 0:
        return Forest.rooted(np.zeros(0, np.intp))
    graph = coo_array((2.0 - strength, (ends[:, 0], ends[:, 1])), (count, count))
    tree = minimum_spanning_tree(graph.tocsr()).tocoo()
    return _root_forest(count, tree.row, tree.col)


def _root_forest(count: int, lower: NDArray[Any], upper: NDArray[Any]) -> Forest:
    shape = (count, count)
    links = coo_array((np.ones(len(lower), np.uint8), (lower, upper)), shape)
    trees, tree = connected_components(links, directed=False)
    root = np.zeros(trees, np.intp)
    root[tree[::-1]] = np.arange(count - 1, -1, -1)
    # One more node holds all roots, so that one search walks all trees.
    lower, upper = np.append(lower, np.full(trees, count)), np.append(upper, root)
    held = coo_array((np.ones(len(lower), np.uint8), (lower, upper)), (count + 1, count + 1))
    _, previous = breadth_first_order(held.tocsr(), count, directed=False)
    parent = previous[:count].astype(np.intp)
    parent[root] = root
    return Forest.rooted(parent)


class WeakLinks:
    """The links of all segments' spanning trees, and what lies on both sides of each.

    Parameters
    ----------
    lookup : NDArray[np.uint64]
        (F + 1,) segment of each fragment.
    contacts : ContactArrays
        All contacts of the segments looked at, those with other segments too. Joined ones
        (decision 1) count as certain.
    size : NDArray
        (F + 1,) voxels of each fragment.
    outer : NDArray[np.bool_]
        (F + 1,) the fragment touches a face of the volume.
    """

    def __init__(
        self,
        lookup: NDArray[np.uint64],
        contacts: ContactArrays,
        size: NDArray[Any],
        outer: NDArray[np.bool_],
    ) -> None:
        ends = np.stack((contacts.a, contacts.b), axis=1).astype(np.int64)
        segment = lookup[ends[:, 0]]
        within = (segment == lookup[ends[:, 1]]) & (segment > 0)
        inner = np.flatnonzero(within)
        nodes, local = np.unique(ends[inner], return_inverse=True)
        local = local.reshape(-1, 2).astype(np.intp)
        strength = np.where(contacts.decision[inner] == 1, 1.0, contacts.score[inner])
        self._contacts = contacts
        self._nodes = nodes
        self._segment = lookup[nodes]
        self._size = size[nodes]
        self._outer = outer[nodes]
        self._forest = span_forest(len(nodes), local, strength)
        self._leaving = np.zeros(len(nodes))
        for column in range(2):
            place = _rows_of(nodes, ends[~within, column])
            known = place >= 0
            self._leaving += np.bincount(place[known], contacts.area[~within][known], len(nodes))
        # A link is a contact whose one end is the other's parent.
        parent = self._forest.parent
        child = np.where(parent[local[:, 0]] == local[:, 1], local[:, 0], local[:, 1])
        other = np.where(child == local[:, 0], local[:, 1], local[:, 0])
        link = np.flatnonzero(parent[child] == other)
        self._inner, self._local = inner, local
        self._child, self._other, self._link_rows = child[link], other[link], inner[link]

    def measure(self) -> Pairs:
        """Return the links that nobody has decided or cut, as pairs of kind "merge_error"."""
        forest, local, contacts = self._forest, self._local, self._contacts
        count = len(self._nodes)
        areas = contacts.area[self._inner].astype(np.float64)
        pull = areas * contacts.affinity[self._inner]
        common = forest.common_ancestor(local[:, 0], local[:, 1])

        def crossing(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            """Sum over the contacts that run between a node's subtree and the rest."""
            own = np.bincount(local[:, 0], weights, count)
            own += np.bincount(local[:, 1], weights, count)
            own = own - 2.0 * np.bincount(common, weights, count)
            return forest.sum_subtrees(own)

        area, total = crossing(areas), crossing(pull)
        apart = contacts.distance[self._inner].astype(np.float64)
        known = np.where(np.isnan(apart), 0.0, areas)
        weight, distance = crossing(known), crossing(known * np.nan_to_num(apart))
        rows = np.flatnonzero(
            (forest.parent[self._child] == self._other) & (contacts.decision[self._link_rows] == 0)
        )
        child, contact = self._child[rows], self._link_rows[rows]
        root = forest.root[child]

        def sides(values: NDArray[Any]) -> NDArray[np.float64]:
            below = forest.sum_subtrees(values)
            return np.stack((below[child], below[root] - below[child]), axis=1)

        ends = np.stack((child, self._other[rows]), axis=1)
        return Pairs(
            kind="merge_error",
            fragments=self._nodes[ends].astype(np.uint64),
            segments=self._segment[ends],
            position=contacts.centroid[contact],
            affinity=np.clip(total[child] / np.maximum(area[child], 1.0), 0.0, 1.0),
            strongest=contacts.score[contact].astype(np.float64),
            area=area[child],
            size=sides(self._size),
            surface=sides(self._leaving) + area[child][:, None],
            inside=sides(self._outer) < 0.5,
            distance=np.where(
                weight[child] > 0, distance[child] / np.maximum(weight[child], 1.0), np.nan
            ),
        )

    def trees(self, fragments: NDArray[np.uint64]) -> NDArray[np.intp]:
        """Return a number for the tree of each fragment (n,), of the trees as cut so far."""
        return self._forest.root[_rows_of(self._nodes, fragments.astype(np.int64))]

    def cut(self, fragments: NDArray[np.uint64]) -> None:
        """Cut links: what lies beyond them no longer counts for the links that are left.

        Parameters
        ----------
        fragments : NDArray[np.uint64]
            (n,) column 0 of the links' fragments as `measure` gave them.
        """
        self._forest = self._forest.cut(_rows_of(self._nodes, fragments.astype(np.int64)))
        ends = self._forest.root[self._local]
        apart = ends[:, 0] != ends[:, 1]
        areas = self._contacts.area[self._inner[apart]]
        for column in range(2):
            self._leaving += np.bincount(self._local[apart, column], areas, len(self._nodes))
        self._local, self._inner = self._local[~apart], self._inner[~apart]


def tree_sides(
    contacts: ContactArrays, first: int, second: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the fragments on both sides of one link of a segment's spanning tree.

    Parameters
    ----------
    contacts : ContactArrays
        The contacts within the segment.
    first, second : int
        The link's fragments.

    Returns
    -------
    tuple of NDArray[np.uint64]
        (A,) with `first` and (B,) with `second`, sorted; both empty if it is no link of the tree.
    """
    ends = np.stack((contacts.a, contacts.b), axis=1)
    nodes, local = np.unique(ends, return_inverse=True)
    local = local.reshape(-1, 2).astype(np.intp)
    nothing = np.zeros(0, np.uint64)
    pair = np.searchsorted(nodes, np.array([first, second], np.uint64))
    known = _rows_of(nodes, np.array([first, second], np.uint64)) >= 0
    if first == second or not known.all():
        return nothing, nothing
    strength = np.where(contacts.decision == 1, 1.0, contacts.score)
    forest = span_forest(len(nodes), local, strength)
    below = np.zeros(len(nodes))
    if forest.parent[pair[0]] == pair[1]:
        child = pair[0]
    elif forest.parent[pair[1]] == pair[0]:
        child = pair[1]
    else:
        return nothing, nothing
    # Ancestors' sums: a node lies below the child iff the child is among its ancestors or it.
    below[child] = 1
    for ancestor in forest.ancestors:
        below = np.maximum(below, below[ancestor])
    tree = forest.root == forest.root[child]
    side = nodes[(below > 0) & tree], nodes[(below == 0) & tree]
    return side if child == pair[0] else side[::-1]


def _rows_of(nodes: NDArray[Any], ids: NDArray[Any]) -> NDArray[np.intp]:
    """Return the place of each id in the sorted nodes, -1 where it is not among them."""
    if len(nodes) == 0:
        return np.full(len(ids), -1, np.intp)
    place = np.minimum(np.searchsorted(nodes, ids), len(nodes) - 1)
    return np.where(nodes[place] == ids, place, -1)
