"""Components that last: the parts of a volume that a falling threshold keeps apart for long.

One threshold for a whole volume is too low for one membrane and too high for another: AGQ's mean
joins neurons across each leak. Here the threshold falls over all values. A part begins at a peak
and grows. Two parts that meet are one if either is still shallow: its peak lies less than
`persistence` above the place where they meet. If both are deep, both end there, and what lies
below belongs to neither. The depth of a peak is its topological persistence (Edelsbrunner,
Letscher and Zomorodian, 2002); ending the parts where deep ones meet, instead of flooding on,
is ours, as is their use as queries: a query shall begin from voxels of one neuron.

Windows of 16 x 160 x 160 at the shipped SegNeuron's affinities, two of AC4 80-99, one of FIB-25
200-249: see `weights/agq/README.md`.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.compiled import compiled

_UNSEEN: Final = -1
"""In `parent`."""


def persistent_components(
    shares: NDArray[np.float32], smallest: int, persistence: float, lowest: float
) -> NDArray[np.int64]:
    """Return the parts of a volume that last.

    Cost: O(V log V) for sorting; 25 ms for 16 x 80 x 80. Compiled at the first call.

    Parameters
    ----------
    shares : ndarray of float32, (Z, Y, X)
        Values in [0, 1], for example mean affinities.
    smallest : int
        Parts of this many voxels or fewer are none; they do not end others either.
    persistence : float
        How far a peak must lie above a meeting to count there.
    lowest : float
        Voxels of this share or less belong to no part.

    Returns
    -------
    ndarray of int64, (Z, Y, X)
        1 to N in the order of their first voxels, 0 elsewhere. Voxels of a part share faces.
    """
    flat = np.ascontiguousarray(shares, np.float32).reshape(-1)
    # Equal values in raster order, so that a result can be had again.
    order = np.argsort(-flat, kind="stable")
    order = order[: np.count_nonzero(flat > lowest)]
    owners = _flood(flat, order, shares.shape, smallest, persistence)
    found, sizes = np.unique(owners[owners >= 0], return_counts=True)
    names = np.zeros(len(flat) + 1, np.int64)  # the last is for -1
    found = found[sizes > smallest]
    first = np.full(len(flat), len(flat), np.int64)
    places = np.flatnonzero(owners >= 0)[::-1]
    first[owners[places]] = places  # writing backwards leaves the first
    names[found[np.argsort(first[found])]] = np.arange(1, len(found) + 1)
    return names[owners].reshape(shares.shape)


@compiled
def _find(parent: NDArray[np.int64], voxel: int) -> int:
    while parent[voxel] != voxel:
        parent[voxel] = parent[parent[voxel]]
        voxel = parent[voxel]
    return voxel


@compiled
def _holds(roots: NDArray[np.int64], count: int, root: int) -> bool:
    for i in range(count):  # noqa: SIM110 - compiled, a loop allocates nothing
        if roots[i] == root:
            return True
    return False


@compiled
def _flood(
    shares: NDArray[np.float32],
    order: NDArray[np.int64],
    shape: tuple[int, int, int],
    smallest: int,
    persistence: float,
) -> NDArray[np.int64]:
    """Return the peak that owns each voxel, -1 = none.

    Voxels come by falling share. `region` joins all that touch, `part` only what is one part; the
    root of a part is its peak, and `size` counts its voxels. A region whose deep parts have met is
    closed: it gives new voxels to nobody.
    """
    depth, height, width = shape
    region = np.full(len(shares), _UNSEEN, np.int64)
    part = np.full(len(shares), _UNSEEN, np.int64)
    size = np.zeros(len(shares), np.int64)
    closed = np.zeros(len(shares), np.bool_)
    peak = np.zeros(len(shares), np.int64)  # of a region that is open
    roots = np.empty(6, np.int64)
    for voxel in order:
        z, rest = divmod(voxel, height * width)
        y, x = divmod(rest, width)
        count = 0
        for inside, step in (
            (z > 0, -height * width), (z + 1 < depth, height * width),
            (y > 0, -width), (y + 1 < height, width),
            (x > 0, -1), (x + 1 < width, 1),
        ):  # fmt: skip
            if inside and region[voxel + step] != _UNSEEN:
                root = _find(region, voxel + step)
                if not _holds(roots, count, root):
                    roots[count] = root
                    count += 1
        region[voxel] = voxel
        deep, ends, highest = -1, False, -1
        for i in range(count):
            if closed[roots[i]]:
                ends = True
                continue
            top = peak[roots[i]]
            if highest < 0 or shares[top] > shares[highest]:
                highest = top
            if shares[top] - shares[voxel] >= persistence and size[top] > smallest:
                ends |= deep >= 0
                deep = top
        for i in range(count):
            region[roots[i]] = voxel
        if ends:
            closed[voxel] = True
            continue
        if highest < 0:
            part[voxel] = peak[voxel] = voxel
            size[voxel] = 1
            continue
        owner = deep if deep >= 0 else highest
        for i in range(count):
            top = peak[roots[i]]
            if top != owner:
                part[top] = owner
                size[owner] += size[top]
        part[voxel] = owner
        size[owner] += 1
        peak[voxel] = owner
    owners = np.full(len(shares), _UNSEEN, np.int64)
    for voxel in order:
        if part[voxel] != _UNSEEN:
            owners[voxel] = _find(part, voxel)
    return owners
