"""Names of the values that a network says of each voxel."""

from __future__ import annotations

from typing import Final

NEAREST_NAMES: Final = ("affinity z", "affinity y", "affinity x")
"""Of a voxel and its neighbour one step lower along an axis."""

LABELS_NAME: Final = "query"
"""Channel of labels, which are no probabilities."""
