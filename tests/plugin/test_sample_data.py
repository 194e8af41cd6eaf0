"""File > Open Sample."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_neuropil.errors import VolumeNotFoundError
from napari_neuropil.plugin.project_places import default_project
from napari_neuropil.workflows.samples import find_sample


def test_sample_volume(viewer: Any) -> None:
    image, labels = viewer.open_sample("napari-neuropil", "neuropil")
    assert type(image).__name__ == "Image"
    assert type(labels).__name__ == "Labels"
    assert image.data.shape == labels.data.shape
    assert [str(unit) for unit in image.units] == ["nanometer"] * 3
    assert len(np.unique(labels.data[0])) > 3
    # The package's own folder is no place for a user's project.
    assert default_project(image).parent.name == "napari-neuropil"


def test_sample_project(viewer: Any) -> None:
    try:
        find_sample("neuropil.neuropil")
    except VolumeNotFoundError:
        pytest.skip("the segmented sample has not been made")
    layers = viewer.open_sample("napari-neuropil", "neuropil-project")
    assert [type(layer).__name__ for layer in layers] == ["Image", "Labels"]
    np.testing.assert_array_equal(layers[0].extent.world, layers[1].extent.world)


def test_missing_sample_names_the_places() -> None:
    with pytest.raises(VolumeNotFoundError, match="not installed"):
        find_sample("no.zarr")
