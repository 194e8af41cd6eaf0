"""AGQ: affinity-guided queries segment a block at once, without a watershed.

The network predicts affinities; their connected components, and a set of learned vectors, become
queries; two stages of attention between queries and voxels give each voxel to a query or to the
background. A volume is worked through in blocks, each seen by one pass over a window that reaches
into its neighbours. Pieces of two blocks are joined where their windows claim the same voxels and
affinities across the cut are high (ours), or by the affinities alone (as published).

Source: AGQ (Chen et al.), with the published inference script. Differences: the components are
taken in the order of their labels, not at random; windows share more than one plane; membranes
are filled from the nearest fragment of their section. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_neuropil.geometry import Offset, Shape, VoxelSize
from napari_neuropil.methods.cut import Cut
from napari_neuropil.methods.resampling import working_factors
from napari_neuropil.methods.settings import ADVANCED, OF_NETWORK, MethodSettings
from napari_neuropil.segmentation.agglomeration import MeanAffinitySettings, agglomerate
from napari_neuropil.segmentation.channel_names import (
    COARSE_NAMES,
    LABELS_NAME,
    NEAREST_NAMES,
    RUNNER_UP_NAME,
)
from napari_neuropil.segmentation.crumbs import fill_sections, without_crumbs
from napari_neuropil.segmentation.fragments import restrict_to_foreground
from napari_neuropil.segmentation.query_facts import QueryValues
from napari_neuropil.segmentation.rag import Rag

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "AgqSettings",
    "channel_names",
    "edge_affinities",
    "fragment_halo",
    "fragments_of",
    "kept_channels",
    "label_channel",
    "predictor_of",
    "query_values",
    "segments_of",
    "settle",
    "view_count",
    "working_factors",
]

_AFFINITIES: Final = 3
_CONFIDENCE, _LABELS, _RUNNER_UP, _SHARE, _FOREGROUND = 3, 4, 5, 6, -1
_FAVOUR: Final = 0.3
_PUBLISHED_THRESHOLD: Final = 0.5
"""A cut is joined above a mean affinity of 0.7."""
_AGREEMENT: Final = 0.25
"""Weight of the windows' agreement beside the affinity. From 0.1 to 0.3 it makes little difference;
either alone is worse (`weights/agq/README.md`)."""
_INSIDE: Final = 0.4
"""Weight of affinities inside a block."""


class AgqSettings(MethodSettings):
    """What a user may change."""

    overlap: float = Field(
        0.2,
        ge=0,
        le=0.75,
        title="Window overlap",
        description="Share of a window that its neighbours see too. More makes the pieces of "
        "blocks fit better, and takes longer.",
        json_schema_extra=ADVANCED,
    )
    own_background: bool = Field(
        default=True,
        title="Background is learned",
        description="A voxel is background where the network says so. Off: where no query claims "
        "it, as in the published inference.",
        json_schema_extra=OF_NETWORK,
    )
    keep_coarse_masks: bool = Field(
        default=False,
        title="Keep coarse masks",
        description="Store which query claimed a voxel before each of the two stages too, to be "
        "looked at in the dock. Takes more time and a quarter more space.",
        json_schema_extra=OF_NETWORK,
    )
    assembly: Literal["agreement", "affinity"] = Field(
        "agreement",
        title="Join blocks by",
        description="Agreement: pieces are one where the windows of both blocks claim the same "
        "voxels and affinities across the cut are high. Affinity: where their mean affinity is "
        "above 0.7, as published.",
    )
    join_threshold: float = Field(
        0.45,
        ge=0,
        le=1,
        title="Join threshold",
        description="With agreement: what affinity and agreement of two pieces together must "
        "exceed. Higher leaves more apart; below 0.4 fragments inside a block are joined too.",
        json_schema_extra=ADVANCED,
    )
    smallest_fragment: int = Field(
        50,
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


def settle(settings: AgqSettings, working: VoxelSize) -> AgqSettings:
    """Return the settings: nothing is left to be chosen."""
    return settings


def view_count(settings: AgqSettings) -> int:
    """Return from how many sides the network looks: labels of two sides cannot be compared."""
    return 1


def predictor_of(network: nn.Module, settings: AgqSettings) -> nn.Module:
    """Return what maps an image to the stored values."""
    from napari_neuropil.networks.agq.query_map import QueryMap

    return QueryMap(network, background=settings.own_background, stages=settings.keep_coarse_masks)


def kept_channels(offsets: Sequence[Offset], settings: AgqSettings) -> list[int]:
    """Return which channels are kept: all."""
    return list(range(len(channel_names(settings))))


def channel_names(settings: AgqSettings) -> tuple[str, ...]:
    """Return what each of the kept channels is; the last one is the foreground."""
    coarse = COARSE_NAMES if settings.keep_coarse_masks else ()
    return (
        *NEAREST_NAMES,
        "confidence",
        LABELS_NAME,
        RUNNER_UP_NAME,
        "runner-up's share",
        *coarse,
        "foreground",
    )


def label_channel(stored: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the labels (Z, Y, X) among stored values (C, Z, Y, X)."""
    labels: NDArray[np.uint8] = stored[_LABELS]
    return labels


