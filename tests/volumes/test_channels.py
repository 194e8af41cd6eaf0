"""Arrays with a channel axis: opened lazily from zarr, HDF5 and NPY, refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr

from napari_neuropil.errors import VolumeFormatError, VolumeNotFoundError
from napari_neuropil.geometry import Roi
from napari_neuropil.volumes.channels import open_channels

VALUES = np.random.default_rng(0).random((3, 4, 6, 5), dtype=np.float32)
BOX = Roi((1, 2, 0), (3, 6, 4))


def write(path: Path) -> None:
    if path.suffix == ".npy":
        np.save(path, VALUES)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["net/affs"] = VALUES
            file["image"] = VALUES[0]
    else:
        group = zarr.open_group(str(path), mode="w")
        group.create_array("net/affs", data=VALUES)
        group.create_array("image", data=VALUES[0])


@pytest.mark.parametrize("name", ["a.npy", "a.h5", "a.h5/net/affs", "a.zarr", "a.zarr/net/affs"])
def test_the_only_array_with_channels_is_found(tmp_path: Path, name: str) -> None:
    write(tmp_path / name.split("/")[0])
    volume = open_channels(tmp_path / name)
    assert (volume.channels, volume.shape, volume.dtype) == (3, (4, 6, 5), np.dtype(np.float32))
    np.testing.assert_array_equal(volume.read(BOX), VALUES[(slice(None), *BOX.slices)])
    np.testing.assert_array_equal(volume.read(BOX, slice(0, 2)), VALUES[(slice(2), *BOX.slices)])


def test_foreign_byte_order_is_turned(tmp_path: Path) -> None:
    np.save(tmp_path / "b.npy", VALUES.astype(">f4"))
    block = open_channels(tmp_path / "b.npy").read(BOX)
    assert block.dtype.isnative
    np.testing.assert_array_equal(block, VALUES[(slice(None), *BOX.slices)])


@pytest.mark.parametrize("name", ["a.h5", "a.zarr"])
def test_two_arrays_must_be_told_apart(tmp_path: Path, name: str) -> None:
    write(tmp_path / name)
    if name == "a.h5":
        with h5py.File(tmp_path / name, "a") as file:
            file["other"] = VALUES
    else:
        zarr.open_group(str(tmp_path / name)).create_array("other", data=VALUES)
    with pytest.raises(VolumeFormatError, match="2 arrays with four axes"):
        open_channels(tmp_path / name)


def test_what_has_no_channels_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.h5")
    write(tmp_path / "a.zarr")
    (tmp_path / "a.txt").write_text("affinities")
    for name in ("a.h5/image", "a.zarr/image", "a.txt"):
        with pytest.raises(VolumeFormatError):
            open_channels(tmp_path / name)
    for name in ("nothing.zarr", "a.h5/wrong"):
        with pytest.raises(VolumeNotFoundError):
            open_channels(tmp_path / name)


def test_damage_and_unsafe_codecs_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.h5")
    content = (tmp_path / "a.h5").read_bytes()
    (tmp_path / "a.h5").write_bytes(content[: len(content) // 3])
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY and no more")
    for name in ("a.h5", "a.npy"):
        with pytest.raises(VolumeFormatError):
            open_channels(tmp_path / name)
    write(tmp_path / "a.zarr")
    file = tmp_path / "a.zarr" / "net" / "affs" / "zarr.json"
    metadata = json.loads(file.read_text())
    metadata["codecs"].append({"name": "numcodecs.pickle"})
    file.write_text(json.dumps(metadata))
    with pytest.raises(VolumeFormatError, match="pickle"):
        open_channels(tmp_path / "a.zarr")
