"""How much of an object one box finds in 3D: its mask carried through all sections, against labels.

Each object begins in the section where it is largest, with the tight box of its largest part there.
Nobody corrects anything, so this is what a user would be given to start with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import CancelledError, SettingsError
from napari_neuropil.workflows.examined_sections import Examined, ExaminedSections
from napari_neuropil.workflows.prompting.segment_sections import CoarseSection, FineSection
from napari_neuropil.workflows.requests import Progress, Report
from napari_neuropil.workflows.results import open_segments

if TYPE_CHECKING:
    from napari_neuropil.prompts.propagation import PropagatedSection
    from napari_neuropil.prompts.propagation_evidence import Stop
    from napari_neuropil.prompts.segmenter import ImageEmbedding, Segmenter
    from napari_neuropil.training.section_objects import SectionObject

_KEPT: Final = 128
"""Embeddings in memory; some MB each."""
_IN_3D: Final = ("recall", "leak", "dice", "complete", "doubtful_stops")
_COMPLETE: Final = 0.5
"""Intersection over union from which on an object counts as found in a section."""


@dataclass(frozen=True, slots=True)
class FollowedObject:
    """One object, and what came of its box.

    Parameters
    ----------
    label : int
        In the labels.
    begin : int
        The section it began in.
    box_iou : float
        Of the mask in that section.
    recall, leak, dice : float
        In 3D: found voxels, wrong voxels, both over the object's voxels; and the overlap.
    complete : float
        Share of the object's sections in which the intersection over union is at least 0.5.
    doubtful_stops : int
        Places where following gave up for another reason than the end of the volume.
    """

    label: int
    begin: int
    box_iou: float
    recall: float
    leak: float
    dice: float
    complete: float
    doubtful_stops: int


@dataclass(frozen=True, slots=True)
class FollowScores:
    """Means over objects, and each of them.

    Parameters
    ----------
    each : tuple of FollowedObject
        By label.
    """

    each: tuple[FollowedObject, ...]

    def means(self) -> dict[str, float]:
        """Return how many there are, and the means, by names that say they are of 3D."""
        values = {name: [getattr(item, name) for item in self.each] for name in _IN_3D}
        return {
            "followed": len(self.each),
            **{f"{name}_3d": float(np.mean(some)) for name, some in values.items()},
        }

    def as_dict(self) -> dict[str, Any]:
        """Return means and single objects, for JSON."""
        return {**self.means(), "each_3d": [asdict(item) for item in self.each]}


def evaluate_following(
    image: str | Path,
    labels: str | Path,
    segmenter: Segmenter,
    examined: Examined | None = None,
    *,
    project: str | Path | None = None,
    report: Report = lambda _progress: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> FollowScores:
    """Follow each object from one box through all sections, and compare with the labels.

    Parameters
    ----------
    image, labels : path-like
        Volumes of one shape; label 0 is nothing.
    segmenter : Segmenter
        Tiled where sections are longer than it sees.
    examined : Examined, optional
        What of the volume is looked at. Objects whose largest part is too small do not count.
    project : path-like, optional
        A project of this part of the image: its segments correct the masks, as in the dock.
    report : callable
        Hears of the stages ``objects`` and ``follow``.
    cancelled : callable
        Asked before each section and step.

    Raises
    ------
    NeuropilError
        If a volume or the project cannot be read, the shapes differ, or no object is left.
    """
    from napari_neuropil.prompts.propagation import propagate
    from napari_neuropil.prompts.propagation_settings import Sections
    from napari_neuropil.training.held_out_scores import box_prompt

    part = ExaminedSections(image, labels, examined or Examined())
    first = part.all.start

    @lru_cache(maxsize=_KEPT)
    def embedding_of(z: int) -> ImageEmbedding:
        return segmenter.embed(part.image(first + z))

    sections = Sections(part.shape, embedding_of)
    each = []
    with _segments(project, part) as segments_of:
        areas = _areas(part, report, cancelled)
        walk = partial(
            propagate,
            segmenter=segmenter,
            sections=sections,
            segments_of=segments_of,
            cancelled=cancelled,
        )
        for done, (label, counts) in enumerate(sorted(areas.items())):
            report(Progress(stage="follow", done=done, total=len(areas)))
            piece = _largest_piece(label, counts, part)
            if piece is None:
                continue
            (answer,) = segmenter.masks(embedding_of(piece.z - first), [box_prompt(piece)])
            each.append(_follow(piece, answer.mask, counts, part, walk))
            _stop_if(cancelled)
    report(Progress(stage="follow", done=len(areas), total=len(areas)))
    if not each:
        raise SettingsError(
            "There is no object to be followed.",
            "labels with parts that are large enough",
            "choose other ids or sections, or a smaller --smallest.",
        )
    return FollowScores(tuple(each))


def _areas(
    part: ExaminedSections, report: Report, cancelled: Callable[[], bool]
) -> dict[int, dict[int, int]]:
    """Return the pixels of each label by section."""
    areas: dict[int, dict[int, int]] = {}
    for done, z in enumerate(part.all):
        _stop_if(cancelled)
        report(Progress(stage="objects", done=done, total=len(part.all)))
        labels = part.labels(z)
        chosen = set(part.chosen(labels))
        for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
            if int(label) in chosen:
                areas.setdefault(int(label), {})[z] = int(count)
    report(Progress(stage="objects", done=len(part.all), total=len(part.all)))
    return areas


@contextmanager
def _segments(
    project: str | Path | None, part: ExaminedSections
) -> Iterator[Callable[[int], CoarseSection] | None]:
    """Open a project's segments, with all edits, on the pixels that are measured on."""
    if project is None:
        yield None
        return
    with open_segments(project) as segments:
        array = segments.array
        part.check_same(array.shape, str(project))
        factors = (part.examined.factor,) * 2
        yield lambda z: CoarseSection(FineSection(array, z), factors)


def _largest_piece(
    label: int, counts: Mapping[int, int], part: ExaminedSections
) -> SectionObject | None:
    """Return the largest part of an object where the object is largest; None if it is small."""
    from napari_neuropil.training.section_objects import find_objects

    z = max(counts, key=lambda z: (counts[z], -z))
    pieces = find_objects(part.labels(z), z, [label], smallest=part.examined.smallest)
    return max(pieces, key=lambda item: item.area, default=None)


def _follow(
    piece: SectionObject,
    mask: NDArray[np.bool_],
    counts: Mapping[int, int],
    part: ExaminedSections,
    walk: Callable[..., Iterator[PropagatedSection]],
) -> FollowedObject:
    """Follow one object from the mask of its box, and compare with the labels."""
    from napari_neuropil.training.held_out_scores import object_overlap

    first = part.all.start
    masks = {piece.z - first: mask}
    stops: list[Stop] = []
    if mask.any():
        masks |= {step.z: step.mask for step in walk(dict(masks), on_stop=stops.append)}
    shared, extra, complete = 0, 0, 0
    for z, found in masks.items():
        inside = part.labels(first + z) == piece.segment
        both, area = int((found & inside).sum()), int(found.sum())
        shared, extra = shared + both, extra + area - both
        union = area + counts.get(first + z, 0) - both
        complete += both > 0 and both / union >= _COMPLETE
    size = sum(counts.values())
    return FollowedObject(
        label=piece.segment,
        begin=piece.z,
        box_iou=object_overlap(piece, mask),
        recall=shared / size,
        leak=extra / size,
        dice=2 * shared / (size + shared + extra),
        complete=complete / len(counts),
        doubtful_stops=sum(stop.is_doubtful for stop in stops),
    )


def _stop_if(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise CancelledError("Stopped.", "", "start again any time.")
