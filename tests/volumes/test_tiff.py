"""TIFF stacks of many programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_neuropil.errors import VolumeFormatError
from napari_neuropil.geometry import Roi, VoxelSize
from napari_neuropil.volumes import open_volume, write_volume
from napari_neuropil.volumes.axes import AxesView

IMAGE = np.arange(4 * 20 * 24, dtype="u2").reshape(4, 20, 24)


def save(path: Path, array: Any = IMAGE, **options: Any) -> Path:
    tifffile.imwrite(path, array, **options)
    return path


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zlib"},
        {"compression": "zlib", "rowsperstrip": 3},
        {"compression": "lzw", "predictor": True},
        {"tile": (16, 16)},
        {"bigtiff": True},
        {"metadata": None},
        {"imagej": True, "metadata": {"axes": "ZYX"}},
        {"ome": True, "metadata": {"axes": "ZYX"}},
    ],
)
def test_every_layout_gives_the_voxels(
    tmp_path: Path, options: dict[str, Any], byteorder: str
) -> None:
    path = save(tmp_path / "v.tif", byteorder=byteorder, photometric="minisblack", **options)
    volume = open_volume(path)
    block = volume.read(Roi((1, 3, 5), (4, 20, 24)))
    np.testing.assert_array_equal(block, IMAGE[1:, 3:, 5:])
    assert block.dtype.isnative
    assert volume.voxel_size is None
    # Lazy: a memory map, or an array that decodes what is asked for.
    mapped = isinstance(volume.array, (np.memmap, AxesView))
    assert mapped or not isinstance(volume.array, np.ndarray)


def test_pages_without_metadata_are_sections(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "v.tif") as writer:
        for section in IMAGE:
            writer.write(section, metadata=None, contiguous=False, resolution=(72, 72))
    volume = open_volume(tmp_path / "v.tif")
    np.testing.assert_array_equal(volume.array[...], IMAGE)
    assert volume.voxel_size is None  # 72 dpi is no voxel size


@pytest.mark.parametrize(
    ("unit", "factor"),
    [("nm", 1.0), ("micron", 1e3), ("\\u00B5m", 1e3), ("mm", 1e6), ("pixel", None)],
)
def test_imagej_voxel_sizes(tmp_path: Path, unit: str, factor: float | None) -> None:
    path = save(
        tmp_path / "v.tif",
        imagej=True,
        resolution=(1 / 0.5, 1 / 0.25),
        metadata={"axes": "ZYX", "spacing": 3.0, "unit": unit},
    )
    expected = None if factor is None else VoxelSize(3 * factor, 0.25 * factor, 0.5 * factor)
    assert open_volume(path).voxel_size == expected


def test_imagej_without_spacing_is_unknown(tmp_path: Path) -> None:
    path = save(
        tmp_path / "v.tif", imagej=True, resolution=(2, 2), metadata={"axes": "ZYX", "unit": "um"}
    )
    assert open_volume(path).voxel_size is None


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"PhysicalSizeZ": 0.03, "PhysicalSizeY": 0.006, "PhysicalSizeX": 0.007}, (30, 6, 7)),
        (
            {
                "PhysicalSizeZ": 30,
                "PhysicalSizeZUnit": "nm",
                "PhysicalSizeY": 60,
                "PhysicalSizeYUnit": "Å",
                "PhysicalSizeX": 0.007,
            },
            (30, 6, 7),
        ),
        ({"PhysicalSizeY": 0.006, "PhysicalSizeX": 0.006}, None),
        ({"PhysicalSizeZ": 0, "PhysicalSizeY": 0.006, "PhysicalSizeX": 0.006}, None),
        (
            {
                "PhysicalSizeZ": 1,
                "PhysicalSizeZUnit": "pixel",
                "PhysicalSizeY": 1,
                "PhysicalSizeX": 1,
            },
            None,
        ),
    ],
)
def test_ome_voxel_sizes(
    tmp_path: Path, metadata: dict[str, Any], expected: tuple[float, float, float] | None
) -> None:
    path = save(tmp_path / "v.ome.tif", metadata={"axes": "ZYX", **metadata})
    volume = open_volume(path)
    assert volume.name == "v"
    if expected is None:
        assert volume.voxel_size is None
    else:
        assert volume.voxel_size is not None
        np.testing.assert_allclose(list(volume.voxel_size), expected)


def test_ome_levels_are_lazy_levels(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "v.ome.tif", ome=True) as writer:
        options: dict[str, Any] = {"tile": (16, 16), "photometric": "minisblack"}
        writer.write(IMAGE, subifds=1, metadata={"axes": "ZYX"}, **options)
        writer.write(IMAGE[:, ::2, ::2], subfiletype=1, **options)
    volume = open_volume(tmp_path / "v.ome.tif")
    assert [level.shape for level in volume.levels] == [(4, 20, 24), (4, 10, 12)]
    np.testing.assert_array_equal(np.asarray(volume.levels[1][...]), IMAGE[:, ::2, ::2])


@pytest.mark.parametrize(
    ("shape", "options", "match"),
    [
        ((20, 24), {}, "y=20, x=24"),
        ((20, 24, 3), {"photometric": "rgb"}, "x=24, rgb=3"),
        ((4, 20, 24, 3), {"photometric": "rgb"}, "rgb=3"),
        ((4, 2, 20, 24), {"imagej": True, "metadata": {"axes": "ZCYX"}}, "z=4, channel=2"),
        ((2, 4, 20, 24), {"imagej": True, "metadata": {"axes": "TZYX"}}, "time=2, z=4"),
        ((3, 20, 24), {"imagej": True, "metadata": {"axes": "CYX"}}, "channel=3(.|\n)*Fiji"),
        ((3, 20, 24), {"imagej": True, "metadata": {"axes": "TYX"}}, "time=3(.|\n)*Fiji"),
        ((2, 4, 20, 24), {"photometric": "minisblack"}, "y=20"),
    ],
)
def test_other_dimensions_are_refused_by_name(
    tmp_path: Path, shape: tuple[int, ...], options: dict[str, Any], match: str
) -> None:
    path = save(tmp_path / "v.tif", np.zeros(shape, "u1"), **options)
    with pytest.raises(VolumeFormatError, match=match):
        open_volume(path)


def test_complex_voxels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(VolumeFormatError, match="complex"):
        open_volume(save(tmp_path / "v.tif", np.zeros((5, 20, 24), "c8")))


@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.97])
@pytest.mark.parametrize("kind", ["plain", "zlib", "pages", "ome", "imagej"])
def test_a_truncated_file_is_refused(tmp_path: Path, part: float, kind: str) -> None:
    path = tmp_path / "v.tif"
    noise = np.random.default_rng(0).integers(0, 2**16, (6, 40, 40), dtype=np.uint16)
    if kind == "pages":
        with tifffile.TiffWriter(path) as writer:
            for section in noise:
                writer.write(section, metadata=None, contiguous=False)
    else:
        kinds: dict[str, dict[str, Any]] = {
            "plain": {},
            "zlib": {"compression": "zlib"},
            "ome": {"ome": True, "compression": "zlib", "metadata": {"axes": "ZYX"}},
            "imagej": {"imagej": True, "metadata": {"axes": "ZYX"}},
        }
        save(path, noise, **kinds[kind])
    open_volume(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(VolumeFormatError, match=r"v\.tif"):
        open_volume(path)


def test_damaged_strips_are_a_format_error(tmp_path: Path) -> None:
    path = save(tmp_path / "v.tif", compression="zlib", photometric="minisblack")
    with tifffile.TiffFile(path) as tiff:
        offset, count = tiff.pages[2].dataoffsets[0], tiff.pages[2].databytecounts[0]
    content = bytearray(path.read_bytes())
    content[offset : offset + count] = b"\xff" * count
    path.write_bytes(content)
    volume = open_volume(path)
    np.testing.assert_array_equal(volume.read(Roi((0, 0, 0), (2, 20, 24))), IMAGE[:2])
    with pytest.raises(VolumeFormatError, match="cannot be read at 2:3"):
        volume.read(Roi((2, 0, 0), (3, 20, 24)))


@pytest.mark.parametrize(
    ("dtype", "written"),
    [("uint64", "uint32"), ("int64", "int32"), ("bool", "uint8"), ("float16", "float32")],
)
def test_types_without_a_tiff_type_are_written_as_the_next(
    tmp_path: Path, dtype: str, written: str
) -> None:
    array = (IMAGE % 2).astype(dtype)
    write_volume(tmp_path / "v.tif", lambda r: array[r.slices], array.shape, dtype, None)
    volume = open_volume(tmp_path / "v.tif")
    assert volume.dtype == written
    np.testing.assert_array_equal(volume.array[...], array)


@pytest.mark.parametrize("value", [2**32, 2**64 - 1])
def test_ids_beyond_32_bits_are_refused_with_a_cure(tmp_path: Path, value: int) -> None:
    array = np.zeros((4, 5, 6), "u8")
    array[3, 4, 5] = value
    with pytest.raises(VolumeFormatError, match=rf"{value}(.|\n)*\.zarr"):
        write_volume(tmp_path / "v.tif", lambda r: array[r.slices], array.shape, "u8", None)
    assert not list(tmp_path.iterdir())


def test_an_rgb_like_width_is_written_as_a_volume(tmp_path: Path) -> None:
    array = np.zeros((20, 20, 3), "u1")
    write_volume(
        tmp_path / "v.tif", lambda r: array[r.slices], array.shape, "u1", VoxelSize(30, 8, 8)
    )
    assert open_volume(tmp_path / "v.tif").shape == (20, 20, 3)
