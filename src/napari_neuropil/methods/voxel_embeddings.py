"""Dense voxel embeddings: metric graph, mutex watershed, mean-embedding agglomeration.

The network gives each voxel a vector and the probability of background. Distances between the
vectors of voxels a few steps apart become affinities, tile by tile: vectors of different tiles
cannot be compared, affinities can be blended. A mutex watershed cuts the foreground into
fragments, attracted along the three nearest offsets and repelled along nine longer ones. Pairs
that touch themselves again, a self-contact cut by the network's small field of view, are joined
where their mean vectors in one tile agree.

Source: Lee, Lu, Luther, Seung, "Learning and segmenting dense voxel embeddings for 3D neuron
reconstruction", IEEE TMI 40(12), 2021, sections III and IV. Differences: background is filled
from the nearest fragment of its section, as the paper does only for its SNEMI3D submission.

In large volumes the mutex watershed runs block by block, and the pieces are joined across the cut.
What that promises: affinities do not depend on the blocks; where they do not contradict each
other, segments do not either; where they do, a block decides without what lies beyond its halo,
and the segments may differ from those of one piece. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_neuropil.geometry import Offset, Shape, VoxelSize
from napari_neuropil.methods.cut import Cut
from napari_neuropil.methods.resampling import working_factors
from napari_neuropil.methods.settings import ADVANCED, MethodSettings
from napari_neuropil.segmentation.crumbs import fill_sections, without_crumbs
from napari_neuropil.segmentation.fragments import restrict_to_foreground
from napari_neuropil.segmentation.metric_offsets import ATTRACTIVE, OFFSETS
from napari_neuropil.segmentation.mutex_watershed import mutex_watershed
from napari_neuropil.segmentation.rag import Rag

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "VoxelEmbeddingsSettings",
    "channel_names",
    "edge_affinities",
    "fragment_halo",
    "fragments_of",
    "kept_channels",
    "predictor_of",
    "segments_of",
    "settle",
    "view_count",
    "working_factors",
]

_HALO: Final[Shape] = (2, 16, 16)
"""Voxels around a block whose edges take part, so that its faces are cut like its inside."""


class VoxelEmbeddingsSettings(MethodSettings):
    """What a user may change."""

    overlap: float = Field(
        0.3,
        ge=0,
        le=0.75,
        title="Tile overlap",
        description="Share of a tile that neighbours have in common. 0.5 is the paper's; less is "
        "faster.",
        json_schema_extra=ADVANCED,
    )
    mean_embedding: bool = Field(
        default=True,
        title="Join by mean embedding",
        description="Join segments that touch in several places and whose mean embeddings agree "
        "there.",
    )
    background_threshold: float = Field(
        0.6,
        gt=0,
        lt=1,
        title="Background threshold",
        description="Voxels whose probability of background is higher take no part in the mutex "
        "watershed.",
    )
    smallest_fragment: int = Field(
        100,
        ge=0,
        le=100_000,
        title="Smallest fragment",
        description="Smaller ones are given to their neighbours.",
        json_schema_extra={"unit": "voxels", "advanced": True},
    )
    fill_background: bool = Field(
        default=True,
        title="Fill membranes",
        description="Give background voxels to the nearest fragment of their section. Off: they "
        "stay 0.",
        json_schema_extra=ADVANCED,
    )
    stitch_threshold: float = Field(
        0.5,
        ge=0,
        le=1,
        title="Stitch threshold",
        description="Pieces of two blocks are joined where the mean affinity across the cut is "
        "higher.",
        json_schema_extra=ADVANCED,
    )


def settle(
    settings: VoxelEmbeddingsSettings,
    working: VoxelSize,
) -> VoxelEmbeddingsSettings:
    """Return the settings: nothing is left to be chosen."""
    return settings


def view_count(settings: VoxelEmbeddingsSettings) -> int:
    """Return from how many sides the network looks: the offsets have no other view."""
    return 1


def predictor_of(network: nn.Module, settings: VoxelEmbeddingsSettings) -> nn.Module:
    """Return what maps an image to the stored values: the metric graph of the embeddings."""
    from napari_neuropil.networks.metric_graph import MetricGraph

    return MetricGraph(network, OFFSETS)


def kept_channels(offsets: Sequence[Offset], settings: VoxelEmbeddingsSettings) -> list[int]:
    """Return which channels are kept: all affinities and the foreground."""
    return list(range(len(OFFSETS) + 1))


def channel_names(settings: VoxelEmbeddingsSettings) -> tuple[str, ...]:
    """Return what each of the kept channels is."""
    return (*(f"affinity {z:+d} {y:+d} {x:+d}" for z, y, x in OFFSETS), "foreground")


def fragment_halo(settings: VoxelEmbeddingsSettings) -> Shape:
    """Return the voxels around a block that its mutex watershed sees."""
    return _HALO


def fragments_of(
    stored: NDArray[np.uint8], settings: VoxelEmbeddingsSettings
) -> NDArray[np.uint64]:
    """Return the fragments of one block, any ids; 0 is background.

    Parameters
    ----------
    stored : ndarray of uint8, (13, Z, Y, X)
        Affinities in the order of `OFFSETS`, then the foreground; 255 = 1.
    settings : VoxelEmbeddingsSettings
        Thresholds.
    """
    foreground = stored[len(OFFSETS)] >= 255 * (1 - settings.background_threshold)
    labels = mutex_watershed(
        stored[: len(OFFSETS)], foreground, offsets=OFFSETS, attractive=len(ATTRACTIVE)
    )
    labels = without_crumbs(labels, settings.smallest_fragment)
    return fill_sections(labels) if settings.fill_background else labels


def edge_affinities(stored: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the affinities that score contacts: none exceeds its voxel's foreground."""
    values = stored[[*range(len(ATTRACTIVE)), len(OFFSETS)]].astype(np.float32)
    values /= 255
    return restrict_to_foreground(values[: len(ATTRACTIVE)], values[len(ATTRACTIVE)])


def segments_of(
    rag: Rag,
    fragment_count: int,
    settings: VoxelEmbeddingsSettings,
    cut: Cut,
) -> NDArray[np.uint64]:
    """Return the lookup fragment -> segment, uint64 (fragment_count + 1,).

    Inside a block the mutex watershed has spoken, and fragments are segments. Across blocks the
    pieces are joined where their contact attracts.

    Parameters
    ----------
    rag : Rag
        Contacts.
    fragment_count : int
        Number of fragments.
    settings : VoxelEmbeddingsSettings
        The threshold.
    cut : Cut
        The block each fragment was cut in.
    """
    from napari_neuropil.segmentation.mean_embedding import join_pairs

    joined = rag.contacts[cut.across(rag.contacts) & (rag.score > settings.stitch_threshold)]
    return join_pairs(np.arange(fragment_count + 1, dtype=np.uint64), joined)
