"""Names of the values that a network says of each voxel."""

from __future__ import annotations

from typing import Final

NEAREST_NAMES: Final = ("affinity z", "affinity y", "affinity x")
"""Of a voxel and its neighbour one step lower along an axis."""

LABELS_NAME: Final = "query"
"""Channel of labels, which are no probabilities."""

RUNNER_UP_NAME: Final = "runner-up"
"""Labels too: the query with the second largest share."""

COARSE_NAMES: Final = ("query before stage 1", "query before stage 2")
"""Labels too, of the masks that the stages refined."""

LABEL_CHANNELS: Final = frozenset({LABELS_NAME, RUNNER_UP_NAME, *COARSE_NAMES})
