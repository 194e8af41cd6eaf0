"""Windows: each block is seen once, by one pass of the network, with what lies around it.

Labels of two passes have nothing to do with each other, so they cannot be blended as
probabilities can. A block takes the labels of its own window; what neighbouring windows say of
the voxels they share is kept apart and joins the pieces later.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import NeuropilError
from napari_neuropil.geometry import Roi, Shape
from napari_neuropil.inference.predict import Predictor

_SMALLEST_PASS: Final = 33
"""Pixels along y and x; smaller windows are mirrored beyond their end."""


LONGER: Final = 1.25
"""A volume up to this much longer than a window is seen by one window rather than by two that share
most of what they see."""


def even_windows(
    grid_shape: Shape, window_shape: Shape, overlap: float, longer: float = LONGER
) -> tuple[Shape, Shape]:
    """Return window and block for a volume: as few windows as cover it, evenly spread.

    A window at the rim of the volume needs no overlap there, so blocks that are all as long as an
    inner one can waste a whole row of windows: 50 sections by windows of 16 that share 4 take 4
    windows, not 5.

    Parameters
    ----------
    grid_shape : Shape
        The volume's, on the grid of the network.
    window_shape : Shape
        Voxels that one pass is meant for.
    overlap : float
        Share of a window, from 0 to below 1, that its neighbour sees too. At least one plane is
        shared, as in the published blocks; evenly spread windows may share down to half of it.
    longer : float
        How much longer a window may be, along each axis, where one is then enough. Memory grows
        with the product; 1 where it is short.

    Returns
    -------
    tuple of Shape
        The window, which never exceeds the volume; the block that one window answers for.
    """
    windows, blocks = [], []
    for length, size in zip(grid_shape, window_shape, strict=True):
        window = length if length <= longer * size else size
        stride = max(1, min(window - 1, math.floor(window * (1 - overlap))))
        shared = window - stride
        count = max(1, math.ceil((length - shared) / stride))
        block = math.ceil(length / count)
        windows.append(window)
        # Two windows end at the rim and share enough; those between others share window - block.
        blocks.append(block if count <= 2 else min(block, window - (shared + 1) // 2))
    return (windows[0], windows[1], windows[2]), (blocks[0], blocks[1], blocks[2])


def window_of(roi: Roi, shape: Sequence[int], window_shape: Shape) -> Roi:
    """Return the window of a block: around it, shifted into the volume, never beyond it.

    Parameters
    ----------
    roi : Roi
        The block.
    shape : sequence of int
        The volume's.
    window_shape : Shape
        Voxels of one pass; at least the block's.

    Raises
    ------
    ValueError
        If the block does not fit into a window.
    """
    starts, stops = [], []
    for a, b, n, w in zip(roi.start, roi.stop, shape, window_shape, strict=True):
        if b - a > w:
            raise ValueError(f"a block of {roi} does not fit into a window of {window_shape}")
        size = min(n, w)
        start = min(max(0, a - (size - (b - a)) // 2), n - size)
        starts.append(start)
        stops.append(start + size)
    return Roi((starts[0], starts[1], starts[2]), (stops[0], stops[1], stops[2]))


class WindowPredictor(Predictor):
    """Predicts each block with one pass over its window.

    The whole window's values go to `keep` too, so that neighbouring windows can be compared.
    """

    keep: Callable[[Roi, NDArray[np.float32]], None] = staticmethod(lambda _window, _values: None)

    def _missing(self, length: int) -> int:
        # Networks of queries take any size; one of few pixels has no neighbours to tell apart.
        return max(0, _SMALLEST_PASS - length)

    def halo_roi(self, roi: Roi, shape: Sequence[int]) -> Roi:
        """Return the block's window."""
        return window_of(roi, shape, self.plan.tile_shape)

    def predict(
        self,
        image: NDArray[np.float32],
        image_roi: Roi,
        roi: Roi,
        shape: Sequence[int],
        *,
        report: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> NDArray[np.float32]:
        """Predict one block; parameters and result as `Predictor.predict`.

        Raises
        ------
        NeuropilError
            If the device's memory does not hold a window: a smaller one would see other
            neurons, so there is nothing to fall back on.
        """
        window = self.halo_roi(roi, shape)
        grey = image[window.shifted([-o for o in image_roi.start]).slices]
        report(0, 1)
        try:
            values = self._pass(grey[None])[0]
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "memory" not in str(error).lower():
                raise
            raise NeuropilError(
                f"Out of memory in a window of {window.shape} voxels: {error}",
                "",
                "close other programs, or choose the CPU: --device cpu.",
            ) from error
        self.keep(window, values)
        report(1, 1)
        inside = roi.shifted([-o for o in window.start]).slices
        own: NDArray[np.float32] = values[(slice(None), *inside)]
        return own
