"""From masks a user accepted in some sections to the whole object.

Outward from the first and the last accepted section, and into the gaps between two of them from
both ends. Nothing that was accepted is ever written: not the sections known at the start, nor
those the user accepts while the work goes on.

In a gap both ends are carried through all of it, and each must come out inside the mask that was
accepted at the other end. One that does not has leaked into a neighbour: what the other one says
goes first, and of the one that leaked at most its own half is kept. Branches that only one end
sees are kept.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import VolumeFormatError
from napari_neuropil.prompts.packed_mask import (
    PackedMask,
    mask_overlap,
    masks_united,
    overlap_area,
)
from napari_neuropil.prompts.propagation_evidence import Evidence, Stop
from napari_neuropil.prompts.propagation_settings import PropagationSettings, Sections
from napari_neuropil.prompts.section_questions import SectionQuestions
from napari_neuropil.prompts.section_walk import SectionWalk, WalkStep, Way
from napari_neuropil.prompts.segment_evidence import SegmentsOf
from napari_neuropil.prompts.segment_guide import SegmentGuide
from napari_neuropil.prompts.segmenter import Segmenter


class PropagatedSection(NamedTuple):
    """A section that was filled in.

    Parameters
    ----------
    z : int
        The section.
    mask : NDArray of bool, (Y, X)
        Of the whole object there; replaces what was there. May be empty: in a gap, where an end
        turned out to have leaked.
    evidence : Evidence
        What speaks for it.
    """

    z: int
    mask: NDArray[np.bool_]
    evidence: Evidence


def reach_of_edit(accepted: Mapping[int, object], z: int, depth: int) -> range:
    """Return the sections that propagation from section `z` may change.

    Parameters
    ----------
    accepted : mapping
        By section; other accepted sections are the borders.
    z : int
        The section that was edited.
    depth : int
        Sections of the volume.

    Returns
    -------
    range
        `z` included. Take out of it what was propagated before, then propagate again.
    """
    below = max((n for n in accepted if n < z), default=-1)
    above = min((n for n in accepted if n > z), default=depth)
    return range(below + 1, above)


def propagate(
    accepted: Mapping[int, NDArray[np.bool_]],
    segmenter: Segmenter,
    sections: Sections,
    settings: PropagationSettings | None = None,
    *,
    segments_of: SegmentsOf | None = None,
    edited: int | None = None,
    on_stop: Callable[[Stop], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Iterator[PropagatedSection]:
    """Carry an object through the sections between and beyond those that were accepted.

    Parameters
    ----------
    accepted : mapping of int to NDArray of bool, (Y, X)
        Masks by section. An empty mask says that the object is not there: nothing passes it. The
        mapping is looked at anew in every step, so a section that is added meanwhile is safe.
    segmenter : Segmenter
        Gives the masks.
    sections : Sections
        The volume and its embeddings.
    settings : PropagationSettings, optional
        Thresholds.
    segments_of : callable, optional
        Segments of an existing 3D segmentation, as evidence (`segment_guide`).
    edited : int, optional
        An accepted section: only what lies between its accepted neighbours is carried on
        (`reach_of_edit`), all else stays.
    on_stop : callable, optional
        Hears where and why pieces of the object end, when a direction or a gap is done.
    cancelled : callable, optional
        Asked before each step; True ends the work, with a stop "cancelled" for what was left.

    Yields
    ------
    PropagatedSection
        As soon as it is known. A section may come again, and the last word counts: a branch may
        join it, and of a gap the other end may know better.

    Raises
    ------
    VolumeFormatError
        If an accepted mask does not fit the volume, or the edited section was not accepted.
    """
    settings = settings or PropagationSettings()
    masks = {z: _packed(z, mask, sections) for z, mask in sorted(accepted.items())}
    if edited is not None and edited not in masks:
        raise VolumeFormatError(
            f"section {edited}, edited but not accepted", "one of the accepted sections"
        )
    guide = None if segments_of is None else SegmentGuide(segments_of)
    questions = SectionQuestions(segmenter, sections, settings, guide)
    never = cancelled or (lambda: False)
    for low, high in _spans(list(masks), sections.shape[0], edited):
        first, last = masks.get(low), masks.get(high)
        walks = [
            (SectionWalk(Way(origin, step, end, accepted, never), questions), mask)
            for origin, step, end, mask in ((low, 1, high, first), (high, -1, low, last))
            if mask is not None
        ]
        stops: list[Stop] = []
        if len(walks) == 2:
            (up, one), (down, other) = walks
            gap = _Gap(up, down, one, other, questions)
            steps: Iterator[_Step | WalkStep] = gap.run()
            stops = gap.stops
        elif walks:
            steps = walks[0][0].run(walks[0][1])
            stops = walks[0][0].stops
        else:
            continue
        for step in steps:
            if step.z not in accepted:
                mask = _full(step.mask, sections.section_shape)
                yield PropagatedSection(step.z, mask, step.evidence)
        for stop in stops:
            if on_stop is not None:
                on_stop(stop)


def _packed(z: int, mask: NDArray[np.bool_], sections: Sections) -> PackedMask | None:
    if not sections.has(z) or mask.shape != sections.section_shape:
        raise VolumeFormatError(
            f"a mask of shape {mask.shape} accepted in section {z} of a volume of {sections.shape}",
            f"sections 0 to {sections.shape[0] - 1} with masks of {sections.section_shape}",
        )
    return PackedMask.of(mask.astype(np.bool_, copy=False))


def _full(mask: PackedMask | None, shape: tuple[int, int]) -> NDArray[np.bool_]:
    return mask.onto(shape) if mask is not None else np.zeros(shape, np.bool_)


def _spans(accepted: list[int], depth: int, edited: int | None) -> list[tuple[int, int]]:
    """Return the pairs of borders with sections between them; gaps first."""
    borders = [-1, *accepted, depth]
    spans = [(a, b) for a, b in itertools.pairwise(borders) if b - a > 1]
    if edited is not None:
        spans = [span for span in spans if edited in span]
    return sorted(spans, key=lambda span: span[0] < 0 or span[1] >= depth)


class _Step(NamedTuple):
    """A section of a gap; its mask may be gone."""

    z: int
    mask: PackedMask | None
    evidence: Evidence


class _Gap:
    """The sections between two accepted ones."""

    def __init__(
        self,
        up: SectionWalk,
        down: SectionWalk,
        first: PackedMask,
        last: PackedMask,
        questions: SectionQuestions,
    ) -> None:
        self.stops: list[Stop] = []
        self._walks = ((up, first), (down, last))
        self._questions = questions
        self._evidence: dict[tuple[int, int], Evidence] = {}

    def run(self) -> Iterator[_Step]:
        """Walk from both ends, then say what both of them make of it."""
        (up, first), (down, last) = self._walks
        shown: dict[int, PackedMask] = {}
        for walk, mask in self._walks:
            for step in walk.run(mask):
                self._evidence[step.z, walk.way.direction] = step.evidence
                mask_now = masks_united([step.mask, *self._other(walk, step.z)]) or step.mask
                shown[step.z] = mask_now
                yield _Step(step.z, mask_now, self._judged(step.z, walk))
        if any(stop.reason == "cancelled" for walk, _ in self._walks for stop in walk.stops):
            self.stops += [*up.stops, *down.stops]
            return
        landed = {1: self._landed(up, last), -1: self._landed(down, first)}
        final = self._agreed(landed)
        self._note_stops(final, landed)
        for z in sorted(shown):
            agreed = final.get(z)
            if agreed is None or agreed.area != shown[z].area:
                walk = up if (z, 1) in self._evidence else down
                yield _Step(z, agreed, self._judged(z, walk))

    def _other(self, walk: SectionWalk, z: int) -> list[PackedMask]:
        found = [other.found.get(z) for other, _ in self._walks if other is not walk]
        return [mask for mask in found if mask is not None]

    def _judged(self, z: int, walk: SectionWalk) -> Evidence:
        """Return a section's evidence with the agreement of both ends."""
        evidence = self._evidence[z, walk.way.direction]
        (up, _), (down, _) = self._walks
        one, other = up.found.get(z), down.found.get(z)
        if one is None or other is None:
            return evidence
        return replace(evidence, agreement=mask_overlap(one, other))

    def _landed(self, walk: SectionWalk, accepted: PackedMask) -> float | None:
        """Return which share of a walk comes out inside the accepted mask; None if it stopped."""
        way = walk.way
        last = way.end - way.direction
        moved = [self._questions.sections.moved(p, last, way.end) for p in walk.arrived]
        answers = self._questions.ask(way.end, [p for p in moved if p is not None])
        landing = masks_united([answer.mask for answer in answers if answer is not None])
        if landing is None:
            return None
        return overlap_area(landing, accepted) / landing.area

    def _agreed(self, landed: Mapping[int, float | None]) -> dict[int, PackedMask]:
        """Return the masks of the gap."""
        least = self._questions.settings.agreement
        (up, _), (down, _) = self._walks
        middle = (up.way.origin + up.way.end) / 2
        missed = {step for step, share in landed.items() if share is not None and share < least}
        final: dict[int, PackedMask] = {}
        for walk in (up, down):
            if walk.way.direction not in missed:
                for z, mask in walk.found.items():
                    final[z] = masks_united([mask, *([final[z]] if z in final else [])]) or mask
        for walk in (up, down):
            step = walk.way.direction
            if step in missed:
                # It went astray somewhere, more likely far from where it began.
                near = {z: mask for z, mask in walk.found.items() if (middle - z) * step >= 0}
                final = near | final
        return final

    def _note_stops(
        self, final: Mapping[int, PackedMask], landed: Mapping[int, float | None]
    ) -> None:
        least = self._questions.settings.agreement
        for walk, _ in self._walks:
            # What one end lost and the other filled in needs no look.
            self.stops += [s for s in walk.stops if s.z not in final]
            share = landed[walk.way.direction]
            if share is not None and share < least and walk.arrived:
                way = walk.way
                self.stops.append(
                    Stop.of_piece(way.end, way.direction, "gap", share, walk.arrived[0])
                )
