"""NPY files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_neuropil.errors import VolumeFormatError
from napari_neuropil.geometry import Roi
from napari_neuropil.volumes import open_volume


@pytest.mark.parametrize("dtype", ["<u1", ">u2", "<f4", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_file_is_mapped_and_read_natively(tmp_path: Path, dtype: str, order: str) -> None:
    array = np.arange(60).reshape(3, 4, 5).astype(dtype, order="F" if order == "F" else "C")
    np.save(tmp_path / "v.npy", array)
    volume = open_volume(tmp_path / "v.npy")
    block = volume.read(Roi((1, 0, 0), (3, 4, 5)))
    np.testing.assert_array_equal(block, array[1:])
    assert block.dtype.isnative
    assert volume.voxel_size is None
    assert (volume.name, volume.source) == ("v", str(tmp_path / "v.npy"))


def test_singleton_axes_are_dropped(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.zeros((1, 1, 3, 4, 5), "u1"))
    assert open_volume(tmp_path / "v.npy").shape == (3, 4, 5)


@pytest.mark.parametrize(
    "array",
    [
        np.array([[[{"a": 1}]]], object),
        np.zeros((2, 3, 4), [("a", "u1"), ("b", "u1")]),
        np.zeros((2, 3, 4), complex),
        np.zeros((4, 5)),
        np.zeros((2, 3, 4, 5)),
        np.zeros((0, 3, 4)),
        np.zeros((32, 32, 3), "u1"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "v.npy", array, allow_pickle=True)
    with pytest.raises(VolumeFormatError, match="npy"):
        open_volume(tmp_path / "v.npy")


@pytest.mark.parametrize("keep", [4, 20, 100, 150])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: int) -> None:
    np.save(tmp_path / "v.npy", np.zeros((4, 5, 6)))
    content = (tmp_path / "v.npy").read_bytes()
    (tmp_path / "v.npy").write_bytes(content[:keep])
    with pytest.raises(VolumeFormatError, match=r"v\.npy"):
        open_volume(tmp_path / "v.npy")
