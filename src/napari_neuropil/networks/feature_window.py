"""Features of a part of a section, cut out of those of the whole.

Decoding costs as much as the section is large, while an object needs its surroundings only: of 512
pixels a side, a window of 256 costs a quarter. Networks that take sections of any size allow it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.networks.compact_encoder import INPUT_MULTIPLE

Features = Mapping[str, NDArray[Any]]
Window = tuple[slice, slice]
"""Along y and x, pixels; begins at multiples of `INPUT_MULTIPLE`."""


def cut_features(features: Features, window: Window, shape: tuple[int, ...]) -> Features:
    """Return what the encoder made of a window, each (C, y, x).

    Parameters
    ----------
    features : mapping of str to ndarray
        Of the whole section, which was padded to a multiple of `INPUT_MULTIPLE` below and right.
    window : tuple of slice
        What to keep.
    shape : tuple of int
        Of the section, (Y, X).
    """
    padded = [n + -n % INPUT_MULTIPLE for n in shape]
    found = {}
    for name, array in features.items():
        cut = []
        for part, whole, cells in zip(window, padded, array.shape[1:], strict=True):
            stop = part.stop + -part.stop % INPUT_MULTIPLE
            cut.append(slice(part.start * cells // whole, stop * cells // whole))
        found[name] = np.ascontiguousarray(array[:, cut[0], cut[1]])
    return found
