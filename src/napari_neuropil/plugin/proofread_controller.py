"""The Proofread dock's controller: a project's session, and what the user is about to do with it.

Widgets talk to this object only, never to each other. It adds to `ProjectController` the edit mode,
what has been picked in it (`wish`), and the proposal that follows from the picks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_neuropil.errors import EditRejectedError
from napari_neuropil.plugin.edit_modes import MODES, EditMode, Pick, Point, Wish
from napari_neuropil.plugin.project_controller import ProjectController
from napari_neuropil.plugin.proofread_layers import DIMMED, HIDDEN, SHOWN

if TYPE_CHECKING:
    from napari_neuropil.proofreading import Delta, Proposal

NO_MODE: Final = ""

KeyAction = tuple[str, Callable[[], None]]


class ProofreadController(ProjectController):
    """Session, selection, mode and proposal of one dock.

    Parameters
    ----------
    viewer : napari.Viewer
        The window.
    parent : QObject, optional
        The owner.

    Signals
    -------
    mode_changed, wish_changed, proposal_changed, others_changed : no argument
        Read `mode`, `wish`, `proposal` or `layers.others`. The rest: see `ProjectController`.
    """

    mode_changed = Signal()
    wish_changed = Signal()
    proposal_changed = Signal()
    others_changed = Signal()

    def __init__(self, viewer: Any, parent: QObject | None = None) -> None:
        super().__init__(viewer, parent)
        self.mode = NO_MODE
        self.wish = Wish(NO_MODE)
        self.proposal: Proposal | None = None
        self.proposal_text = ""
        self.proposal_exact = False
        self.keys: dict[str, KeyAction] = {}
        self._commit_when_exact = False
        self._begun = time.monotonic()
        self._spent_at = -1
        self._proposing.proposed.connect(self._on_proposed)
        self._proposing.refused.connect(self._on_proposal_refused)
        for mode in MODES.values():
            if mode.key:
                self.add_key(mode.key, mode.title.lower(), partial(self.press_mode, mode.name))
        self.add_key("U", "undo", self.undo)
        self.add_key("Shift-U", "redo", self.redo)
        self.add_key("H", "hide others", lambda: self.toggle_others(HIDDEN))
        self.add_key("Shift-H", "dim others", lambda: self.toggle_others(DIMMED))
        self.add_key("J", "jump", self.jump)

    def add_key(self, key: str, title: str, action: Callable[[], None]) -> None:
        """Bind a key for as long as the dock is open; panels call this in their constructor.

        Parameters
        ----------
        key : str
            One that no napari layer uses: G, H, J, K, N, Q, U, W, or Shift- and one of them.
        title : str
            What it does, for the status line.
        action : callable
            Takes nothing.
        """
        self.keys[key] = (title, action)

    @property
    def edit_mode(self) -> EditMode | None:
        """The active row of `MODES`."""
        return MODES.get(self.mode)

    @property
    def working(self) -> bool:
        """Whether a proposal is being worked out."""
        return self._proposing.wanted

    def close_project(self) -> None:
        """Leave the mode, save where the user looks, and let the project go."""
        self.leave_mode()
        super().close_project()

    def toggle_others(self, how: str) -> None:
        """Hide or dim what is not selected, or show it again."""
        if self.session is not None:
            self.layers.show_others(SHOWN if self.layers.others == how else how)
            self.others_changed.emit()

    def jump(self) -> None:
        """Bring the proposal's contact into view; without one, the first selected segment."""
        if self.proposal is not None and self.proposal.position is not None:
            self.jump_to(self.proposal.position)
        else:
            self.jump_to_selected()

    def press_mode(self, name: str) -> None:
        """Do what a mode's key does: enter it, or, in split, change the colour of the seeds."""
        if name == self.mode and MODES[name].seeds:
            self.layers.seeds.turn()
            self.wish_changed.emit()
        elif name != self.mode:
            self.begin_mode(name)

    def begin_mode(self, name: str) -> None:
        """Enter an edit mode of `MODES`."""
        if not self.editable:
            if self.session is not None:
                self.message.emit("The project is open read-only.", True)
            return
        self.leave_mode()
        # Also what another panel (the queue) shows there.
        self.layers.show_proposal(None)
        self.mode = name
        self._begun = time.monotonic()
        self.wish = Wish(name)
        self.mode_changed.emit()
        if MODES[name].seeds and self.segments_layer is not None:
            self.layers.seeds.show(self.segments_layer, self._on_seeds_changed)
            self._on_seeds_changed()

    def leave_mode(self) -> None:
        """Leave the edit mode; nothing is changed, split seeds are kept."""
        if self.mode == NO_MODE:
            return
        self.layers.seeds.hide()
        self.mode = NO_MODE
        self._set_wish(Wish(NO_MODE))
        self.mode_changed.emit()

    def click(self, point: Point, *, extend: bool = False) -> None:
        """Take a click on a voxel: a pick or a seed of the mode, else a selection.

        Parameters
        ----------
        point : tuple of int
            (z, y, x) of the fragments' grid.
        extend : bool
            Without a mode: add to the selection, or take out of it.
        """
        session, mode = self.session, self.edit_mode
        if session is None:
            return
        if mode is not None and mode.seeds:
            self.add_seeds([point])
            return
        fragment = self.layers.fragment_at(point)
        segment = int(session.lookup[fragment])
        if not segment:
            return
        if mode is None:
            others = [s for s in self.selected if s != segment]
            again = [segment] if segment not in self.selected else []
            self.select([*others, *again] if extend else [segment])
            return
        picks = (*self.wish.picks, Pick(point, fragment, segment))
        if len(picks) == 1:
            self._begun = time.monotonic()
        self.select(pick.segment for pick in picks)
        self._set_wish(replace(self.wish, picks=picks, force=False))

    def add_seeds(self, points: Sequence[Point]) -> None:
        """Set seeds of the active colour; the first ones tell which segment is meant."""
        session, seeds = self.session, self.layers.seeds
        if session is None or not points:
            return
        if seeds.spent or not (self.wish.red or self.wish.blue):
            self.select([int(session.lookup[self.layers.fragment_at(points[0])])])
        seeds.add(points)

    def drop_picks(self) -> None:
        """Forget what was picked and stay in the mode; of a split, its seeds."""
        if self.edit_mode is not None and self.edit_mode.seeds:
            self.layers.seeds.clear()
        else:
            self._set_wish(Wish(self.mode))

    def commit(self) -> None:
        """Make the proposed edit (Enter); of a preview still worked out, once it is exact."""
        proposal, session = self.proposal, self.session
        if proposal is None or session is None:
            return
        if not self.proposal_exact:
            self._commit_when_exact = True
            return
        seconds = time.monotonic() - self._begun
        self.run(lambda: session.commit(proposal, seconds=seconds), None, self._on_committed)

    def _on_committed(self, _edit: Any) -> None:
        mode = self.edit_mode
        self._begun = time.monotonic()
        if mode is not None and mode.one_shot:
            self.leave_mode()

    def _on_session_edited(self, delta: Delta) -> None:
        session = self.session
        if session is not None and self.edit_mode is not None:
            if delta.edit.kind == "split" and self.edit_mode.seeds:
                # Kept, for the case that this split is undone and needs one seed more.
                self._spent_at = delta.edit.parent
                self.layers.seeds.set_spent(True)
            elif session.cursor == self._spent_at:
                self.layers.seeds.set_spent(False)
            # What was picked meant the segments as they were.
            self._set_wish(Wish(self.mode))
        super()._on_session_edited(delta)
        if self.edit_mode is not None and self.edit_mode.seeds:
            self._on_seeds_changed()

    def _on_seeds_changed(self) -> None:
        red, blue = self.layers.seeds.voxels()
        if (red, blue) != (self.wish.red, self.wish.blue):
            if not (self.wish.red or self.wish.blue):
                self._begun = time.monotonic()
            self._set_wish(replace(self.wish, red=red, blue=blue, force=False))

    def _set_wish(self, wish: Wish) -> None:
        self.wish = wish
        self._commit_when_exact = False
        self._set_proposal(None, exact=False)
        mode = MODES.get(wish.mode)
        if mode is not None and self.session is not None and mode.ready(wish):
            self._proposing.ask(self.session, mode, wish)
        else:
            self._proposing.stop()
        self.wish_changed.emit()

    def _set_proposal(self, proposal: Proposal | None, *, exact: bool) -> None:
        if proposal is None and self.proposal is None:
            return
        self.proposal = proposal
        self.proposal_exact = exact
        self.layers.show_proposal(proposal)
        self.proposal_changed.emit()

    def _on_proposed(self, proposal: Proposal, text: str, exact: bool) -> None:
        self.proposal_text = text
        self._set_proposal(proposal, exact=exact)
        if exact and self._commit_when_exact:
            self._commit_when_exact = False
            self.commit()

    def _on_proposing_rested(self) -> None:
        interrupted = bool(self._waiting)
        super()._on_proposing_rested()
        if interrupted and self.proposal is None and not self._proposing.busy:
            # What came between may have been refused; then the wish still stands.
            self._set_wish(self.wish)

    def _on_proposal_refused(self, facts: dict[str, Any]) -> None:
        self._set_proposal(None, exact=False)
        self.wish_changed.emit()
        forceable = bool(facts.get("forceable"))
        error = EditRejectedError(
            str(facts.get("found", "")),
            str(facts.get("expected", "")),
            str(facts.get("cure", "")),
            forceable=forceable,
        )
        wish = replace(self.wish, force=True)
        self.refused.emit(error, (lambda: self._set_wish(wish)) if forceable else None)
