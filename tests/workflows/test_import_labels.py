"""Anybody's labels into a project: nothing seen changes, contacts as in one piece, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray
from skimage.measure import label

from napari_neuropil.errors import (
    CancelledError,
    NeuropilError,
    OutputError,
    ProjectError,
    SettingsError,
    VolumeFormatError,
)
from napari_neuropil.geometry import Roi, VoxelSize
from napari_neuropil.project import Project
from napari_neuropil.project.affinities import AffinityStore
from napari_neuropil.project.fragment_table import fragment_table, measure_fragments
from napari_neuropil.proofreading import ProofreadingSession
from napari_neuropil.segmentation.bridging import grow_fragments
from napari_neuropil.segmentation.rag import build_rag
from napari_neuropil.volumes import open_volume, write_volume
from napari_neuropil.workflows import import_labels as module
from napari_neuropil.workflows.import_inputs import ImportRequest
from napari_neuropil.workflows.import_labels import import_labels

SHAPE = (7, 20, 26)
SIZE = (30.0, 8.0, 8.0)


def cells(seed: int = 0) -> NDArray[np.uint64]:
    """Boxes of random ids, ids above 32 bits among them, some with several pieces."""
    coarse = np.random.default_rng(seed).integers(0, 9, (3, 5, 6)).astype(np.uint64)
    coarse[coarse == 8] = 2**40 + 3
    fine = coarse.repeat(3, 0).repeat(4, 1).repeat(5, 2)
    return fine[: SHAPE[0], : SHAPE[1], : SHAPE[2]]


def save(path: Path, array: NDArray[Any], name: str = "labels") -> str:
    with h5py.File(path, "a") as file:
        file[name] = array
    return f"{path}/{name}"


def wish(tmp_path: Path, **fields: Any) -> ImportRequest:
    if "labels" not in fields:
        fields["labels"] = save(tmp_path / "in.h5", cells())
    fields.setdefault("voxel_size", SIZE)
    return ImportRequest(project=str(tmp_path / "p.neuropil"), **fields)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 3 x 8 x 8 voxels, so that every object crosses some."""
    monkeypatch.setattr(module, "CHUNK_SHAPE", (3, 8, 8))
    monkeypatch.setattr(module, "BLOCK_VOXELS", 3 * 8 * 8)


def whole(project: Project) -> NDArray[np.uint64]:
    return project.fragments.read(Roi.of_shape(project.fragments.shape))


@pytest.mark.usefixtures("small_blocks")
def test_import_shows_the_labels_and_numbers_their_pieces(tmp_path: Path) -> None:
    labels = cells()
    project = import_labels(wish(tmp_path))
    assert len(project.info.plan["block_shape"]) == 3
    np.testing.assert_array_equal(project.segments().read(Roi.of_shape(SHAPE)), labels)
    fragments = whole(project)
    expected = label(labels, connectivity=1)
    pairs = np.unique(np.stack([fragments.ravel(), expected.ravel()]), axis=1)
    assert pairs.shape[1] == expected.max() + 1 == project.info.fragment_count + 1
    np.testing.assert_array_equal(np.unique(fragments), np.arange(expected.max() + 1))
    assert project.info.method == "import"
    assert project.info.state == "finished"
    assert project.info.voxel_size_nm == VoxelSize(*SIZE)
    assert any("several pieces" in notice for notice in project.info.notices)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.h5", "p.neuropil"]
    assert sorted(p.name for p in project.path.iterdir()) == [
        "fragments.npz", "fragments.zarr", "lookup.npy", "project.json", "rag.npz",
    ]  # fmt: skip


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("source", ["none", "affinities", "image"])
def test_contacts_and_sizes_equal_those_of_the_whole_volume(tmp_path: Path, source: str) -> None:
    random = np.random.default_rng(1)
    fields: dict[str, Any] = {}
    affinities = np.full((3, *SHAPE), 0.5, np.float32)
    image = random.integers(0, 256, SHAPE).astype(np.uint8)
    if source == "affinities":
        affinities = random.random((5, *SHAPE), dtype=np.float32)
        fields["affinities"] = save(tmp_path / "aff.h5", affinities, "aff")
    elif source == "image":
        fields["image"] = save(tmp_path / "image.h5", image, "image")
    project = import_labels(wish(tmp_path, **fields))
    assert project.info.plan["scores"] == source
    fragments = whole(project)
    if source == "image":
        from napari_neuropil.volumes import open_volume
        from napari_neuropil.workflows.contact_scores import ImageAffinities

        whole_image = ImageAffinities(open_volume(fields["image"]), VoxelSize(*SIZE), invert=False)
        affinities = whole_image.read(Roi.of_shape(SHAPE))
        assert project.info.image_source == fields["image"]
    expected = build_rag(fragments, affinities)
    project.rag.validate(project.info.fragment_count)
    np.testing.assert_array_equal(project.rag.contacts, expected.contacts)
    np.testing.assert_array_equal(project.rag.area, expected.area)
    np.testing.assert_allclose(project.rag.score, expected.score, atol=1e-5)
    np.testing.assert_allclose(project.rag.centroid, expected.centroid, atol=1e-4)
    stored = fragment_table(project)
    table = measure_fragments(fragments, project.info.fragment_count)
    np.testing.assert_array_equal(stored.size, table.size)
    np.testing.assert_array_equal(stored.start, table.start)


