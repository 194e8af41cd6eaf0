"""A small project: a row of cubes, so that every contact and size is known by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_neuropil.geometry import Roi, VoxelSize
from napari_neuropil.project import ProjectInfo, write_graph, write_info
from napari_neuropil.proofreading import ProofreadingSession
from napari_neuropil.segmentation.rag import build_rag
from napari_neuropil.volumes import create_volume

MakeProject = Callable[..., Path]
Cubes = Callable[..., NDArray[np.uint64]]


@pytest.fixture
def make_project(tmp_path: Path) -> MakeProject:
    """Return a function that writes a project from fragments and a lookup."""

    def make(
        fragments: NDArray[np.uint64],
        lookup: NDArray[np.uint64] | None = None,
        affinity: NDArray[np.float32] | None = None,
        name: str = "p.neuropil",
    ) -> Path:
        path = tmp_path / name
        path.mkdir()
        size = VoxelSize(30, 8, 8)
        volume = create_volume(path / "fragments.zarr", fragments.shape, "uint64", size)
        volume.write(Roi.of_shape(fragments.shape), fragments)
        if affinity is None:
            affinity = np.full((3, *fragments.shape), 0.6, np.float32)
        count = int(fragments.max())
        own = np.arange(count + 1, dtype=np.uint64) if lookup is None else lookup
        write_graph(path, build_rag(fragments, affinity), own.astype(np.uint64))
        write_info(
            path,
            ProjectInfo(
                state="finished",
                voxel_size=tuple(size),
                roi=str(Roi.of_shape(fragments.shape)),
                fragment_count=count,
                fingerprint="f",
            ),
        )
        return path

    return make


@pytest.fixture
def cubes() -> Cubes:
    """Return a function: (edge, rows * edge, columns * edge), fragments 1, 2, ... row by row."""

    def make(rows: int = 3, columns: int = 4, edge: int = 4) -> NDArray[np.uint64]:
        ids = np.arange(1, rows * columns + 1, dtype=np.uint64).reshape(rows, columns)
        plane = ids.repeat(edge, axis=0).repeat(edge, axis=1)
        return np.repeat(plane[None], edge, axis=0)

    return make


@pytest.fixture
def project(make_project: MakeProject, cubes: Cubes) -> Path:
    """Return 3 x 4 cubes of 64 voxels, each a segment of its own."""
    return make_project(cubes())


@pytest.fixture
def session(project: Path) -> Iterator[ProofreadingSession]:
    """Return a session on the 12 cubes."""
    with ProofreadingSession.open(project) as opened:
        yield opened


@pytest.fixture
def gapped(make_project: MakeProject, cubes: Cubes) -> Path:
    """Return 3 x 4 cubes of 64 voxels, the last column (4, 8, 12) background: fragments 1 to 9."""
    fragments = cubes()
    table = np.zeros(13, np.uint64)
    table[[1, 2, 3, 5, 6, 7, 9, 10, 11]] = np.arange(1, 10)
    return make_project(table[fragments])
