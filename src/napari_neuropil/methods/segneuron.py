"""SegNeuron: affinities and foreground, then a foreground-restricted multicut.

The network (MNet) predicts affinities and foreground; an affinity never exceeds the foreground
of its voxel; each section is cut into fragments by a watershed; the region adjacency graph of
the fragments is partitioned by a multicut (or by mean-affinity agglomeration).

Source: SegNeuron, MICCAI 2024, paper 0518, section 2.4. Sizes in pixels are those of the grid
the network sees. Defaults are those that go with the shipped weights, chosen on validation
sections at 12 and 8 nm pixels; a checkpoint may carry its own. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_neuropil.geometry import Offset, Shape, VoxelSize, factors_between
from napari_neuropil.methods.settings import ADVANCED, MethodSettings
from napari_neuropil.segmentation.agglomeration import (
    MeanAffinitySettings,
    MulticutSettings,
    agglomerate,
)
from napari_neuropil.segmentation.fragments import (
    WatershedSettings,
    make_fragments,
    restrict_to_foreground,
)
from napari_neuropil.segmentation.rag import Rag

NEAREST: Final[tuple[Offset, ...]] = ((-1, 0, 0), (0, -1, 0), (0, 0, -1))

_ANISOTROPIC: Final = 2.0


def _pixels(*, advanced: bool = True) -> dict[str, Any]:
    return {"unit": "px", "advanced": advanced}


class SegNeuronSettings(MethodSettings):
    """What a user may change."""

    partition: Literal["multicut", "mean-affinity"] = Field(
        "multicut",
        title="Partition",
        description="How fragments are joined to segments: multicut weighs all contacts at once; "
        "mean-affinity joins the strongest contact first and is faster on large volumes.",
    )
    beta: float = Field(
        0.5,
        gt=0,
        lt=1,
        title="Multicut bias",
        description="Higher cuts more: more split errors, fewer merge errors.",
    )
    merge_threshold: float = Field(
        0.5,
        ge=0,
        le=1,
        title="Merge threshold",
        description="For mean-affinity: contacts above this mean affinity are joined.",
    )
    watershed_threshold: float = Field(
        0.25,
        gt=0,
        lt=1,
        title="Boundary threshold",
        description="Boundary probability above which a pixel counts as boundary for the distance "
        "transform.",
        json_schema_extra=ADVANCED,
    )
    seed_sigma: float = Field(
        1.5,
        ge=0,
        le=20,
        title="Seed smoothing",
        description="Gaussian on the distance transform: larger makes fewer fragments.",
        json_schema_extra=_pixels(),
    )
    height_sigma: float = Field(
        1.0,
        ge=0,
        le=20,
        title="Boundary smoothing",
        description="Gaussian on the boundaries the watershed floods.",
        json_schema_extra=_pixels(),
    )
    smallest_fragment: int = Field(
        25,
        ge=0,
        le=100_000,
        title="Smallest fragment",
        description="Smaller ones are given to their neighbours, per section.",
        json_schema_extra=_pixels(),
    )

    def watershed(self) -> WatershedSettings:
        """Return the settings of the fragments."""
        return WatershedSettings(
            threshold=self.watershed_threshold,
            sigma_seeds=self.seed_sigma,
            sigma_weights=self.height_sigma,
            min_size=self.smallest_fragment,
        )

    def agglomeration(self) -> MulticutSettings | MeanAffinitySettings:
        """Return the settings of the partition."""
        if self.partition == "multicut":
            return MulticutSettings(beta=self.beta)
        return MeanAffinitySettings(threshold=self.merge_threshold)


def working_factors(
    voxel_size: VoxelSize,
    trained: Sequence[tuple[float, float, float]],
    settings: SegNeuronSettings,
) -> Shape:
    """Return the pooling factors that bring a volume to what the network was trained at.

    Of the voxel sizes trained at, the one of the nearest section thickness counts. Sections are
    never pooled in anisotropic volumes: there are too few of them already.

    Parameters
    ----------
    voxel_size : VoxelSize
        The volume's.
    trained : sequence of (z, y, x)
        Voxel sizes in nm, from the checkpoint's spec.
    settings : SegNeuronSettings
        `resample` off gives (1, 1, 1).
    """
    if not settings.resample or not trained:
        return (1, 1, 1)
    # Pooling in plane changes the anisotropy, so the section thickness decides.
    target = min(
        (VoxelSize(*size) for size in trained), key=lambda size: abs(np.log(size.z / voxel_size.z))
    )
    factors = factors_between(voxel_size, target)
    return factors if target.anisotropy < _ANISOTROPIC else (1, *factors[1:])


def kept_channels(offsets: Sequence[Offset]) -> list[int]:
    """Return which of the network's channels are kept: nearest z, y, x and the foreground.

    Parameters
    ----------
    offsets : sequence of Offset
        Of the affinity channels; the foreground follows them.
    """
    return [*(tuple(offsets).index(offset) for offset in NEAREST), len(offsets)]


def fragments_of(stored: NDArray[np.uint8], settings: SegNeuronSettings) -> NDArray[np.uint64]:
    """Return fragments 1 ... n of one block.

    Parameters
    ----------
    stored : ndarray of uint8, (4, Z, Y, X)
        Affinities and foreground, 255 = 1.
    settings : SegNeuronSettings
        The watershed's.
    """
    values = stored.astype(np.float32)
    values /= 255
    return make_fragments(values[:3], values[3], settings.watershed())


def edge_affinities(stored: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the affinities that score contacts: none exceeds its voxel's foreground."""
    values = stored.astype(np.float32)
    values /= 255
    return restrict_to_foreground(values[:3], values[3])


def segments_of(rag: Rag, fragment_count: int, settings: SegNeuronSettings) -> NDArray[np.uint64]:
    """Return the lookup fragment -> segment, uint64 (fragment_count + 1,)."""
    return agglomerate(rag, fragment_count, settings.agglomeration())
