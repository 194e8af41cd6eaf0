"""Turn fragments into segments: `lookup[fragments]`, and make ids compact.

A lookup is a dense array over the consecutive fragment ids, so turning a volume costs one memory
access per voxel, and merging two segments costs none at all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import VolumeFormatError


def apply_lookup(
    lookup: NDArray[np.uint64], fragments: NDArray[np.uint64] | NDArray[np.uint32]
) -> NDArray[np.uint64]:
    """Replace each fragment id by its segment id.

    Parameters
    ----------
    lookup : NDArray[np.uint64]
        (F + 1,) segment id of each fragment id; `lookup[0]` is 0.
    fragments : NDArray[np.uint64] or NDArray[np.uint32]
        Ids 0..F, any shape.

    Returns
    -------
    NDArray[np.uint64]
        Of the shape of `fragments`, C-contiguous.

    Raises
    ------
    VolumeFormatError
        If an id has no entry (the lookup belongs to other fragments), or types do not fit.
    """
    ids = _check_ids(fragments)
    if lookup.ndim != 1 or len(lookup) == 0 or lookup.dtype != np.uint64:
        raise VolumeFormatError(
            f"a lookup of shape {lookup.shape}, type {lookup.dtype}",
            "one dimension, at least the entry of id 0, type uint64",
        )
    if ids.size and int(ids.max()) >= len(lookup):
        raise VolumeFormatError(
            f"fragment id {int(ids.max())} and a lookup that ends at {len(lookup) - 1}",
            "a lookup with an entry for each fragment id",
            "use the lookup and the fragments of one and the same project",
        )
    # The bound is checked above. take with intp indices and no per-element check is twice as fast
    # as lookup[ids]; ids below 2**63 read the same as int64, so no copy is needed for them.
    indices = ids.view(np.int64) if ids.dtype == np.uint64 else ids
    return np.take(lookup, indices, mode="clip")


def relabel_compact(
    ids: NDArray[Any], *, first: int = 1
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Renumber ids to first, first + 1, ... in ascending order of the old ids; 0 stays 0.

    Parameters
    ----------
    ids : NDArray
        Unsigned or signed integers >= 0, any shape, any size of gaps (ids above 2**32 too).
    first : int
        Id of the smallest positive old id.

    Returns
    -------
    new : NDArray[np.uint64]
        Of the shape of `ids`.
    old : NDArray[np.uint64]
        (K,) old ids; `old[i]` became `first + i`.

    Raises
    ------
    VolumeFormatError
        If `ids` is not of an integer type or holds a negative id.
    """
    values = _check_ids(ids)
    present = sorted_ids(values)
    old = present[present > 0].astype(np.uint64)
    if values.size and len(present) and int(present[-1]) < max(1 << 20, 2 * values.size):
        lookup = np.zeros(int(present[-1]) + 1, np.uint64)
        lookup[old.astype(np.int64)] = np.arange(first, first + len(old), dtype=np.uint64)
        return apply_lookup(lookup, values.astype(np.uint64, copy=False)), old
    place = np.searchsorted(old, values.astype(np.uint64, copy=False))
    new = (place + first).astype(np.uint64)
    new[values == 0] = 0
    return new, old


def sorted_ids(ids: NDArray[Any]) -> NDArray[Any]:
    """Return the distinct ids of an array, ascending, without sorting all voxels.

    Runs of equal neighbours are dropped first, which leaves a few per cent of a labels volume.

    Parameters
    ----------
    ids : NDArray
        Integers, any shape.

    Returns
    -------
    NDArray
        (K,) of the same type.
    """
    flat = ids.reshape(-1)
    if flat.size == 0:
        return flat
    keep = np.empty(flat.size, bool)
    keep[0] = True
    np.not_equal(flat[1:], flat[:-1], out=keep[1:])
    result: NDArray[Any] = np.unique(flat[keep])
    return result


def _check_ids(ids: NDArray[Any]) -> NDArray[Any]:
    array = np.ascontiguousarray(ids)
    if array.dtype.kind not in "iu":
        raise VolumeFormatError(
            f"ids of type {array.dtype}", "whole numbers (uint32 or uint64)", "convert the labels"
        )
    if array.dtype.kind == "i" and array.size and int(array.min()) < 0:
        raise VolumeFormatError(
            f"the id {int(array.min())}", "ids of 0 (background) and above", "convert the labels"
        )
    return array
