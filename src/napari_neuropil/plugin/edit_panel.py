"""The Edit tab: modes, what a click would do, what the proposal is, undo, and what is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import (  # type: ignore[attr-defined]
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QShortcut,
    QVBoxLayout,
    QWidget,
)

from napari_neuropil.plugin.edit_modes import MODES
from napari_neuropil.plugin.proofread_controller import ProofreadController
from napari_neuropil.plugin.proofread_layers import DIMMED, HIDDEN
from napari_neuropil.plugin.proposal_text import size_text
from napari_neuropil.plugin.seed_layers import BLUE, RED
from napari_neuropil.plugin.seed_suggestion import SeedSuggestion

_ACTIVE: Final = "QPushButton:checked { background-color: #2979c9; color: white; }"
_COMMIT: Final = """
QPushButton { font-weight: bold; padding: 6px; background-color: #2979c9; color: white; }
QPushButton:disabled { background-color: #3d434d; color: #8b919b; }
"""
_SEED: Final = """
QPushButton {{ color: {0}; }}
QPushButton:checked {{ background-color: {1}; color: white; }}
"""
_MOST_SELECTED: Final = 3


class EditPanel(QWidget):
    """Merge, split and the one-shot edits.

    Parameters
    ----------
    controller : ProofreadController
        What it shows and drives.
    parent : QWidget, optional
        The owner.
    """

    def __init__(self, controller: ProofreadController, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self.mode_buttons = {name: self._mode_button(name) for name in MODES}
        self.hint = _label()
        self.red_button = self._seed_button(RED, "#ff7d73", "#ff4b3e")
        self.blue_button = self._seed_button(BLUE, "#7db2ff", "#3e8bff")
        self.swap_button = _button("Swap", "Red seeds become blue, blue ones red.")
        self.clear_button = _button("Clear", "Forget all seeds.")
        self.suggestion = SeedSuggestion(controller)
        self.preview = _label()
        self.preview.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.commit_button = _button("Commit (Enter)", "Make the proposed edit.")
        self.commit_button.setStyleSheet(_COMMIT)
        self.leave_button = _button("Leave (Esc)", "Leave the mode; nothing is changed.")
        self.undo_button = _button("Undo (U)", "Take the last edit back.")
        self.redo_button = _button("Redo (Shift+U)", "Make the edit again that was taken back.")
        self.hide_button = _button("Hide others (H)", "Show only what is selected.", checkable=True)
        self.dim_button = _button("Dim (Shift+H)", "Fade what is not selected.", checkable=True)
        self.jump_button = _button("Jump (J)", "Bring the contact, or what is selected, into view.")
        self.selection = _label()
        self._build()
        self._connect()
        self._bind_keys()
        self._update()

    def _mode_button(self, name: str) -> QPushButton:
        mode = MODES[name]
        text = f"{mode.title} ({mode.key})" if mode.key else mode.title
        button = _button(text, mode.hint.capitalize() + ".", checkable=True)
        button.setStyleSheet(_ACTIVE)
        return button

    def _seed_button(self, side: str, text: str, fill: str) -> QPushButton:
        button = _button("", f"The next clicks set {side} seeds (K changes).", checkable=True)
        button.setStyleSheet(_SEED.format(text, fill))
        return button

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 8, 6, 6)
        layout.setSpacing(8)
        grid = QGridLayout()
        grid.setSpacing(4)
        places = {"merge": (0, 0), "split": (0, 2)}
        one_shot = [name for name in MODES if name not in places]
        for name, (row, column) in places.items():
            grid.addWidget(self.mode_buttons[name], row, column, 1, 2)
        for column, name in enumerate(one_shot):
            grid.addWidget(self.mode_buttons[name], 1, column)
        layout.addLayout(grid)
        layout.addWidget(self.hint)
        self.seed_row = _row(self.red_button, self.blue_button, self.swap_button, self.clear_button)
        layout.addWidget(self.seed_row)
        layout.addWidget(self.suggestion)
        layout.addWidget(self.preview)
        self.commit_row = _row(self.commit_button, self.leave_button)
        layout.addWidget(self.commit_row)
        layout.addWidget(_row(self.undo_button, self.redo_button))
        layout.addWidget(_row(self.hide_button, self.dim_button, self.jump_button))
        layout.addWidget(self.selection)
        layout.addStretch(1)

    def _connect(self) -> None:
        controller = self._controller
        for name, button in self.mode_buttons.items():
            button.clicked.connect(lambda _on=False, n=name: self._on_mode_clicked(n))
        actions: tuple[tuple[QPushButton, Callable[[], None]], ...] = (
            (self.red_button, lambda: self._on_side_clicked(RED)),
            (self.blue_button, lambda: self._on_side_clicked(BLUE)),
            (self.swap_button, controller.layers.seeds.swap),
            (self.clear_button, controller.drop_picks),
            (self.commit_button, controller.commit),
            (self.leave_button, controller.leave_mode),
            (self.undo_button, controller.undo),
            (self.redo_button, controller.redo),
            (self.hide_button, lambda: controller.toggle_others(HIDDEN)),
            (self.dim_button, lambda: controller.toggle_others(DIMMED)),
            (self.jump_button, controller.jump),
        )
        for button, action in actions:
            button.clicked.connect(lambda _on=False, act=action: act())
        for signal in (
            controller.session_changed,
            controller.mode_changed,
            controller.wish_changed,
            controller.proposal_changed,
            controller.selection_changed,
            controller.others_changed,
            controller.edited,
        ):
            signal.connect(self._update)

    def _bind_keys(self) -> None:
        # Only while this tab has the keyboard: elsewhere in the dock Enter ends a text field.
        for key, action in (
            ("Return", self._controller.commit),
            ("Enter", self._controller.commit),
            ("Escape", self._controller.leave_mode),
        ):
            shortcut = QShortcut(QKeySequence(key), self)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(action)

    def _on_mode_clicked(self, name: str) -> None:
        if self._controller.mode == name:
            self._controller.leave_mode()
        else:
            self._controller.begin_mode(name)
        self._update()

    def _on_side_clicked(self, side: str) -> None:
        if self._controller.layers.seeds.side != side:
            self._controller.press_mode("split")
        self._update()

    def _update(self, _what: object = None) -> None:
        controller = self._controller
        session, mode = controller.session, controller.edit_mode
        for name, button in self.mode_buttons.items():
            button.setChecked(name == controller.mode)
            button.setEnabled(controller.editable)
        self.hint.setText(self._hint_text())
        seeds = controller.layers.seeds
        self.seed_row.setVisible(mode is not None and mode.seeds)
        for side, button in ((RED, self.red_button), (BLUE, self.blue_button)):
            count = len(seeds.points(side))
            button.setText(f"● {side.capitalize()} {count or ''}".rstrip())
            button.setChecked(seeds.side == side)
        self.preview.setText(self._preview_text())
        self.preview.setVisible(bool(self.preview.text()))
        self.commit_row.setVisible(mode is not None)
        self.commit_button.setEnabled(controller.proposal is not None)
        self.undo_button.setEnabled(
            controller.editable and session is not None and session.can_undo
        )
        self.redo_button.setEnabled(
            controller.editable and session is not None and session.can_redo
        )
        for button, how in ((self.hide_button, HIDDEN), (self.dim_button, DIMMED)):
            button.setEnabled(session is not None)
            button.setChecked(controller.layers.others == how)
        self.jump_button.setEnabled(bool(controller.selected))
        self.selection.setText(self._selection_text())

    def _hint_text(self) -> str:
        controller, mode = self._controller, self._controller.edit_mode
        if controller.session is None:
            return ""
        if mode is None:
            return "Click a segment to select it, or choose what to do."
        return f"<b>{mode.title}</b>: {mode.hint}."

    def _preview_text(self) -> str:
        controller = self._controller
        if controller.proposal is None:
            return "Working out the preview ..." if controller.working else ""
        more = "" if controller.proposal_exact else "\nStill looking for the best cut ..."
        return controller.proposal_text + more

    def _selection_text(self) -> str:
        session = self._controller.session
        if session is None:
            return ""
        lines = [
            f"{s}: {size_text(session.segment_size(s), session.info.voxel_size_nm)}"
            for s in self._controller.selected[:_MOST_SELECTED]
        ]
        more = len(self._controller.selected) - _MOST_SELECTED
        if more > 0:
            lines.append(f"and {more} more")
        return "Selected: " + ("\n".join(lines) if lines else "nothing")


def _button(text: str, tip: str, *, checkable: bool = False) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tip)
    button.setCheckable(checkable)
    # The keyboard stays where it is: a click on a button must not take it from the canvas.
    button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return button


def _label() -> QLabel:
    label = QLabel()
    label.setWordWrap(True)
    return label


def _row(*buttons: QPushButton) -> QWidget:
    row = QWidget()
    layout = QHBoxLayout(row)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(4)
    for button in buttons:
        layout.addWidget(button)
    return row
