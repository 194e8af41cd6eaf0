"""How much of an object one box finds in 3D: its mask carried through all sections, against labels.

Each object begins in the section where it is largest, with the tight box of its largest part there.
Nobody corrects anything, so this is what a user would be given to start with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import CancelledError, SettingsError
from napari_neuropil.workflows.examined_sections import Examined, ExaminedSections
from napari_neuropil.workflows.requests import Progress, Report

if TYPE_CHECKING:
    from napari_neuropil.prompts.propagation_settings import PropagationSettings, Sections
    from napari_neuropil.prompts.segmenter import ImageEmbedding, Segmenter

_KEPT: Final = 128
"""Embeddings in memory; some MB each."""
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
        names = [field.name for field in fields(FollowedObject)][3:]
        values = {name: [getattr(item, name) for item in self.each] for name in names}
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
    settings: PropagationSettings | None = None,
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
    settings : PropagationSettings, optional
        As in the dock.
    report : callable
        Hears of the stages ``objects`` and ``follow``.
    cancelled : callable
        Asked before each section and step.

    Raises
    ------
    NeuropilError
        If a volume cannot be read, the shapes differ, or no object is left.
    """
    from napari_neuropil.prompts.propagation_settings import Sections

    part = ExaminedSections(image, labels, examined or Examined())
    areas = _areas(part, report, cancelled)
    first = part.all.start

    @lru_cache(maxsize=_KEPT)
    def embedding_of(z: int) -> ImageEmbedding:
        return segmenter.embed(part.image(first + z))

    sections = Sections(part.shape, embedding_of)
    truth = _Truth(part)
    each = []
    for done, (label, counts) in enumerate(sorted(areas.items())):
        report(Progress(stage="follow", done=done, total=len(areas)))
        found = _follow(label, counts, part, truth, segmenter, sections, settings, cancelled)
        if found is not None:
            each.append(found)
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


class _Truth:
    """The labels of sections, a few of them kept."""

    def __init__(self, part: ExaminedSections) -> None:
        self._labels = lru_cache(maxsize=_KEPT)(part.labels)

    def __call__(self, label: int, z: int) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = self._labels(z) == label
        return found


def _follow(
    label: int,
    counts: dict[int, int],
    part: ExaminedSections,
    truth: _Truth,
    segmenter: Segmenter,
    sections: Sections,
    settings: PropagationSettings | None,
    cancelled: Callable[[], bool],
) -> FollowedObject | None:
    """Follow one object; None where its largest part is too small."""
    from napari_neuropil.prompts.propagation import propagate
    from napari_neuropil.prompts.propagation_evidence import Stop
    from napari_neuropil.training.held_out_scores import box_prompt, object_overlap
    from napari_neuropil.training.section_objects import find_objects

    first = part.all.start
    begin = max(counts, key=lambda z: (counts[z], -z))
    wanted = np.where(truth(label, begin), np.uint8(1), np.uint8(0))
    pieces = find_objects(wanted, begin, [1], smallest=part.examined.smallest)
    if not pieces:
        return None
    piece = max(pieces, key=lambda item: item.area)
    (answer,) = segmenter.masks(sections.embedding_of(begin - first), [box_prompt(piece)])
    masks = {begin - first: answer.mask}
    stops: list[Stop] = []
    if answer.mask.any():
        for step in propagate(
            dict(masks), segmenter, sections, settings, on_stop=stops.append, cancelled=cancelled
        ):
            masks[step.z] = step.mask
    _stop_if(cancelled)
    shared, extra, complete = 0, 0, 0
    for z, mask in masks.items():
        inside = truth(label, first + z)
        both, area = int((mask & inside).sum()), int(mask.sum())
        shared, extra = shared + both, extra + area - both
        union = area + counts.get(first + z, 0) - both
        complete += both > 0 and both / union >= _COMPLETE
    size = sum(counts.values())
    return FollowedObject(
        label,
        begin,
        object_overlap(piece, answer.mask),
        shared / size,
        extra / size,
        2 * shared / (size + shared + extra),
        complete / len(counts),
        sum(stop.is_doubtful for stop in stops),
    )


def _stop_if(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise CancelledError("Stopped.", "", "start again any time.")
