"""What is asked of the worker, and where each answer belongs. No Qt.

An answer counts for the prompts it was asked for and for no others: what the user changed since is
asked anew, and what was undone keeps the mask it had.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from napari_neuropil.plugin.dendrites.cross_section import Prompts, mask_wish
from napari_neuropil.plugin.dendrites.following import (
    FollowOptions,
    begun,
    edited_section,
    propagate_wish,
    section_found,
    stopped,
)
from napari_neuropil.plugin.dendrites.records import Target
from napari_neuropil.plugin.dendrites.work import Work
from napari_neuropil.workflows.prompting.messages import (
    CLOSING,
    BoxesFound,
    Detect,
    Event,
    Finished,
    MaskFound,
    MaskWish,
    Propagate,
    SectionFound,
)

_ANY: Final = -1


@dataclass(frozen=True)
class LongWork:
    """The one request that takes long.

    Parameters
    ----------
    id : int
        Of the request.
    kind : str
        detect or follow.
    dendrite : int
        That is followed.
    done, total : int
        Sections; a total of 0 is unknown.
    """

    id: int
    kind: Literal["detect", "follow"]
    dendrite: int = _ANY
    done: int = 0
    total: int = 0


class PromptDesk:
    """Numbers requests, and puts answers where they belong."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._asked: dict[int, tuple[Target, Prompts]] = {}
        self.long: LongWork | None = None

    @property
    def waiting(self) -> bool:
        """Whether a mask is being worked out."""
        return bool(self._asked)

    def forget(self) -> None:
        """Wait for nothing any more: the worker has ended."""
        self._asked.clear()
        self.long = None

    def wish(self, work: Work, target: Target | None) -> MaskWish | None:
        """Return what to ask for a target; None if its mask is known, asked for, or cannot be."""
        section = None if target is None else work.section_at(target)
        if target is None or section is None or not section.wants_mask:
            return None
        if any(prompts is section.prompts for _, prompts in self._asked.values()):
            return None
        number = next(self._numbers)
        self._asked[number] = (target, section.prompts)
        return mask_wish(number, target.key, target.z, section.prompts)

    def detect(self, sections: Sequence[int], min_score: float) -> Detect:
        """Return the request that finds boxes in some sections."""
        number = next(self._numbers)
        self.long = LongWork(number, "detect", total=len(sections))
        return Detect(id=number, sections=tuple(sections), min_score=min_score)

    def follow(self, work: Work, options: FollowOptions) -> tuple[Work, Propagate | None]:
        """Return the request that carries the dendrite in work on, and the work as it begins."""
        dendrite = work.current_dendrite
        if dendrite is None:
            return work, None
        number = next(self._numbers)
        wish = propagate_wish(number, dendrite, options)
        if wish is None:
            return work, None
        self.long = LongWork(number, "follow", dendrite.id)
        return begun(work, dendrite.id, edited_section(dendrite)), wish

    def answer(self, work: Work, event: Event) -> Work:
        """Return the work after an event of the worker; unchanged where nobody waits for it."""
        if isinstance(event, MaskFound):
            return self._mask_found(work, event)
        long = self.long
        if long is not None and getattr(event, "id", None) == long.id:
            if isinstance(event, BoxesFound):
                self.long = replace(long, done=event.done, total=event.total)
                return work.detected(event.z, event.boxes, event.scores)
            if isinstance(event, SectionFound):
                self.long = replace(long, done=long.done + 1)
                return section_found(work, long.dendrite, event)
            if isinstance(event, CLOSING):
                self.long = None
            if isinstance(event, Finished) and long.kind == "follow":
                return stopped(work, long.dendrite, event.stops)
        if isinstance(event, CLOSING) and event.id is not None:
            self._asked.pop(event.id, None)
        return work

    def _mask_found(self, work: Work, event: MaskFound) -> Work:
        target, prompts = self._asked.pop(event.id, (None, None))
        section = None if target is None else work.section_at(target)
        if target is None or section is None or section.prompts is not prompts:
            return work
        mask = None if event.mask is None else event.mask.packed()
        return work.with_section(target, replace(section, mask=mask, score=event.score, known=True))
