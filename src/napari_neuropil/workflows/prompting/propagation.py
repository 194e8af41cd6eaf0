"""Carry an object from the sections a user accepted through the volume, a section at a time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from napari_neuropil.prompts.packed_mask import PackedMask
from napari_neuropil.prompts.propagation import propagate
from napari_neuropil.prompts.propagation_evidence import Stop
from napari_neuropil.prompts.propagation_settings import PropagationSettings, Sections
from napari_neuropil.prompts.section_masks import SectionMasks
from napari_neuropil.prompts.segment_evidence import Shares, agreement, segment_shares
from napari_neuropil.workflows.prompting.grid import SectionGrid
from napari_neuropil.workflows.prompting.mask_bits import MaskBits
from napari_neuropil.workflows.prompting.messages import (
    Event,
    Finished,
    Propagate,
    SectionFound,
    StopFact,
)
from napari_neuropil.workflows.prompting.segment_sections import CoarseSection, FineSection
from napari_neuropil.workflows.prompting.tasks import ServedSegmenter
from napari_neuropil.workflows.prompting.volume import PromptVolume


def propagate_object(
    request: Propagate, volume: PromptVolume, grid: SectionGrid, segmenter: ServedSegmenter
) -> Iterator[Event]:
    """Carry an object on, on the segmenter's pixels.

    Parameters
    ----------
    request : Propagate
        What was accepted.
    volume : PromptVolume
        Its project's segments, if there is one, correct the masks and are compared with them.
    grid : SectionGrid
        Between the volume's pixels and the segmenter's.
    segmenter : ServedSegmenter
        Fetches embeddings; may raise to stop.

    Yields
    ------
    SectionFound
        As masks are known; in the end `Finished` with all stops.

    Raises
    ------
    SettingsError
        If a mask lies outside the volume.
    ProjectError
        If the project is gone or damaged.
    """
    since = time.perf_counter()
    given: dict[int, PackedMask | None] = {}
    for item in request.masks:
        mask = None if item.mask is None else item.mask.packed()
        grid.check_mask(item.z, mask)
        given[item.z] = mask
    accepted = {
        z: np.zeros(grid.coarse_section, np.bool_)
        if mask is None
        else grid.coarse_mask(mask).onto(grid.coarse_section)
        for z, mask in given.items()
    }
    settings = PropagationSettings(
        min_overlap=request.min_overlap, min_score=request.min_score, branches=request.branches
    )
    sections = Sections(grid.coarse_shape, segmenter.embedding_of)
    stops: list[Stop] = []
    with volume.segments() as segments:
        told = _SegmentEvidence(given, segments)
        steps = propagate(
            accepted,
            segmenter,
            sections,
            settings,
            segments_of=_coarse(segments, grid) if segments and request.use_segments else None,
            edited=request.edited,
            on_stop=stops.append,
        )
        for z, found, evidence in steps:
            coarse = PackedMask.of(found)
            mask = None if coarse is None else grid.fine_mask(coarse)
            yield SectionFound(
                id=request.id,
                z=z,
                mask=None if mask is None else MaskBits.of(mask),
                origin=evidence.origin,
                direction=evidence.direction,
                overlap=evidence.overlap,
                area_ratio=evidence.area_ratio,
                score=evidence.score,
                pieces=evidence.pieces,
                agreement=evidence.agreement,
                segments=told.of(z, mask, evidence.origin),
            )
    yield Finished(
        id=request.id,
        seconds=time.perf_counter() - since,
        stops=tuple(_stop_fact(stop, grid.factors) for stop in stops),
    )


def _coarse(
    segments: Callable[[int], FineSection], grid: SectionGrid
) -> Callable[[int], CoarseSection]:
    return lambda z: CoarseSection(segments(z), grid.factors)


class _SegmentEvidence:
    """Whether masks lie in the same segments as the accepted masks they come from."""

    def __init__(
        self,
        accepted: Mapping[int, PackedMask | None],
        segments: Callable[[int], FineSection] | None,
    ) -> None:
        self._accepted = accepted
        self._segments = segments
        self._origins: dict[int, Shares | None] = {}

    def of(self, z: int, mask: PackedMask | None, origin: int) -> float | None:
        """Return the share of a mask in the segments of its origin; None if nothing is known."""
        source = self._accepted.get(origin)
        if self._segments is None or mask is None or source is None:
            return None
        if origin not in self._origins:
            self._origins[origin] = self._shares(origin, source)
        one = np.zeros(1, np.intp)
        share = float(agreement(self._origins[origin], self._shares(z, mask), one, one)[0])
        return None if math.isnan(share) else share

    def _shares(self, z: int, mask: PackedMask) -> Shares | None:
        if self._segments is None:
            return None
        return segment_shares(SectionMasks.of([mask]), self._segments(z))


def _stop_fact(stop: Stop, factors: tuple[int, int]) -> StopFact:
    fy, fx = factors
    y, x = stop.place
    return StopFact(
        z=stop.z,
        direction=stop.direction,
        reason=stop.reason,
        value=stop.value,
        place=(y * fy + fy // 2, x * fx + fx // 2),
        area=stop.area * fy * fx,
        doubtful=stop.is_doubtful,
    )
