"""File > Open: every format becomes lazy layers with their place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile

from napari_neuropil.errors import NeuropilError
from napari_neuropil.geometry import VoxelSize
from napari_neuropil.plugin.layers import LayerArray, facts_of, voxel_size_of
from napari_neuropil.plugin.reader import get_reader, read_layers
from napari_neuropil.volumes import create_volume, write_volume

SIZE = VoxelSize(30, 8, 8)


def save(path: Path, array: Any, kind: Any = "image", size: VoxelSize | None = SIZE) -> str:
    write_volume(path, lambda roi: array[roi.slices], array.shape, array.dtype, size, kind=kind)
    return str(path)


@pytest.mark.parametrize("name", ["a.tif", "a.h5", "a.zarr"])
def test_formats_open_in_the_viewer(viewer: Any, tmp_path: Path, image: Any, name: str) -> None:
    save(tmp_path / name, image)
    (layer,) = viewer.open(str(tmp_path / name), plugin="napari-neuropil")
    assert type(layer).__name__ == "Image"
    assert isinstance(layer.data, LayerArray)
    np.testing.assert_array_equal(np.asarray(layer.data), image)
    np.testing.assert_allclose(layer.scale, tuple(SIZE), rtol=1e-6)
    assert [str(unit) for unit in layer.units] == ["nanometer"] * 3
    assert voxel_size_of(layer) == pytest.approx(SIZE) or layer.scale[0] == pytest.approx(30)
    assert Path(str(facts_of(layer)["source"]).split(name)[0]) == tmp_path


def test_npy_has_no_voxel_size_and_says_so(
    viewer: Any, tmp_path: Path, image: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari.utils import notifications

    said: list[str] = []
    monkeypatch.setattr(notifications, "show_info", said.append)
    np.save(tmp_path / "raw.npy", image)
    (layer,) = viewer.open(str(tmp_path / "raw.npy"), plugin="napari-neuropil")
    assert facts_of(layer)["voxel_size"] is None
    assert voxel_size_of(layer) is None
    assert len(said) == 1
    assert "raw" in said[0]
    assert "voxel size" in said[0]


def test_datasets_of_one_hdf5_are_several_layers(viewer: Any, tmp_path: Path, image: Any) -> None:
    path = tmp_path / "both.h5"
    with h5py.File(path, "w") as file:
        file.attrs["voxel_size_nm"] = [8.0, 8.0, 8.0]
        file["image"] = image
        file["gt/labels"] = image.astype(np.uint32)
        file["table"] = np.zeros((3, 2))
    layers = viewer.open(str(path), plugin="napari-neuropil")
    assert {type(layer).__name__: layer.name for layer in layers} == {
        "Image": "both image",
        "Labels": "both labels",
    }


def test_ome_zarr_opens_with_its_labels(viewer: Any, tmp_path: Path, image: Any) -> None:
    save(tmp_path / "v.ome.zarr", image)
    save(tmp_path / "v.ome.zarr" / "labels" / "neurons", image.astype(np.uint16), "labels")
    layers = viewer.open(str(tmp_path / "v.ome.zarr"), plugin="napari-neuropil")
    assert [type(layer).__name__ for layer in layers] == ["Image", "Labels"]
    assert [layer.name for layer in layers] == ["v", "v neurons"]
    np.testing.assert_array_equal(np.asarray(layers[1].data), image)


def test_pyramid_stays_multiscale(viewer: Any, tmp_path: Path) -> None:
    from napari_neuropil.volumes import add_levels

    save(tmp_path / "p.zarr", np.zeros((8, 64, 64), np.uint8))
    add_levels(tmp_path / "p.zarr", 2)
    (layer,) = viewer.open(str(tmp_path / "p.zarr"), plugin="napari-neuropil")
    assert layer.multiscale
    assert len(layer.data) == 2


def test_huge_volume_is_not_read(viewer: Any, tmp_path: Path) -> None:
    # 4 TB of zeros, none of them on disk: reading more than a section would end the test.
    create_volume(tmp_path / "huge.zarr", (40_000, 10_000, 10_000), "uint8", SIZE)
    (layer,) = viewer.open(str(tmp_path / "huge.zarr"), plugin="napari-neuropil")
    assert layer.data.shape == (40_000, 10_000, 10_000)


@pytest.mark.parametrize(
    ("name", "shape"), [("photo.tif", (40, 50)), ("rgb.tif", (40, 50, 3)), ("line.npy", (7,))]
)
def test_pictures_are_left_to_napari(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    path = tmp_path / name
    array = np.zeros(shape, np.uint8)
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        tifffile.imwrite(path, array, photometric="rgb" if len(shape) == 3 else "minisblack")
    assert get_reader(str(path)) is None


def test_other_paths_are_not_ours(tmp_path: Path) -> None:
    assert get_reader(["a.tif", "b.tif"]) is None
    assert get_reader(str(tmp_path)) is None
    assert get_reader("a.png") is None


def test_damaged_file_becomes_a_notification(
    viewer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari.utils import notifications

    said: list[str] = []
    monkeypatch.setattr(notifications, "show_error", said.append)
    (tmp_path / "bad.h5").write_bytes(b"not hdf5")
    assert viewer.open(str(tmp_path / "bad.h5"), plugin="napari-neuropil") == []
    assert len(said) == 1
    assert "bad.h5" in said[0]
    assert "Expected:" in said[0]
    with pytest.raises(NeuropilError):
        read_layers(tmp_path / "bad.h5")


def test_project_opens_as_image_and_segments(viewer: Any, tmp_path: Path, image: Any) -> None:
    from napari_neuropil.project import ProjectInfo, write_graph, write_info
    from napari_neuropil.segmentation.rag import build_rag

    save(tmp_path / "brain.zarr", image)
    project = tmp_path / "brain.neuropil"
    fragments = np.ones(image.shape, np.uint64)
    fragments[:, 10:] = 2
    fragments[0, 0, 0] = 0
    project.mkdir()
    save(project / "fragments.zarr", fragments, "labels")
    rag = build_rag(fragments, np.ones((3, *image.shape), np.float32))
    write_graph(project, rag, np.array([0, 1, 1], np.uint64))
    write_info(
        project,
        ProjectInfo(
            state="finished",
            image_source="../brain.zarr",
            voxel_size=tuple(SIZE),
            roi="0:6,0:20,0:24",
            fragment_count=2,
        ),
    )
    picture, segments = viewer.open(str(project), plugin="napari-neuropil")
    np.testing.assert_array_equal(np.asarray(picture.data), image)
    assert segments.name == "brain segments"
    assert isinstance(segments.data, LayerArray)
    np.testing.assert_array_equal(np.asarray(segments.data), fragments > 0)
    assert facts_of(segments)["project"] == str(project)
    np.testing.assert_array_equal(picture.extent.world, segments.extent.world)


def test_unfinished_project_says_how_to_go_on(tmp_path: Path) -> None:
    from napari_neuropil.project import ProjectInfo, write_info

    write_info(tmp_path, ProjectInfo(voxel_size=tuple(SIZE), roi="0:1,0:1,0:1"))
    (tmp_path / "p.neuropil").mkdir()
    (tmp_path / "project.json").rename(tmp_path / "p.neuropil" / "project.json")
    with pytest.raises(NeuropilError, match="Resume"):
        read_layers(tmp_path / "p.neuropil")


def test_real_volume_opens_lazily(viewer: Any, real_data: Path) -> None:
    (layer,) = viewer.open(str(real_data / "ac4_image.tif"), plugin="napari-neuropil")
    assert layer.data.shape == (100, 1024, 1024)
    assert not isinstance(layer.data, np.ndarray)
    layers = viewer.open(str(real_data / "fib25_sample2.h5"), plugin="napari-neuropil")
    assert [type(each).__name__ for each in layers] == ["Labels", "Image", "Labels"]
    assert all(tuple(each.scale) == (8, 8, 8) for each in layers)
