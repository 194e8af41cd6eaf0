"""The tab "Dendrite", lower part: what an edit would do, make it, or save a labels layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QCheckBox, QVBoxLayout, QWidget

from napari_neuropil.errors import NeuropilError
from napari_neuropil.plugin.dendrites.dendrite_controller import DendriteController
from napari_neuropil.plugin.dendrites.object_output import dense_crop, drawn_rows, summary_text
from napari_neuropil.plugin.dendrites.panel_parts import PRIMARY, button, row, say, text_line
from napari_neuropil.plugin.latest_call import LatestCall
from napari_neuropil.plugin.layers import placement
from napari_neuropil.plugin.worker import error_text

if TYPE_CHECKING:
    from napari_neuropil.errors import EditRejectedError
    from napari_neuropil.plugin.dendrites.project_link import ProjectLink
    from napari_neuropil.plugin.dendrites.records import Dendrite
    from napari_neuropil.plugin.project_controller import ProjectController
    from napari_neuropil.proofreading import Edit, Proposal

_NO_PROJECT = (
    "No project is worked on: choose one as the image above (Start again), or save the dendrite as "
    "a labels layer."
)


class CommitBox(QWidget):
    """Puts the dendrite in work into the project.

    Parameters
    ----------
    controller : DendriteController
        Whose dendrite it is.
    link : ProjectLink
        Who has the project open.
    parent : QWidget, optional
        The owner.
    """

    def __init__(
        self, controller: DendriteController, link: ProjectLink, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._controller = controller
        self._link = link
        self._proposal: tuple[Dendrite, ProjectController, Proposal] | None = None
        self._made: tuple[int, ProjectController, Edit] | None = None
        self._heard: ProjectController | None = None
        self._proposing = LatestCall(self)
        self._proposing.answered.connect(self._on_proposed)
        self._proposing.failed.connect(self._on_failed)
        self.spare = QCheckBox("leave segments marked done as they are")
        self.spare.setChecked(True)
        self.spare.setToolTip(
            "Voxels of segments that are done stay theirs. Otherwise a dendrite that touches one "
            "is refused."
        )
        self.commit_button = button("Commit to project", "", self.commit)
        self.commit_button.setStyleSheet(PRIMARY)
        self.save_button = button(
            "Save as labels layer",
            "Add a layer with this dendrite as label 1, cut to the box around it.",
            self.save_layer,
        )
        self.summary = text_line()
        self.make_button = button(
            "Make the edit", "One edit of the project; undo takes all of it back.", self.make
        )
        self.make_button.setStyleSheet(PRIMARY)
        self.leave_button = button("Not yet", "Change nothing.", self.leave)
        self.undo_button = button(
            "Undo commit", "Take the edit out of the project again.", self.undo
        )
        self._question = QWidget()
        question = QVBoxLayout(self._question)
        question.setContentsMargins(0, 0, 0, 0)
        question.setSpacing(4)
        question.addLayout(row(self.make_button, self.leave_button, stretch=0))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.spare)
        layout.addLayout(row(self.commit_button, self.save_button, stretch=0))
        layout.addWidget(self.summary)
        layout.addWidget(self._question)
        layout.addWidget(self.undo_button)
        controller.work_changed.connect(self._on_work_changed)
        controller.link.changed.connect(self._show)
        link.opened.connect(self.commit)
        link.failed.connect(lambda text: controller.message.emit(text, True))
        say(self.summary, "")
        self._show()

    def commit(self) -> None:
        """Work out the edit; it is made once the user has seen what it does."""
        dendrite, choice = self._controller.work.current_dendrite, self._controller.link.choice
        if dendrite is None or not dendrite.masks or choice is None or choice.project is None:
            return
        owner = self._link.controller_of(choice.project)
        if owner is None:
            self._controller.message.emit("Opening the project ...", False)
            self._link.open(choice.project)
            return
        session = owner.session
        if session is None or not owner.editable:
            self._controller.message.emit(
                "The project is open read-only.\nExpected: a project that this window may edit\n"
                "Cure: close it where else it is open, and open it here again.",
                True,
            )
            return
        spare, shape = self.spare.isChecked(), self._controller.layers.shape

        def propose() -> Any:
            from napari_neuropil.proofreading import DrawingRules

            rows = drawn_rows(dendrite, shape)
            rules = DrawingRules(spare_done=spare)
            return dendrite, owner, session.propose_drawing(rows, rules=rules)

        say(self.summary, "Working out what changes ...")
        self._proposing.ask(propose)

    def make(self) -> None:
        """Make the edit that is shown."""
        if self._proposal is None:
            return
        dendrite, owner, proposal = self._proposal
        session = owner.session
        if session is None:
            self.leave()
            return
        self._listen_to(owner)
        owner.run(
            lambda: session.commit(proposal),
            None,
            lambda edit: self._on_made(dendrite, owner, edit),
        )

    def leave(self) -> None:
        """Forget what was worked out."""
        self._proposing.forget()
        if self._proposal is not None and self._proposal[1].session is not None:
            self._proposal[1].layers.show_proposal(None)
        self._proposal = None
        say(self.summary, "")
        self._show()

    def undo(self) -> None:
        """Take the edit back, if it is the last one of the project."""
        if self._made is None:
            return
        dendrite, owner, edit = self._made
        session = owner.session
        if session is None or session.cursor != edit.id:
            self._controller.message.emit(
                "Other edits came after it.\nExpected: the dendrite as the last edit\n"
                "Cure: go back in the Proofread dock's History.",
                True,
            )
            return
        owner.run(session.undo, None, lambda _edit: self._on_taken_back(dendrite))

    def save_layer(self) -> None:
        """Add a labels layer that holds the dendrite."""
        dendrite, layers = self._controller.work.current_dendrite, self._controller.layers
        if dendrite is None or layers.over is None:
            return
        try:
            labels, start = dense_crop(dendrite, layers.shape)
        except NeuropilError as error:
            self._controller.message.emit(str(error), True)
            return
        self._controller.viewer.add_labels(
            labels, name=f"Dendrite {dendrite.id}", **placement(layers.over, start)
        )

    def _on_proposed(self, answer: tuple[Dendrite, ProjectController, Proposal]) -> None:
        dendrite, owner, proposal = self._proposal = answer
        owner.layers.show_proposal(proposal)
        say(self.summary, f"Dendrite {dendrite.id}. {summary_text(proposal)}")
        self._controller.message.emit("", False)
        self._show()

    def _on_failed(self, facts: dict[str, Any]) -> None:
        self._proposal = None
        say(self.summary, "")
        self._controller.message.emit(error_text(facts), True)
        self._show()

    def _on_made(self, dendrite: Dendrite, owner: ProjectController, edit: Edit) -> None:
        self._made = (dendrite.id, owner, edit)
        self._proposal = None
        owner.layers.show_proposal(None)
        self._controller.mark_committed(dendrite.id, edit.id)
        say(self.summary, "")
        self._controller.message.emit(
            f"Dendrite {dendrite.id} is segment {edit.wish['segment']} of the project.", False
        )
        self._show()

    def _on_taken_back(self, dendrite: int) -> None:
        self._controller.mark_committed(dendrite, None)
        self._controller.message.emit(f"Dendrite {dendrite} is out of the project again.", False)
        self._show()

    def _listen_to(self, owner: ProjectController) -> None:
        if self._heard is not owner:
            self._heard = owner
            owner.refused.connect(self._on_refused)
            owner.edited.connect(self._on_edited)

    def _on_edited(self, _delta: object) -> None:
        """Follow undo and redo, wherever they are pressed."""
        if self._made is None:
            return
        dendrite, owner, edit = self._made
        rows = owner.session.history() if owner.session is not None else []
        there = any(row.id == edit.id and row.active for row in rows)
        self._controller.mark_committed(dendrite, edit.id if there else None)

    def _on_refused(self, error: EditRejectedError, _forced: object) -> None:
        # Refusals of other edits of that project are the Proofread dock's own.
        if self._proposal is not None:
            self.leave()
            self._controller.message.emit(str(error), True)

    def _on_work_changed(self) -> None:
        if self._proposal is not None:
            shown = self._proposal[0]
            if self._controller.work.dendrites.get(shown.id) is not shown:
                # It was changed since: what is shown is not what would be made.
                self.leave()
        self._show()

    def _show(self) -> None:
        dendrite, choice = self._controller.work.current_dendrite, self._controller.link.choice
        there = dendrite is not None and bool(dendrite.masks)
        project = choice is not None and choice.project is not None
        asking = self._proposal is not None
        self.spare.setVisible(project)
        self.commit_button.setVisible(not asking)
        self.save_button.setVisible(not asking)
        self._question.setVisible(asking)
        self.commit_button.setEnabled(there and project)
        self.commit_button.setToolTip(
            "Work out what the dendrite changes in the project, and show it before it is made."
            if project
            else _NO_PROJECT
        )
        self.save_button.setEnabled(there)
        made = None if self._made is None else self._controller.work.dendrites.get(self._made[0])
        self.undo_button.setVisible(made is not None and made.committed is not None and not asking)
