"""What "merge by distance" is asked for, and its proposal in words. No Qt, no napari."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from napari_neuropil.geometry import Roi
    from napari_neuropil.proofreading import ProofreadingSession, Proposal
    from napari_neuropil.proofreading.merge_order import MergeOrder


@dataclass(frozen=True)
class MergeWish:
    """Which contacts are to be merged.

    Parameters
    ----------
    distance : float
        Those below this.
    roi : Roi or None
        Only those in this box.
    segments : tuple of int or None
        Only those of these segments.
    leave_done : bool
        Leave out segments marked done.
    force : bool
        The user said "do it anyway".
    """

    distance: float
    roi: Roi | None = None
    segments: tuple[int, ...] | None = None
    leave_done: bool = False
    force: bool = False

    def means(self, other: MergeWish) -> bool:
        """Return whether both are the same but for `force`, which changes no proposal."""
        return replace(self, force=False) == replace(other, force=False)

    def order(self, session: ProofreadingSession) -> MergeOrder:
        """Return the contacts that are meant, of all distances."""
        return session.merge_order(roi=self.roi, segments=self.segments, leave_done=self.leave_done)

    def propose(self, session: ProofreadingSession) -> Proposal:
        """Work the merge out."""
        return session.propose_merge_below(
            self.distance,
            roi=self.roi,
            segments=self.segments,
            leave_done=self.leave_done,
            force=self.force,
        )


def merge_text(proposal: Proposal) -> str:
    """Return how many segments become how many, and what is left out."""
    gone, groups = len(np.unique(proposal.effect.before)), len(proposal.sides)
    return " ".join([f"{gone + groups:,} segments become {groups:,}.", *proposal.notices])
