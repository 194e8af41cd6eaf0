"""File > Open Sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_neuropil.errors import VolumeNotFoundError
from napari_neuropil.plugin.project_places import default_project
from napari_neuropil.proofreading import ProofreadingSession
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


def test_sample_project_is_a_copy_of_ones_own(
    viewer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_neuropil.plugin.sample_data.documents_folder", lambda: tmp_path)
    layers = viewer.open_sample("napari-neuropil", "neuropil-project")
    assert [type(layer).__name__ for layer in layers] == ["Image", "Labels"]
    np.testing.assert_array_equal(layers[0].extent.world, layers[1].extent.world)
    project = Path(layers[1].metadata["neuropil"]["project"])
    assert project.is_relative_to(tmp_path)
    with ProofreadingSession.open(project) as session:
        session.delete(int(session.segment_ids()[0]))
    again = viewer.open_sample("napari-neuropil", "neuropil-project")
    assert Path(again[1].metadata["neuropil"]["project"]) == project, "edits are found again"


def test_missing_sample_names_the_places() -> None:
    with pytest.raises(VolumeNotFoundError, match="not installed"):
        find_sample("no.zarr")
