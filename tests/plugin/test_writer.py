"""File > Save keeps voxels, voxel size and place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_neuropil.errors import NeuropilError
from napari_neuropil.plugin.writer import write_array
from napari_neuropil.volumes import open_volume


@pytest.mark.parametrize("suffix", [".zarr", ".h5", ".tif"])
def test_labels_layer_is_saved(viewer: Any, tmp_path: Path, image: Any, suffix: str) -> None:
    layer = viewer.add_labels(
        image.astype(np.uint32),
        scale=(0.03, 0.008, 0.008),
        translate=(0.06, 0, 0.016),
        units=("um", "um", "um"),
    )
    path = tmp_path / f"out{suffix}"
    assert layer.save(str(path), plugin="napari-neuropil") == [str(path)]
    volume = open_volume(path)
    np.testing.assert_array_equal(np.asarray(volume.array[:, :, :]), image)
    assert tuple(volume.voxel_size or ()) == pytest.approx((30, 8, 8))
    assert volume.translation == pytest.approx((60, 0, 16))


def test_refusal_names_what_was_found(viewer: Any, tmp_path: Path) -> None:
    layer = viewer.add_labels(np.zeros((5, 6), int))
    with pytest.raises(NeuropilError, match="2 axes"):
        layer.save(str(tmp_path / "flat.zarr"), plugin="napari-neuropil")
    assert not (tmp_path / "flat.zarr").exists()


def test_progress_reaches_the_end(tmp_path: Path, image: Any) -> None:
    seen: list[float] = []
    write_array(str(tmp_path / "a.zarr"), image, {}, "image", lambda _, f: seen.append(f))
    assert seen[-1] == 1.0
