"""What to learn from and what to measure on, so that neither knows of the other.

Neighbouring sections show nearly the same picture. A random choice of sections would therefore
measure how well a network remembers; held out is a block of sections with a gap before it, or
whole segments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from napari_neuropil.errors import SettingsError
from napari_neuropil.training.section_objects import SectionObject


class SplitSettings(BaseModel):
    """How corrections are divided."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: Literal["sections", "segments"] = Field(
        "sections", description="What is held out: a block of sections, or whole segments."
    )
    held_out: float = Field(
        0.2, gt=0, lt=1, description="Share of the corrected objects, at least."
    )
    gap: int = Field(
        1, ge=0, description="Sections between the two blocks; those of 8 nm want 5 or more."
    )
    enough_objects: int = Field(30, ge=1, description="Fewer to learn from give a warning.")
    enough_sections: int = Field(5, ge=1, description="Fewer to learn from give a warning.")
    seed: int = Field(0, ge=0, description="Of the choice of segments.")


@dataclass(frozen=True, eq=False, slots=True)
class TuningSplit:
    """Corrections, divided.

    Parameters
    ----------
    training : tuple of SectionObject
        To learn from.
    held_out : tuple of SectionObject
        To measure on; none of them pseudo.
    left_out : int
        Objects in neither part: in the gap, or pseudo in held-out sections.
    warnings : tuple of str
        What the user should know before the start.
    """

    training: tuple[SectionObject, ...]
    held_out: tuple[SectionObject, ...]
    left_out: int
    warnings: tuple[str, ...]


def split_objects(objects: Sequence[SectionObject], settings: SplitSettings) -> TuningSplit:
    """Divide objects into a part to learn from and a part to measure on.

    Parameters
    ----------
    objects : sequence of SectionObject
        Of all chosen sections.
    settings : SplitSettings
        By what, and how much.

    Raises
    ------
    SettingsError
        If one of the parts would be empty.
    """
    corrected = [item for item in objects if not item.pseudo]
    if settings.by == "sections":
        first = _first_held_out_section(corrected, settings.held_out)
        training = [item for item in objects if item.z < first - settings.gap]
        held_out = [item for item in corrected if item.z >= first]
    else:
        segments = _held_out_segments(corrected, settings)
        training = [item for item in objects if item.segment not in segments]
        held_out = [item for item in corrected if item.segment in segments]
    if not held_out or not any(not item.pseudo for item in training):
        sections = len({item.z for item in corrected})
        count = len({item.segment for item in corrected})
        raise SettingsError(
            f"{len(corrected)} corrected objects of {count} segments in {sections} sections cannot "
            f"be divided by {settings.by} with a gap of {settings.gap}.",
            "corrected objects to learn from, and others to measure on",
            "correct more, hold out segments instead of sections, or make the gap smaller.",
        )
    left_out = len(objects) - len(training) - len(held_out)
    return TuningSplit(
        tuple(training), tuple(held_out), left_out, _warnings(training, held_out, settings)
    )


def _first_held_out_section(corrected: Sequence[SectionObject], share: float) -> int:
    """Return the section from which on the wanted share of the objects lies."""
    wanted, held = share * len(corrected), 0
    sections = np.array([item.z for item in corrected])
    for z in sorted(set(sections.tolist()), reverse=True):
        held += int((sections == z).sum())
        if held >= wanted:
            return int(z)
    return 0


def _held_out_segments(corrected: Sequence[SectionObject], settings: SplitSettings) -> set[int]:
    counts: dict[int, int] = {}
    for item in corrected:
        counts[item.segment] = counts.get(item.segment, 0) + 1
    order = np.random.default_rng(settings.seed).permutation(sorted(counts))
    chosen: set[int] = set()
    held = 0
    for segment in order[:-1]:  # one is left to learn from
        if held >= settings.held_out * len(corrected):
            break
        chosen.add(int(segment))
        held += counts[int(segment)]
    return chosen


def _warnings(
    training: Sequence[SectionObject],
    held_out: Sequence[SectionObject],
    settings: SplitSettings,
) -> tuple[str, ...]:
    own = [item for item in training if not item.pseudo]
    sections = len({item.z for item in own})
    found = []
    if len(own) < settings.enough_objects or sections < settings.enough_sections:
        found.append(
            f"{len(own)} corrected objects from {sections} sections to learn from. With fewer than "
            f"{settings.enough_objects} from {settings.enough_sections} a network mostly learns "
            "these by heart; if it is not better on the held-out part, it is not used."
        )
    if settings.by == "segments" and {item.z for item in own} & {item.z for item in held_out}:
        found.append(
            "Held-out segments lie in sections that are learned from: the score tells of other "
            "objects in these sections, not of other sections."
        )
    return tuple(found)
