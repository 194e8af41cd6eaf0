"""What a user corrected, as cross-sections on the network's pixels."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import SettingsError, VolumeFormatError
from napari_neuropil.geometry import Roi, Shape
from napari_neuropil.volumes import open_volume
from napari_neuropil.workflows.import_inputs import refuse_markers
from napari_neuropil.workflows.prompting.volume import PromptVolume
from napari_neuropil.workflows.requests import Progress, Report
from napari_neuropil.workflows.results import open_edited
from napari_neuropil.workflows.tuning.choice import ids_of_labels, segments_of_project
from napari_neuropil.workflows.tuning.requests import TuneRequest

if TYPE_CHECKING:
    from napari_neuropil.training.section_objects import SectionObject

_COVERED: Final = 0.1
"""Share of an unchecked mask inside a corrected object from which on the latter counts alone."""

Ids = frozenset[int] | None
"""Segments that are meant; None: all of them."""


@dataclass(frozen=True)
class LabelledSections:
    """Segments, the chosen ones among them, and the sections in which these lie.

    Parameters
    ----------
    read : callable
        Returns the segments of section z of the part, (Y, X).
    chosen : Ids
        Which count.
    sections : sequence of int
        Where they may lie, ascending.
    """

    read: Callable[[int], NDArray[Any]]
    chosen: Ids
    sections: Sequence[int]


@dataclass(frozen=True)
class Corrections:
    """Cross-sections on the network's pixels.

    Parameters
    ----------
    objects : tuple of SectionObject
        Corrected ones, then pseudo ones.
    covered : int
        Pseudo ones that were dropped: a corrected object lies there.
    """

    objects: tuple[SectionObject, ...]
    covered: int


def gather_corrections(
    request: TuneRequest,
    volume: PromptVolume,
    factors: tuple[int, int],
    report: Report = lambda _progress: None,
) -> Corrections:
    """Read the chosen segments, and those marked as pseudo.

    What is marked as pseudo is never corrected, whatever else names it.

    Parameters
    ----------
    request : TuneRequest
        Which segments, where from.
    volume : PromptVolume
        The image.
    factors : tuple of int
        Pixels (y, x) that the network sees as one.
    report : callable
        Hears of the sections.

    Raises
    ------
    NeuropilError
        If labels or project cannot be read or do not fit, or no chosen segment is there.
    """
    with open_sources(request, volume) as (own, pseudo):
        wanted = sorted(
            {z for some in (own, pseudo) if some for z in thinned(some.sections, request)}
        )
        found: list[SectionObject] = []
        guessed: list[SectionObject] = []
        for done, z in enumerate(wanted):
            report(Progress(stage="read", done=done, total=len(wanted)))
            found += _objects(own, z, factors, request.smallest)
            if pseudo is not None:
                guessed += _objects(pseudo, z, factors, request.smallest)
        report(Progress(stage="read", done=len(wanted), total=len(wanted)))
    if not found:
        raise SettingsError(
            f"None of the chosen segments has a cross-section of {request.smallest} pixels.",
            "corrected segments in the image",
            "choose other segments, mark some as done, or give a smaller --smallest.",
        )
    # Ids of other labels mean other things.
    foreign = request.pseudo_labels is not None
    marked = [
        replace(item, pseudo=True, segment=-item.segment if foreign else item.segment)
        for item in guessed
    ]
    kept = drop_covered(marked, found)
    return Corrections((*found, *kept), len(marked) - len(kept))


def thinned(sections: Sequence[int], request: TuneRequest) -> list[int]:
    """Return at most so many sections as a request wants, evenly spread."""
    most = min(len(sections), request.most_sections)
    places = np.unique(np.linspace(0, len(sections) - 1, most).round().astype(int)) if most else ()
    return [sections[int(place)] for place in places]


def drop_covered(
    pseudo: Iterable[SectionObject], corrected: Iterable[SectionObject]
) -> list[SectionObject]:
    """Return the pseudo objects that no corrected one covers.

    Where somebody looked, what a network says is not wanted; and one over a held-out object
    would teach what is to be measured.
    """
    by_section: dict[int, list[SectionObject]] = {}
    for item in corrected:
        by_section.setdefault(item.z, []).append(item)
    return [
        item
        for item in pseudo
        if sum(_shared(item, other) for other in by_section.get(item.z, ())) < _COVERED * item.area
    ]


def _shared(one: SectionObject, other: SectionObject) -> int:
    """Return the pixels that two objects of a section have in common."""
    y0, x0 = max(one.box[0], other.box[0]), max(one.box[1], other.box[1])
    y1, x1 = min(one.box[2], other.box[2]), min(one.box[3], other.box[3])
    if y0 >= y1 or x0 >= x1:
        return 0
    parts = [
        item.mask[y0 - item.box[0] : y1 - item.box[0], x0 - item.box[1] : x1 - item.box[1]]
        for item in (one, other)
    ]
    return int((parts[0] & parts[1]).sum())


def pool_labels(labels: NDArray[Any], factors: tuple[int, int]) -> NDArray[Any]:
    """Return labels at the pixels of an averaged section: those of the middles."""
    fy, fx = factors
    height, width = labels.shape[0] // fy, labels.shape[1] // fx
    pooled: NDArray[Any] = labels[fy // 2 :: fy, fx // 2 :: fx][:height, :width]
    return pooled


def _objects(
    source: LabelledSections, z: int, factors: tuple[int, int], smallest: int
) -> list[SectionObject]:
    from napari_neuropil.training.section_objects import find_objects

    labels = pool_labels(source.read(z), factors)
    chosen = source.chosen
    if chosen is None:
        chosen = frozenset(np.unique(labels).tolist())
    found: list[SectionObject] = find_objects(labels, z, chosen, smallest=smallest)
    return found


@contextmanager
def open_sources(
    request: TuneRequest, volume: PromptVolume
) -> Iterator[tuple[LabelledSections, LabelledSections | None]]:
    """Open what is corrected and what is pseudo, and tell them apart.

    Yields
    ------
    corrected : LabelledSections
        None of them pseudo.
    pseudo : LabelledSections or None
        If any is asked for.

    Raises
    ------
    NeuropilError
        As `gather_corrections`.
    """
    if request.project is not None:
        with open_edited(request.project) as session:
            segments = session.segments()

            def read(z: int) -> NDArray[Any]:
                section: NDArray[Any] = np.asarray(segments.array[z : z + 1, :, :])[0]
                return section

            own = segments_of_project(session, request.segments or "done")
            marked = frozenset[int]()
            if request.pseudo_labels is None:
                marked = segments_of_project(session, request.pseudo)
            own -= marked

            def where(ids: Collection[int]) -> list[int]:
                rois = [session.segment_roi(segment) for segment in ids]
                return sorted({z for roi in rois for z in range(roi.start[0], roi.stop[0])})

            if not own:
                raise SettingsError(
                    f"There is no segment to learn from: {request.segments or 'done'!r} names none "
                    "that is not pseudo too.",
                    "segments that somebody corrected",
                    "mark finished segments as done, or name ids: --segments 1,5-9.",
                )
            given = LabelledSections(read, own, where(own))
            pseudo = LabelledSections(read, marked, where(marked)) if marked else None
            yield given, _foreign_pseudo(request, volume) or pseudo
        return
    read_labels = _open_labels(request.labels or "", volume)
    every = range(volume.shape[0])
    chosen = ids_of_labels(request.segments or "all")
    guessed: Ids = frozenset()
    if request.pseudo_labels is None:
        guessed = ids_of_labels(request.pseudo)
    if guessed is None:
        raise SettingsError("All labels cannot be pseudo.", "ids such as 5,8-24", "")
    given = LabelledSections(_without(read_labels, guessed), chosen, every)
    pseudo = LabelledSections(read_labels, guessed, every) if guessed else None
    yield given, _foreign_pseudo(request, volume) or pseudo


def _foreign_pseudo(request: TuneRequest, volume: PromptVolume) -> LabelledSections | None:
    if request.pseudo_labels is None:
        return None
    ids = ids_of_labels(request.pseudo or "all")
    read = _open_labels(request.pseudo_labels, volume)
    return LabelledSections(read, ids, range(volume.shape[0]))


def _without(
    read: Callable[[int], NDArray[Any]], ids: Collection[int]
) -> Callable[[int], NDArray[Any]]:
    """Return a reader that leaves labels out."""
    if not ids:
        return read
    gone = list(ids)

    def read_rest(z: int) -> NDArray[Any]:
        labels = read(z)
        return np.where(np.isin(labels, gone), 0, labels)

    return read_rest


def _open_labels(path: str, volume: PromptVolume) -> Callable[[int], NDArray[Any]]:
    """Return a reader of labels that lie on the image, or on the part of it."""
    labels = open_volume(Path(path).expanduser())
    if labels.dtype.kind not in "iu":
        raise VolumeFormatError(f"{path} holds {labels.dtype}.", "whole numbers, 0 = nothing", "")
    start: Shape = volume.roi.start
    if labels.shape == volume.shape:
        start = (0, 0, 0)
    elif labels.shape != volume.volume.shape:
        raise VolumeFormatError(
            f"The labels {path} have shape {labels.shape}.",
            f"that of the image, {volume.volume.shape}, or of its part, {volume.shape}",
            "give labels of this image.",
        )
    (z0, y0, x0), (_, height, width) = start, volume.shape

    def read(z: int) -> NDArray[Any]:
        roi = Roi((z0 + z, y0, x0), (z0 + z + 1, y0 + height, x0 + width))
        section: NDArray[Any] = labels.read(roi)[0]
        refuse_markers(section, path, roi)
        return section

    return read
