"""In which order patches are looked at: over a box from its middle outwards, or around places."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.geometry import Roi, Shape


def patches_from_middle(box: Roi, shape: Shape, patch_shape: Shape, core: Shape) -> list[Roi]:
    """Return overlapping patches that cover a box, the middle one first.

    Parameters
    ----------
    box : Roi
        What is to be covered.
    shape : Shape
        The volume's. Patches may leave the box, never the volume; where the volume is smaller
        than a patch, the patch is as large as the volume.
    patch_shape : Shape
        One patch.
    core : Shape
        Its middle part, which answers for the box; the step from patch to patch. Smaller than
        the patch, or neighbours do not overlap.

    Returns
    -------
    list of Roi
        Each but the first overlaps one before it.
    """
    axes = [
        _starts(a, b, n, min(p, n), min(c, p, n))
        for a, b, n, p, c in zip(box.start, box.stop, shape, patch_shape, core, strict=True)
    ]
    # A step towards the middle comes earlier, so every patch has a neighbour that was there before.
    ways = [
        [(abs(2 * i - len(starts) + 1), start) for i, start in enumerate(starts)] for starts in axes
    ]
    order = sorted(product(*ways), key=lambda steps: sum(way for way, _ in steps))
    patches = [_patch([start for _, start in steps], shape, patch_shape) for steps in order]
    return list(dict.fromkeys(patches))


def _starts(low: int, high: int, length: int, patch: int, core: int) -> list[int]:
    if patch == length:
        return [0]
    count = -(-(high - low) // core)
    first = (low + high - (count - 1) * core - patch) // 2
    return [min(max(0, first + i * core), length - patch) for i in range(count)]


def patches_around(
    places: Iterable[NDArray[np.float32]], shape: Shape, patch_shape: Shape
) -> Iterator[Roi]:
    """Yield a patch around each place, leaving out places that are in the middle of an earlier one.

    Parameters
    ----------
    places : iterable of ndarray of float32, (3,)
        Voxels of the volume, the most important first.
    shape : Shape
        The volume's.
    patch_shape : Shape
        One patch; shifted inside the volume at its borders.
    """
    size = np.minimum(shape, patch_shape)
    seen = np.zeros((0, 3), np.int64)
    for place in places:
        start = np.floor(place + 0.5 - size / 2).astype(np.int64)
        start = np.clip(start, 0, np.array(shape) - size)
        if (4 * abs(seen - start) <= size).all(axis=1).any():
            continue
        seen = np.concatenate((seen, start[None]))
        yield _patch([int(v) for v in start], shape, patch_shape)


def _patch(start: list[int], shape: Shape, patch_shape: Shape) -> Roi:
    stop = [a + min(p, n) for a, p, n in zip(start, patch_shape, shape, strict=True)]
    return Roi((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
