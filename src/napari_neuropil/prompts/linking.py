"""Link the masks of many sections into 3D objects.

Sections are read once, in order, and two of them are kept; what remains of a section is its table
of overlaps. The rules then look at all tables together (`link_rules`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import VolumeFormatError
from napari_neuropil.prompts.link_rules import (
    LinkSettings,
    MaskPairs,
    Verdict,
    chains,
    judge_pairs,
)
from napari_neuropil.prompts.linked_masks import DoubtfulLink, LinkedMasks
from napari_neuropil.prompts.packed_mask import PackedMask
from napari_neuropil.prompts.section_masks import (
    OverlapTable,
    SectionMasks,
    aligned_overlaps,
    best_partners,
    count_overlaps,
)
from napari_neuropil.prompts.segment_evidence import (
    SegmentsOf,
    Shares,
    agreement,
    segment_shares,
)


@dataclass(frozen=True, eq=False, slots=True)
class _Section:
    z: int
    masks: SectionMasks
    shares: Shares | None
    first: int  # number of its first mask


@dataclass(eq=False, slots=True)
class _Pairs:
    """Columns of `MaskPairs`, as they come."""

    first: list[NDArray[np.intp]] = field(default_factory=list)
    second: list[NDArray[np.intp]] = field(default_factory=list)
    shared: list[NDArray[np.int64]] = field(default_factory=list)
    agreement: list[NDArray[np.float64]] = field(default_factory=list)
    over: list[NDArray[np.bool_]] = field(default_factory=list)

    def add(self, low: _Section, high: _Section, table: OverlapTable, over: bool) -> None:
        self.first.append(table.first + low.first)
        self.second.append(table.second + high.first)
        self.shared.append(table.shared)
        self.agreement.append(agreement(low.shares, high.shares, table.first, table.second))
        self.over.append(np.full(len(table.first), over))

    def together(self) -> MaskPairs:
        if not self.first:
            none, real = np.zeros(0, np.intp), np.zeros(0)
            return MaskPairs(none, none, none.astype(np.int64), real, real.astype(np.bool_))
        return MaskPairs(
            np.concatenate(self.first),
            np.concatenate(self.second),
            np.concatenate(self.shared),
            np.concatenate(self.agreement),
            np.concatenate(self.over),
        )


def link_masks(
    sections: Iterable[tuple[int, Sequence[PackedMask]]],
    settings: LinkSettings | None = None,
    *,
    segments_of: SegmentsOf | None = None,
) -> LinkedMasks:
    """Link masks into objects.

    Parameters
    ----------
    sections : iterable of (z, masks)
        Ascending z. Masks of a section may overlap; `masks_of_labels` makes them of a label
        image. A bad section is left out or given without masks: objects go on over one.
    settings : LinkSettings, optional
        Thresholds.
    segments_of : callable, optional
        The segments of an existing project in a section, (Y, X), or None there. Masks in different
        segments are linked only where they overlap well, masks in the same one more easily.

    Returns
    -------
    LinkedMasks

    Raises
    ------
    VolumeFormatError
        If sections do not ascend.
    """
    settings = settings or LinkSettings()
    pairs = _Pairs()
    z: list[int] = []
    areas: list[NDArray[np.int64]] = []
    before: list[_Section] = []
    tables: dict[int, OverlapTable] = {}
    counted = 0
    for place, packed in sections:
        if z and place <= z[-1]:
            raise VolumeFormatError(
                f"section {place} after section {z[-1]}", "each section once, ascending"
            )
        masks = SectionMasks.of(packed)
        segments = segments_of(place) if segments_of is not None and len(masks) else None
        shares = segment_shares(masks, segments) if segments is not None else None
        here = _Section(place, masks, shares, counted)
        z.append(place)
        areas.append(masks.areas)
        counted += len(masks)
        if len(masks) == 0:
            continue  # as if it were not there
        before = [section for section in before if place - section.z <= 1 + settings.bridge]
        tables = _link_to(here, before, tables, pairs, settings)
        before = [*before, here][-2:]
    lengths = [len(area) for area in areas]
    numbers = [np.arange(n) for n in lengths]
    return _linked(
        np.repeat(np.array(z, np.int64), np.array(lengths, np.intp)),
        np.concatenate([*numbers, np.zeros(0, np.int64)]).astype(np.int64),
        np.concatenate([*areas, np.zeros(0, np.int64)]),
        pairs.together(),
        settings,
    )


def _link_to(
    here: _Section,
    before: list[_Section],
    tables: dict[int, OverlapTable],
    pairs: _Pairs,
    settings: LinkSettings,
) -> dict[int, OverlapTable]:
    """Add the pairs of a section with those before it; return its table with the last one."""
    if not before:
        return {}
    last = before[-1]
    count = aligned_overlaps if settings.align else count_overlaps
    table = count(last.masks, here.masks)
    pairs.add(last, here, table, over=False)
    if len(before) == 2 and here.z - before[0].z == 2:
        over = _over_one(before[0], last, here, tables[last.z], table, settings)
        pairs.add(before[0], here, over, over=True)
    return {here.z: table}


def _over_one(
    low: _Section,
    middle: _Section,
    high: _Section,
    below: OverlapTable,
    above: OverlapTable,
    settings: LinkSettings,
) -> OverlapTable:
    """Return pairs over a section in which neither has a partner and nobody lies between."""
    left = np.ones(len(low.masks), np.bool_)
    overlap, mutual = best_partners(low.masks, middle.masks, below)
    left[below.first[mutual & (overlap >= settings.min_overlap)]] = False
    right = np.ones(len(high.masks), np.bool_)
    overlap, mutual = best_partners(middle.masks, high.masks, above)
    right[above.second[mutual & (overlap >= settings.min_overlap)]] = False
    rows, columns = np.flatnonzero(left), np.flatnonzero(right)
    shift = (below.shift[0] + above.shift[0], below.shift[1] + above.shift[1])
    free = count_overlaps(_some(low.masks, rows), _some(high.masks, columns), shift)
    first, second = rows[free.first], columns[free.second]
    taken_low = np.bincount(below.first, below.shared, len(low.masks)) / low.masks.areas
    taken_high = np.bincount(above.second, above.shared, len(high.masks)) / high.masks.areas
    kept = (taken_low[first] < 0.5) & (taken_high[second] < 0.5)
    return OverlapTable(first[kept], second[kept], free.shared[kept], shift)


def _some(masks: SectionMasks, which: NDArray[np.intp]) -> SectionMasks:
    crops = [masks.crops[i] for i in which]
    return SectionMasks(crops, masks.boxes[which], masks.areas[which])


def _linked(
    z: NDArray[np.int64],
    mask: NDArray[np.int64],
    area: NDArray[np.int64],
    pairs: MaskPairs,
    settings: LinkSettings,
) -> LinkedMasks:
    """Apply the rules and number the objects."""
    verdict = judge_pairs(area, pairs, settings)
    linked = verdict.linked
    group = chains(pairs.first[linked], pairs.second[linked], len(area))
    _, first, inverse = np.unique(group, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(1, len(first) + 1)
    return LinkedMasks(z, mask, area, rank[inverse], _doubtful(z, mask, area, pairs, verdict))


def _doubtful(
    z: NDArray[np.int64],
    mask: NDArray[np.int64],
    area: NDArray[np.int64],
    pairs: MaskPairs,
    verdict: Verdict,
) -> tuple[DoubtfulLink, ...]:
    """Return the doubtful links, the most worthwhile first."""
    sure = verdict.linked & ~verdict.doubtful
    piece = chains(pairs.first[sure], pairs.second[sure], len(area))
    voxels = np.bincount(piece, area, minlength=1).astype(np.int64)
    links = []
    for row in np.flatnonzero(verdict.doubtful).tolist():
        a, b = int(pairs.first[row]), int(pairs.second[row])
        if piece[a] == piece[b]:
            continue  # one object without it
        links.append(
            DoubtfulLink(
                int(z[a]),
                int(mask[a]),
                int(z[b]),
                int(mask[b]),
                bool(verdict.linked[row]),
                float(verdict.overlap[row]),
                float(pairs.agreement[row]),
                float(verdict.support[row]),
                int(min(voxels[piece[a]], voxels[piece[b]])),
            )
        )
    return tuple(sorted(links, key=lambda link: (-link.worth, link.z, link.mask)))
