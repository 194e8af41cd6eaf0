"""Where a segment may be two: seeds for a split, from embeddings that fall into two groups.

Embeddings can be compared within a patch only, so patches are looked at one by one: where contacts
inside the segment have far embeddings, where they are weak, where the segment is large. Within a
patch each connected piece of the segment is looked at alone: two branches that meet outside the
patch cannot be known to be one neuron, and would look like two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_neuropil.errors import CancelledError, SettingsError
from napari_neuropil.geometry import Roi, Shape, VoxelSize
from napari_neuropil.inference.grids import unpooled_roi
from napari_neuropil.segmentation.two_means import (
    FAR_APART,
    TwoMeans,
    depth_inside,
    seed_voxel,
    two_means,
)
from napari_neuropil.workflows.distances import open_embedded_image
from napari_neuropil.workflows.embedded_image import EmbeddedImage
from napari_neuropil.workflows.requests import Progress, Report
from napari_neuropil.workflows.results import open_edited
from napari_neuropil.workflows.segment_walk import walk_segment

Point = tuple[int, int, int]

PATCHES: Final = 8
"""Looked at before giving up: 25 seconds on one core, 3 each."""

LEAST_VOXELS: Final = 64
"""Of a side, on the embeddings' grid: an 8 x 8 square."""

_LEAST_DEPTH: Final = 2.0
"""In pixels; what is nowhere three pixels wide is the rim of a neighbour, cut a little wrong."""

_MOST_PIECES: Final = 4
_RIM_PIXELS: Final = 3.0
"""Voxels this near to a membrane weigh less: their embeddings are a mix of both its sides."""


@dataclass(frozen=True)
class SplitSuggestion:
    """What the embeddings say of a segment.

    Parameters
    ----------
    segment : int
        The segment.
    two_objects : bool
        Whether two parts of it look like two neurons.
    distance : float or None
        L1 distance of the two parts' mean embeddings, the farthest found; None where no two parts
        are large enough to compare.
    separation : float or None
        That distance over how far a voxel is from its own part's mean.
    red, blue : tuple of int or None
        A voxel of the project in each part; red is the larger. None unless `two_objects`.
    patch : Roi or None
        Where it was found, voxels of the project.
    patches : int
        How many were looked at.
    """

    segment: int
    two_objects: bool = False
    distance: float | None = None
    separation: float | None = None
    red: Point | None = None
    blue: Point | None = None
    patch: Roi | None = None
    patches: int = 0


@dataclass(frozen=True, eq=False)
class _Finding:
    """Two groups in one piece of the segment in one patch.

    Seeds are on the embeddings' grid; there are some if, and only if, the groups look like two
    objects.
    """

    groups: TwoMeans
    seeds: tuple[Point, Point] | None
    patch: Roi


def suggest_split(
    path: str | Path,
    segment: int,
    *,
    patches: int = PATCHES,
    checkpoint: str | Path | None = None,
    device: str = "auto",
    report: Report = lambda _progress: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> SplitSuggestion:
    """Look for two neurons in a segment, as it is after all edits.

    Parameters
    ----------
    path : path-like
        A finished project whose image can be read.
    segment : int
        Its id.
    patches : int
        How many to look at, at most; ends early where the network is sure.
    checkpoint : path-like, optional
        Embedding network; None takes the shipped one.
    device : str
        auto, cpu, cuda or mps.
    report : callable
        Hears of progress.
    cancelled : callable
        Asked before each patch.

    Raises
    ------
    ProjectError
        No project, a damaged session, or no image.
    SettingsError
        If there is no such segment.
    CancelledError
        If `cancelled` said so.
    """
    with open_edited(path) as session:
        if not len(session.members(segment)):
            raise SettingsError(
                f"There is no segment {segment}.",
                f"one of the {len(session.segment_ids())} segments of {session.path}",
                "take its id from the window, or from neuropil export PROJECT --statistics.",
            )
        image = open_embedded_image(session.project, checkpoint=checkpoint, device=device)
        size = session.info.voxel_size_nm.scaled(image.factors)
        best: _Finding | None = None
        looked = 0
        for patch, inside in walk_segment(session, image, segment, 2 * LEAST_VOXELS):
            if cancelled():
                raise CancelledError("Stopped.", "", "nothing was changed; ask again any time.")
            report(Progress(stage="patches", done=looked, total=patches))
            found = _look(image.embed(patch), inside, patch, size)
            looked += 1
            if found and (best is None or found.groups.distance > best.groups.distance):
                best = found
            if looked >= patches or (best and best.groups.distance >= FAR_APART):
                break
        report(Progress(stage="patches", done=patches, total=patches))
        return _suggestion(segment, best, image, looked)


def _suggestion(
    segment: int, best: _Finding | None, image: EmbeddedImage, looked: int
) -> SplitSuggestion:
    if best is None:
        return SplitSuggestion(segment, patches=looked)
    groups = best.groups
    red, blue = (
        _on_project(seed, best.patch, image.factors) for seed in best.seeds or (None, None)
    )
    return SplitSuggestion(
        segment,
        two_objects=best.seeds is not None,
        distance=groups.distance,
        separation=groups.separation if np.isfinite(groups.separation) else None,
        red=red,
        blue=blue,
        patch=unpooled_roi(best.patch, image.factors, image.roi.shape),
        patches=looked,
    )


def _on_project(seed: Point | None, patch: Roi, factors: Shape) -> Point | None:
    if seed is None:
        return None
    # Labels were read at the first voxel of each pooled box, so that one is inside the segment.
    z, y, x = ((v + a) * f for v, a, f in zip(seed, patch.start, factors, strict=True))
    return z, y, x


def _look(
    embeddings: NDArray[np.float32], inside: NDArray[np.bool_], patch: Roi, voxel_size: VoxelSize
) -> _Finding | None:
    """Return the two groups that are farthest apart in one connected piece of the segment."""
    pieces, _ = ndimage.label(inside, np.ones((3, 3, 3), bool))
    counts = np.bincount(pieces.reshape(-1))[1:]
    largest = np.argsort(-counts, kind="stable")[:_MOST_PIECES] + 1
    best: _Finding | None = None
    for piece in largest.tolist():
        mask = pieces == piece
        if counts[piece - 1] < 2 * LEAST_VOXELS:
            break
        rim = _RIM_PIXELS * min(voxel_size)
        weights = np.minimum(depth_inside(mask, voxel_size)[mask], rim)
        groups = two_means(embeddings[:, mask], weights)
        seeds = _seeds(embeddings, mask, groups, voxel_size) if groups.two_objects else None
        if groups.two_objects and seeds is None:
            continue
        if best is None or groups.distance > best.groups.distance:
            best = _Finding(groups, seeds, patch)
    return best


def _seeds(
    embeddings: NDArray[np.float32],
    mask: NDArray[np.bool_],
    groups: TwoMeans,
    voxel_size: VoxelSize,
) -> tuple[Point, Point] | None:
    """Return a voxel in each group; None where one of them is too small to be a neuron."""
    seeds = []
    for mean, members in zip(groups.means, (~groups.second, groups.second), strict=True):
        side = np.zeros(mask.shape, bool)
        side[mask] = members
        depth = depth_inside(side, voxel_size)
        if members.sum() < LEAST_VOXELS or depth.max() < _LEAST_DEPTH * min(voxel_size):
            return None
        seeds.append(seed_voxel(depth, embeddings, mean))
    return seeds[0], seeds[1]
