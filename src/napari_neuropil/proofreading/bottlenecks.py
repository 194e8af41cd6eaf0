"""Measure the shape of the fragments that matter most: which large ones have a narrow neck.

Shape needs voxels, so only the largest fragments are looked at, within a budget of voxels read; a
few seconds, beside the window's thread. The rest of the fragments have no opinion (NaN).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.geometry import Roi
from napari_neuropil.proofreading.live_project import LiveProject
from napari_neuropil.segmentation.bottleneck import find_bottleneck

_BUDGET: Final = 1 << 26
"""Voxels of boxes that are read; about five seconds."""


def measure_bottlenecks(project: LiveProject, count: int) -> NDArray[np.float32]:
    """Return how narrow the neck of each of the largest fragments is.

    Parameters
    ----------
    project : LiveProject
        Its fragments are read.
    count : int
        Largest fragments to look at, as far as the budget of voxels goes.

    Returns
    -------
    NDArray[np.float32]
        (n + 1,) radius of the neck over that of the narrower part, 1 where there is no neck, NaN
        where nothing was measured.
    """
    table = project.table
    narrowness = np.full(len(table.size), np.nan, np.float32)
    # A fragment that pieces replaced still has its size, and no voxels.
    alive = np.where(project.lookup > 0, table.size, 0)
    budget = _BUDGET
    for fragment in np.argsort(-alive, kind="stable")[:count].tolist():
        start, stop = table.start[fragment].tolist(), table.stop[fragment].tolist()
        if not alive[fragment]:
            break
        roi = Roi((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
        if roi.size > budget:
            continue
        budget -= roi.size
        mask = project.fragments().read(roi) == fragment
        found = find_bottleneck(mask, project.info.voxel_size_nm)
        narrowness[fragment] = 1.0 if found is None else found.narrowness
    return narrowness
