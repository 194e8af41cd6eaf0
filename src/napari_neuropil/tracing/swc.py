"""SWC, the text format of neuron skeletons: one point a line, each naming its parent.

``id type x y z radius parent``, parent -1 at a root. The format states no unit, so the header does;
readers skip it. Source: Cannon et al., J. Neurosci. Methods 84, 1998.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from napari_neuropil.tracing.skeleton import Skeleton

Unit = Literal["um", "nm"]
_NM: Final[dict[str, float]] = {"um": 1e3, "nm": 1.0}
_UNDEFINED: Final = 0


def write_swc(
    file: Path, skeleton: Skeleton, *, unit: Unit = "um", comments: Sequence[str] = ()
) -> None:
    """Write a skeleton; the file is there whole or not at all.

    Parameters
    ----------
    file : Path
        Replaced if it exists.
    skeleton : Skeleton
        In nm. Each tree's root is its thickest point.
    unit : {"um", "nm"}
        Of the written numbers.
    comments : sequence of str
        Lines for the header.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    order, parents = _walk(skeleton)
    line_of = np.empty(len(skeleton), np.int64)
    line_of[order] = np.arange(1, len(order) + 1)
    factor = _NM[unit]
    places = skeleton.vertices[:, ::-1] / factor
    lines = [
        f"# unit {'micrometre' if unit == 'um' else 'nanometre'}, columns: id type x y z r parent",
        *(f"# {comment}" for comment in comments),
    ]
    for number, vertex in enumerate(order, start=1):
        x, y, z = places[vertex]
        parent = -1 if parents[vertex] < 0 else line_of[parents[vertex]]
        radius = skeleton.radii[vertex] / factor
        lines.append(f"{number} {_UNDEFINED} {x:.6g} {y:.6g} {z:.6g} {radius:.6g} {parent}")
    partial = file.with_name(f".{file.name}.partial")
    try:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def _walk(skeleton: Skeleton) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the vertices in an order where parents come first, and each one's parent or -1."""
    count = len(skeleton)
    parents = np.full(count, -1, np.int64)
    if count == 0:
        return np.zeros(0, np.int64), parents
    a, b = skeleton.edges.T if len(skeleton.edges) else np.zeros((2, 0), np.int64)
    graph = coo_array((np.ones(len(a), bool), (a, b)), (count, count)).tocsr()
    trees, tree = connected_components(graph, directed=False)
    # Thickest first: the first vertex of each tree in this order is its root.
    thickest = np.argsort(-skeleton.radii, kind="stable")
    _, first = np.unique(tree[thickest], return_index=True)
    orders = []
    for root in thickest[first[:trees]]:
        order, before = breadth_first_order(graph, int(root), directed=False)
        parents[order[1:]] = before[order[1:]]
        orders.append(order)
    return np.concatenate(orders).astype(np.int64), parents
