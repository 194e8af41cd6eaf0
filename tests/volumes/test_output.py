"""Outputs are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_neuropil.errors import CancelledError, OutputError, VolumeFormatError
from napari_neuropil.geometry import Roi, VoxelSize
from napari_neuropil.volumes import create_volume, open_volume, write_volume
from napari_neuropil.volumes.output import cast_exactly, rois_of

VOXEL_SIZE = VoxelSize(30, 8, 8)
NAMES = ["v.zarr", "v.h5", "v.tif"]


def content(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def write(path: Path, value: int = 1, **options: Any) -> None:
    def block(roi: Roi) -> Any:
        return np.full(roi.shape, value, "uint16")

    write_volume(path, block, (4, 6, 5), "uint16", VOXEL_SIZE, **options)


def value_of(path: Path) -> int:
    return int(open_volume(path).read(Roi((0, 0, 0), (1, 1, 1)))[0, 0, 0])


@pytest.mark.parametrize("name", NAMES)
def test_an_output_that_exists_is_kept(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, 1)
    with pytest.raises(OutputError, match="exists already"):
        write(tmp_path / name, 2)
    assert value_of(tmp_path / name) == 1
    write(tmp_path / name, 3, overwrite=True)
    assert value_of(tmp_path / name) == 3
    assert content(tmp_path) == [name]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("error", [KeyboardInterrupt, CancelledError, ZeroDivisionError, OSError])
@pytest.mark.parametrize("old", [False, True])
def test_an_error_while_reading_leaves_nothing_new(
    tmp_path: Path, name: str, error: type[BaseException], old: bool
) -> None:
    if old:
        write(tmp_path / name, 7)

    def block(roi: Roi) -> Any:
        raise error("stop")

    # The caller's own OSError is not disguised as one of the output's.
    with pytest.raises(error, match="stop"):
        write_volume(tmp_path / name, block, (4, 6, 5), "uint16", VOXEL_SIZE, overwrite=True)
    assert content(tmp_path) == ([name] if old else [])
    if old:
        assert value_of(tmp_path / name) == 7


@pytest.mark.parametrize("name", [*NAMES, "v.zarr/labels/neurons"])
def test_a_report_may_cancel(tmp_path: Path, name: str) -> None:
    def report(done: int, total: int) -> None:
        raise CancelledError("stopped")

    with pytest.raises(CancelledError):
        write(tmp_path / name, report=report)
    assert content(tmp_path) == []


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    resource = pytest.importorskip("resource", reason="file size limits exist on POSIX only")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# HDF5 tries again to flush when its handles are collected, and can then only complain.
@pytest.mark.qt_no_exception_capture
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk_is_an_output_error(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 2**16, (4, 128, 128), dtype=np.uint16)
    with full_disk(20_000), pytest.raises(OutputError, match="cannot be written"):
        write_volume(
            tmp_path / name, lambda roi: noise[roi.slices], noise.shape, "uint16", VOXEL_SIZE
        )
    assert content(tmp_path) == []


def test_a_full_disk_under_block_writes_is_an_output_error(tmp_path: Path) -> None:
    volume = create_volume(tmp_path / "v.zarr", (4, 128, 128), "uint16", VOXEL_SIZE)
    noise = np.random.default_rng(0).integers(0, 2**16, volume.shape, dtype=np.uint16)
    with full_disk(20_000), pytest.raises(OutputError, match="cannot be written"):
        volume.write(Roi.of_shape(volume.shape), noise)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_folder_is_an_output_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="no folder"):
        write(tmp_path / "nowhere" / name)
    assert content(tmp_path) == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes to every folder"
)
def test_a_read_only_folder_is_an_output_error(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o555)
    with pytest.raises(OutputError, match="cannot be written"):
        write(folder / name)
    folder.chmod(0o755)
    assert content(folder) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_refused_write_is_an_output_error(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Stands for a read-only folder where the tests run as root: the last step is refused.
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied", str(target))

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OutputError, match="Permission denied"):
        write(tmp_path / name)
    assert content(tmp_path) == []


def test_a_stale_partial_is_cleared(tmp_path: Path) -> None:
    (tmp_path / ".v.zarr.partial" / "0").mkdir(parents=True)
    (tmp_path / ".v.tif.partial").write_text("half")
    write(tmp_path / "v.zarr")
    write(tmp_path / "v.tif")
    assert content(tmp_path) == ["v.tif", "v.zarr"]


def test_a_folder_that_is_no_zarr_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "v.zarr").mkdir()
    (tmp_path / "v.zarr" / "thesis.txt").write_text("precious")
    with pytest.raises(OutputError, match="other content"):
        write(tmp_path / "v.zarr", overwrite=True)
    assert (tmp_path / "v.zarr" / "thesis.txt").read_text() == "precious"


def test_a_folder_whose_replacement_fails_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "v.zarr", 7)
    rename = Path.rename

    def refuse_partial(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial"):
            raise OSError("refused")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse_partial)
    with pytest.raises(OutputError, match="refused"):
        write(tmp_path / "v.zarr", 8, overwrite=True)
    assert value_of(tmp_path / "v.zarr") == 7
    assert content(tmp_path) == ["v.zarr"]


def test_a_block_of_another_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VolumeFormatError, match=r"shape \(1, 2, 3\)"):
        write_volume(
            tmp_path / "v.zarr", lambda _: np.zeros((1, 2, 3)), (4, 6, 5), "uint8", VOXEL_SIZE
        )
    assert content(tmp_path) == []


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([256], "uint8"),
        ([-1], "uint64"),
        ([0.5], "uint8"),
        ([float("nan")], "uint8"),
        ([2**53 + 1], "float64"),
        ([2], "bool"),
    ],
)
def test_values_are_never_wrapped(values: list[float], dtype: str) -> None:
    with pytest.raises(VolumeFormatError, match="holds exactly"):
        cast_exactly(np.array(values), np.dtype(dtype))


@pytest.mark.parametrize(
    ("values", "dtype"), [([255], "uint8"), ([2.0], "uint8"), ([0.1], "float32"), ([7], "float64")]
)
def test_values_that_fit_are_cast(values: list[float], dtype: str) -> None:
    cast = cast_exactly(np.array(values), np.dtype(dtype))
    assert cast.dtype == dtype
    np.testing.assert_allclose(cast, values, rtol=1e-6)


def test_blocks_tile_the_volume_once() -> None:
    count = np.zeros((5, 7, 9), int)
    for roi in rois_of((5, 7, 9), (2, 3, 4)):
        count[roi.slices] += 1
    assert (count == 1).all()