def test_blocks_change_the_fingerprint_only_with_the_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = import_labels(wish(tmp_path))
    labels = cells(seed=5)
    b = import_labels(
        ImportRequest(
            labels=save(tmp_path / "b.h5", labels),
            project=str(tmp_path / "b.neuropil"),
            voxel_size=SIZE,
        )
    )
    again = import_labels(wish(tmp_path, labels=str(tmp_path / "in.h5"), overwrite=True))
    assert a.info.fingerprint == again.info.fingerprint != b.info.fingerprint
    assert len(a.info.fingerprint) == 32


@pytest.mark.parametrize("kind", ["tif", "zarr", "ome.zarr", "npy", "bool"])
def test_formats(tmp_path: Path, kind: str) -> None:
    labels: NDArray[Any] = (cells() % 7).astype(np.uint16)
    path = tmp_path / f"labels.{kind}"
    if kind == "tif":
        tifffile.imwrite(path, labels)
    elif kind == "zarr":
        zarr.create_array(store=str(path), data=labels)
    elif kind == "ome.zarr":
        path = tmp_path / "labels.zarr"
        write_volume(path, lambda roi: labels[roi.slices], SHAPE, labels.dtype, VoxelSize(9, 9, 9))
    elif kind == "npy":
        np.save(path, labels)
    else:
        path = tmp_path / "mask.npy"
        labels = labels > 3
        np.save(path, labels)
    size = None if kind == "ome.zarr" else SIZE
    project = import_labels(wish(tmp_path, labels=str(path), voxel_size=size))
    np.testing.assert_array_equal(project.segments().read(Roi.of_shape(SHAPE)), labels)
    if kind == "ome.zarr":
        assert tuple(project.info.voxel_size) == (9, 9, 9)


def test_affinities_are_kept_for_splitting(tmp_path: Path) -> None:
    coarse = np.random.default_rng(0).random((3, 7, 10, 13), dtype=np.float32)
    path = save(tmp_path / "aff.h5", coarse, "aff")  # at half the resolution in y and x
    project = import_labels(wish(tmp_path, affinities=path))
    store = AffinityStore.open(project.path / "affinities.zarr")
    np.testing.assert_allclose(
        store.read(Roi.of_shape(store.shape)) / 255, coarse, atol=0.5 / 255 + 1e-6
    )
    assert store.array.attrs["voxel_size_nm"] == [30, 16, 16]
    fine = coarse.repeat(2, 2).repeat(2, 3)
    expected = build_rag(whole(project), fine)
    np.testing.assert_allclose(project.rag.score, expected.score, atol=1e-5)
    # A project's own affinities serve another import.
    again = import_labels(
        ImportRequest(
            labels=str(tmp_path / "in.h5"),
            project=str(tmp_path / "q.neuropil"),
            affinities=str(project.path),
            voxel_size=SIZE,
        )
    )
    np.testing.assert_allclose(again.rag.score, expected.score, atol=0.003)


