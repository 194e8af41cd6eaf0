"""A window of an encoded section: a decoder learns as much from it, for a part of the price."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.networks.compact_encoder import INPUT_MULTIPLE
from napari_neuropil.networks.feature_window import Window

_SURROUNDINGS: Final = 1.5
"""A window is at least so many times as long as the object it is for."""
_SHOWN: Final = 0.5
"""Objects of which less lies in the window are not pointed at: what is left looks like another."""


def choose_crop(parts: NDArray[np.int64], window: int, rng: np.random.Generator) -> Window:
    """Return a window of a tile around one of its objects, all objects alike.

    Parameters
    ----------
    parts : ndarray of int64, (Y, X)
        Objects from 1; 0 elsewhere.
    window : int
        Pixels along each side; more for an object that is larger, never more than the tile.
    rng : Generator
        Chooses the object, and where in the window it lies.

    Returns
    -------
    tuple of slice
        Along y and x. The object lies in it as a whole; it begins at a multiple of
        `INPUT_MULTIPLE`.
    """
    present = np.flatnonzero(np.bincount(parts.ravel())[1:]) + 1
    places = np.nonzero(parts == rng.choice(present))
    slices = []
    for length, place in zip(parts.shape, places, strict=True):
        low, high = int(place.min()), int(place.max()) + 1
        wish = max(window, round(_SURROUNDINGS * (high - low)))
        side = -(-wish // INPUT_MULTIPLE) * INPUT_MULTIPLE
        side = min(side, length + -length % INPUT_MULTIPLE)
        # Where the whole object is seen. Counted in cells; windows may reach into the padding.
        first = -(-max(0, high - side) // INPUT_MULTIPLE)
        last = min(low, length + -length % INPUT_MULTIPLE - side) // INPUT_MULTIPLE
        start = INPUT_MULTIPLE * int(rng.integers(first, max(first, last) + 1))
        slices.append(slice(start, min(length, start + side)))
    return slices[0], slices[1]


def cut_parts(parts: NDArray[np.int64], crop: Window) -> NDArray[np.int64]:
    """Return the objects in a window, (y, x); 0 where most of one lies outside."""
    whole = np.bincount(parts.ravel())
    seen = np.bincount(parts[crop].ravel(), minlength=len(whole))
    kept = np.where(seen >= _SHOWN * whole, np.arange(len(whole)), 0)
    return kept[parts[crop]]
