"""The one door to kimimaro, which is under the GPL and therefore an extra of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_neuropil._optional import import_extra


def trace(
    mask: NDArray[np.bool_], spacing: tuple[float, float, float], *, scale: float, constant: float
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return vertices (nm from voxel 0), edges and radii of a mask's skeleton.

    Cell bodies are found by their size and get one point with straight paths to it.

    Raises
    ------
    MissingExtraError
        If kimimaro is not installed.
    """
    kimimaro = import_extra("kimimaro", "skeletons")
    found = kimimaro.skeletonize(
        mask.astype(np.uint8),
        teasar_params={"scale": scale, "const": constant},
        anisotropy=spacing,
        dust_threshold=0,
        progress=False,
        parallel=1,
    )
    if 1 not in found:  # too small for a path
        place = np.argwhere(mask)[:1] * np.array(spacing)
        return place, np.zeros((0, 2), np.int64), np.full(len(place), min(spacing) / 2)
    skeleton = found[1]
    return skeleton.vertices, skeleton.edges, skeleton.radius
