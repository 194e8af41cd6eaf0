"""The lower part of a dock: start, confirm, watch, cancel, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

_STEPS: Final = 1000
_PRIMARY: Final = """
QPushButton { font-weight: bold; padding: 6px; background-color: #2979c9; color: white; }
QPushButton:hover { background-color: #3b8ee0; }
QPushButton:disabled { background-color: #3d434d; color: #8b919b; }
"""


class TaskPanel(QWidget):
    """Buttons, the confirmation line, the progress bar and the message.

    Signals
    -------
    try_clicked, run_clicked, resume_clicked : no argument
        What to begin.
    confirmed, declined : no argument
        The answer to `ask`.
    cancel_clicked : no argument
        Stop what runs.
    """

    try_clicked = Signal()
    run_clicked = Signal()
    resume_clicked = Signal()
    confirmed = Signal()
    declined = Signal()
    cancel_clicked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._stage = ("", 0.0)
        self._resumable = False
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        self.try_button = QPushButton("Try on this crop")
        self.try_button.setStyleSheet(_PRIMARY)
        self.run_button = QPushButton("Run on volume ...")
        self.run_button.setToolTip("Shows blocks, time, memory and disk before anything starts.")
        self.resume_button = QPushButton("Resume")
        self.resume_button.setToolTip("Go on with the unfinished project; done blocks are kept.")
        layout.addWidget(self.try_button)
        layout.addLayout(_row(self.run_button, self.resume_button))
        self._confirm = QWidget()
        confirm = QVBoxLayout(self._confirm)
        confirm.setContentsMargins(0, 0, 0, 0)
        self.question = _wrapped()
        self.start_button = QPushButton("Start")
        self.decline_button = QPushButton("Cancel")
        confirm.addWidget(self.question)
        confirm.addLayout(_row(self.start_button, self.decline_button))
        layout.addWidget(self._confirm)
        self._progress = QWidget()
        progress = QVBoxLayout(self._progress)
        progress.setContentsMargins(0, 0, 0, 0)
        self.stage_label = _wrapped()
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.cancel_button = QPushButton("Cancel")
        progress.addWidget(self.stage_label)
        bar_row = QHBoxLayout()
        bar_row.addWidget(self.bar, 1)
        bar_row.addWidget(self.cancel_button)
        progress.addLayout(bar_row)
        layout.addWidget(self._progress)
        self.message = _wrapped()
        self.message.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        layout.addWidget(self.message)
        for button, signal in (
            (self.try_button, self.try_clicked),
            (self.run_button, self.run_clicked),
            (self.resume_button, self.resume_clicked),
            (self.start_button, self.confirmed),
            (self.decline_button, self.declined),
            (self.cancel_button, self.cancel_clicked),
        ):
            button.clicked.connect(lambda _checked=False, emit=signal.emit: emit())
        self.show_idle()

    def set_ready(self, why_not: str) -> None:
        """Enable the two start buttons, or grey them with the reason as tooltip."""
        for button in (self.try_button, self.run_button, self.resume_button):
            button.setEnabled(not why_not)
        self.try_button.setToolTip(
            why_not or "Segments a box around the middle of the view; nothing is kept on disk."
        )

    def set_resumable(self, resumable: bool) -> None:
        """Offer Resume beside Run on volume, while those are shown."""
        self._resumable = resumable
        self.resume_button.setVisible(resumable and not self.run_button.isHidden())

    def show_idle(self, message: str = "", *, error: bool = False) -> None:
        """Show the start buttons and what came of the last run."""
        self._show(confirm=False, progress=False)
        self.show_message(message, error=error)

    def show_message(self, message: str, *, error: bool = False) -> None:
        """Show a message below everything; an error in red."""
        self.message.setText(message)
        self.message.setStyleSheet("color: #e5534b;" if error else "")
        self.message.setVisible(bool(message))

    def ask(self, question: str) -> None:
        """Show a question with Start and Cancel."""
        self.question.setText(question)
        self._show(confirm=True, progress=False)
        self.show_message("")

    def show_busy(self, stage: str, *, can_cancel: bool = True) -> None:
        """Show the moving bar of a step whose length is unknown."""
        self._stage = ("", 0.0)
        self.stage_label.setText(stage)
        self.bar.setRange(0, 0)
        self.cancel_button.setEnabled(can_cancel)
        self._show(confirm=False, progress=True)
        self.show_message("")

    def show_cancelling(self) -> None:
        """Say that Cancel was heard."""
        self.stage_label.setText("Cancelling ...")
        self.cancel_button.setEnabled(False)

    def show_progress(self, event: dict[str, Any]) -> None:
        """Show `done` of `total` of a stage, and the time that is left of it."""
        stage = str(event.get("stage", "Working"))
        done, total = _number(event.get("done")), _number(event.get("total"))
        now = time.monotonic()
        if stage != self._stage[0]:
            self._stage = (stage, now)
        parts = [_capitalised(stage)]
        if total > 0:
            self.bar.setRange(0, _STEPS)
            self.bar.setValue(round(_STEPS * min(1.0, done / total)))
            parts[0] += f" {done:g} of {total:g}" if total > 1 else f" {done:.0%}"
            left = (now - self._stage[1]) * (total - done) / done if done > 0 else 0.0
            if left > 1:
                parts.append(f"about {format_duration(left)} left")
        else:
            self.bar.setRange(0, 0)
        message = str(event.get("message") or "")
        self.stage_label.setText(" · ".join([*parts, message] if message else parts))

    def _show(self, *, confirm: bool, progress: bool) -> None:
        idle = not confirm and not progress
        self.try_button.setVisible(idle)
        self.run_button.setVisible(idle)
        self.resume_button.setVisible(idle and self._resumable)
        self._confirm.setVisible(confirm)
        self._progress.setVisible(progress)


def _row(*buttons: QPushButton) -> QHBoxLayout:
    layout = QHBoxLayout()
    layout.setSpacing(6)
    for button in buttons:
        layout.addWidget(button)
    return layout


def _wrapped() -> QLabel:
    label = QLabel()
    label.setWordWrap(True)
    return label


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def format_duration(seconds: float) -> str:
    """Return for example ``40 s``, ``3 min`` or ``2.5 h``: as exact as an estimate is."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


def format_bytes(size: float) -> str:
    """Return for example ``1.5 GB`` (decimal)."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def plan_text(plan: dict[str, Any]) -> str:
    """Return a plan's cost in one line.

    Parameters
    ----------
    plan : dict
        `blocks`, `seconds`, `memory_bytes`, `disk_bytes`, `device` of a `SegmentPlan`.
    """
    blocks = int(_number(plan.get("blocks")))
    return " · ".join(
        [
            f"{blocks} block{'' if blocks == 1 else 's'}",
            f"about {format_duration(_number(plan.get('seconds')))} on {plan.get('device', '?')}",
            f"{format_bytes(_number(plan.get('memory_bytes')))} memory",
            f"{format_bytes(_number(plan.get('disk_bytes')))} disk",
        ]
    )


def question_text(plan: dict[str, Any], free: int | None, replaced: str) -> str:
    """Return what a run costs and does, to be confirmed.

    Parameters
    ----------
    plan : dict
        Of a `SegmentPlan`.
    free : int or None
        Bytes free on the project's disk.
    replaced : str
        Name of a project that would go; empty if none.
    """
    lines = [plan_text(plan)]
    if free is not None and _number(plan.get("disk_bytes")) > free:
        lines.append(f"Only {format_bytes(free)} are free on that disk.")
    if replaced:
        lines.append(f"Replaces the project {replaced}.")
    return "\n".join([*lines, *(str(notice) for notice in plan.get("notices", ()))])


def result_text(what: str, result: dict[str, Any], notices: Sequence[str]) -> str:
    """Return what came of a run, and below it what the user should know.

    Parameters
    ----------
    what : str
        The crop or the project.
    result : dict
        `segments`, `fragments`, `seconds` of the event `done`, where it has them.
    notices : sequence of str
        One line each.
    """
    parts = []
    if "segments" in result:
        plural = "" if result["segments"] == 1 else "s"
        parts.append(f"{result['segments']} segment{plural} of {result.get('fragments')} fragments")
    if "seconds" in result:
        parts.append(format_duration(_number(result["seconds"])))
    return "\n".join([f"{what}: {', '.join(parts)}" if parts else what, *notices])
