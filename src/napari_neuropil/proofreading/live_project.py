"""A project as it is now: what is there after all edits, to look at and to ask."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import EditRejectedError
from napari_neuropil.geometry import Roi
from napari_neuropil.project import Project, ProjectInfo, SegmentArray
from napari_neuropil.project.contact_distances import read_distances
from napari_neuropil.project.fragment_table import FragmentTable
from napari_neuropil.proofreading.edits import Point
from napari_neuropil.proofreading.graph import ContactGraph
from napari_neuropil.proofreading.pieces import PiecedFragments
from napari_neuropil.proofreading.state import ProofreadingState
from napari_neuropil.volumes import Volume


class LiveProject:
    """A project with its edits, for reading.

    Parameters
    ----------
    project : Project
        As segmented.
    table : FragmentTable
        Sizes and boxes of its fragments.
    """

    def __init__(self, project: Project, table: FragmentTable) -> None:
        self.project = project
        self.path = project.path
        # Previews are worked out beside the window; edits and previews take turns.
        self._turn = threading.RLock()
        self._state = ProofreadingState(project.lookup, table)
        self._pieced = PiecedFragments(project.fragments, self._state)
        self._fragments = Volume(
            array=self._pieced,
            voxel_size=project.fragments.voxel_size,
            translation=project.fragments.translation,
            name=project.fragments.name,
        )
        self._segments = SegmentArray(self._fragments, lambda: self._state.lookup)
        self._graph: ContactGraph | None = None

    @property
    def info(self) -> ProjectInfo:
        """Facts of the project."""
        return self.project.info

    @property
    def lookup(self) -> NDArray[np.uint64]:
        """(n + 1,) segment of each fragment and piece; live, do not write."""
        return self._state.lookup

    @property
    def table(self) -> FragmentTable:
        """Sizes and boxes of fragments and pieces; live, do not write."""
        return self._state.table

    @property
    def graph(self) -> ContactGraph:
        """Contacts as they are now; the graph is read when first asked for."""
        with self._turn:
            if self._graph is None:
                rag = self.project.rag
                found = read_distances(self.path, len(rag))
                self._graph = ContactGraph(
                    rag, self._state, None if found is None else found.distance
                )
            return self._graph

    def reread_distances(self) -> None:
        """Take in the embedding distances that were measured since the graph was read."""
        with self._turn:
            found = read_distances(self.path, len(self.project.rag))
            if found is not None:
                self.graph.distance = found.distance

    def segments(self) -> Volume:
        """Return the segments as a lazy volume that follows every edit."""
        return Volume(
            array=self._segments,
            voxel_size=self.info.voxel_size_nm,
            translation=self.info.translation,
            name=self.path.stem,
            source=str(self.path),
        )

    def fragments(self) -> Volume:
        """Return the fragments as a lazy volume, pieces laid in."""
        return self._fragments

    def fragment_at(self, point: Point) -> int:
        """Return the fragment (or piece) at a voxel; 0 is background.

        Raises
        ------
        EditRejectedError
            If the voxel lies outside the volume.
        """
        shape = self._fragments.shape
        if not all(0 <= p < n for p, n in zip(point, shape, strict=True)):
            raise EditRejectedError(
                f"The point {tuple(point)} lies outside.", f"inside {shape} voxels", ""
            )
        z, y, x = point
        return int(self._fragments.read(Roi(point, (z + 1, y + 1, x + 1)))[0, 0, 0])

    def segment_at(self, point: Point) -> int:
        """Return the segment at a voxel; 0 is background."""
        return int(self.lookup[self.fragment_at(point)])

    def segment_ids(self) -> NDArray[np.uint64]:
        """Return the ids of all segments, ascending."""
        return self._state.members.segments()

    def members(self, segment: int) -> NDArray[np.uint64]:
        """Return a segment's fragments, ascending; empty if there is no such segment."""
        return self._state.members.of(segment)

    def segment_size(self, segment: int) -> int:
        """Return a segment's voxels."""
        return int(self.table.size[self.members(segment).astype(np.intp)].sum())

    def segment_roi(self, segment: int) -> Roi:
        """Return a segment's bounding box, voxels.

        Raises
        ------
        EditRejectedError
            If there is no such segment.
        """
        roi = self._box(self.members(segment))
        if roi is None:
            raise EditRejectedError(f"There is no segment {segment}.", "", "")
        return roi

    def _box(self, fragments: NDArray[np.uint64]) -> Roi | None:
        rows = fragments.astype(np.intp)
        rows = rows[self.table.size[rows] > 0]
        if not len(rows):
            return None
        start = self.table.start[rows].min(axis=0).tolist()
        stop = self.table.stop[rows].max(axis=0).tolist()
        return Roi((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
