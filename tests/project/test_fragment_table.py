"""Sizes and boxes of fragments: equal to a naive count, kept, never trusted when damaged."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from napari_neuropil.blockwise import split_blocks
from napari_neuropil.errors import ProjectError, VolumeFormatError
from napari_neuropil.geometry import Roi, VoxelSize
from napari_neuropil.project import Project, ProjectInfo, write_graph, write_info
from napari_neuropil.project.fragment_table import (
    FragmentTable,
    TableBuilder,
    fragment_table,
    measure_fragments,
)
from napari_neuropil.segmentation.rag import Rag
from napari_neuropil.volumes import create_volume


def naive(fragments: NDArray[Any], count: int) -> FragmentTable:
    size = np.zeros(count + 1, np.int64)
    start, stop = np.zeros((2, count + 1, 3), np.int32)
    for f in range(1, count + 1):
        place = np.argwhere(fragments == f)
        if len(place):
            size[f] = len(place)
            start[f], stop[f] = place.min(0), place.max(0) + 1
    return FragmentTable(size, start, stop)


def assert_same(found: FragmentTable, expected: FragmentTable) -> None:
    for name in ("size", "start", "stop"):
        a, b = getattr(found, name), getattr(expected, name)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b, err_msg=name)


@settings(deadline=None, max_examples=60)
@given(
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    block=st.tuples(*[st.integers(1, 5)] * 3),
    count=st.integers(1, 12),
    seed=st.integers(0, 1000),
    narrow=st.booleans(),
)
def test_blocks_add_up_to_a_naive_count(
    shape: tuple[int, int, int], block: tuple[int, int, int], count: int, seed: int, narrow: bool
) -> None:
    random = np.random.default_rng(seed)
    coarse = random.integers(0, count + 1, shape)
    fragments = ndimage.maximum_filter(coarse, random.integers(1, 4, 3)).astype(np.uint64)
    expected = naive(fragments, count)
    given_ids = fragments.astype(np.uint32) if narrow else fragments
    assert_same(measure_fragments(given_ids, count), expected)
    builder = TableBuilder(count)
    for part in split_blocks(shape, block):
        builder.add(fragments[part.roi.slices], part.roi.start)
    assert_same(builder.table(), expected)


def test_origin_moves_the_boxes_only() -> None:
    fragments = np.array([[[1, 1, 0], [0, 2, 2]]], np.uint64)
    table = measure_fragments(fragments, 3, (5, 6, 7))
    np.testing.assert_array_equal(table.size, [0, 2, 2, 0])
    np.testing.assert_array_equal(table.start, [[0, 0, 0], [5, 6, 7], [5, 7, 8], [0, 0, 0]])
    np.testing.assert_array_equal(table.stop, [[0, 0, 0], [6, 7, 9], [6, 8, 10], [0, 0, 0]])
    assert table.box_of(np.array([1, 2, 3], np.uint64)) == Roi((5, 6, 7), (6, 8, 10))
    assert table.box_of(np.array([3], np.uint64)) is None


def test_what_is_no_fragment_array_is_refused() -> None:
    with pytest.raises(VolumeFormatError, match="fragment id 4"):
        measure_fragments(np.full((1, 1, 2), 4, np.uint64), 3)
    with pytest.raises(VolumeFormatError, match="shape"):
        measure_fragments(np.zeros((2, 2), np.uint64), 3)
    with pytest.raises(VolumeFormatError, match="float32"):
        measure_fragments(np.zeros((2, 2, 2), np.float32), 3)  # type: ignore[arg-type]


COUNT = 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a project of 40 random fragments in chunks of 4 x 8 x 8."""
    path = tmp_path / "p.neuropil"
    path.mkdir()
    shape = (9, 20, 30)
    ids = np.random.default_rng(3).integers(0, COUNT + 1, shape).astype(np.uint64)
    volume = create_volume(
        path / "fragments.zarr", shape, "uint64", VoxelSize(30, 8, 8), chunks=(4, 8, 8)
    )
    volume.write(Roi.of_shape(shape), ids)
    write_graph(path, Rag.empty(), np.arange(COUNT + 1, dtype=np.uint64))
    info = ProjectInfo(
        state="finished",
        voxel_size=(30, 8, 8),
        roi=str(Roi.of_shape(shape)),
        fragment_count=COUNT,
        fingerprint="abc",
    )
    write_info(path, info)
    return path


