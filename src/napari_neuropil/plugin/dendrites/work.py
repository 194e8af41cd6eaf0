"""The state of the dock as frozen data, and what a user's action makes of it. No Qt.

Each function returns a new `Work` that shares nearly everything with the old one, so that undo is
a list of them and costs no copies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from napari_neuropil.plugin.dendrites.cross_section import Box, CrossSection, Dot, Prompts
from napari_neuropil.plugin.dendrites.records import Dendrite, Proposal, ProposalState, Target
from napari_neuropil.prompts.packed_mask import PackedMask

_SAME_BOX: Final = 0.7
"""Intersection over union from which a detector means a box that the user has dealt with."""


@dataclass(frozen=True, eq=False, slots=True)
class Work:
    """Everything between Start and Commit.

    Parameters
    ----------
    proposals : mapping of int to Proposal
        In the order they came.
    dendrites : mapping of int to Dendrite
        By number.
    current : int, optional
        The selected proposal.
    dendrite : int, optional
        The dendrite that is being followed and committed.
    next_id : int
        For proposals.
    """

    proposals: Mapping[int, Proposal] = field(default_factory=dict)
    dendrites: Mapping[int, Dendrite] = field(default_factory=dict)
    current: int | None = None
    dendrite: int | None = None
    next_id: int = 1

    @property
    def proposal(self) -> Proposal | None:
        """The selected row."""
        return None if self.current is None else self.proposals.get(self.current)

    @property
    def current_dendrite(self) -> Dendrite | None:
        """The dendrite in work."""
        return None if self.dendrite is None else self.dendrites.get(self.dendrite)

    def target_at(self, z: int) -> Target | None:
        """Return what a prompt in a section is for; None: a new proposal."""
        chosen = self.proposal
        if chosen is not None and chosen.state != "accepted" and chosen.z == z:
            return Target("proposal", chosen.id, z)
        if self.current_dendrite is not None and self.dendrite is not None:
            return Target("dendrite", self.dendrite, z)
        return None

    def section_at(self, target: Target) -> CrossSection | None:
        """Return what is known of a target; None: nothing."""
        if target.kind == "proposal":
            proposal = self.proposals.get(target.id)
            return proposal.section if proposal is not None and proposal.z == target.z else None
        dendrite = self.dendrites.get(target.id)
        return None if dendrite is None else dendrite.sections.get(target.z)

    def with_section(self, target: Target, section: CrossSection, *, edited: bool = False) -> Work:
        """Return the work with another cross-section; unchanged where the target is gone.

        Parameters
        ----------
        target : Target
            Which one.
        section : CrossSection
            What it is now.
        edited : bool
            The user changed it: of a dendrite it then counts as accepted.
        """
        if target.kind == "proposal":
            old = self.proposals.get(target.id)
            if old is None:
                return self
            state: ProposalState = "proposed" if edited else old.state
            new = replace(old, section=section, state=state, touched=old.touched or edited)
            return self.with_proposals([new])
        dendrite = self.dendrites.get(target.id)
        if dendrite is None:
            return self
        if edited:
            section = replace(section, accepted=True, overlap=None, segments=None)
        changed = replace(
            dendrite,
            sections={**dendrite.sections, target.z: section},
            edited=dendrite.edited | {target.z} if edited else dendrite.edited,
        )
        return self.with_dendrite(changed)

    def with_proposals(self, proposals: Iterable[Proposal]) -> Work:
        """Return the work with proposals added or replaced."""
        return replace(self, proposals={**self.proposals, **{p.id: p for p in proposals}})

    def with_dendrite(self, dendrite: Dendrite) -> Work:
        """Return the work with a dendrite added or replaced."""
        return replace(self, dendrites={**self.dendrites, dendrite.id: dendrite})

    def added(self, z: int, section: CrossSection, found: float | None = None) -> Work:
        """Return the work with a proposal more, selected if it is the user's own."""
        own = found is None
        proposal = Proposal(self.next_id, z, section, found, touched=own)
        work = replace(self.with_proposals([proposal]), next_id=self.next_id + 1)
        return replace(work, current=proposal.id) if own else work

    def with_new_box(self, z: int, box: Box) -> Work:
        """Return the work with a box that the user drew, selected."""
        return self.added(z, CrossSection(Prompts(box)))

    def without(self, ids: Iterable[int]) -> Work:
        """Return the work without some proposals; dendrites keep what they took from them."""
        gone = set(ids)
        kept = {i: p for i, p in self.proposals.items() if i not in gone}
        return replace(self, proposals=kept, current=None if self.current in gone else self.current)

    def with_box(self, number: int, z: int, box: Box) -> Work:
        """Return the work with a box moved; its mask is asked for again."""
        old = self.proposals.get(number)
        if old is None:
            return self
        prompts = Prompts(box, old.section.prompts.dots if old.z == z else (), None)
        section = CrossSection(prompts, old.section.mask if old.z == z else None)
        state: ProposalState = "proposed" if old.state == "rejected" else old.state
        moved = replace(old, z=z, section=section, state=state, touched=True)
        work = replace(self.with_proposals([moved]), current=number)
        if state != "accepted" or old.dendrite is None:
            return work
        # What it became follows the box, in the section where it was accepted.
        target = Target("dendrite", old.dendrite, z)
        return work.with_section(target, section, edited=True)

    def with_prompts(self, z: int, prompts: Prompts) -> Work:
        """Return the work with other prompts for what is in work there, or a new proposal."""
        target = self.target_at(z)
        if target is None:
            return self.added(z, CrossSection(prompts))
        old = self.section_at(target) or CrossSection()
        # Where nothing says any more where it is, there is nothing to wait for.
        asked = prompts.askable
        mask = old.mask if asked else None
        section = replace(old, prompts=prompts, mask=mask, known=not asked)
        return self.with_section(target, section, edited=True)

    def with_dots(self, z: int, dots: tuple[Dot, ...]) -> Work:
        """Return the work with other points; of a mask without a box they refine that mask."""
        target = self.target_at(z)
        old = None if target is None else self.section_at(target)
        if old is None:
            return self.with_prompts(z, Prompts(dots=dots))
        base = old.prompts.base
        # Carried on, or accepted from a row: the mask is what the points refine.
        if old.prompts.box is None and base is None and not old.prompts.dots:
            base = old.mask
        return self.with_prompts(z, replace(old.prompts, dots=dots, base=base))

    def with_mask(self, z: int, mask: PackedMask | None) -> Work:
        """Return the work with a mask that the user painted or loaded; points refine it."""
        section = CrossSection(Prompts(base=mask), mask, known=True)
        target = self.target_at(z)
        if target is None:
            return self if mask is None else self.added(z, section)
        return self.with_section(target, section, edited=True)

    def selected(self, number: int | None) -> Work:
        """Return the work with a row selected; of an accepted one its dendrite is in work."""
        proposal = None if number is None else self.proposals.get(number)
        if proposal is None:
            return replace(self, current=None)
        dendrite = proposal.dendrite if proposal.dendrite in self.dendrites else self.dendrite
        return replace(self, current=proposal.id, dendrite=dendrite)

    def accepting(self, z: int, *, join: bool = False) -> Work:
        """Return the work with the mask in a section accepted; unchanged without a mask.

        Parameters
        ----------
        z : int
            The section.
        join : bool
            A proposal becomes part of the dendrite in work; otherwise a dendrite of its own.
        """
        target = self.target_at(z)
        section = None if target is None else self.section_at(target)
        if target is None or section is None or section.mask is None:
            return self
        if target.kind == "dendrite":
            return self.with_section(target, section, edited=True)
        dendrite = self.current_dendrite if join else None
        if dendrite is None:
            dendrite = Dendrite(max(self.dendrites, default=0) + 1)
        proposal = replace(
            self.proposals[target.id], state="accepted", dendrite=dendrite.id, touched=True
        )
        work = self.with_proposals([proposal]).with_dendrite(dendrite)
        work = replace(work, dendrite=dendrite.id, current=proposal.id)
        return work.with_section(Target("dendrite", dendrite.id, z), section, edited=True)

    def rejecting(self, z: int) -> Work:
        """Return the work with the proposal rejected; of a dendrite: it is not in this section."""
        target = self.target_at(z)
        if target is None:
            return self
        if target.kind == "dendrite":
            return self.with_section(target, CrossSection(known=True), edited=True)
        return self.with_proposals([replace(self.proposals[target.id], state="rejected")])

    def next_open(self, step: int = 1) -> int | None:
        """Return the next proposal nobody has decided on, round the end; None without one."""
        ids = list(self.proposals)
        if not ids:
            return None
        at = -1 if step > 0 else 0
        if self.current is not None and self.current in self.proposals:
            at = ids.index(self.current)
        for k in range(1, len(ids) + 1):
            number = ids[(at + step * k) % len(ids)]
            if self.proposals[number].state == "proposed" and number != self.current:
                return number
        return None

    def detected(self, z: int, boxes: Iterable[Box], scores: Iterable[float]) -> Work:
        """Return the work with what a detector found in a section.

        Its earlier finds there go, unless the user has touched them; boxes that the user has dealt
        with do not come again.
        """
        stale = [
            p.id
            for p in self.proposals.values()
            if p.z == z and not p.touched and p.state == "proposed" and p.id != self.current
        ]
        work = self.without(stale)
        known = [p.box for p in work.proposals.values() if p.z == z and p.box is not None]
        for box, score in zip(boxes, scores, strict=True):
            if not any(_overlap(box, other) > _SAME_BOX for other in known):
                work = work.added(z, CrossSection(Prompts(box)), float(score))
        return work


def _overlap(a: Box, b: Box) -> float:
    height = min(a[2], b[2]) - max(a[0], b[0])
    width = min(a[3], b[3]) - max(a[1], b[1])
    if height <= 0 or width <= 0:
        return 0.0
    shared = height * width
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)
