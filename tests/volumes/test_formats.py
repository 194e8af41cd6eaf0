"""Every format: what is written opens again; what does not exist is named."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_neuropil.errors import OutputError, VolumeFormatError, VolumeNotFoundError
from napari_neuropil.geometry import Roi, VoxelSize
from napari_neuropil.volumes import create_volume, open_volume, write_volume

VOXEL_SIZE = VoxelSize(29.1, 6.25, 6.0)
WRITTEN = ["v.zarr", "v.h5", "v.h5/group/image", "v.tif", "v.zarr/labels/neurons"]


def random_array(shape: tuple[int, ...], dtype: str, seed: int = 0) -> np.ndarray[Any, Any]:
    bits = np.random.default_rng(seed).integers(0, 2**32, shape, dtype=np.uint64)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return (bits / 2**16 - 2**15).astype(kind)
    return (bits % 2).astype(kind) if kind.kind == "b" else bits.astype(kind)


def block_of(array: np.ndarray[Any, Any]) -> Callable[[Roi], Any]:
    return lambda roi: array[roi.slices]


def write(path: Path, array: np.ndarray[Any, Any], **options: Any) -> None:
    write_volume(path, block_of(array), array.shape, array.dtype, VOXEL_SIZE, **options)


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    name=st.sampled_from(WRITTEN),
    dtype=st.sampled_from(["uint8", "uint16", "int16", "uint32", "float32"]),
    shape=st.tuples(st.integers(1, 7), st.integers(1, 20), st.integers(1, 20)),
    voxel_size=st.tuples(*[st.floats(0.01, 5000)] * 3),
    translation=st.tuples(*[st.floats(-1e6, 1e6)] * 3),
)
def test_what_is_written_opens_again(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    dtype: str,
    shape: tuple[int, int, int],
    voxel_size: tuple[float, float, float],
    translation: tuple[float, float, float],
) -> None:
    path = tmp_path_factory.mktemp("v") / name
    array = random_array(shape, dtype)
    size = VoxelSize(*voxel_size)
    write_volume(path, block_of(array), shape, dtype, size, translation=translation)
    volume = open_volume(path)
    assert (volume.shape, volume.dtype) == (shape, np.dtype(dtype))
    assert volume.voxel_size is not None
    np.testing.assert_allclose(list(volume.voxel_size), voxel_size, rtol=1e-12)
    np.testing.assert_allclose(volume.translation, translation, rtol=1e-12)
    np.testing.assert_array_equal(volume.read(Roi.of_shape(shape)), array)
    np.testing.assert_array_equal(open_volume(volume.source).read(Roi.of_shape(shape)), array)


@pytest.mark.parametrize("name", ["v.zarr", "v.h5"])
@pytest.mark.parametrize("dtype", ["uint64", "int64", "float64", "float16", "bool", "int8"])
def test_zarr_and_hdf5_keep_every_dtype(tmp_path: Path, name: str, dtype: str) -> None:
    array = random_array((2, 5, 4), dtype)
    if dtype == "uint64":
        array[0, 0, 0] = 2**64 - 1
    write(tmp_path / name, array)
    read = open_volume(tmp_path / name).read(Roi.of_shape(array.shape))
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize("name", ["v.zarr", "v.h5", "v.tif"])
def test_several_blocks_arrive_in_their_places(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_neuropil.volumes import hdf5, ome_zarr_writing, tiff

    monkeypatch.setattr(hdf5, "_BLOCK", (4, 16, 16))
    monkeypatch.setattr(ome_zarr_writing, "_CHUNK", (4, 16, 16))
    monkeypatch.setattr(tiff, "_MAX_SLAB", 4)
    array = random_array((9, 33, 20), "uint32")
    seen: list[tuple[int, int]] = []
    write(tmp_path / name, array, report=lambda done, total: seen.append((done, total)))
    np.testing.assert_array_equal(
        open_volume(tmp_path / name).read(Roi.of_shape(array.shape)), array
    )
    total = 3 if name == "v.tif" else 18
    assert seen == [(i, total) for i in range(1, total + 1)]


@pytest.mark.parametrize("name", ["v.zarr", "v.h5", "v.tif"])
def test_an_unknown_voxel_size_stays_unknown(tmp_path: Path, name: str) -> None:
    array = random_array((3, 5, 6), "uint8")
    write_volume(tmp_path / name, block_of(array), array.shape, "uint8", None, kind="image")
    assert open_volume(tmp_path / name).voxel_size is None


@pytest.mark.parametrize("suffix", [".zarr", ".h5", ".tif"])
def test_a_missing_path_lists_similar_names(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"image{suffix}", random_array((2, 3, 4), "uint8"))
    with pytest.raises(VolumeNotFoundError, match=f"did you mean image{suffix}") as caught:
        open_volume(tmp_path / f"imgae{suffix}")
    assert isinstance(caught.value, FileNotFoundError)


def test_a_missing_path_in_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(VolumeNotFoundError, match="no nowhere"):
        open_volume(tmp_path / "nowhere" / "v.tif")


@pytest.mark.parametrize("name", ["v.tif", "v.npy"])
def test_files_without_datasets_refuse_an_inner_path(tmp_path: Path, name: str) -> None:
    np.save(tmp_path / "v.npy", np.zeros((2, 3, 4), "u1"))
    write(tmp_path / "v.tif", random_array((2, 3, 4), "uint8"))
    with pytest.raises(VolumeNotFoundError, match="without datasets"):
        open_volume(tmp_path / name / "image")


def test_content_decides_over_the_suffix(tmp_path: Path) -> None:
    array = random_array((2, 3, 4), "uint8")
    write(tmp_path / "v.h5", array)
    (tmp_path / "v.h5").rename(tmp_path / "v.dat")
    assert open_volume(tmp_path / "v.dat").shape == (2, 3, 4)


@pytest.mark.parametrize(
    ("name", "content"),
    [("v.png", b"\x89PNG\r\n"), ("v.tif", b""), ("v.h5", b"nothing"), ("v.npy", b"")],
)
def test_unreadable_files_are_format_errors(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(VolumeFormatError, match=name):
        open_volume(tmp_path / name)


def test_a_plain_folder_is_no_volume(tmp_path: Path) -> None:
    with pytest.raises(VolumeFormatError, match="no zarr"):
        open_volume(tmp_path)


@pytest.mark.parametrize("name", ["v.png", "v.npy", "v"])
def test_only_known_suffixes_are_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="suffix"):
        write(tmp_path / name, random_array((2, 3, 4), "uint8"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("shape", "dtype"), [((2, 3), "u1"), ((2, 0, 3), "u1"), ((2, 2, 2), "O")])
def test_impossible_volumes_are_not_created(
    tmp_path: Path, shape: tuple[int, ...], dtype: str
) -> None:
    with pytest.raises(VolumeFormatError):
        create_volume(tmp_path / "v.zarr", shape, dtype, VOXEL_SIZE)


def test_importing_the_room_imports_no_format_library() -> None:
    code = (
        "import sys, napari_neuropil.volumes as v\n"
        "print([m for m in ('zarr', 'h5py', 'tifffile', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("ac4_image.tif", (100, 1024, 1024)),
        ("ac4_labels.tif", (100, 1024, 1024)),
        ("fib25_sample2.h5/image", (250, 250, 250)),
    ],
)
def test_real_volumes_open_lazily(real_data: Path, name: str, shape: tuple[int, int, int]) -> None:
    volume = open_volume(real_data / name)
    assert volume.shape == shape
    assert volume.voxel_size == (VoxelSize(8, 8, 8) if "fib25" in name else None)
    assert not isinstance(volume.array, np.ndarray)
    assert volume.read(Roi((90, 100, 100), (92, 140, 140))).any()