def query_values(stored: NDArray[np.uint8]) -> QueryValues:
    """Return what is stored of the queries."""
    return QueryValues(stored[_CONFIDENCE], stored[_LABELS], stored[_RUNNER_UP], stored[_SHARE])


def fragment_halo(settings: AgqSettings) -> Shape:
    """Return the voxels around a block that its fragments depend on: labels end with it."""
    return (0, 0, 0)


def fragments_of(stored: NDArray[np.uint8], settings: AgqSettings) -> NDArray[np.uint64]:
    """Return the fragments of one block: the connected parts of each label; 0 is background.

    Parameters
    ----------
    stored : ndarray of uint8, (C, Z, Y, X)
        As `channel_names` says.
    settings : AgqSettings
        Smallest fragment, and whether background is filled.
    """
    import bioimage_cpp

    parts = bioimage_cpp.segmentation.label(
        np.ascontiguousarray(label_channel(stored)), connectivity=3
    )
    labels = without_crumbs(parts.astype(np.uint64), settings.smallest_fragment)
    return fill_sections(labels) if settings.fill_background else labels


def edge_affinities(stored: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the affinities that score contacts: none exceeds its voxel's foreground."""
    values = stored[[*range(_AFFINITIES), _FOREGROUND]].astype(np.float32)
    values /= 255
    return restrict_to_foreground(values[:_AFFINITIES], values[_AFFINITIES])


def segments_of(
    rag: Rag, fragment_count: int, settings: AgqSettings, cut: Cut
) -> NDArray[np.uint64]:
    """Return the lookup fragment -> segment, uint64 (fragment_count + 1,).

    Inside a block the queries have spoken: contacts there count less than half, so they join no two
    fragments by themselves, but hold pieces of other blocks back that would join both.

    Parameters
    ----------
    rag : Rag
        Contacts.
    fragment_count : int
        Number of fragments.
    settings : AgqSettings
        How pieces of blocks are joined.
    cut : Cut
        Blocks, and what their windows agree on.
    """
    across = cut.across(rag.contacts)
    if settings.assembly == "affinity":
        threshold = _PUBLISHED_THRESHOLD
        scores = np.where(across, rag.affinity + _FAVOUR, rag.affinity) / 2
    else:
        assert cut.agreement is not None  # noqa: S101 - the method has windows
        threshold = settings.join_threshold
        between = _AGREEMENT * cut.agreement + (1 - _AGREEMENT) * rag.affinity
        scores = np.where(across, between, _INSIDE * rag.affinity)
    return agglomerate(
        replace(rag, score=scores.astype(np.float32)),
        fragment_count,
        MeanAffinitySettings(threshold=threshold),
    )
