"""A dendrite through the sections: what to ask of the worker, and where its answers go. No Qt."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from napari_neuropil.plugin.dendrites.cross_section import CrossSection
from napari_neuropil.plugin.dendrites.records import Dendrite
from napari_neuropil.plugin.dendrites.work import Work
from napari_neuropil.prompts.propagation_settings import PropagationSettings
from napari_neuropil.workflows.prompting.messages import (
    MaskBits,
    Propagate,
    SectionBits,
    SectionFound,
    StopFact,
)


def edited_section(dendrite: Dendrite) -> int | None:
    """Return the section that a propagation may begin from; None: all accepted ones count.

    Where one section was edited since the last propagation, only what lies between its accepted
    neighbours can change.
    """
    carried = any(not s.accepted for s in dendrite.sections.values())
    return next(iter(dendrite.edited)) if carried and len(dendrite.edited) == 1 else None


def reach_of(dendrite: Dendrite, edited: int | None) -> tuple[float, float]:
    """Return the sections, both ends exclusive, that a propagation may change."""
    if edited is None:
        return -math.inf, math.inf
    below = [z for z in dendrite.accepted if z < edited]
    above = [z for z in dendrite.accepted if z > edited]
    return max(below, default=-math.inf), min(above, default=math.inf)


@dataclass(frozen=True, slots=True)
class FollowOptions:
    """How a dendrite is followed.

    Parameters
    ----------
    min_overlap : float
        Least intersection over union with the section before.
    branches : bool
        Whether branches are looked for.
    use_segments : bool
        Whether the project's segments correct the masks.
    """

    min_overlap: float = PropagationSettings().min_overlap
    branches: bool = False
    use_segments: bool = True


def propagate_wish(number: int, dendrite: Dendrite, options: FollowOptions) -> Propagate | None:
    """Return the request that carries a dendrite on; None where no mask is accepted."""
    accepted = dendrite.accepted
    if not any(mask is not None for mask in accepted.values()):
        return None
    return Propagate(
        id=number,
        masks=tuple(
            SectionBits(z=z, mask=None if mask is None else MaskBits.of(mask))
            for z, mask in accepted.items()
        ),
        edited=edited_section(dendrite),
        min_overlap=options.min_overlap,
        branches=options.branches,
        use_segments=options.use_segments,
    )


def begun(work: Work, number: int, edited: int | None) -> Work:
    """Return the work without what a propagation is going to say anew."""
    dendrite = work.dendrites.get(number)
    if dendrite is None:
        return work
    low, high = reach_of(dendrite, edited)
    kept = {z: s for z, s in dendrite.sections.items() if s.accepted or not low < z < high}
    stops = tuple(stop for stop in dendrite.stops if not low < stop.z < high)
    return work.with_dendrite(
        replace(dendrite, sections=kept, stops=stops, edited=frozenset(), committed=None)
    )


def section_found(work: Work, number: int, found: SectionFound) -> Work:
    """Return the work with a section that the worker found; what the user said stays."""
    dendrite = work.dendrites.get(number)
    known = None if dendrite is None else dendrite.sections.get(found.z)
    if dendrite is None or (known is not None and known.accepted):
        return work
    sections = dict(dendrite.sections)
    if found.mask is None:
        sections.pop(found.z, None)
    else:
        sections[found.z] = CrossSection(
            mask=found.mask.packed(),
            known=True,
            score=found.score,
            overlap=found.overlap,
            segments=found.segments,
        )
    return work.with_dendrite(replace(dendrite, sections=sections))


def stopped(work: Work, number: int, stops: tuple[StopFact, ...]) -> Work:
    """Return the work with the stops of a propagation added, by section."""
    dendrite = work.dendrites.get(number)
    if dendrite is None:
        return work
    both = {(s.z, s.direction, s.place): s for s in (*dendrite.stops, *stops)}
    # Where the object has a mask after all, nothing stopped.
    left = [s for s in both.values() if s.reason == "volume" or s.z not in dendrite.masks]
    ordered = tuple(sorted(left, key=lambda s: (s.z, s.direction, s.place)))
    return work.with_dendrite(replace(dendrite, stops=ordered))
