"""HDF5 files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from napari_neuropil.errors import OutputError, VolumeFormatError, VolumeNotFoundError
from napari_neuropil.geometry import Roi, VoxelSize
from napari_neuropil.volumes import open_volume, write_volume

IMAGE = np.arange(4 * 6 * 8, dtype="u2").reshape(4, 6, 8)
SIZE = VoxelSize(29, 6, 6)


def make(path: Path, **datasets: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name.replace("__", "/")] = values
    return path


def ones(roi: Roi) -> Any:
    return np.ones(roi.shape, "u8")


@pytest.mark.parametrize(
    ("attributes", "voxel_size"),
    [
        ({"voxel_size_nm": [29.0, 6, 6]}, SIZE),
        ({"resolution": [29, 6, 6]}, SIZE),
        ({"element_size_um": [0.029, 0.006, 0.006]}, SIZE),
        ({"element_size_um": [0.0, 0.006, 0.006]}, None),
        ({"element_size_um": [np.nan, 0.006, 0.006]}, None),
        ({"comment": "none"}, None),
    ],
)
@pytest.mark.parametrize("of_file", [False, True])
def test_voxel_sizes_of_dataset_and_file(
    tmp_path: Path, attributes: dict[str, Any], voxel_size: VoxelSize | None, of_file: bool
) -> None:
    path = make(tmp_path / "v.h5", raw=IMAGE)
    with h5py.File(path, "a") as file:
        (file if of_file else file["raw"]).attrs.update(attributes)
    volume = open_volume(path)
    if voxel_size is None:
        assert volume.voxel_size is None
    else:
        assert volume.voxel_size is not None
        np.testing.assert_allclose(list(volume.voxel_size), list(voxel_size))
    assert volume.source == f"{path}/raw"
    assert volume.name == "v raw"


def test_the_only_3d_dataset_opens_alone(tmp_path: Path) -> None:
    path = make(tmp_path / "v.h5", a__raw=IMAGE, table=np.zeros(3), text="hello")
    assert open_volume(path).source.endswith("v.h5/a/raw")
    assert open_volume(path / "a").source.endswith("v.h5/a/raw")


def test_several_datasets_are_named(tmp_path: Path) -> None:
    path = make(tmp_path / "v.h5", a__raw=IMAGE, labels=IMAGE)
    with pytest.raises(VolumeFormatError, match="2 3D datasets: a/raw, labels"):
        open_volume(path)
    assert open_volume(path / "labels").shape == IMAGE.shape


def test_a_missing_dataset_lists_similar_names(tmp_path: Path) -> None:
    path = make(tmp_path / "v.h5", labels=IMAGE, raw=IMAGE)
    with pytest.raises(VolumeNotFoundError, match=r"did you mean .*v\.h5/labels"):
        open_volume(path / "label")


def test_ilastik_axes_are_squeezed_and_turned(tmp_path: Path) -> None:
    path = make(tmp_path / "v.h5", data=IMAGE.T[None, ..., None])
    with h5py.File(path, "a") as file:
        axes = [{"key": key} for key in "txyzc"]
        file["data"].attrs["axistags"] = json.dumps({"axes": axes})
    volume = open_volume(path)
    np.testing.assert_array_equal(volume.read(Roi.of_shape(volume.shape)), IMAGE)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        (np.zeros((4, 5)), "shape"),
        (np.zeros((2, 4, 5, 6)), "shape"),
        (np.zeros((32, 32, 3), "u1"), "RGB"),
        (np.zeros((0, 4, 5)), "empty"),
        (np.zeros((2, 4, 5), complex), "complex"),
        (np.zeros((2, 4, 5), "S4"), "type"),
        (h5py.Empty("f4"), "empty"),
    ],
)
def test_other_datasets_are_refused(tmp_path: Path, values: Any, match: str) -> None:
    path = make(tmp_path / "v.h5", data=values)
    with pytest.raises(VolumeFormatError, match=match):
        open_volume(path / "data")


def test_big_endian_is_read_natively(tmp_path: Path) -> None:
    volume = open_volume(make(tmp_path / "v.h5", data=IMAGE.astype(">u2")))
    assert volume.array[0].dtype.isnative
    np.testing.assert_array_equal(volume.read(Roi.of_shape(volume.shape)), IMAGE)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.95])
def test_a_truncated_file_is_refused(tmp_path: Path, part: float) -> None:
    path = make(tmp_path / "v.h5", data=IMAGE)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(VolumeFormatError, match=r"v\.h5"):
        open_volume(path)


def test_damaged_chunks_are_a_format_error(tmp_path: Path) -> None:
    path = tmp_path / "v.h5"
    noise = np.random.default_rng(0).integers(0, 255, (8, 64, 64), dtype=np.uint8)
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data", data=noise, chunks=(8, 64, 64), compression="gzip")
        offset = data.id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[offset : offset + 500] = b"\xff" * 500
    path.write_bytes(content)
    volume = open_volume(path)
    with pytest.raises(VolumeFormatError, match="cannot be read at"):
        volume.read(Roi.of_shape(volume.shape))


def test_other_datasets_of_the_file_are_kept(tmp_path: Path) -> None:
    path = make(tmp_path / "v.h5", raw=IMAGE)
    write_volume(path, ones, IMAGE.shape, "u8", SIZE)
    with pytest.raises(OutputError, match="labels exists already"):
        write_volume(path, ones, IMAGE.shape, "u8", SIZE)
    write_volume(path, ones, (2, 2, 2), "u8", SIZE, overwrite=True)
    assert open_volume(path / "labels").shape == (2, 2, 2)
    np.testing.assert_array_equal(open_volume(path / "raw").array[...], IMAGE)


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = make(tmp_path / "v.h5", raw=IMAGE)
    before = path.read_bytes()

    def fail(roi: Roi) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_volume(path, fail, IMAGE.shape, "u8", SIZE)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["v.h5"]


def test_a_file_that_is_no_hdf5_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "v.h5").write_text("precious")
    with pytest.raises(OutputError, match="no HDF5"):
        write_volume(tmp_path / "v.h5", ones, IMAGE.shape, "u8", SIZE, overwrite=True)
    assert (tmp_path / "v.h5").read_text() == "precious"
