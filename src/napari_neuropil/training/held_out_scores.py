"""How well a segmenter answers first prompts for held-out objects: what the gate compares."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_neuropil.prompts.prompt import Prompt
from napari_neuropil.prompts.segmenter import ImageEmbedding, Segmenter
from napari_neuropil.training.section_objects import SectionObject


def score_held_out(
    segmenter: Segmenter,
    objects: Sequence[SectionObject],
    read_section: Callable[[int], NDArray[np.uint8]],
    embed: Callable[[int], ImageEmbedding] | None = None,
    report: Callable[[int, int], None] = lambda _done, _total: None,
) -> dict[str, NDArray[np.float64]]:
    """Return the intersection over union of each object, for a box and for one point.

    Parameters
    ----------
    segmenter : Segmenter
        Answers; give a `TiledSegmenter` for long sections.
    objects : sequence of SectionObject
        True masks.
    read_section : callable
        Returns section z, (Y, X) uint8.
    embed : callable, optional
        Returns the embedding of section z, where it has been kept; None embeds.
    report : callable
        Called with (sections done, of how many).

    Returns
    -------
    dict of str to ndarray of float64, (n,)
        ``box``: the tight box; ``point``: the pixel deepest inside. In the order of `objects`.

    Raises
    ------
    ValueError
        If an object is pseudo: what a network made is no measure of networks.
    """
    if any(item.pseudo for item in objects):
        raise ValueError("pseudo objects are never measured on")
    scores = {"box": np.zeros(len(objects)), "point": np.zeros(len(objects))}
    sections = sorted({item.z for item in objects})
    for done, z in enumerate(sections, start=1):
        members = [n for n, item in enumerate(objects) if item.z == z]
        embedding = segmenter.embed(read_section(z)) if embed is None else embed(z)
        for kind, prompt_of in (("box", box_prompt), ("point", point_prompt)):
            answers = segmenter.masks(embedding, [prompt_of(objects[n]) for n in members])
            for n, answer in zip(members, answers, strict=True):
                scores[kind][n] = object_overlap(objects[n], answer.mask)
        report(done, len(sections))
    return scores


def box_prompt(item: SectionObject) -> Prompt:
    """Return the tight box of an object."""
    y0, x0, y1, x1 = item.box
    return Prompt(box=(float(y0), float(x0), float(y1), float(x1)))


def point_prompt(item: SectionObject) -> Prompt:
    """Return the pixel of an object that is farthest from its rim."""
    depth = ndimage.distance_transform_edt(np.pad(item.mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), item.mask.shape)
    place = np.array([[y + item.box[0], x + item.box[1]]], np.float32)
    return Prompt(points=place, positive=np.ones(1, np.bool_))


def object_overlap(item: SectionObject, mask: NDArray[np.bool_]) -> float:
    """Return the intersection over union of an object and a mask of its section, (Y, X)."""
    y0, x0, y1, x1 = item.box
    shared = int((mask[y0:y1, x0:x1] & item.mask).sum())
    return shared / max(1, item.area + int(mask.sum()) - shared)
