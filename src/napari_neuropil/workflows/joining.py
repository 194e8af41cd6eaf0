"""Mean-embedding agglomeration of a whole project: the stage after the partition.

Segments that touch in several places may be one neuron that the network's field of view could
not follow. Each such pair is looked at where its contact is strongest; those whose mean
embeddings agree are joined. What was found is kept in ``candidates.npz``: pairs, places and
distances can be inspected, and an interrupted run goes on after the last patch.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import OutputError
from napari_neuropil.geometry import Roi, Shape
from napari_neuropil.segmentation.mean_embedding import (
    Candidates,
    find_candidates,
    join,
    merge_candidates,
)
from napari_neuropil.workflows.embedded_image import EmbeddedImage

CANDIDATES: Final = "candidates.npz"


@dataclass(frozen=True, eq=False)
class Joins:
    """The pairs that were looked at.

    Parameters
    ----------
    pairs : ndarray of uint64, (N, 2)
        Segments as the partition made them.
    location : ndarray of float32, (N, 3)
        Where, voxels of the fragments.
    score : ndarray of float32, (N,)
        Mean affinity of the best place.
    places : ndarray of int32, (N,)
        Contacts of the pair.
    distance : ndarray of float32, (N,)
        L1 distance of the mean embeddings; NaN where a side has no voxel near.
    measured : ndarray of bool, (N,)
        Whether it was looked at; all, once the run is finished.
    checkpoint_sha256 : ndarray of str, ()
        The network's weights.
    """

    pairs: NDArray[np.uint64]
    location: NDArray[np.float32]
    score: NDArray[np.float32]
    places: NDArray[np.int32]
    distance: NDArray[np.float32]
    measured: NDArray[np.bool_]
    checkpoint_sha256: NDArray[np.str_]

    @classmethod
    def read(cls, project: Path) -> Joins | None:
        """Read what a project holds; None if nothing readable."""
        try:
            with np.load(project / CANDIDATES, allow_pickle=False) as content:
                return cls(**{f.name: content[f.name] for f in fields(cls)})
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def write(self, project: Path) -> None:
        """Write, whole or not at all.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        file, partial = project / CANDIDATES, project / f"{CANDIDATES}.partial"
        try:
            with partial.open("wb") as opened:
                np.savez(opened, **{f.name: getattr(self, f.name) for f in fields(self)})
            partial.replace(file)
        except OSError as error:
            raise OutputError(
                f"{file} cannot be written: {error}",
                "a folder that can be written, with free space",
                "free disk space, then go on with --resume.",
            ) from error


def candidates_of(
    parts: Iterable[tuple[NDArray[np.uint64], NDArray[np.float32], Roi, Shape]],
    factors: Shape,
    *,
    minimum_places: int = 2,
) -> Candidates:
    """Find the pairs worth looking at, block by block.

    Parameters
    ----------
    parts : iterable of (segments, affinities, roi, first)
        Of each block with one plane before it: what `build_rag` gets.
    factors : Shape
        Fragment voxels in one voxel of the blocks' grid.
    minimum_places : int
        Fewer contacts than this make no candidate.

    Returns
    -------
    Candidates
        Locations in voxels of the fragments.
    """
    found = merge_candidates(
        [
            find_candidates(segments, affinities, origin=roi.start, first=first, minimum_places=1)
            for segments, affinities, roi, first in parts
        ],
        minimum_places=minimum_places,
    )
    scale = np.array(factors, np.float32)
    location = ((found.location + 0.5) * scale - 0.5).astype(np.float32)
    return Candidates(found.pairs, location, found.score, found.places)


def join_by_embedding(
    project: Path,
    found: Candidates,
    image: EmbeddedImage,
    labels: Callable[[Roi], NDArray[np.uint64]],
    lookup: NDArray[np.uint64],
    report: Callable[[int, int], None],
    threshold: float,
) -> NDArray[np.uint64]:
    """Return the lookup after pairs whose mean embeddings agree were joined.

    Parameters
    ----------
    project : Path
        Gets ``candidates.npz``.
    found : Candidates
        Pairs of segments.
    image : EmbeddedImage
        Where to look.
    labels : callable
        Segments in a box of the embeddings' grid.
    lookup : ndarray of uint64, (F + 1,)
        As the partition made it.
    report : callable
        Called with (pairs done, in all); may raise to stop.
    threshold : float
        Largest L1 distance of what is joined.
    """
    joins = _begin(project, found, image.checkpoint_sha256)
    open_rows = np.flatnonzero(~joins.measured)
    joins.write(project)

    def keep(rows: NDArray[np.intp], distance: NDArray[np.float32]) -> None:
        joins.distance[open_rows[rows]] = distance
        joins.measured[open_rows[rows]] = True
        joins.write(project)

    image.distances(
        labels, joins.pairs[open_rows], joins.location[open_rows], report=report, measured=keep
    )
    return join(lookup, joins.pairs, joins.distance, threshold=threshold)


def _begin(project: Path, found: Candidates, sha256: str) -> Joins:
    """Return what an interrupted run had measured of these candidates, or nothing measured."""
    before = Joins.read(project)
    if (
        before is not None
        and str(before.checkpoint_sha256) == sha256
        and np.array_equal(before.pairs, found.pairs)
        and np.array_equal(before.location, found.location)
    ):
        return before
    return Joins(
        found.pairs,
        found.location,
        found.score,
        found.places,
        np.full(len(found.pairs), np.nan, np.float32),
        np.zeros(len(found.pairs), bool),
        np.array(sha256),
    )
