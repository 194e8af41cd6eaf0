"""One line: what takes long, how far it is, Cancel; else how many image embeddings are there."""

from __future__ import annotations

from typing import Final

from qtpy.QtWidgets import QLabel, QProgressBar, QVBoxLayout, QWidget

from napari_neuropil.plugin.dendrites.dendrite_controller import DendriteController
from napari_neuropil.plugin.dendrites.dendrite_text import count_text
from napari_neuropil.plugin.dendrites.panel_parts import button, row
from napari_neuropil.workflows.prompting.messages import Embedded

_BAR_HEIGHT: Final = 8
_STEPS: Final = 1000


class ProgressRow(QWidget):
    """Shows progress; takes no room when there is none.

    Parameters
    ----------
    controller : DendriteController
        What runs.
    parent : QWidget, optional
        The owner.
    """

    def __init__(self, controller: DendriteController, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._embedded: Embedded | None = None
        self.text = QLabel()
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setMaximumHeight(_BAR_HEIGHT)
        self.cancel_button = button("Cancel", "Stop; what was found so far stays.", self._cancel)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row(self.text, self.bar, self.cancel_button, stretch=1))
        controller.busy_changed.connect(self._show)
        controller.work_changed.connect(self._show)
        controller.link.copied.connect(self._show)
        controller.link.embedded.connect(self._on_embedded)
        controller.link.changed.connect(self._on_link_changed)
        self._show()

    def _cancel(self) -> None:
        self.text.setText("Cancelling ...")
        self.cancel_button.setEnabled(False)
        self._controller.cancel()

    def _on_embedded(self, event: Embedded) -> None:
        self._embedded = event
        self._show()

    def _on_link_changed(self) -> None:
        if self._controller.link.ready is None:
            self._embedded = None
        self._show()

    def _show(self) -> None:
        long, embedded = self._controller.desk.long, self._embedded
        copied = self._controller.link.share_copied
        self.cancel_button.setVisible(long is not None or copied is not None)
        if copied is not None:
            self.setVisible(True)
            self._range(round(_STEPS * copied), _STEPS)
            self.text.setText(f"Copying: {round(100 * copied)} %")
            return
        if long is None:
            self.cancel_button.setEnabled(True)
            pending = embedded is not None and embedded.done < embedded.total
            self.setVisible(pending)
            if embedded is not None and pending:
                self._range(embedded.done, embedded.total)
                self.text.setText(f"Looking ahead: {embedded.done} of {embedded.total}")
            return
        self.setVisible(True)
        self._range(long.done, long.total)
        if not self.cancel_button.isEnabled():
            return
        if long.kind == "detect":
            self.text.setText(f"Finding: {long.done} of {count_text(long.total, 'section')}")
        else:
            self.text.setText(f"Following: {count_text(long.done, 'section')}")

    def _range(self, done: int, total: int) -> None:
        self.bar.setRange(0, total)
        if total:
            self.bar.setValue(min(done, total))