def test_the_image_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "image.h5", (29 * cells()).astype(np.uint8), "image")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    project = import_labels(wish(tmp_path, image="image.h5/image"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert open_volume(project.path / project.info.image_source).shape == SHAPE


def test_scores_of_dark_contacts_are_low(tmp_path: Path) -> None:
    labels = np.ones((20, 30, 60), np.uint16)
    labels[..., 20:40] = 2
    labels[..., 40:] = 3
    image = np.random.default_rng(0).normal(180, 4, labels.shape)
    image[..., 18:22] -= 120  # a membrane between 1 and 2, none between 2 and 3
    dark = np.clip(image, 0, 255).astype(np.uint8)
    for name, grey, invert in (("dark", dark, False), ("bright", 255 - dark, True)):
        request = ImportRequest(
            labels=save(tmp_path / f"{name}.h5", labels),
            image=save(tmp_path / f"{name}.h5", grey, "image"),
            project=str(tmp_path / f"{name}.neuropil"),
            voxel_size=(8, 8, 8),
            invert=invert,
        )
        rag = import_labels(request).rag
        np.testing.assert_array_equal(rag.contacts, [[1, 2], [2, 3]])
        assert rag.score[0] < 0.1
        assert rag.score[1] > 0.6


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("bridge", [None, 0.0, 16.0, 200.0])
def test_contacts_across_lines_of_background(tmp_path: Path, bridge: float | None) -> None:
    labels = cells()
    for axis in range(3):  # a line of background before each change of id
        along = np.moveaxis(labels, axis, 0)
        along[:-1][along[:-1] != along[1:]] = 0
    path = save(tmp_path / "lines.h5", labels)
    project = import_labels(wish(tmp_path, labels=path, bridge=bridge, voxel_size=(8, 8, 8)))
    fragments = whole(project)
    np.testing.assert_array_equal(project.segments().read(Roi.of_shape(SHAPE)), labels)
    if bridge == 0.0:
        assert len(project.rag) == 0
        return
    assert any("across gaps" in notice for notice in project.info.notices)
    reach = (bridge or 64.0) / 2
    grown = grow_fragments(fragments, reach, VoxelSize(8, 8, 8))
    expected = build_rag(grown, np.full((3, *SHAPE), 0.5, np.float32))
    assert len(expected) > 10
    np.testing.assert_array_equal(project.rag.contacts, expected.contacts)
    # Blocks may settle a tie of two equally near fragments otherwise.
    assert abs(int(project.rag.area.sum()) - int(expected.area.sum())) <= 0.05 * expected.area.sum()
    assert int(project.rag.contacts.max()) <= project.info.fragment_count


def bad_inputs() -> list[tuple[str, dict[str, Any], type[NeuropilError], str]]:
    ids = cells()
    negative = ids.astype(np.int64)
    negative[-1, -1, -1] = -7
    noise = np.random.default_rng(0).integers(0, 256, (32, 40, 40)).astype(np.uint8)
    nan = np.full((3, *SHAPE), np.nan, np.float32)
    return [
        ("floats", {"labels": ids.astype(np.float32)}, VolumeFormatError, "float32"),
        ("negative", {"labels": negative}, VolumeFormatError, "id -7"),
        (
            "marker",
            {"labels": negative.astype(np.uint64)},
            VolumeFormatError,
            "18446744073709551609",
        ),
        ("empty", {"labels": ids * 0}, VolumeFormatError, "background only"),
        ("one", {"labels": np.ones(SHAPE, np.uint8)}, VolumeFormatError, "one connected object"),
        ("image", {"labels": noise}, VolumeFormatError, "looks like an image"),
        ("four", {"labels": np.ones((2, 2, 5, 5), np.uint8)}, VolumeFormatError, "3D"),
        ("voxels", {"voxel_size": None}, SettingsError, "--voxel-size 29,6,6"),
        ("shapes", {"image": noise}, VolumeFormatError, "one and the same grid"),
        ("flat", {"image": np.ones(SHAPE, np.uint8)}, VolumeFormatError, "constant"),
        ("affine", {"affinities": np.ones((3, 7, 20, 25))}, VolumeFormatError, "affinities have"),
        ("few", {"affinities": np.ones((2, *SHAPE))}, VolumeFormatError, "2 channels"),
        ("three", {"affinities": np.ones(SHAPE)}, VolumeFormatError, "four axes"),
        ("grey", {"affinities": np.ones((3, *SHAPE)) * 255}, VolumeFormatError, "sigmoid"),
        ("nan", {"affinities": nan}, VolumeFormatError, "nan"),
        ("ints", {"affinities": np.ones((3, *SHAPE), np.int32)}, VolumeFormatError, "int32"),
    ]


@pytest.mark.parametrize(("name", "fields", "kind", "says"), bad_inputs(), ids=lambda v: str(v)[:9])
def test_bad_input_is_refused_and_leaves_nothing(
    tmp_path: Path, name: str, fields: dict[str, Any], kind: type[NeuropilError], says: str
) -> None:
    given = {
        key: save(tmp_path / f"{key}.h5", value, key) if isinstance(value, np.ndarray) else value
        for key, value in fields.items()
    }
    with pytest.raises(kind, match=says):
        import_labels(wish(tmp_path, **given))
    assert not [p for p in tmp_path.iterdir() if "neuropil" in p.name]


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(NeuropilError, match="nothing"):
        import_labels(wish(tmp_path, labels=str(tmp_path / "nothing.h5")))
    save(tmp_path / "a.h5", np.ones((3, *SHAPE), np.float32), "aff")
    with pytest.raises(NeuropilError, match="no dataset wrong"):
        import_labels(wish(tmp_path, affinities=f"{tmp_path}/a.h5/wrong"))


@pytest.mark.parametrize("stage", ["fragments", "contacts", "affinities"])
@pytest.mark.usefixtures("small_blocks")
def test_cancelling_leaves_nothing_new(tmp_path: Path, stage: str) -> None:
    affinities = save(tmp_path / "aff.h5", np.ones((3, *SHAPE), np.float32), "aff")
    request = wish(tmp_path, affinities=affinities)
    seen: list[str] = []

    with pytest.raises(CancelledError):
        import_labels(
            request,
            report=lambda progress: seen.append(progress.stage),
            cancelled=lambda: stage in seen,
        )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["aff.h5", "in.h5"]

    def interrupt(progress: Any) -> None:
        if progress.stage == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_labels(request, report=interrupt)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["aff.h5", "in.h5"]


def test_what_exists_is_kept(tmp_path: Path) -> None:
    first = import_labels(wish(tmp_path))
    other = wish(tmp_path, labels=save(tmp_path / "other.h5", cells(seed=9)))
    with pytest.raises(OutputError, match="--overwrite"):
        import_labels(other)
    broken = save(tmp_path / "broken.h5", np.zeros(SHAPE, np.uint8))
    with pytest.raises(VolumeFormatError):
        import_labels(wish(tmp_path, labels=broken, overwrite=True))
    assert Project.open(first.path).info.fingerprint == first.info.fingerprint
    replaced = import_labels(other.model_copy(update={"overwrite": True}))
    assert replaced.info.fingerprint != first.info.fingerprint
    in_use = ProofreadingSession.open(replaced.path)
    with in_use, pytest.raises(OutputError, match="open"):
        import_labels(other.model_copy(update={"overwrite": True}))
    replaced = import_labels(other.model_copy(update={"overwrite": True}))
    with ProofreadingSession.open(replaced.path) as session:
        session.annotate(int(session.segment_ids()[0]), status="done")
    with pytest.raises(OutputError, match="1 notes on segments"):
        import_labels(other.model_copy(update={"overwrite": True}))
    assert ProofreadingSession.open(replaced.path, read_only=True).annotations()
    foreign = tmp_path / "photos"
    foreign.mkdir()
    (foreign / "holiday.jpg").touch()
    with pytest.raises(ProjectError, match="no project"):
        import_labels(other.model_copy(update={"project": str(foreign), "overwrite": True}))
    assert (foreign / "holiday.jpg").exists()


def test_real_labels(real_data: Path, tmp_path: Path) -> None:
    box = np.s_[:32, :90, :100]
    with h5py.File(real_data / "fib25_sample2.h5") as file:
        labels, image = file["labels"][box], file["image"][box]
    request = ImportRequest(
        labels=save(tmp_path / "fib.h5", labels),
        image=save(tmp_path / "fib.h5", image, "image"),
        project=str(tmp_path / "fib.neuropil"),
        voxel_size=(8, 8, 8),
    )
    project = import_labels(request)
    np.testing.assert_array_equal(project.segments().read(Roi.of_shape(labels.shape)), labels)
    assert project.info.fragment_count >= len(np.unique(labels[labels > 0]))
    assert 0 < np.median(project.rag.score) < 0.6  # true objects meet at membranes
    facts = json.loads((project.path / "project.json").read_text())
    assert facts["image_source"] == f"{tmp_path}/fib.h5/image"
