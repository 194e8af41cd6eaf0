"""Embeddings of a part of a project as colours: what the network tells apart, to be looked at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import CancelledError, SettingsError
from napari_neuropil.geometry import Roi, Shape
from napari_neuropil.segmentation.embedding_colours import ColourMosaic, hull_of
from napari_neuropil.segmentation.patch_walk import patches_from_middle
from napari_neuropil.workflows.colour_box import ColourBox
from napari_neuropil.workflows.distances import open_embedded_image
from napari_neuropil.workflows.requests import Progress, Report
from napari_neuropil.workflows.results import open_edited

CORE_SHAPE: Final[Shape] = (16, 96, 96)
"""What of a patch answers for the box: the paper's output, its patch less 2 x 16 x 16 at each side.
Neighbours overlap in 4 sections or 32 pixels, some 10^4 voxels, for 24 numbers to fit."""

MOST_VOXELS: Final = 1 << 25
"""Of the box: up to 2 GB of work arrays, and ten minutes of the network on one core."""


def embedding_colours(
    path: str | Path,
    *,
    near: Roi | None = None,
    checkpoint: str | Path | None = None,
    device: str = "auto",
    report: Report = lambda _progress: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> ColourBox:
    """Colour a box of a project by its embeddings.

    Patches are embedded from the middle of the box outwards; the middle one gives the colours, its
    neighbours are brought to them (`segmentation.embedding_colours`). What lies in a segment, with
    all edits, counts; background is coloured along.

    Parameters
    ----------
    path : path-like
        A finished project whose image can be read.
    near : Roi, optional
        The box, voxels of the project; None is all of it.
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
        If the box is too large, or leaves the project.
    CancelledError
        If `cancelled` said so.
    """
    with open_edited(path) as session:
        segments, info = session.segments(), session.info
        box = near or Roi.of_shape(segments.shape)
        _check(box, segments.shape)
        image = open_embedded_image(session.project, checkpoint=checkpoint, device=device)
        patches = _patches(grid_roi(box, image.factors), image.shape)
        mosaic = ColourMosaic(hull_of(patches))
        for done, patch in enumerate(patches):
            if cancelled():
                raise CancelledError("Stopped.", "", "nothing was written; start again any time.")
            report(Progress(stage="embeddings", done=done, total=len(patches)))
            labels = image.labels_of(segments.array, patch)
            mosaic.add(patch, image.embed(patch), labels > 0)
        report(Progress(stage="embeddings", done=len(patches), total=len(patches)))
        colours = mosaic.colours(grid_roi(box, image.factors))
        voxel_size = info.voxel_size_nm
        z, y, x = (
            t + a * edge for t, a, edge in zip(info.translation, box.start, voxel_size, strict=True)
        )
        return ColourBox(
            _on_project(colours, box, image.factors),
            box.start,
            voxel_size,
            (z, y, x),
            image.checkpoint_sha256,
        )


def grid_roi(box: Roi, factors: Shape) -> Roi:
    """Return the voxels of the embeddings' grid that a box of the project meets."""
    start = [a // f for a, f in zip(box.start, factors, strict=True)]
    stop = [-(-b // f) for b, f in zip(box.stop, factors, strict=True)]
    return Roi((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _check(box: Roi, shape: Shape) -> None:
    if any(b > n for b, n in zip(box.stop, shape, strict=True)):
        raise SettingsError(
            f"The box {box} leaves the project.",
            f"a box inside {Roi.of_shape(shape)}",
            "choose another box.",
        )
    if box.size > MOST_VOXELS:
        raise SettingsError(
            f"The box {box} holds {box.size:,} voxels.",
            f"at most {MOST_VOXELS:,}",
            "choose a smaller one with --near z0:z1,y0:y1,x0:x1.",
        )


def _patches(box: Roi, shape: Shape) -> list[Roi]:
    from napari_neuropil.inference.embeddings import PATCH_SHAPE

    return patches_from_middle(box, shape, PATCH_SHAPE, CORE_SHAPE)


def _on_project(colours: NDArray[np.uint8], box: Roi, factors: Shape) -> NDArray[np.uint8]:
    """Write each colour on all voxels of the project that it stands for, and cut to the box."""
    for axis, factor in enumerate(factors):
        if factor > 1:
            colours = np.repeat(colours, factor, axis)
    first = [a % f for a, f in zip(box.start, factors, strict=True)]
    inner = tuple(slice(a, a + n) for a, n in zip(first, box.shape, strict=True))
    return np.ascontiguousarray(colours[inner])
