"""What the dock keeps of each place and each object, as frozen data. No Qt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from napari_neuropil.plugin.dendrites.cross_section import Box, CrossSection
from napari_neuropil.prompts.packed_mask import PackedMask
from napari_neuropil.workflows.prompting.messages import StopFact

ProposalState = Literal["proposed", "accepted", "rejected"]


@dataclass(frozen=True, eq=False, slots=True)
class Proposal:
    """A place that may be a dendrite: a row of the table.

    Parameters
    ----------
    id : int
        Never given out again.
    z : int
        Section.
    section : CrossSection
        Its prompts and mask.
    found : float, optional
        The detector's score; None: the user's own.
    state : str
        proposed, accepted or rejected.
    dendrite : int, optional
        What it became part of.
    touched : bool
        The user has changed it: a new detection leaves it alone.
    """

    id: int
    z: int
    section: CrossSection
    found: float | None = None
    state: ProposalState = "proposed"
    dendrite: int | None = None
    touched: bool = False

    @property
    def box(self) -> Box | None:
        """Its box, else that of its mask."""
        if self.section.prompts.box is not None:
            return self.section.prompts.box
        mask = self.section.mask
        return None if mask is None else mask.box


@dataclass(frozen=True, eq=False, slots=True)
class Dendrite:
    """A 3D object: what it looks like in each section, and where it was not carried on.

    Parameters
    ----------
    id : int
        Never given out again.
    sections : mapping of int to CrossSection
        By z. One that is accepted and has no mask says that the object is not there.
    stops : tuple of StopFact
        Of the last propagations.
    edited : frozenset of int
        Sections changed since.
    committed : int, optional
        The project's edit that it became.
    """

    id: int
    sections: Mapping[int, CrossSection] = field(default_factory=dict)
    stops: tuple[StopFact, ...] = ()
    edited: frozenset[int] = frozenset()
    committed: int | None = None

    @property
    def masks(self) -> dict[int, PackedMask]:
        """The masks by z, ascending."""
        found = {z: s.mask for z, s in sorted(self.sections.items())}
        return {z: mask for z, mask in found.items() if mask is not None}

    @property
    def accepted(self) -> dict[int, PackedMask | None]:
        """What the user has said, by z; None: not there."""
        return {z: s.mask for z, s in sorted(self.sections.items()) if s.accepted}


@dataclass(frozen=True, slots=True)
class Target:
    """What prompts are for: a proposal, or a dendrite in a section."""

    kind: Literal["proposal", "dendrite"]
    id: int
    z: int

    @property
    def key(self) -> str:
        """Newer wishes with this key replace older ones."""
        return f"{self.kind}-{self.id}-{self.z}"
