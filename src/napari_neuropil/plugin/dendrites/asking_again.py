"""Asks for many masks anew, one after the other, so that a click in between is answered at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_neuropil.plugin.dendrites.records import Target
from napari_neuropil.plugin.dendrites.unedited import forgetting, unedited

if TYPE_CHECKING:
    from napari_neuropil.plugin.dendrites.dendrite_controller import DendriteController


class AskingAgain(QObject):
    """The proposals that wait for their new mask.

    Parameters
    ----------
    controller : DendriteController
        Whose work it is, and whose worker answers.
    parent : QObject, optional
        The owner.

    Signals
    -------
    changed : no argument
        Read `left` and `total`.
    """

    changed = Signal()

    def __init__(self, controller: DendriteController, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._numbers: list[int] = []
        self.total = 0
        # The controller listens first: when this is called the answer is in its place.
        controller.link.answered.connect(self._go_on)
        controller.link.ended.connect(self._forget)

    @property
    def left(self) -> int:
        """How many have not been asked for yet."""
        return len(self._numbers)

    def ask(self) -> int:
        """Ask anew where nobody edited; return for how many. One undo takes all of it back."""
        controller = self._controller
        if controller.link.ready is None:
            return 0
        numbers = unedited(controller.work)
        self._numbers, self.total = list(numbers), len(numbers)
        controller.act(forgetting(controller.work, numbers))
        self._go_on()
        return len(numbers)

    def _go_on(self, _event: object = None) -> None:
        if not self._numbers:
            return
        controller = self._controller
        while self._numbers and not controller.desk.waiting:
            number = self._numbers.pop(0)
            proposal = controller.work.proposals.get(number)
            if proposal is not None:
                controller.ask_for(Target("proposal", number, proposal.z))
        self.changed.emit()

    def _forget(self) -> None:
        # What was not answered is asked for when it is looked at.
        self._numbers = []
        self.changed.emit()
