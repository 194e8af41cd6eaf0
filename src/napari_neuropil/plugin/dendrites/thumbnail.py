"""A mask as a small picture for a table."""

from __future__ import annotations

import numpy as np
from qtpy.QtGui import QIcon, QImage, QPixmap

from napari_neuropil.prompts.packed_mask import PackedMask

SIDE = 26
_ON = (255, 176, 0)
_OFF = (55, 60, 70)


def mask_icon(mask: PackedMask, side: int = SIDE) -> QIcon:
    """Return the mask's box, shrunk or grown to fit a square, as an icon."""
    crop = mask.crop()
    longest = max(crop.shape)
    # The nearest pixel will do at this size, and costs the same for any mask.
    at = (np.arange(side) + 0.5) * longest / side
    places = [np.floor(at - (longest - n) / 2).astype(int) for n in crop.shape]
    inside = [(p >= 0) & (p < n) for p, n in zip(places, crop.shape, strict=True)]
    small = np.zeros((side, side), np.bool_)
    picked = crop[np.ix_(places[0][inside[0]], places[1][inside[1]])]
    small[np.ix_(inside[0], inside[1])] = picked
    data = np.where(small[..., None], _ON, _OFF).astype(np.uint8).tobytes()
    image = QImage(data, side, side, 3 * side, QImage.Format.Format_RGB888)
    # The image borrows the bytes; a pixmap is its own copy.
    return QIcon(QPixmap.fromImage(image))
