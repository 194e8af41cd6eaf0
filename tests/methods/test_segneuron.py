"""SegNeuron's choices: pooling, channels, restriction to foreground."""

from __future__ import annotations

import numpy as np
import pytest

from napari_neuropil.errors import SettingsError
from napari_neuropil.geometry import Shape, VoxelSize
from napari_neuropil.methods import METHODS, method_entry
from napari_neuropil.methods.cut import Cut
from napari_neuropil.methods.segneuron import (
    SegNeuronSettings,
    edge_affinities,
    fragments_of,
    kept_channels,
    segments_of,
    settle,
    working_factors,
)
from napari_neuropil.segmentation.rag import build_rag

_TRAINED = ((29.0, 12.0, 12.0), (8.0, 8.0, 8.0))


@pytest.mark.parametrize(
    ("voxel_size", "factors"),
    [
        ((29, 6, 6), (1, 2, 2)),
        ((40, 4, 4), (1, 3, 3)),
        ((30, 12, 12), (1, 1, 1)),
        ((8, 8, 8), (1, 1, 1)),
        ((4, 4, 4), (2, 2, 2)),
        ((50, 16, 16), (1, 1, 1)),
    ],
)
def test_volumes_are_pooled_to_what_was_trained_on(
    voxel_size: tuple[float, float, float], factors: Shape
) -> None:
    size = VoxelSize(*voxel_size)
    assert working_factors(size, _TRAINED, SegNeuronSettings()) == factors
    assert working_factors(size, _TRAINED, SegNeuronSettings(resample=False)) == (1, 1, 1)


def test_choices_are_made_by_isotropy() -> None:
    flat = settle(SegNeuronSettings(), VoxelSize(29, 12, 12))
    assert (flat.views, flat.watershed, flat.beta) == ("one", "sections", 0.45)
    cubes = settle(SegNeuronSettings(), VoxelSize(8, 8, 8))
    assert (cubes.views, cubes.watershed, cubes.beta) == ("three", "volume", 0.25)
    own = settle(SegNeuronSettings(views="one", beta=0.3), VoxelSize(8, 8, 8))
    assert (own.views, own.beta) == ("one", 0.3)


def test_channels_are_found_by_offset() -> None:
    offsets = ((0, 0, -1), (-4, 0, 0), (-1, 0, 0), (0, -1, 0))
    assert kept_channels(offsets, SegNeuronSettings()) == [2, 3, 0, 4]


def test_every_setting_is_explained() -> None:
    for entry in METHODS.values():
        for name, field in entry.settings_class.model_fields.items():
            assert field.title, name
            assert field.description, name
    with pytest.raises(SettingsError, match="one of segneuron"):
        method_entry("magic")


@pytest.mark.parametrize("partition", ["multicut", "mean-affinity"])
def test_two_cells_stay_two(partition: str) -> None:
    stored = np.full((4, 3, 20, 40), 250, np.uint8)
    stored[:, :, :, 19:21] = 5
    settings = SegNeuronSettings(partition=partition, smallest_fragment=4, seed_sigma=1)
    fragments = fragments_of(stored, settings)
    rag = build_rag(fragments, edge_affinities(stored))
    lookup = segments_of(
        rag, int(fragments.max()), settings, Cut(np.zeros(int(fragments.max()) + 1, np.int64))
    )
    segments = lookup[fragments]
    assert np.unique(segments[:, :, :18]).size == 1
    assert np.unique(segments[:, :, 22:]).size == 1
    assert segments[0, 0, 0] != segments[0, 0, -1]


def test_foreground_limits_affinities() -> None:
    stored = np.full((4, 1, 2, 2), 255, np.uint8)
    stored[3, 0, 0, 0] = 51
    limited = edge_affinities(stored)
    assert limited[:, 0, 0, 0] == pytest.approx(0.2)
    assert limited[:, 0, 1, 1] == pytest.approx(1)
