"""Which masks came from the box alone, and how they are asked for anew. No Qt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from napari_neuropil.plugin.dendrites.records import Proposal
from napari_neuropil.plugin.dendrites.work import Work


def unedited(work: Work) -> tuple[int, ...]:
    """Return the proposals whose mask is the segmenter's answer to a box, and to nothing else.

    Left out are those refined by points, paint or a scribble, those that somebody accepted or
    rejected, and those nobody has asked a mask for yet: that one comes from the present segmenter
    anyway.
    """
    return tuple(number for number, proposal in work.proposals.items() if _box_alone(proposal))


def forgetting(work: Work, numbers: Iterable[int]) -> Work:
    """Return the work in which the masks of some proposals are to be asked for.

    The old masks are shown until the new ones are there. Answers that are still on their way to
    the old prompts count no more.
    """
    changed = []
    for number in numbers:
        proposal = work.proposals[number]
        section = replace(proposal.section, prompts=replace(proposal.section.prompts), known=False)
        changed.append(replace(proposal, section=section))
    return work.with_proposals(changed) if changed else work


def _box_alone(proposal: Proposal) -> bool:
    section = proposal.section
    prompts = section.prompts
    return (
        proposal.state == "proposed"
        and prompts.box is not None
        and not prompts.dots
        and prompts.base is None
        and (section.known or section.mask is not None)
    )
