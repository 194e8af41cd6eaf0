"""Merge by distance: preview and make one edit of all contacts below a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QGridLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_neuropil.errors import EditRejectedError
from napari_neuropil.plugin.distance_form import DistanceForm
from napari_neuropil.plugin.latest_call import LatestCall
from napari_neuropil.plugin.merge_wish import MergeWish, merge_text
from napari_neuropil.plugin.proofread_layers import DIMMED, SHOWN

if TYPE_CHECKING:
    from qtpy.QtGui import QHideEvent

    from napari_neuropil.plugin.proofread_controller import ProofreadController
    from napari_neuropil.proofreading import Proposal

_DELAY_MS: Final = 120
_NOTHING_BELOW: Final = "Nothing lies below the line."
_PRIMARY: Final = """
QPushButton { font-weight: bold; padding: 6px; background-color: #2979c9; color: white; }
QPushButton:hover { background-color: #3b8ee0; }
QPushButton:disabled { background-color: #3d434d; color: #8b919b; }
"""
_CHECKED: Final = """
QPushButton { padding: 6px; }
QPushButton:checked { background-color: #2979c9; color: white; }
"""


class DistanceBox(QWidget):
    """The form and what can be done with it.

    Parameters
    ----------
    controller : ProofreadController
        Session, selection and view.
    parent : QWidget, optional
        The owner.
    """

    def __init__(self, controller: ProofreadController, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._proposal: tuple[MergeWish, Proposal] | None = None
        self._committing = False
        self._faded = False
        self._proposing = LatestCall(self)
        self.form = DistanceForm(controller)
        self.text = QLabel()
        self.preview_button = QPushButton("Preview")
        self.apply_button = QPushButton("Apply all below")
        self._build()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_DELAY_MS)
        self._timer.timeout.connect(self._preview)
        self._connect()
        self._say("")
        self._show()

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.form, 1)
        self.text.setWordWrap(True)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        layout.addWidget(self.text)
        self.preview_button.setCheckable(True)
        self.preview_button.setStyleSheet(_CHECKED)
        self.preview_button.setToolTip("Colour each group that would become one segment.")
        self.apply_button.setStyleSheet(_PRIMARY)
        grid = QGridLayout()
        grid.setSpacing(4)
        grid.addWidget(self.preview_button, 0, 0)
        grid.addWidget(self.apply_button, 0, 1)
        layout.addLayout(grid)

    def _connect(self) -> None:
        self.form.threshold_changed.connect(self._on_threshold_changed)
        self.form.counted.connect(self._on_counted)
        self.preview_button.toggled.connect(self._on_preview_toggled)
        self.apply_button.clicked.connect(self._on_apply_clicked)
        self._controller.session_changed.connect(self._on_session_changed)
        self._controller.mode_changed.connect(self._on_mode_changed)
        self._proposing.answered.connect(self._on_proposed)
        self._proposing.failed.connect(self._on_refused)

    # coming and going

    def hideEvent(self, event: QHideEvent | None) -> None:  # noqa: N802
        """Take the preview away with the panel."""
        super().hideEvent(event)
        self.preview_button.setChecked(False)

    def _on_session_changed(self) -> None:
        self._proposing.forget()
        self._committing = False
        self.preview_button.setChecked(False)
        self._show()

    def _on_mode_changed(self) -> None:
        if self._controller.mode:
            # The colours belong to the mode now.
            self.preview_button.setChecked(False)

    # the preview

    def _on_preview_toggled(self, on: bool) -> None:
        if on:
            self._controller.leave_mode()
            self._preview()
        else:
            self._take_back("")
        self._show()

    def _on_threshold_changed(self) -> None:
        self._show()
        if self.preview_button.isChecked():
            self._timer.start()

    def _on_counted(self) -> None:
        self._show()
        self._preview()

    def _preview(self) -> None:
        """Work out again what is previewed; the edit itself is not overtaken by that."""
        if not self.preview_button.isChecked() or self._committing:
            return
        if self.form.merges:
            self._propose(self.form.wish())
        else:
            self._take_back(_NOTHING_BELOW)

    def _propose(self, wish: MergeWish) -> None:
        session = self._controller.session
        if session is not None:
            self._proposing.ask(lambda: (wish, wish.propose(session)))

    def _take_back(self, text: str) -> None:
        if not self._committing:
            self._proposing.forget()
        self._proposal = None
        self._say(text)
        self._fade(False)
        if self._controller.session is not None and self._controller.proposal is None:
            self._controller.layers.show_proposal(None)

    def _on_proposed(self, answer: tuple[MergeWish, Proposal]) -> None:
        if self._committing:
            self._make(answer[1])
            return
        self._proposal = answer
        self._say(merge_text(answer[1]))
        self._fade(True)
        self._controller.layers.show_proposal(answer[1])

    def _fade(self, on: bool) -> None:
        """Dim what stays as it is: a hundred groups are lost among thousands of segments."""
        controller = self._controller
        if on and controller.layers.others == SHOWN:
            controller.toggle_others(DIMMED)
            self._faded = True
        elif not on and self._faded:
            self._faded = False
            if controller.layers.others == DIMMED:
                controller.toggle_others(DIMMED)

    # the edit

    def _on_apply_clicked(self) -> None:
        self.apply()

    def apply(self, *, force: bool = False) -> None:
        """Make one edit of everything below the line.

        Parameters
        ----------
        force : bool
            Also where segments that are done would change.
        """
        session, known, wish = self._controller.session, self._proposal, self.form.wish(force=force)
        if session is None or not self._controller.editable or self._committing:
            return
        self._committing = True
        if known is not None and known[0].means(wish) and known[1].base == len(session.edits):
            self._make(known[1])
        else:
            self._propose(wish)
        self._show()

    def _make(self, proposal: Proposal) -> None:
        session = self._controller.session
        if session is not None:
            self._controller.run(
                lambda: session.commit(proposal), None, lambda _edit: self._on_made(proposal)
            )
        # Made or refused: a refusal says why below the tabs.
        self._committing = False
        self._show()

    def _on_made(self, proposal: Proposal) -> None:
        self.preview_button.setChecked(False)
        self._controller.message.emit(f"{merge_text(proposal)} U takes it back.", False)

    def _on_refused(self, facts: dict[str, Any]) -> None:
        committing, self._committing = self._committing, False
        self.preview_button.setChecked(False)
        self._show()
        forceable = bool(facts.get("forceable"))
        error = EditRejectedError(
            str(facts.get("found", "")),
            str(facts.get("expected", "")),
            str(facts.get("cure", "")),
            forceable=forceable,
        )
        anyway = (lambda: self._do_anyway(committing)) if forceable else None
        self._controller.refused.emit(error, anyway)

    def _do_anyway(self, committing: bool) -> None:
        if committing:
            self.apply(force=True)
            return
        # Not by toggling: that would ask without force and be refused again.
        self.preview_button.blockSignals(True)
        self.preview_button.setChecked(True)
        self.preview_button.blockSignals(False)
        self._propose(self.form.wish(force=True))

    # what is shown

    def _say(self, text: str) -> None:
        self.text.setText(text)
        self.text.setVisible(bool(text))

    def _show(self) -> None:
        merges, editable = self.form.merges, self._controller.editable
        self.preview_button.setEnabled(merges > 0 or self.preview_button.isChecked())
        self.apply_button.setEnabled(merges > 0 and editable and not self._committing)
        self.apply_button.setToolTip(
            "Merge all of them: one edit, and U takes it back."
            if editable
            else "The project is open read-only."
        )
