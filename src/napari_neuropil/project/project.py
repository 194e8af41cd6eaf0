"""The project folder: fragments, region adjacency graph and lookup, and where they came from.

::

    brain.neuropil/
      project.json      source, voxel size, plan, versions, fingerprint of the fragments
      affinities.zarr   optional cache: uint8, (channel, z, y, x), on the network's grid
      fragments.zarr    uint64, OME-NGFF 0.5, on the image's grid; never changes
      rag.npz           contacts and their scores
      lookup.npy        fragment -> segment as segmented
      blocks/           ledger of finished blocks

A folder of its own, below `proofreading` and `workflows`, since both open projects.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from napari_neuropil.errors import OutputError, ProjectError, VolumeFormatError, VolumeNotFoundError
from napari_neuropil.project.info import PROJECT_FORMAT, ProjectInfo
from napari_neuropil.project.segments import SegmentArray
from napari_neuropil.segmentation.rag import Rag
from napari_neuropil.volumes import Volume, open_volume

_RAG_FIELDS = ("contacts", "affinity", "area", "boundary_length", "centroid", "score")


@dataclass(frozen=True)
class Project:
    """A finished segmentation on disk.

    Parameters
    ----------
    path : Path
        The folder.
    info : ProjectInfo
        What ``project.json`` says.
    fragments : Volume
        uint64 fragment ids, lazily read.
    lookup : ndarray of uint64, (F + 1,)
        Segment of each fragment; ``lookup[0] == 0``.
    """

    path: Path
    info: ProjectInfo
    fragments: Volume
    lookup: NDArray[np.uint64]

    @cached_property
    def rag(self) -> Rag:
        """The region adjacency graph, read when first asked for: showing segments needs none.

        Raises
        ------
        ProjectError
            If it is missing or damaged.
        """
        return read_rag(self.path / "rag.npz")

    @classmethod
    def open(cls, path: str | Path) -> Project:
        """Open a finished project.

        Raises
        ------
        ProjectError
            If there is no project, it is unfinished, newer than this program, or damaged.
        """
        path = Path(path)
        info = read_info(path)
        if info.state != "finished":
            raise ProjectError(
                f"The project {path} is unfinished.",
                "a finished segmentation",
                "go on with `neuropil segment ... --resume`, or with Resume in the dock.",
            )
        try:
            fragments = open_volume(path / "fragments.zarr")
            lookup = np.load(path / "lookup.npy", allow_pickle=False)
        except (OSError, ValueError, KeyError, VolumeNotFoundError, VolumeFormatError) as error:
            raise ProjectError(
                f"The project {path} is damaged: {error}",
                "fragments.zarr and lookup.npy as written",
                "restore the folder from a copy, or segment anew.",
            ) from error
        if lookup.shape != (info.fragment_count + 1,) or lookup.dtype != np.uint64:
            raise ProjectError(
                f"The lookup of {path} has {lookup.size} entries of {lookup.dtype}.",
                f"{info.fragment_count + 1} of uint64",
                "restore lookup.npy from a copy, or segment anew.",
            )
        return cls(path, info, fragments, lookup)

    def segments(self) -> Volume:
        """Return the segments as a lazy volume on the fragments' grid."""
        return Volume(
            array=SegmentArray(self.fragments, lambda: self.lookup),
            voxel_size=self.info.voxel_size_nm,
            translation=self.info.translation,
            name=self.path.stem,
            source=str(self.path),
        )


def read_info(path: Path) -> ProjectInfo:
    """Read ``project.json``.

    Raises
    ------
    ProjectError
        If there is none, it cannot be read, or a newer program wrote it.
    """
    file = path / "project.json"
    try:
        content = json.loads(file.read_text())
    except FileNotFoundError:
        raise ProjectError(
            f"{path} is no project: it has no project.json.",
            "a folder made by `neuropil segment`",
            "check the path.",
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise ProjectError(
            f"{file} cannot be read: {error}", "JSON", "restore it from a copy."
        ) from error
    found = content.get("format") if isinstance(content, dict) else None
    if isinstance(found, int) and found > PROJECT_FORMAT:
        raise ProjectError(
            f"The project {path} has format {found}.",
            f"at most {PROJECT_FORMAT}",
            "open it with a newer napari-neuropil: pip install -U napari-neuropil.",
        )
    try:
        return ProjectInfo.model_validate(content)
    except ValidationError as error:
        raise ProjectError(
            f"{file} does not describe a project: {error}", "", "restore it from a copy."
        ) from error


def write_info(path: Path, info: ProjectInfo) -> None:
    """Write ``project.json``, whole or not at all.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    partial = path / "project.json.partial"
    try:
        partial.write_text(info.model_dump_json(indent=1) + "\n")
        partial.replace(path / "project.json")
    except OSError as error:
        raise OutputError(
            f"{path / 'project.json'} cannot be written: {error}",
            "a folder that can be written, with free space",
            "free disk space or choose another folder.",
        ) from error


def write_graph(path: Path, rag: Rag, lookup: NDArray[np.uint64]) -> None:
    """Write the region adjacency graph and the lookup of a project.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    write_rag(path / "rag.npz", rag)
    _write_whole(path / "lookup.npy", lambda file: np.save(file, lookup, allow_pickle=False))


def write_rag(file: Path, rag: Rag) -> None:
    """Write a graph, whole or not at all.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    arrays = {name: getattr(rag, name) for name in _RAG_FIELDS}
    _write_whole(file, lambda opened: np.savez(opened, **arrays))


def read_rag(file: Path) -> Rag:
    """Read a graph.

    Raises
    ------
    ProjectError
        If it is missing or damaged.
    """
    try:
        with np.load(file, allow_pickle=False) as content:
            return Rag(**{name: content[name] for name in _RAG_FIELDS})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ProjectError(
            f"The graph {file} cannot be read: {error}",
            "a graph as written by `neuropil segment`",
            "restore the file from a copy, or segment anew.",
        ) from error


def _write_whole(file: Path, save: Callable[[IO[bytes]], None]) -> None:
    partial = file.with_name(f"{file.name}.partial")
    try:
        with partial.open("wb") as opened:
            save(opened)
        partial.replace(file)
    except OSError as error:
        raise OutputError(
            f"{file} cannot be written: {error}",
            "a folder that can be written, with free space",
            "free disk space, then go on with --resume.",
        ) from error
