"""The project folder: what is damaged, newer or unfinished is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from napari_neuropil.errors import ProjectError
from napari_neuropil.geometry import Roi, VoxelSize
from napari_neuropil.project import Project, ProjectInfo, SegmentArray, write_graph, write_info
from napari_neuropil.project.affinities import AffinityStore
from napari_neuropil.segmentation.rag import Rag
from napari_neuropil.volumes import Volume, create_volume


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a project of three fragments, two of them one segment."""
    path = tmp_path / "p.neuropil"
    path.mkdir()
    fragments = create_volume(path / "fragments.zarr", (2, 4, 6), "uint64", VoxelSize(30, 8, 8))
    ids = np.repeat(np.arange(1, 4, dtype=np.uint64), 2)[None, None].repeat(2, 0).repeat(4, 1)
    fragments.write(Roi.of_shape((2, 4, 6)), ids)
    rag = Rag(
        contacts=np.array([[1, 2], [2, 3]], np.uint64),
        affinity=np.array([0.9, 0.1], np.float32),
        area=np.array([8, 8], np.int64),
        boundary_length=np.array([8, 8], np.float32),
        centroid=np.zeros((2, 3), np.float32),
        score=np.array([0.9, 0.1], np.float32),
    )
    write_graph(path, rag, np.array([0, 1, 1, 3], np.uint64))
    write_info(
        path,
        ProjectInfo(state="finished", voxel_size=(30, 8, 8), roi="0:2,0:4,0:6", fragment_count=3),
    )
    return path


def test_opens_as_written(folder: Path) -> None:
    project = Project.open(folder)
    np.testing.assert_array_equal(
        project.segments().read(Roi((0, 0, 0), (1, 1, 6)))[0, 0], [1, 1, 1, 1, 3, 3]
    )
    np.testing.assert_array_equal(project.rag.contacts, [[1, 2], [2, 3]])
    assert project.segments().voxel_size == VoxelSize(30, 8, 8)


def test_moved_project_opens(folder: Path, tmp_path: Path) -> None:
    moved = folder.rename(tmp_path / "elsewhere.neuropil")
    assert Project.open(moved).info.fragment_count == 3


def _change(folder: Path, **changes: object) -> None:
    file = folder / "project.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_newer_and_unfinished_are_named(folder: Path) -> None:
    _change(folder, format=99, something_new=1)
    with pytest.raises(ProjectError, match=r"(?s)format 99.*at most 1.*newer"):
        Project.open(folder)
    _change(folder, format=1)
    with pytest.raises(ProjectError, match="does not describe"):
        Project.open(folder)


@pytest.mark.parametrize(
    "name", ["rag.npz", "lookup.npy", "project.json", "fragments.zarr/zarr.json"]
)
@pytest.mark.parametrize("damage", ["gone", "cut", "noise"])
def test_damage_is_a_clear_error(folder: Path, name: str, damage: str) -> None:
    file = folder / name
    content = file.read_bytes()
    if damage == "gone":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    else:
        file.write_bytes(np.random.default_rng(0).bytes(len(content)))
    with pytest.raises(ProjectError):
        Project.open(folder).rag.validate()


def test_lookup_of_other_fragments_is_refused(folder: Path) -> None:
    np.save(folder / "lookup.npy", np.array([0, 1, 1], np.uint64))
    with pytest.raises(ProjectError, match="3 entries of uint64"):
        Project.open(folder)


class _Watched:
    """Counts the voxels that are read."""

    def __init__(self, array: np.ndarray[tuple[int, ...], np.dtype[np.uint64]]) -> None:
        self.array, self.shape, self.dtype, self.read = array, array.shape, array.dtype, 0

    def __getitem__(self, key: object) -> np.ndarray[tuple[int, ...], np.dtype[np.uint64]]:
        part = self.array[key]  # type: ignore[index]
        self.read += part.size
        return part


def test_segments_are_read_only_where_looked_at() -> None:
    watched = _Watched(np.ones((50, 20, 20), np.uint64))
    volume = Volume(array=watched, voxel_size=None, name="f", source="f")
    lookup = np.array([0, 7], np.uint64)
    segments = SegmentArray(volume, lambda: lookup)
    assert (segments[3] == 7).all()
    assert watched.read == 400
    lookup[1] = 2**40
    assert segments[4, 2, 5] == 2**40  # an edit shows at once
    assert np.asarray(segments).shape == (50, 20, 20)


def test_affinities_round_to_eight_bits(tmp_path: Path) -> None:
    store = AffinityStore.create(
        tmp_path / "a.zarr", ("first", "second"), (4, 6, 6), (4, 4, 4), VoxelSize(30, 12, 12)
    )
    values = np.random.default_rng(0).random((2, 2, 3, 3), dtype=np.float32)
    roi = Roi((1, 2, 3), (3, 5, 6))
    store.write(roi, values)
    again = AffinityStore.open(tmp_path / "a.zarr")
    np.testing.assert_allclose(again.read(roi) / 255, values, atol=0.5 / 255 + 1e-6)
    assert again.names == ("first", "second")
    again.array.attrs["channels"] = "nonsense"
    assert again.names == ("channel 0", "channel 1")
    with pytest.raises(ProjectError):
        AffinityStore.open(tmp_path / "nothing.zarr")
