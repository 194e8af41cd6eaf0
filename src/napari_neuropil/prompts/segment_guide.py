"""What an existing 3D segmentation says of an object that is carried to the next section.

Segments may be split up or merged, so none is followed. A segment is *held* if most of its
cross-section lies in the object; what that means for the mask found in the next section:

- What it takes of a segment that was there before, and not in the object, is a leak and is cut off.
  So is what it takes of a segment that begins there, unless that lies mostly where the object was.
- A held segment that it covers mostly is filled up.

The thresholds were chosen on sections of a 30 nm volume with projects from split up to badly
merged; none made the walk worse. What did not help there: filling up held segments however little
the mask covers them (leaks were half as large again), asking with the box of the held segments, and
letting these stand in where the segmenter's answer is refused.

It is counted in *patches*, parts of a segment that hang together in one section. A segment that is
joined to another neurite elsewhere has a patch for each, and only those in the object count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from skimage.measure import label

from napari_neuropil.prompts.islands import without_islands
from napari_neuropil.prompts.packed_mask import PackedMask, mask_without, masks_united
from napari_neuropil.prompts.segment_evidence import SectionSegments, SegmentsOf

# scikit-image is untyped.
_label: Final[Callable[..., NDArray[np.intp]]] = label

_HELD: Final = 0.7
"""Share of a segment's patches that lies in the object, from which on it is held."""
_HOME: Final = 0.2
"""Share of the object in a segment, from which on nothing of that is cut off, held or not: it may
be merged with half the neighbourhood."""
_COVERED: Final = 0.7
"""Share of a patch that a mask must cover to be given all of it."""
_SAME: Final = 0.1
"""Share of the pixels around the object that are in the same segment in both sections, below which
ids are taken to be of single sections. In 30 nm sections it is 0.9, badly split up 0.6."""
_BEFORE: Final = 0.5
"""Share of a patch of a new segment that must lie where the object was."""
_MARGIN: Final = 32
"""Pixels around the masks that are looked at, at least."""
_KEPT: Final = 2
"""Sections: to open one may be slow, and a walk needs the one it comes from again."""


