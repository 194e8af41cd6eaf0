"""What the network said, shown in the dock: lazily, on its grid, one channel at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_neuropil.geometry import Roi, VoxelSize
from napari_neuropil.plugin.proofread_controller import ProofreadController
from napari_neuropil.plugin.stored_view import NAME, StoredView
from napari_neuropil.project.affinities import AffinityStore
from napari_neuropil.segmentation.channel_names import LABELS_NAME


@pytest.fixture
def stored(brain: Path) -> np.ndarray[Any, Any]:
    """Put a store of 3 channels, pooled by 2 in plane, into the project."""
    shape = (8, 20, 30)
    names = ("affinity z", "confidence", LABELS_NAME)
    store = AffinityStore.create(
        brain / "affinities.zarr", names, shape, (8, 8, 8), VoxelSize(30, 16, 16)
    )
    values = np.random.default_rng(0).integers(0, 255, (3, *shape)).astype(np.uint8)
    store.write(Roi.of_shape(shape), values.astype(np.float32) / 255)
    return values


@pytest.fixture
def view(stored: np.ndarray[Any, Any], live: ProofreadController, qtbot: Any) -> StoredView:
    made = StoredView(live)
    qtbot.addWidget(made)
    return made


def _shown(live: ProofreadController) -> list[Any]:
    return [layer for layer in live.viewer.layers if layer.name.startswith(NAME)]


def test_a_channel_lies_under_the_segments(
    live: ProofreadController, view: StoredView, stored: np.ndarray[Any, Any]
) -> None:
    assert [view.combo.itemText(i) for i in range(4)] == [
        "nothing", "affinity z", "confidence", LABELS_NAME,
    ]  # fmt: skip
    active = live.viewer.layers.selection.active
    view.combo.setCurrentIndex(2)
    (layer,) = _shown(live)
    np.testing.assert_allclose(np.asarray(layer.data[3, 2:9]), stored[1, 3, 2:9] / 255, rtol=1e-6)
    assert tuple(layer.contrast_limits) == (0, 1)
    segments = live.segments_layer
    assert tuple(layer.scale) == (30, 16, 16)
    # Coarse voxel (0, 0, 0) is the middle of fine voxels 0 and 1.
    np.testing.assert_allclose(
        layer.data_to_world((0, 0, 0)), segments.data_to_world((0, 0.5, 0.5))
    )
    assert live.viewer.layers.index(layer) < live.viewer.layers.index(segments)
    assert live.viewer.layers.selection.active is active
    view.combo.setCurrentIndex(3)
    (layer,) = _shown(live)
    assert type(layer).__name__ == "Labels"
    np.testing.assert_array_equal(np.asarray(layer.data[3, 2:9]), stored[2, 3, 2:9])
    view.combo.setCurrentIndex(0)
    assert not _shown(live)


def test_a_layer_taken_away_by_hand(live: ProofreadController, view: StoredView) -> None:
    view.combo.setCurrentIndex(1)
    live.viewer.layers.remove(_shown(live)[0])
    assert view.combo.currentIndex() == 0


def test_closing_takes_it_away(live: ProofreadController, view: StoredView) -> None:
    view.combo.setCurrentIndex(1)
    live.close_project()
    assert not _shown(live)
    assert view.combo.count() == 1


def test_projects_without_values(live: ProofreadController, qtbot: Any) -> None:
    made = StoredView(live)
    qtbot.addWidget(made)
    assert made.isHidden()
    assert made.combo.count() == 1
