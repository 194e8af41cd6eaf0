"""The controller of the dock: what the user can do.

Panels talk to this object only, never to each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from napari_neuropil.plugin.dendrites.cross_section import Box
from napari_neuropil.plugin.dendrites.following import FollowOptions
from napari_neuropil.plugin.dendrites.refining_state import RefiningState
from napari_neuropil.plugin.dendrites.work import Work
from napari_neuropil.prompts.packed_mask import PackedMask
from napari_neuropil.workflows.prompting.messages import Cancel


class DendriteController(RefiningState):
    """Everything a button or a key does. Parameters and signals: see `RefiningState`."""

    def undo(self) -> None:
        """Take the last step back; what is being followed ends."""
        self._step(self._history.undo)

    def redo(self) -> None:
        """Make the step again that was taken back last."""
        self._step(self._history.redo)

    def _step(self, move: Callable[[], bool]) -> None:
        if self.desk.long is not None:
            self.cancel()
        if move():
            self._changed()
            self._ask()

    def select(self, number: int | None) -> None:
        """Select a row and go there; its mask is asked for."""
        self._history.amend(lambda work: work.selected(number))
        proposal = self.work.proposal
        if proposal is not None:
            self.look_at(proposal.z, _middle(proposal.box))
        self._changed()
        self._ask()

    def pick(self, number: int) -> None:
        """Select the row of a box that was clicked; the view stays where it is."""
        if number != self.work.current and number in self.work.proposals:
            self._history.amend(lambda work: work.selected(number))
            self._changed()
            self._ask()

    def go_to_next(self, step: int = 1) -> None:
        """Go to the next proposal nobody has decided on."""
        number = self.work.next_open(step)
        if number is None:
            self.message.emit("No other proposal is open.", False)
        else:
            self.select(number)

    def look_at(self, z: int, place: tuple[float, float] | None = None) -> None:
        """Show a section, and a place of it in the middle."""
        self.layers.look_at(z, place)

    def accept(self, *, join: bool = False) -> None:
        """Accept the mask in view."""
        if not self.act(self.work.accepting(self.z, join=join)):
            self.message.emit("There is no mask in this section to accept.", True)

    def reject(self) -> None:
        """Reject the proposal in view; of a dendrite: it is not in this section."""
        if not self.act(self.work.rejecting(self.z)):
            self.message.emit("There is nothing in this section to reject.", True)

    def work_on(self, number: int | None) -> None:
        """Make a dendrite the one in work, and go to its middle section."""
        dendrite = None if number is None else self.work.dendrites.get(number)
        if dendrite is None:
            return
        self._history.amend(lambda work: replace(work, dendrite=dendrite.id, current=None))
        masks = list(dendrite.masks.items())
        if masks:
            z, mask = masks[len(masks) // 2]
            self.look_at(z, _middle(mask.box))
        self._changed()

    def begin_anew(self) -> None:
        """Let the next box or point begin another dendrite."""
        self._history.amend(lambda work: replace(work, current=None, dendrite=None))
        self._changed()

    def turn(self) -> None:
        """Let the next points be of the other sign."""
        self.positive = not self.positive
        self._changed()

    def take_mask(self, mask: PackedMask | None) -> None:
        """Take a mask that was loaded or painted for what is in work in this section."""
        self.act(self.work.with_mask(self.z, mask))

    def detect(self, sections: Sequence[int], min_score: float) -> None:
        """Find boxes in some sections."""
        if self._may_begin():
            self._history.push(replace(self.work))
            self.link.send(self.desk.detect(sections, min_score))
            self.busy_changed.emit()

    def follow(self, options: FollowOptions) -> None:
        """Carry the dendrite in work on through the sections."""
        if not self._may_begin():
            return
        work, wish = self.desk.follow(self.work, options)
        if wish is None:
            self.message.emit(
                "No mask is accepted yet.\nExpected: a dendrite with one accepted mask\n"
                "Cure: draw a box, wait for its mask, and accept it (Q).",
                True,
            )
            return
        self._history.push(work)
        self._changed()
        self.link.send(wish)
        self.message.emit("", False)
        self.busy_changed.emit()

    def cancel(self) -> None:
        """Stop what takes long; what was found so far stays."""
        if self.link.share_copied is not None:
            self.link.stop()
        if self.desk.long is not None:
            self.link.send(Cancel(id=self.desk.long.id))

    def mark_committed(self, dendrite: int, edit: int | None) -> None:
        """Note which edit of the project a dendrite became; None: none any more."""

        def change(work: Work) -> Work:
            known = work.dendrites.get(dendrite)
            return work if known is None else work.with_dendrite(replace(known, committed=edit))

        if self._history.amend(change):
            self._changed()

    def _may_begin(self) -> bool:
        if self.link.ready is None:
            self.message.emit("The segmenter is not running: press Start first.", True)
            return False
        if self.desk.long is not None:
            self.message.emit("Wait for what is running, or cancel it.", True)
            return False
        return True


def _middle(box: Box | None) -> tuple[float, float] | None:
    return None if box is None else ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
