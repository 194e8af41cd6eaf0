"""What an existing 3D segmentation says of masks: which of its segments they lie in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.prompts.section_masks import SectionMasks


class SectionSegments(Protocol):
    """The segments of a section, (Y, X) whole numbers, 0 where there is none; an array is one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(Y, X)."""
        ...

    def __getitem__(self, window: tuple[slice, slice], /) -> NDArray[Any]:
        """Return a window; what is not in memory is read now."""
        ...


SegmentsOf = Callable[[int], SectionSegments | None]
"""Gives the segments of a section; None where nothing is known."""

_KNOWN: Final = 0.5  # of a mask must lie in segments, else they say nothing of it

Shares = list[dict[int, float]]
"""Of each mask of a section: which share of its pixels lies in which segment."""


def segment_shares(masks: SectionMasks, segments: SectionSegments) -> Shares:
    """Count the segments below each mask.

    Parameters
    ----------
    masks : SectionMasks
        Of one section.
    segments : SectionSegments
        Segments, not fragments that end in the section: ids must mean the same in all sections.
    """
    shares: Shares = []
    for crop, (y0, x0, y1, x1), area in zip(masks.crops, masks.boxes, masks.areas, strict=True):
        ids, counts = np.unique(segments[y0:y1, x0:x1][crop], return_counts=True)
        shares.append(
            {int(i): int(n) / int(area) for i, n in zip(ids, counts, strict=True) if i != 0}
        )
    return shares


def agreement(
    first: Shares | None,
    second: Shares | None,
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
) -> NDArray[np.float64]:
    """Return the share of their pixels that pairs of masks have in common segments.

    Parameters
    ----------
    first, second : Shares or None
        Of two sections; None where nothing is known.
    rows, columns : NDArray[np.intp], (P,)
        Masks of the first and the second section.

    Returns
    -------
    NDArray[np.float64], (P,)
        In [0, 1]; NaN where a mask lies mostly outside all segments, and everywhere if the two
        sections have no segment in common: ids of single sections would contradict every link.
    """
    result = np.full(len(rows), np.nan)
    if first is None or second is None:
        return result
    if not {i for share in first for i in share} & {i for share in second for i in share}:
        return result
    for pair, (i, j) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
        one, other = first[i], second[j]
        if min(sum(one.values()), sum(other.values())) >= _KNOWN:
            result[pair] = sum(min(n, other.get(name, 0.0)) for name, n in one.items())
    return result
