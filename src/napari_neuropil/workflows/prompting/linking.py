"""Masks of single sections, put together into objects."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.prompts.link_rules import LinkSettings
from napari_neuropil.prompts.linked_masks import DoubtfulLink
from napari_neuropil.prompts.linking import link_masks
from napari_neuropil.prompts.packed_mask import PackedMask
from napari_neuropil.workflows.prompting.grid import SectionGrid
from napari_neuropil.workflows.prompting.messages import Link, Linked, LinkFact
from napari_neuropil.workflows.prompting.volume import PromptVolume


def link_objects(
    request: Link, volume: PromptVolume, grid: SectionGrid, give_way: Callable[[], None]
) -> Linked:
    """Link masks into objects, in the volume's own pixels.

    Parameters
    ----------
    request : Link
        The masks.
    volume : PromptVolume
        Its project's segments, if there is one, are evidence.
    grid : SectionGrid
        Knows the volume's shape.
    give_way : callable
        Called before each section; may raise to stop.

    Raises
    ------
    SettingsError
        If a mask lies outside the volume.
    ProjectError
        If the project is gone or damaged.
    """
    since = time.perf_counter()
    given: dict[int, list[tuple[int, PackedMask]]] = {}
    for number, item in enumerate(request.masks):
        mask = item.mask.packed()
        grid.check_mask(item.z, mask)
        given.setdefault(item.z, []).append((number, mask))

    def sections() -> Iterator[tuple[int, list[PackedMask]]]:
        for z in sorted(given):
            give_way()
            yield z, [mask for _, mask in given[z]]

    def numbers(z: int, mask: int) -> int:
        return given[z][mask][0]

    settings = LinkSettings(min_overlap=request.min_overlap, bridge=request.bridge)
    with volume.segments() as segments:
        # All over the section: reading it at once is quicker than mask by mask.
        whole = None if segments is None else lambda z: segments(z)[:, :]
        found = link_masks(sections(), settings, segments_of=whole)
    objects: NDArray[Any] = np.zeros(len(request.masks), np.int64)
    for z, mask, object_id in zip(
        found.z.tolist(), found.mask.tolist(), found.object_id.tolist(), strict=True
    ):
        objects[numbers(z, mask)] = object_id
    return Linked(
        id=request.id,
        objects=tuple(objects.tolist()),
        doubtful=tuple(_link_fact(link, numbers) for link in found.doubtful),
        seconds=time.perf_counter() - since,
    )


def _link_fact(link: DoubtfulLink, numbers: Callable[[int, int], int]) -> LinkFact:
    return LinkFact(
        masks=(numbers(link.z, link.mask), numbers(link.other_z, link.other_mask)),
        linked=link.linked,
        overlap=link.overlap,
        agreement=None if math.isnan(link.agreement) else link.agreement,
        support=link.support,
        worth=link.worth,
    )