def expected_of(folder: Path) -> FragmentTable:
    fragments = Project.open(folder).fragments
    return naive(fragments.read(Roi.of_shape(fragments.shape)), COUNT)


def test_a_project_is_measured_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_neuropil.project.fragment_table._BLOCK_VOXELS", 4 * 8 * 8)
    heard: list[tuple[int, int]] = []
    project = Project.open(folder)
    table = fragment_table(project, lambda done, total: heard.append((done, total)))
    assert_same(table, expected_of(folder))
    assert heard == [(i, 36) for i in range(1, 37)]
    heard.clear()
    assert_same(fragment_table(project, lambda done, total: heard.append((done, total))), table)
    assert heard == []
    assert sorted(p.name for p in folder.iterdir() if "fragments" in p.name) == [
        "fragments.npz",
        "fragments.zarr",
    ]


def test_no_damage_is_believed(folder: Path) -> None:
    expected = expected_of(folder)
    project = Project.open(folder)
    fragment_table(project)
    file = folder / "fragments.npz"
    whole = file.read_bytes()
    random = np.random.default_rng(0)
    for place in random.integers(0, len(whole), 120):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(random.integers(0, 8))
        file.write_bytes(damaged)
        assert_same(fragment_table(project), expected)
    for length in random.integers(0, len(whole), 20):
        file.write_bytes(whole[:length])
        assert_same(fragment_table(project), expected)
        assert file.read_bytes() == whole  # mended


def test_a_table_of_other_fragments_is_not_believed(folder: Path) -> None:
    fragment_table(Project.open(folder))
    file = folder / "project.json"
    file.write_text(file.read_text().replace('"abc"', '"def"'))
    volume = create_volume(
        folder / "fragments.zarr", (1, 1, 2), "uint64", VoxelSize(30, 8, 8), overwrite=True
    )
    volume.write(Roi.of_shape((1, 1, 2)), np.array([[[7, 7]]], np.uint64))
    table = fragment_table(Project.open(folder))
    assert table.size[7] == table.size.sum() == 2


def test_without_a_fingerprint_nothing_is_kept(folder: Path) -> None:
    file = folder / "project.json"
    file.write_text(file.read_text().replace('"abc"', '""'))
    assert_same(fragment_table(Project.open(folder)), expected_of(folder))
    assert not (folder / "fragments.npz").exists()


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not bind here"
)
def test_a_folder_that_cannot_be_written_goes_without(folder: Path) -> None:
    folder.chmod(0o500)
    try:
        assert_same(fragment_table(Project.open(folder)), expected_of(folder))
        assert not (folder / "fragments.npz").exists()
    finally:
        folder.chmod(0o700)


def test_a_full_disk_goes_without(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*_args: object, **_kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", no_space)
    assert_same(fragment_table(Project.open(folder)), expected_of(folder))
    assert [p.name for p in folder.iterdir() if "npz" in p.name] == ["rag.npz"]


def test_ids_above_the_count_are_damage(folder: Path) -> None:
    volume = create_volume(
        folder / "fragments.zarr", (1, 1, 2), "uint64", VoxelSize(30, 8, 8), overwrite=True
    )
    volume.write(Roi.of_shape((1, 1, 2)), np.array([[[7, 99]]], np.uint64))
    with pytest.raises(ProjectError, match="fragment id 99"):
        fragment_table(Project.open(folder))


def test_a_real_volume(real_data: Path) -> None:
    with h5py.File(real_data / "fib25_sample2.h5") as file:
        fragments = file["fragments"][:24, :100, :100]
    count = int(fragments.max())
    table = measure_fragments(fragments, count)
    np.testing.assert_array_equal(table.size[1:], np.bincount(fragments.ravel())[1:])
    for f, box in enumerate(ndimage.find_objects(fragments.astype(np.int32)), start=1):
        if box is not None:
            assert [(a, b) for a, b in zip(table.start[f], table.stop[f], strict=True)] == [
                (s.start, s.stop) for s in box
            ]
