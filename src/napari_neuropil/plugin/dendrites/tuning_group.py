"""Plan, Start, Stop, Go on, the outcome, Use it: what both fine-tunings have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_neuropil.errors import NeuropilError
from napari_neuropil.plugin.background import BackgroundCall
from napari_neuropil.plugin.dendrites.panel_parts import PRIMARY, button, row, say, text_line
from napari_neuropil.plugin.dendrites.tuning_job import TuningJob
from napari_neuropil.plugin.dendrites.tuning_text import outcome_text
from napari_neuropil.plugin.worker import error_text

Prepare = Callable[[], Callable[[], list[str]]]
_BEFORE: Final = ("", "read")
"""Stages in which nothing has been written yet."""


@dataclass(frozen=True)
class GroupTexts:
    """What the buttons say.

    Parameters
    ----------
    start : str
        Of the button that begins.
    start_tip : str
        Its explanation.
    used, back : str
        Explanations of the two buttons that change what is in use.
    plan : callable
        Returns an event ``plan`` in words.
    """

    start: str
    start_tip: str
    used: str
    back: str
    plan: Callable[[Mapping[str, Any]], str]


class TuningGroup(QWidget):
    """A fine-tuning from its plan to its use.

    Start is there once the plan for these words has been shown: nobody learns afterwards what was
    held out.

    Parameters
    ----------
    prepare : callable
        Reads the form, and returns a function that works out the words after `neuropil` on another
        thread. Both may raise a `NeuropilError`.
    texts : GroupTexts
        What the buttons say.
    parent : QWidget, optional
        The owner.

    Signals
    -------
    wanted : str
        Use this file.
    back_wanted : no argument
        Use what was in use before.
    over : no argument
        A run has come to its end, whatever came of it: its file name is taken.
    changed : no argument
        Read `busy`.
    """

    wanted = Signal(str)
    back_wanted = Signal()
    over = Signal()
    changed = Signal()

    def __init__(self, prepare: Prepare, texts: GroupTexts, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._prepare = prepare
        self._texts = texts
        self._preparing: BackgroundCall | None = None
        self._words: list[str] = []
        self._planning = False
        self._begun = False
        self._missing = ""
        self._checkpoint = ""
        self._can_go_back = False
        self.plan_button = button(
            "Show plan", "Say what is learned from and what is held out. Nothing begins.", self.plan
        )
        self.start_button = button(texts.start, texts.start_tip, self.start)
        self.start_button.setStyleSheet(PRIMARY)
        self.plan_text = text_line()
        self.job = TuningJob()
        self.result = text_line()
        self.use_button = button("Use it", texts.used, self._use)
        self.use_button.setStyleSheet(PRIMARY)
        self.back_button = button("Back to the one before", texts.back, self.back_wanted.emit)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(row(self.plan_button, self.start_button, stretch=1))
        layout.addWidget(self.plan_text)
        layout.addWidget(self.job)
        layout.addWidget(self.result)
        self.buttons = QWidget()
        self.buttons.setLayout(row(self.use_button, self.back_button, stretch=0))
        layout.addWidget(self.buttons)
        self.job.planned.connect(self._on_planned)
        self.job.noticed.connect(lambda text: say(self.result, text))
        self.job.finished.connect(self._on_finished)
        self.job.failed.connect(self._on_failed)
        self.job.stopped.connect(self._on_stopped)
        self.job.changed.connect(self._show)
        say(self.plan_text, "")
        say(self.result, "")
        self._show()

    @property
    def busy(self) -> bool:
        """Whether a plan or a run is under way."""
        return self._preparing is not None or self.job.running

    @property
    def learning(self) -> bool:
        """Whether a run is under way, and no plan."""
        return self.job.running and not self._planning

    def need(self, missing: str) -> None:
        """Say what is missing before anything can begin; empty: nothing."""
        self._missing = missing
        self._show()

    def forget_plan(self) -> None:
        """Let the plan be shown again: the form was changed."""
        if not self.busy:
            self._words, self._begun = [], False
            say(self.plan_text, "")
            self._show()

    def can_go_back(self, can: bool) -> None:
        """Say whether something was in use before."""
        self._can_go_back = can
        self._show()

    def plan(self) -> None:
        """Show what would be done."""
        if self.busy:
            return
        self.forget_plan()
        say(self.result, "")
        try:
            find_words = self._prepare()
        except NeuropilError as error:
            say(self.result, str(error), error=True)
            return
        call = BackgroundCall(find_words, self)
        call.returned.connect(self._on_prepared)
        call.failed.connect(self._on_not_prepared)
        self._preparing = call
        self._show()
        call.start()

    def start(self) -> None:
        """Begin, or go on with what was stopped."""
        if self._words and not self.busy:
            self._planning, self._checkpoint = False, ""
            say(self.result, "")
            self.job.start(self._words, "Starting ...")

    def close_job(self) -> None:
        """End the process: the dock goes."""
        self.job.kill()

    def _on_prepared(self, words: list[str]) -> None:
        self._preparing = None
        self._words, self._planning = words, True
        self.job.start([*words, "--dry-run"], "Reading what was corrected ...")

    def _on_not_prepared(self, facts: dict[str, Any]) -> None:
        self._preparing = None
        say(self.result, error_text(facts), error=True)
        self._show()

    def _on_planned(self, plan: dict[str, Any]) -> None:
        text = self._texts.plan(plan)
        self._begun = self._begun or bool(plan.get("done_steps"))
        if self._planning and plan.get("done_steps") == 0 and Path(plan["folder"]).is_dir():
            text += "\nThe run that was stopped there learned from other objects: it is replaced."
            self._words = [*self._words, "--overwrite"]
        say(self.plan_text, text)

    def _on_finished(self, outcome: dict[str, Any]) -> None:
        if self._planning:
            self._planning = False
            self._show()
            return
        self._words, self._begun = [], False
        self._checkpoint = str(outcome.get("checkpoint") or "") if outcome.get("accepted") else ""
        say(self.result, outcome_text(outcome))
        say(self.plan_text, "")
        self._show()
        self.over.emit()

    def _on_failed(self, facts: dict[str, Any]) -> None:
        say(self.result, error_text(facts), error=True)
        self._broke_off()

    def _on_stopped(self) -> None:
        self._broke_off()
        more = " Go on begins from the last saved state." if self._begun else ""
        say(self.result, f"Stopped.{more}")

    def _broke_off(self) -> None:
        """Make ready to go on, if a run had begun."""
        if self._planning:
            self._planning, self._words = False, []
            say(self.plan_text, "")
        elif self.job.run.stage not in _BEFORE:
            self._begun = True
            # What replaced an older run must not replace this one.
            self._words = [word for word in self._words if word != "--overwrite"]
        self._show()

    def _use(self) -> None:
        if self._checkpoint:
            name, self._checkpoint = self._checkpoint, ""
            self._show()
            self.wanted.emit(name)

    def _show(self) -> None:
        free = not self.busy and not self._missing
        self.plan_button.setEnabled(free)
        self.plan_button.setToolTip(
            self._missing or "Say what is learned from and what is held out. Nothing begins."
        )
        self.start_button.setEnabled(free and bool(self._words))
        self.start_button.setText("Go on" if self._begun else self._texts.start)
        tip = self._texts.start_tip if self._words else f"Show plan first. {self._texts.start_tip}"
        self.start_button.setToolTip(self._missing or tip)
        self.use_button.setVisible(bool(self._checkpoint) and not self.busy)
        self.back_button.setVisible(self._can_go_back and not self.busy)
        self.changed.emit()