@dataclass(frozen=True, eq=False, slots=True)
class _Patches:
    """The patches of a section in a window around the object.

    Parameters
    ----------
    labels : NDArray of int, (height, width)
        Patches from 1; 0 lies in no segment.
    sizes : NDArray[np.int64], (n + 1,)
        Pixels of each patch.
    segment : NDArray[np.int64], (n + 1,)
        Its segment.
    start : tuple of int
        (y, x) of the window.
    """

    labels: NDArray[Any]
    sizes: NDArray[np.int64]
    segment: NDArray[np.int64]
    start: tuple[int, int]

    @classmethod
    def around(cls, masks: Sequence[PackedMask], segments: SectionSegments) -> _Patches:
        """Find the patches around masks."""
        boxes = np.array([mask.box for mask in masks])
        low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
        margin = max(_MARGIN, int((high - low).max()) // 2)
        y0, x0 = (int(n) for n in np.maximum(low - margin, 0))
        y1, x1 = (int(n) for n in np.minimum(high + margin, segments.shape))
        part = segments[y0:y1, x0:x1].astype(np.int64)
        labels = _label(part, background=0, connectivity=1)
        sizes = np.bincount(labels.ravel())
        segment = np.zeros(len(sizes), np.int64)
        segment[labels.ravel()] = part.ravel()
        segment[0] = sizes[0] = 0
        return cls(labels, sizes.astype(np.int64), segment, (y0, x0))

    def share_of(self, segments: SectionSegments) -> float:
        """Return the share of pixels in segments that are in the same one in another section."""
        (y, x), (height, width) = self.start, self.labels.shape
        other = segments[y : y + height, x : x + width].astype(np.int64)
        same = np.count_nonzero((self.segment[self.labels] == other) & (other != 0))
        return same / max(int(self.sizes.sum()), 1)

    def inside(self, mask: PackedMask) -> NDArray[np.int64]:
        """Count the pixels of a mask in each patch."""
        counts = np.bincount(self.labels[self._shown(mask)], minlength=len(self.sizes))
        counts[0] = 0
        return counts.astype(np.int64)

    def masked(self, mask: PackedMask, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return the pixels of a mask in the window, of some patches only."""
        found: NDArray[np.bool_] = self._shown(mask) & chosen[self.labels]
        return found

    def _shown(self, mask: PackedMask) -> NDArray[np.bool_]:
        shown = np.zeros(self.labels.shape, np.bool_)
        (y, x), (height, width) = self.start, self.labels.shape
        y0, x0, y1, x1 = mask.box
        top, left = max(y0, y), max(x0, x)
        bottom, right = min(y1, y + height), min(x1, x + width)
        if top < bottom and left < right:
            crop = mask.crop()[top - y0 : bottom - y0, left - x0 : right - x0]
            shown[top - y : bottom - y, left - x : right - x] = crop
        return shown


@dataclass(frozen=True, eq=False, slots=True)
class SectionHint:
    """What the segments say of one section that the object is carried to.

    Parameters
    ----------
    patches : _Patches
        Of that section.
    foreign : NDArray of bool, (n + 1,)
        What is not the object's.
    held : NDArray of bool, (n + 1,)
        Of segments that lie in the object.
    """

    patches: _Patches
    foreign: NDArray[np.bool_]
    held: NDArray[np.bool_]

    def corrected(self, mask: PackedMask) -> PackedMask | None:
        """Return a mask without leaks, held segments filled up; None if nothing is left."""
        sizes, inside = self.patches.sizes, self.patches.inside(mask)
        cut = self.foreign & (inside > 0)
        added = self.held & (inside >= _COVERED * sizes) & (inside < sizes)
        if not cut.any() and not added.any():
            return mask
        leak = PackedMask.of(self.patches.masked(mask, cut), self.patches.start)
        kept = mask if leak is None else mask_without(mask, [leak])
        fill = PackedMask.of(added[self.patches.labels], self.patches.start)
        whole = masks_united([part for part in (kept, fill) if part is not None])
        if whole is None:
            return None
        return PackedMask.of(without_islands(whole.crop()), whole.start)


class SegmentGuide:
    """Compares a walk with segments, section by section.

    Parameters
    ----------
    segments_of : callable
        Gives the segments of a section, (Y, X), on the pixels of the walk.
    """

    def __init__(self, segments_of: SegmentsOf) -> None:
        self._segments_of = segments_of
        self._read: dict[int, SectionSegments | None] = {}

    def hint(
        self,
        z: int,
        before: PackedMask,
        target: int,
        expected: PackedMask,
        answers: Sequence[PackedMask],
    ) -> SectionHint | None:
        """Return what the segments say of a step; None where they say nothing.

        Parameters
        ----------
        z : int
            The section that was.
        before : PackedMask
            The object there.
        target : int
            The section it is carried to.
        expected : PackedMask
            Where it is expected there.
        answers : sequence of PackedMask
            What the segmenter found.
        """
        first, second = self._section(z), self._section(target)
        if first is None or second is None:
            return None
        there, here = (
            _Patches.around([before], first),
            _Patches.around([expected, *answers], second),
        )
        if here.share_of(first) < _SAME:
            return None
        held, ours = _held(there, before)
        known = np.isin(here.segment, there.segment)
        beside = here.inside(expected) < _BEFORE * here.sizes
        foreign = np.where(known, ~np.isin(here.segment, ours), beside)
        return SectionHint(here, foreign & (here.segment != 0), np.isin(here.segment, held))

    def _section(self, z: int) -> SectionSegments | None:
        if z not in self._read:
            while len(self._read) >= _KEPT:
                del self._read[next(iter(self._read))]
            self._read[z] = self._segments_of(z)
        return self._read[z]


def _held(patches: _Patches, mask: PackedMask) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the segments that an object holds, and those that are not foreign to it."""
    inside = patches.inside(mask)
    names, number = np.unique(patches.segment, return_inverse=True)
    covered = np.bincount(number, inside)
    share = covered / np.maximum(np.bincount(number, patches.sizes * (inside > 0)), 1)
    held = (share >= _HELD) & (names != 0)
    home = (covered >= _HOME * mask.area) & (names != 0)
    return names[held], names[held | home]
