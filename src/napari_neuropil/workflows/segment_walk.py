"""Which patches of a segment to look at when it may be two: the most telling first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.geometry import Roi, Shape
from napari_neuropil.proofreading import ProofreadingSession
from napari_neuropil.segmentation.metric_offsets import HALF_WAY
from napari_neuropil.segmentation.patch_walk import patches_around, patches_from_middle
from napari_neuropil.workflows.embedded_image import EmbeddedImage
from napari_neuropil.workflows.embedding_view import grid_roi

_MOST_COUNTED: Final = 64
"""Patches in which voxels are counted: reading labels costs some hundredths of a second each."""

Inside = Callable[[Roi], NDArray[np.bool_]]


def walk_segment(
    session: ProofreadingSession, image: EmbeddedImage, segment: int, least: int
) -> Iterator[tuple[Roi, NDArray[np.bool_]]]:
    """Yield patches, and where the segment is in them.

    A segment that fits into a patch has one. Of a larger one first the patches around its inner
    contacts with far embeddings, then around its weakest contacts, then where its largest fragment
    has most voxels.

    Parameters
    ----------
    session : ProofreadingSession
        The segment as it is now.
    image : EmbeddedImage
        Its grid is that of the patches.
    segment : int
        Its id.
    least : int
        Voxels; patches that hold fewer are left out.

    Yields
    ------
    patch : Roi
        On the embeddings' grid.
    inside : ndarray of bool, (Z, Y, X)
        Of the patch.
    """
    from napari_neuropil.inference.embeddings import PATCH_SHAPE

    inside = partial(_inside, session, image, segment)
    box = grid_roi(session.segment_roi(segment), image.factors)
    places: Iterator[NDArray[np.float32]]
    if all(n <= p for n, p in zip(box.shape, PATCH_SHAPE, strict=True)):
        places = iter([_middle(box)])
    else:
        doubtful = _doubtful(session, segment, image.factors)
        places = chain(doubtful, _largest(session, image, segment, inside))
    for patch in patches_around(places, image.shape, PATCH_SHAPE):
        mask = inside(patch)
        if np.count_nonzero(mask) >= least:
            yield patch, mask


def _inside(
    session: ProofreadingSession, image: EmbeddedImage, segment: int, patch: Roi
) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = image.labels_of(session.segments().array, patch) == np.uint64(segment)
    return mask


def _doubtful(
    session: ProofreadingSession, segment: int, factors: Shape
) -> Iterator[NDArray[np.float32]]:
    """Yield contacts inside the segment: those of far embeddings, then the weakest."""
    contacts = session.graph.within(session.members(segment))
    far = np.nan_to_num(contacts.distance, nan=0.0)
    far[far < HALF_WAY] = 0
    order = np.lexsort((contacts.score, -far))
    step = np.array(factors, np.float32)
    for row in order.tolist():
        yield ((contacts.centroid[row] + 0.5) / step - 0.5).astype(np.float32)


def _largest(
    session: ProofreadingSession, image: EmbeddedImage, segment: int, inside: Inside
) -> Iterator[NDArray[np.float32]]:
    """Yield places in the box of the segment's largest fragment, the fullest patches first."""
    from napari_neuropil.inference.embeddings import PATCH_SHAPE

    rows = session.members(segment).astype(np.intp)
    row = int(rows[np.argmax(session.table.size[rows])])
    start, stop = session.table.start[row].tolist(), session.table.stop[row].tolist()
    box = grid_roi(Roi((start[0], start[1], start[2]), (stop[0], stop[1], stop[2])), image.factors)
    tiles = patches_from_middle(box, image.shape, PATCH_SHAPE, PATCH_SHAPE)[:_MOST_COUNTED]
    counts = [np.count_nonzero(inside(tile)) for tile in tiles]
    for index in np.argsort([-count for count in counts], kind="stable").tolist():
        yield _middle(tiles[index])


def _middle(box: Roi) -> NDArray[np.float32]:
    middle = [(a + b - 1) / 2 for a, b in zip(box.start, box.stop, strict=True)]
    return np.array(middle, np.float32)
