"""The neighbours of the metric graph: three attractive, nine repulsive.

Source: Lee et al. 2021 (dense voxel embeddings), the graph for the mutex watershed; there
(x, y, z), here (z, y, x). Two of them look forward in z and one in y, so that both borders of an
axis have voxels without a partner.
"""

from __future__ import annotations

from typing import Final

from napari_neuropil.geometry import Offset

ATTRACTIVE: Final[tuple[Offset, ...]] = ((-1, 0, 0), (0, -1, 0), (0, 0, -1))

REPULSIVE: Final[tuple[Offset, ...]] = (
    (-2, 0, 0),
    (0, 0, -5),
    (0, -5, 0),
    (0, -5, -5),
    (0, 5, -5),
    (-1, 0, -5),
    (-1, -5, 0),
    (1, 0, -5),
    (1, -5, 0),
)

OFFSETS: Final = ATTRACTIVE + REPULSIVE

HALF_WAY: Final = 1.5
"""L1 distance of mean embeddings below which two pieces are one object: half of the distance that
the loss keeps between objects."""
