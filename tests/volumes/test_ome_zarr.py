"""OME-Zarr 0.4 and 0.5, plain zarr, and hostile or damaged folders."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numcodecs import Pickle

from napari_neuropil.errors import OutputError, VolumeFormatError, VolumeNotFoundError
from napari_neuropil.geometry import Roi, VoxelSize
from napari_neuropil.volumes import Volume, add_levels, create_volume, open_volume, write_volume

SPACE = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
OTHER = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}]
IMAGE = np.arange(4 * 6 * 8, dtype="u2").reshape(4, 6, 8)


NESTED = [{"type": "scale", "scale": [[], [], []]}]


def steps_of(scale: list[float], translation: list[float]) -> list[dict[str, Any]]:
    return [
        {"type": "scale", "scale": scale},
        {"type": "translation", "translation": translation},
    ]


def whole(volume: Volume) -> Any:
    return volume.read(Roi.of_shape(volume.shape))


def make_ome(
    path: Path,
    array: Any,
    *,
    zarr_format: int,
    axes: list[Any] | None = None,
    steps: list[Any] | None = None,
    whole_steps: list[Any] | None = None,
) -> zarr.Group:
    """Write a two-level image as another program would; level 1 is strided."""
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)  # type: ignore[arg-type]
    axes = axes if axes is not None else (OTHER + SPACE)[-array.ndim :]
    lead = array.ndim - 3
    datasets = []
    for level, step in enumerate((1, 2)):
        values = array[..., ::step, ::step]
        options: dict[str, Any] = {"chunks": values.shape}
        if zarr_format == 3:
            options = {
                "chunks": (1,) * lead + (2, 2, 2),
                "shards": (1,) * lead + (4, 4, 4),
            }
        group.create_array(str(level), data=values, **options)
        scale = [1.0] * lead + [0.03, 0.006 * step, 0.006 * step]
        given = steps or [{"type": "scale", "scale": scale}]
        datasets.append({"path": str(level), "coordinateTransformations": given})
    image: dict[str, Any] = {"axes": axes, "datasets": datasets}
    if whole_steps:
        image["coordinateTransformations"] = whole_steps
    if zarr_format == 3:
        group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    else:
        group.attrs["multiscales"] = [{**image, "version": "0.4"}]
    return group


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("lead", [0, 1, 2])
def test_images_of_other_programs_open(tmp_path: Path, zarr_format: int, lead: int) -> None:
    make_ome(tmp_path / "a.ome.zarr", IMAGE[(None,) * lead], zarr_format=zarr_format)
    volume = open_volume(tmp_path / "a.ome.zarr")
    np.testing.assert_array_equal(whole(volume), IMAGE)
    assert volume.voxel_size == VoxelSize(30, 6, 6)
    assert [level.shape for level in volume.levels] == [(4, 6, 8), (4, 3, 4)]
    assert volume.level_voxel_sizes[1] == VoxelSize(30, 12, 12)
    assert volume.name == "a"
    coarse = open_volume(tmp_path / "a.ome.zarr" / "1")
    assert coarse.voxel_size == VoxelSize(30, 12, 12)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize(("t", "c"), [(2, 1), (1, 3)])
def test_more_channels_or_times_are_refused_by_name(
    tmp_path: Path, zarr_format: int, t: int, c: int
) -> None:
    make_ome(tmp_path / "a.zarr", np.zeros((t, c, 4, 6, 8), "u1"), zarr_format=zarr_format)
    with pytest.raises(VolumeFormatError, match=f"t={t}, c={c}, z=4"):
        open_volume(tmp_path / "a.zarr")


def test_axes_in_another_order_are_turned(tmp_path: Path) -> None:
    steps = [
        {"type": "scale", "scale": [1, 2, 3]},
        {"type": "translation", "translation": [4, 5, 6]},
    ]
    make_ome(tmp_path / "a.zarr", IMAGE, zarr_format=3, axes=SPACE[::-1], steps=steps)
    volume = open_volume(tmp_path / "a.zarr")
    np.testing.assert_array_equal(whole(volume), IMAGE.T)
    assert volume.voxel_size == VoxelSize(3000, 2000, 1000)
    assert volume.translation == (6000, 5000, 4000)


def test_the_scale_of_the_whole_image_multiplies(tmp_path: Path) -> None:
    steps = [
        {"type": "scale", "scale": [1, 2, 3]},
        {"type": "translation", "translation": [1, 1, 1]},
    ]
    make_ome(
        tmp_path / "a.zarr",
        IMAGE,
        zarr_format=3,
        steps=steps,
        whole_steps=[{"type": "scale", "scale": [10, 10, 10]}],
    )
    volume = open_volume(tmp_path / "a.zarr")
    assert volume.voxel_size == VoxelSize(10e3, 20e3, 30e3)
    assert volume.translation == (10e3, 10e3, 10e3)


@pytest.mark.parametrize("scale", [[1, 1, 1], [29, 6, 6], [0, 6, 6], [-1, 6, 6]])
def test_no_unit_or_no_size_means_unknown(tmp_path: Path, scale: list[float]) -> None:
    unit = {"unit": "nanometer"} if min(scale) <= 0 else {}
    axes = [{"name": name, "type": "space", **unit} for name in "zyx"]
    steps = [{"type": "scale", "scale": scale}]
    make_ome(tmp_path / "a.zarr", IMAGE, zarr_format=3, axes=axes, steps=steps)
    volume = open_volume(tmp_path / "a.zarr")
    assert volume.voxel_size is None
    assert volume.translation == (0, 0, 0)


def test_the_first_versions_have_axes_without_names(tmp_path: Path) -> None:
    group = make_ome(tmp_path / "a.zarr", IMAGE[None, None], zarr_format=2)
    group.attrs["multiscales"] = [{"datasets": [{"path": "0"}, {"path": "1"}], "version": "0.1"}]
    volume = open_volume(tmp_path / "a.zarr")
    np.testing.assert_array_equal(whole(volume), IMAGE)
    assert volume.voxel_size is None
    assert volume.level_factors == ((1, 1, 1), (1, 2, 2))


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize(
    ("attributes", "voxel_size", "translation"),
    [
        ({}, None, (0, 0, 0)),
        ({"resolution": [40, 4, 4], "offset": [80, 8, 8]}, VoxelSize(40, 4, 4), (80, 8, 8)),
        ({"voxel_size_nm": [29, 6, 6]}, VoxelSize(29, 6, 6), (0, 0, 0)),
        (
            {"voxel_size": [0.03, 0.006, 0.006], "units": ["um"] * 3, "offset": [1, 0, 0]},
            VoxelSize(30, 6, 6),
            (1000, 0, 0),
        ),
        ({"voxel_size": [1, 1, 1], "units": ["furlong"] * 3}, None, (0, 0, 0)),
        ({"resolution": [0, 4, 4]}, None, (0, 0, 0)),
        ({"resolution": "high"}, None, (0, 0, 0)),
        ({"resolution": [4, 4]}, None, (0, 0, 0)),
        ({"resolution": 8}, VoxelSize(8, 8, 8), (0, 0, 0)),
    ],
)
def test_plain_arrays_tell_their_place_by_attributes(
    tmp_path: Path,
    zarr_format: int,
    attributes: dict[str, Any],
    voxel_size: VoxelSize | None,
    translation: tuple[float, float, float],
) -> None:
    array = zarr.create_array(
        tmp_path / "g.zarr" / "raw",
        data=IMAGE,
        zarr_format=zarr_format,  # type: ignore[arg-type]
    )
    array.attrs.update(attributes)
    volume = open_volume(tmp_path / "g.zarr" / "raw")
    np.testing.assert_array_equal(whole(volume), IMAGE)
    assert volume.voxel_size == voxel_size
    assert volume.translation == translation


def test_funlib_arrays_with_a_channel_have_three_numbers(tmp_path: Path) -> None:
    array = zarr.create_array(tmp_path / "v.zarr", data=IMAGE[None], zarr_format=2)
    array.attrs.update(
        {"axis_names": ["c^", "z", "y", "x"], "voxel_size": [30, 6, 7], "units": ["nm"] * 3}
    )
    volume = open_volume(tmp_path / "v.zarr")
    assert (volume.shape, volume.voxel_size) == ((4, 6, 8), VoxelSize(30, 6, 7))


def test_big_endian_arrays_are_read_natively(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "v.zarr", data=IMAGE.astype(">u2"), zarr_format=2)
    volume = open_volume(tmp_path / "v.zarr")
    assert np.asarray(volume.array[0]).dtype.isnative
    np.testing.assert_array_equal(whole(volume), IMAGE)


def test_a_group_opens_its_only_volume_or_names_them(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "g.zarr", mode="w", zarr_format=3)
    with pytest.raises(VolumeFormatError, match="0 volumes"):
        open_volume(tmp_path / "g.zarr")
    group.create_array("in/raw", data=IMAGE)
    group.create_array("table", data=np.zeros(3))
    assert open_volume(tmp_path / "g.zarr").shape == IMAGE.shape
    group.create_array("in/more", data=IMAGE)
    with pytest.raises(VolumeFormatError, match=r"2 volumes: in/more, in/raw"):
        open_volume(tmp_path / "g.zarr")
    with pytest.raises(VolumeNotFoundError, match="raw"):
        open_volume(tmp_path / "g.zarr" / "in" / "rwa")


def test_opening_reads_no_chunk(tmp_path: Path) -> None:
    make_ome(tmp_path / "a.zarr", IMAGE, zarr_format=3)
    for chunk in (tmp_path / "a.zarr").glob("*/c/**/*"):
        if chunk.is_file():
            chunk.write_bytes(b"damaged")
    volume = open_volume(tmp_path / "a.zarr")
    with pytest.raises(VolumeFormatError, match=r"cannot be read at 0:4"):
        whole(volume)


class _Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.touch, (self.target,)


def test_a_pickle_codec_never_runs(tmp_path: Path) -> None:
    zarr.create_array(
        tmp_path / "v.zarr", data=IMAGE, zarr_format=2, filters=None, compressors=None
    )
    meta = json.loads((tmp_path / "v.zarr" / ".zarray").read_text())
    meta["filters"] = [Pickle().get_config()]
    (tmp_path / "v.zarr" / ".zarray").write_text(json.dumps(meta))
    for chunk in (tmp_path / "v.zarr").glob("[0-9]*"):
        chunk.write_bytes(pickle.dumps(_Bomb(tmp_path / "ran")))
    with pytest.raises(VolumeFormatError, match="pickle"):
        open_volume(tmp_path / "v.zarr")
    assert not (tmp_path / "ran").exists()


def test_an_unsafe_codec_inside_shards_is_found(tmp_path: Path) -> None:
    make_ome(tmp_path / "a.zarr", IMAGE, zarr_format=3)
    path = tmp_path / "a.zarr" / "0" / "zarr.json"
    meta = json.loads(path.read_text())
    inner = meta["codecs"][0]["configuration"]
    inner["codecs"].append({"name": "numcodecs.pickle", "configuration": {}})
    path.write_text(json.dumps(meta))
    with pytest.raises(VolumeFormatError, match="encoded with pickle"):
        open_volume(tmp_path / "a.zarr")


@pytest.mark.parametrize("path", ["../../secret", "/etc", "", "0/../../b"])
def test_a_level_outside_the_group_is_refused(tmp_path: Path, path: str) -> None:
    group = make_ome(tmp_path / "a.zarr", IMAGE, zarr_format=2)
    group.attrs["multiscales"] = [{"axes": SPACE, "datasets": [{"path": path}]}]
    with pytest.raises(VolumeFormatError):
        open_volume(tmp_path / "a.zarr")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"zarr_format": 3}', '{"zarr_format":3,"node_type":"array"}']
)
@pytest.mark.parametrize("where", [".", "0"])
def test_damaged_metadata_is_a_format_error(tmp_path: Path, text: str, where: str) -> None:
    make_ome(tmp_path / "a.zarr", IMAGE, zarr_format=3)
    (tmp_path / "a.zarr" / where / "zarr.json").write_text(text)
    with pytest.raises(VolumeFormatError):
        open_volume(tmp_path / "a.zarr")


@pytest.mark.parametrize(
    "image",
    [
        {"datasets": []},
        {"datasets": [{}]},
        {"datasets": "0"},
        {"datasets": [{"path": "9"}]},
        {"axes": 3, "datasets": [{"path": "0", "coordinateTransformations": 5}]},
        {
            "datasets": [
                {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [[]] * 3}]}
            ]
        },
    ],
)
def test_damaged_multiscales_are_format_errors(tmp_path: Path, image: dict[str, Any]) -> None:
    group = make_ome(tmp_path / "a.zarr", IMAGE, zarr_format=3)
    group.attrs["ome"] = {"multiscales": [{"axes": SPACE, **image}]}
    with pytest.raises(VolumeFormatError):
        open_volume(tmp_path / "a.zarr")


def test_what_is_written_is_ome_zarr_05(tmp_path: Path) -> None:
    volume = create_volume(
        tmp_path / "a.ome.zarr", (70, 300, 20), "u1", VoxelSize(29, 6, 7), translation=(1, 2, 3)
    )
    assert volume.array.chunks == (64, 256, 20)  # type: ignore[attr-defined]
    group = zarr.open_group(tmp_path / "a.ome.zarr", mode="r")
    assert group.metadata.zarr_format == 3
    assert group.attrs["ome"] == {
        "version": "0.5",
        "multiscales": [
            {
                "name": "a",
                "axes": [{"name": n, "type": "space", "unit": "nanometer"} for n in "zyx"],
                "datasets": [
                    {
                        "path": "0",
                        "coordinateTransformations": [
                            {"type": "scale", "scale": [29, 6, 7]},
                            {"type": "translation", "translation": [1, 2, 3]},
                        ],
                    }
                ],
            }
        ],
    }
    metadata: Any = group["0"].metadata
    assert metadata.dimension_names == ("z", "y", "x")


def test_labels_lie_in_the_image_and_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    create_volume(path, (4, 6, 8), "u1", VoxelSize(29, 6, 6))
    labels = create_volume(
        path / "labels" / "neurons", (4, 6, 8), "u8", VoxelSize(29, 6, 6), kind="labels"
    )
    labels.array[1:3] = 2**63  # type: ignore[index]
    write_volume(
        path / "labels" / "glia",
        lambda roi: np.ones(roi.shape, "u4"),
        (4, 6, 8),
        "u4",
        VoxelSize(29, 6, 6),
    )
    again = open_volume(path / "labels" / "neurons")
    assert (again.name, again.voxel_size) == ("a neurons", VoxelSize(29, 6, 6))
    assert int(whole(again)[1, 0, 0]) == 2**63
    listed = zarr.open_group(path / "labels", mode="r").attrs["ome"]
    assert listed == {"version": "0.5", "labels": ["neurons", "glia"]}
    ome: Any = zarr.open_group(path / "labels" / "neurons", mode="r").attrs["ome"]
    assert ome["image-label"] == {"source": {"image": "../../"}}
    assert open_volume(path).dtype == np.uint8


def test_labels_are_not_written_into_format_2(tmp_path: Path) -> None:
    make_ome(tmp_path / "a.zarr", IMAGE, zarr_format=2)
    with pytest.raises(OutputError, match="format 2"):
        create_volume(tmp_path / "a.zarr" / "labels" / "n", (4, 6, 8), "u1", None, kind="labels")
    assert not (tmp_path / "a.zarr" / "labels").exists()


def test_create_volume_makes_zarr_only(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"\.zarr"):
        create_volume(tmp_path / "a.tif", (4, 6, 8), "u1", None)


def test_levels_of_an_image_are_means(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 255, (5, 7, 10), dtype=np.uint8)
    path = tmp_path / "a.zarr"
    write_volume(
        path, lambda r: array[r.slices], array.shape, "u1", VoxelSize(16, 8, 8), kind="image"
    )
    seen: list[tuple[int, int]] = []
    add_levels(path, 3, report=lambda done, total: seen.append((done, total)))
    volume = open_volume(path)
    assert [level.shape for level in volume.levels] == [(5, 7, 10), (5, 4, 5), (3, 2, 3)]
    assert volume.level_voxel_sizes[1:] == (VoxelSize(16, 16, 16), VoxelSize(32, 32, 32))
    first = np.asarray(volume.levels[1][...])
    assert first[2, 1, 3] == np.rint(array[2, 2:4, 6:8].mean())
    assert first[0, 3, 0] == np.rint(array[0, 6, 0:2].mean())
    assert seen == [(1, 2), (2, 2)]
    ome: Any = zarr.open_group(path, mode="r").attrs["ome"]
    steps = ome["multiscales"][0]["datasets"][1]["coordinateTransformations"]
    assert steps[1]["translation"] == [0, 4, 4]


def test_levels_of_labels_are_strided(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 2**64, (3, 7, 10), dtype=np.uint64)
    path = tmp_path / "a.zarr"
    write_volume(path, lambda r: array[r.slices], array.shape, "u8", None)
    add_levels(path, 2)
    add_levels(path, 2)  # once more replaces them
    volume = open_volume(path)
    np.testing.assert_array_equal(np.asarray(volume.levels[1][...]), array[:, ::2, ::2])
    assert volume.voxel_size is None
    assert volume.level_factors[1] == (1, 2, 2)


def test_levels_need_a_volume_of_ours(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "v.zarr", data=IMAGE)
    with pytest.raises(VolumeFormatError, match=r"no OME-Zarr 0\.5"):
        add_levels(tmp_path / "v.zarr", 2)
