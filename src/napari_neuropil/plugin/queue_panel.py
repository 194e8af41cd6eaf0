"""What to look at next: one candidate after the other, answered with a key."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Qt, QTimer, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_neuropil.plugin.queue_feed import QueueFeed
from napari_neuropil.plugin.queue_filter import QueueFilterBox
from napari_neuropil.plugin.queue_text import candidate_html, pace_text, stop_text
from napari_neuropil.proofreading.edits import Effect, Proposal

if TYPE_CHECKING:
    from qtpy.QtGui import QHideEvent, QShowEvent

    from napari_neuropil.plugin.proofread_controller import ProofreadController
    from napari_neuropil.proofreading import Decision, Delta, ProofreadingSession
    from napari_neuropil.proofreading.candidate_table import Candidate
    from napari_neuropil.proofreading.queue import CandidateQueue

_PRIMARY: Final = """
QPushButton { font-weight: bold; padding: 6px; background-color: #2979c9; color: white; }
QPushButton:hover { background-color: #3b8ee0; }
QPushButton:disabled { background-color: #3d434d; color: #8b919b; }
"""
_YES: Final = {"split_error": "Merge  (Q)", "merge_error": "Split  (Q)"}
_NO: Final = {"split_error": "Don't merge  (W)", "merge_error": "Don't split  (W)"}
_SIDES_MS: Final = 50
_TEXT_LINES: Final = 6
_STEPS: Final = 1000
_NOTHING: Final = np.zeros(0, np.uint64)

_Sides = tuple[NDArray[np.uint64], NDArray[np.uint64]]


class QueuePanel(QWidget):
    """The candidate queue.

    Parameters
    ----------
    controller : ProofreadController
        Session, view and keys.
    parent : QWidget, optional
        The owner.

    Signals
    -------
    attention : no argument
        A key asked for the queue while another tab is in front.
    """

    attention = Signal()

    def __init__(self, controller: ProofreadController, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._session: ProofreadingSession | None = None
        self._feed = QueueFeed(controller)
        self._next_wanted = False
        self._known_sides: tuple[tuple[str, int], _Sides] | None = None
        self._answers: dict[str, str] = {}
        self._paces: list[float] = []
        self.text = QLabel()
        self.accept_button = QPushButton("Merge  (Q)")
        self.reject_button = QPushButton("Don't  (W)")
        self.unsure_button = QPushButton("Unsure  (Shift+W)")
        self.later_button = QPushButton("Later  (Shift+Q)")
        self.next_button = QPushButton("Next  (N)")
        self.previous_button = QPushButton("Previous  (Shift+N)")
        self.filters_button = QPushButton("Filters")
        self.filters = QueueFilterBox()
        self.bar = QProgressBar()
        self.progress = QLabel()
        self.stop_line = QLabel()
        self._build()
        # An answer shows the next candidate anyway; what else edits is drawn first.
        self._sides_timer = QTimer(self)
        self._sides_timer.setSingleShot(True)
        self._sides_timer.setInterval(_SIDES_MS)
        self._sides_timer.timeout.connect(self._show_candidate)
        self._connect()
        self._on_session_changed()

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        self.text.setWordWrap(True)
        self.text.setTextFormat(Qt.TextFormat.RichText)
        self.text.setAlignment(Qt.AlignmentFlag.AlignTop)
        # A wrapped label reports one line to its layout, which then cuts the others off.
        self.text.setMinimumHeight(_TEXT_LINES * self.text.fontMetrics().lineSpacing())
        layout.addWidget(self.text)
        self.accept_button.setStyleSheet(_PRIMARY)
        self.reject_button.setStyleSheet("padding: 6px;")
        grid = QGridLayout()
        grid.setSpacing(6)
        for place, button in enumerate(
            (
                self.accept_button, self.reject_button, self.later_button,
                self.unsure_button, self.previous_button, self.next_button,
            )
        ):  # fmt: skip
            grid.addWidget(button, place // 2, place % 2)
        layout.addLayout(grid)
        self.bar.setTextVisible(False)
        self.bar.setMaximumHeight(10)
        layout.addWidget(self.bar)
        row = QHBoxLayout()
        row.addWidget(self.progress, 1)
        self.filters_button.setCheckable(True)
        row.addWidget(self.filters_button)
        layout.addLayout(row)
        self.stop_line.setWordWrap(True)
        layout.addWidget(self.stop_line)
        self.filters.setVisible(False)
        layout.addWidget(self.filters)
        layout.addStretch(1)

    def _connect(self) -> None:
        controller = self._controller
        actions: tuple[tuple[QPushButton, str, str, Callable[[], None]], ...] = (
            (self.next_button, "N", "next", self.go_next),
            (self.previous_button, "Shift-N", "previous", self.go_previous),
            (self.accept_button, "Q", "merge / split", self.accept),
            (self.reject_button, "W", "don't", lambda: self.answer("reject")),
            (self.later_button, "Shift-Q", "later", lambda: self.answer("later")),
            (self.unsure_button, "Shift-W", "unsure", lambda: self.answer("unsure")),
        )
        for button, key, title, action in actions:
            controller.add_key(key, title, action)
            button.clicked.connect(lambda _checked=False, act=action: act())
        self.filters_button.toggled.connect(self.filters.setVisible)
        self.filters.changed.connect(self._on_filters_changed)
        self._feed.built.connect(self._on_built)
        self._feed.changed.connect(self._update)
        controller.session_changed.connect(self._on_session_changed)
        controller.edited.connect(self._on_edited)
        controller.proposal_changed.connect(self._on_proposal_changed)
        controller.mode_changed.connect(self._on_proposal_changed)
        controller.selection_changed.connect(self._on_selection_changed)

    # the queue itself

    @property
    def queue(self) -> CandidateQueue | None:
        """The queue; None until its candidates are found."""
        return self._feed.queue

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802
        """Find the candidates when the panel is first looked at."""
        super().showEvent(event)
        if self.queue is None:
            self._feed.build()
        else:
            self._show_candidate()

    def hideEvent(self, event: QHideEvent | None) -> None:  # noqa: N802
        """Take the colours of the candidate away with the panel."""
        super().hideEvent(event)
        self._hide_sides()

    def _on_session_changed(self) -> None:
        self._session = session = self._controller.session
        self._known_sides = None
        self._next_wanted = False
        decisions = [] if session is None else session.decisions()
        self._answers = {d.key: d.answer for d in decisions}
        self._paces = [d.seconds for d in decisions]
        if session is not None and self.isVisible():
            self._feed.build()
        self._update()

    def _on_built(self) -> None:
        if self.queue is not None:
            self.queue.filter = self.filters.wanted(self._controller.selected)
        if self._next_wanted or self.isVisible():
            self._next_wanted = False
            self.go_next()

    def _on_edited(self, _delta: Delta) -> None:
        if self.queue is not None:
            self._sides_timer.start()

    # moving and answering

    def go_next(self) -> None:
        """Show the next candidate."""
        if not self.isVisible():
            self.attention.emit()
        if self.queue is None:
            self._next_wanted = True
            self._feed.build()
            return
        self.queue.next()
        self._arrive()

    def go_previous(self) -> None:
        """Show the candidate before."""
        if not self.isVisible():
            self.attention.emit()
        if self.queue is not None and self.queue.previous() is not None:
            self._arrive()

    def accept(self) -> None:
        """Answer yes: make the edit, log it, go on."""
        queue = self._answerable()
        if queue is not None:
            self._controller.run(queue.accept, lambda: queue.accept(force=True), self._on_answered)

    def answer(self, name: str) -> None:
        """Answer without an edit and go on.

        Parameters
        ----------
        name : str
            "reject", "later" or "unsure".
        """
        queue = self._answerable()
        if queue is not None:
            self._controller.run(getattr(queue, name), None, self._on_answered)

    def _answerable(self) -> CandidateQueue | None:
        """Return the queue, if what it asks is on screen: nobody answers what he does not see."""
        if self.queue is None or self.queue.current is None:
            return None
        if not self.isVisible():
            self._controller.message.emit("Open the Queue tab to answer: N shows it.", False)
            return None
        if self._controller.mode:
            self._controller.message.emit("Leave the edit mode (Esc) to answer.", False)
            return None
        return self.queue if self._controller.editable else None

    def _on_answered(self, decision: Decision) -> None:
        self._answers[decision.key] = decision.answer
        self._paces.append(decision.seconds)
        self.go_next()

    def _arrive(self) -> None:
        self._show_candidate(jump=True)
        self._feed.save_soon()
        self._feed.prefetch()

    # what is shown

    def _show_candidate(self, *, jump: bool = False) -> None:
        self._sides_timer.stop()
        candidate = None if self.queue is None else self.queue.current
        if candidate is not None and jump:
            segments = [s for s in (candidate.segment_a, candidate.segment_b) if s]
            self._controller.jump_to(candidate.position, dict.fromkeys(segments))
        self._show_sides()
        self._update()

    def _sides(self, candidate: Candidate) -> _Sides:
        if self.queue is None:
            return _NOTHING, _NOTHING
        state = (candidate.key, len(self.queue.session.edits))
        if self._known_sides is None or self._known_sides[0] != state:
            self._known_sides = (state, self.queue.sides(candidate))
        return self._known_sides[1]

    def _show_sides(self) -> None:
        """Colour both pieces and mark the contact, unless an edit mode has the colours."""
        if self._controller.proposal is not None or not self.isVisible():
            return
        candidate = None if self.queue is None else self.queue.current
        if candidate is None:
            self._hide_sides()
            return
        self._controller.layers.show_proposal(
            Proposal(
                kind="merge" if candidate.kind == "split_error" else "split",
                wish={},
                effect=Effect(_NOTHING, _NOTHING, _NOTHING),
                base=-1,
                sides=self._sides(candidate),
                position=candidate.position,
            )
        )

    def _hide_sides(self) -> None:
        if self._controller.session is not None and self._controller.proposal is None:
            self._controller.layers.show_proposal(None)

    def _on_proposal_changed(self) -> None:
        if self._controller.proposal is None and not self._controller.mode:
            self._show_sides()

    def _on_selection_changed(self) -> None:
        if self.queue is not None and self.filters.follows_selection:
            # Of what the user selects; the candidate's own segments are selected by the queue.
            candidate, chosen = self.queue.current, self._controller.selected
            own = () if candidate is None else (candidate.segment_a, candidate.segment_b)
            if chosen and not set(chosen) <= set(own):
                self._on_filters_changed()

    def _on_filters_changed(self) -> None:
        if self.queue is not None:
            self.queue.filter = self.filters.wanted(self._controller.selected)
            self.filters_button.setText("Filters (on)" if self.filters.active else "Filters")

    def _update(self) -> None:
        queue, session = self.queue, self._session
        candidate = None if queue is None else queue.current
        answerable = candidate is not None and self._controller.editable
        kind = "split_error" if candidate is None else candidate.kind
        self.accept_button.setText(_YES[kind])
        self.reject_button.setText(_NO[kind])
        why = "" if self._controller.editable else "The project is open read-only."
        for button in (
            self.accept_button, self.reject_button, self.later_button, self.unsure_button,
        ):  # fmt: skip
            button.setEnabled(answerable)
            button.setToolTip(why)
        self.next_button.setEnabled(session is not None and not self._feed.building)
        self.previous_button.setEnabled(queue is not None)
        self.filters_button.setEnabled(queue is not None)
        self._show_text(candidate)
        self._show_progress()

    def _show_text(self, candidate: Candidate | None) -> None:
        session = self._session
        if session is None or self.queue is None:
            self.text.setText("Looking for errors ..." if self._feed.building else "")
            return
        if candidate is None:
            self.text.setText("Press N for the next place to look at.")
            if self.queue.progress.answered >= self.queue.progress.total:
                self.text.setText("Nothing is open here: all candidates are answered.")
            return
        rows = [side.astype(np.intp) for side in self._sides(candidate)]
        um3 = session.info.voxel_size_nm.volume_um3
        sizes = [float(session.table.size[side].sum()) * um3 for side in rows]
        self.text.setText(candidate_html(candidate, sizes, self._answers.get(candidate.key)))

    def _show_progress(self) -> None:
        queue = self.queue
        if queue is None:
            self.bar.setRange(0, 0 if self._feed.building else 1)
            self.progress.setText("")
            self.stop_line.setText("")
            return
        progress = queue.progress
        self.bar.setRange(0, _STEPS)
        self.bar.setValue(round(_STEPS * progress.answered / max(1, progress.total)))
        pace = pace_text(self._paces)
        self.progress.setText(f"{progress.answered:,} of {progress.total:,} answered{pace}")
        self.stop_line.setText(stop_text(queue.remaining_gain()))
