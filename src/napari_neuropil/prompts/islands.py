"""What a decoder leaves beside an object: islands of a few pixels, and pinholes."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_ISLAND: Final = 0.1
"""Share of the largest piece."""
_PINHOLE: Final = 0.02
"""Share of the mask. Larger holes may be another neurite."""


def without_islands(
    mask: NDArray[np.bool_], points: NDArray[np.float32] | None = None
) -> NDArray[np.bool_]:
    """Return a mask without small islands, and with pinholes filled.

    Pieces that touch at a corner hang together. An object can have several pieces in a section, so
    larger ones stay.

    Parameters
    ----------
    mask : NDArray of bool, (Y, X)
        Of one object.
    points : NDArray, (n, 2), optional
        (y, x) that lie in the object: a piece that holds one stays, whatever its size.
    """
    labels, count = ndimage.label(mask, np.ones((3, 3), np.int8))
    if not count:
        return mask
    areas = np.bincount(labels.ravel())[1:]
    kept = np.concatenate([[False], areas >= _ISLAND * areas.max()])
    if points is not None:
        rows, columns = np.asarray(points, np.intp).reshape(-1, 2).T
        kept[labels[rows, columns]] = True
        kept[0] = False
    found: NDArray[np.bool_] = kept[labels]
    holes, count = ndimage.label(~found)
    if count > 1:
        sizes = np.bincount(holes.ravel())
        small = sizes <= _PINHOLE * found.sum()
        small[0] = False
        # What reaches the rim is the outside, however little of it is in view.
        rim = np.concatenate([holes[0], holes[-1], holes[:, 0], holes[:, -1]])
        small[rim] = False
        found = found | small[holes]
    return found
