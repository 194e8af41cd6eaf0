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
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_neuropil.geometry import Offset, Shape, VoxelSize
from napari_neuropil.methods.cut import Cut
from napari_neuropil.methods.resampling import ANISOTROPIC
from napari_neuropil.methods.resampling import working_factors as working_factors
from napari_neuropil.methods.settings import ADVANCED, MethodSettings
from napari_neuropil.segmentation.agglomeration import (
    MeanAffinitySettings,
    MulticutSettings,
    agglomerate,
)
from napari_neuropil.segmentation.channel_names import NEAREST_NAMES
from napari_neuropil.segmentation.fragments import (
    WatershedSettings,
    make_fragments,
    restrict_to_foreground,
)
from napari_neuropil.segmentation.rag import Rag

if TYPE_CHECKING:
    from torch import nn

NEAREST: Final[tuple[Offset, ...]] = ((-1, 0, 0), (0, -1, 0), (0, 0, -1))

_HALO: Final = 16


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
    beta: float | None = Field(
        None,
        gt=0,
        lt=1,
        title="Multicut bias",
        description="Higher cuts more: more split errors, fewer merge errors. Empty: 0.45 for one "
        "view; 0.25 for three, whose lowest affinity is lower already.",
    )
    merge_threshold: float = Field(
        0.5,
        ge=0,
        le=1,
        title="Merge threshold",
        description="For mean-affinity: contacts above this mean affinity are joined.",
    )
    views: Literal["auto", "one", "three"] = Field(
        "auto",
        title="Views",
        description="Three: the network also looks along y and x, and the lowest affinity counts; "
        "three times the work. Automatic takes three for isotropic volumes.",
        json_schema_extra=ADVANCED,
    )
    watershed: Literal["auto", "sections", "volume"] = Field(
        "auto",
        title="Fragments",
        description="Cut fragments in each section (the paper's way) or through sections. "
        "Automatic takes the volume where it is isotropic.",
        json_schema_extra=ADVANCED,
    )
    watershed_threshold: float = Field(
        0.5,
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
        0.7,
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

    def watershed_settings(self) -> WatershedSettings:
        """Return the settings of the fragments."""
        return WatershedSettings(
            threshold=self.watershed_threshold,
            sigma_seeds=self.seed_sigma,
            sigma_weights=self.height_sigma,
            min_size=self.smallest_fragment,
            volumetric=self.watershed == "volume",
        )

    def agglomeration(self) -> MulticutSettings | MeanAffinitySettings:
        """Return the settings of the partition."""
        if self.partition == "multicut":
            beta = self.beta if self.beta is not None else _beta_for(self.views)
            return MulticutSettings(beta=beta)
        return MeanAffinitySettings(threshold=self.merge_threshold)


def _beta_for(views: str) -> float:
    return 0.25 if views == "three" else 0.45


def settle(settings: SegNeuronSettings, working: VoxelSize) -> SegNeuronSettings:
    """Replace what is left to be chosen by the choice.

    On FIB-25 sections 200-249 three views and fragments through sections bring VI from 2.25 to
    1.64 with the same weights; anisotropic volumes cannot be looked at from the side.

    Parameters
    ----------
    settings : SegNeuronSettings
        As asked for.
    working : VoxelSize
        Of the grid the network sees.
    """
    isotropic = working.anisotropy < ANISOTROPIC
    views = settings.views
    if views == "auto":
        views = "three" if isotropic else "one"
    watershed = settings.watershed
    if watershed == "auto":
        watershed = "volume" if isotropic else "sections"
    beta = settings.beta if settings.beta is not None else _beta_for(views)
    return settings.model_copy(update={"views": views, "watershed": watershed, "beta": beta})


def view_count(settings: SegNeuronSettings) -> int:
    """Return from how many sides the network looks."""
    return 3 if settings.views == "three" else 1


def fragment_halo(settings: SegNeuronSettings) -> Shape:
    """Return the voxels around a block that its watershed sees, so that seeds are the same."""
    return (_HALO if settings.watershed == "volume" else 0, _HALO, _HALO)


def predictor_of(network: nn.Module, settings: SegNeuronSettings) -> nn.Module:
    """Return what maps an image to the stored values: here the network itself."""
    return network


def kept_channels(offsets: Sequence[Offset], settings: SegNeuronSettings) -> list[int]:
    """Return which of the network's channels are kept: nearest z, y, x and the foreground.

    Parameters
    ----------
    offsets : sequence of Offset
        Of the affinity channels; the foreground follows them.
    """
    return [*(tuple(offsets).index(offset) for offset in NEAREST), len(offsets)]


def channel_names(settings: SegNeuronSettings) -> tuple[str, ...]:
    """Return what each of the kept channels is."""
    return (*NEAREST_NAMES, "foreground")


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
    return make_fragments(values[:3], values[3], settings.watershed_settings())


def edge_affinities(stored: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the affinities that score contacts: none exceeds its voxel's foreground."""
    values = stored.astype(np.float32)
    values /= 255
    return restrict_to_foreground(values[:3], values[3])


def segments_of(
    rag: Rag,
    fragment_count: int,
    settings: SegNeuronSettings,
    cut: Cut,
) -> NDArray[np.uint64]:
    """Return the lookup fragment -> segment, uint64 (fragment_count + 1,)."""
    return agglomerate(rag, fragment_count, settings.agglomeration())
