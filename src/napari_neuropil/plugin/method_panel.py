"""Which method, weights and device, and the method's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from qtpy.QtCore import QEvent, QObject, QSize, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QStandardItemModel
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QFrame,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_neuropil.methods import METHODS
from napari_neuropil.plugin.settings_form import SettingsForm
from napari_neuropil.plugin.source_panel import row_label

_DEVICES: Final = {"auto": "Automatic", "cpu": "CPU", "cuda": "GPU (CUDA)", "mps": "GPU (Apple)"}
_SHIPPED: Final = "Shipped weights"
_NONE_SHIPPED: Final = "None shipped: choose a file"
_OTHER_FILE: Final = "File ..."


class MethodPanel(QWidget):
    """Method, checkpoint, device and settings, as words of the command line.

    Parameters
    ----------
    parent : QWidget, optional
        The owner.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._unshipped: dict[str, str] = {}
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        rows = QFormLayout()
        rows.setVerticalSpacing(4)
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.method = QComboBox()
        for name, entry in METHODS.items():
            self.method.addItem(entry.title, name)
            self.method.setItemData(
                self.method.count() - 1, entry.description, Qt.ItemDataRole.ToolTipRole
            )
        self.checkpoint = QComboBox()
        self.checkpoint.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.checkpoint.addItem(_SHIPPED, None)
        self.checkpoint.addItem(_OTHER_FILE, "")
        self.checkpoint.setToolTip("The network's weights: the shipped ones or a .safetensors file")
        self.device = QComboBox()
        for name, title in _DEVICES.items():
            self.device.addItem(title, name)
        self.device.setToolTip("Where the network runs. Automatic takes the fastest there is.")
        rows.addRow(row_label("Method"), self.method)
        rows.addRow(row_label("Checkpoint"), self.checkpoint)
        rows.addRow(row_label("Device"), self.device)
        layout.addLayout(rows)
        self.scroll_area = _FittingScrollArea()
        self.scroll_area.setWidgetResizable(True)
        self.scroll_area.setFrameShape(QFrame.Shape.NoFrame)
        self.scroll_area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        layout.addWidget(self.scroll_area)
        self.method.currentIndexChanged.connect(self._on_method_changed)
        # `activated` is the user's choice only, so filling the list opens no dialog.
        self.checkpoint.activated.connect(self._on_checkpoint_activated)
        self._on_method_changed(0)

    @property
    def method_name(self) -> str:
        """The chosen row of the table of methods."""
        return str(self.method.currentData())

    @property
    def title(self) -> str:
        """The chosen method's title."""
        return METHODS[self.method_name].title

    def options(self) -> tuple[str, ...]:
        """Return the choices as words of the command line.

        Raises
        ------
        SettingsError
            If the settings model refuses a combination of values.
        """
        words = ["--method", self.method_name, "--device", str(self.device.currentData())]
        path = self.checkpoint.currentData()
        if path:
            words += ["--checkpoint", str(path)]
        return (*words, *self.form.arguments())

    def why_not_ready(self) -> str:
        """Return why the chosen checkpoint cannot be used, or nothing."""
        if self.checkpoint.currentData() is None:
            return self._unshipped.get(METHODS[self.method_name].network, "")
        return ""

    def set_checkpoint(self, path: Path) -> None:
        """Choose a checkpoint file."""
        position = self.checkpoint.findData(str(path))
        if position < 0:
            position = self.checkpoint.count() - 1
            self.checkpoint.insertItem(position, path.name, str(path))
            self.checkpoint.setItemData(position, str(path), Qt.ItemDataRole.ToolTipRole)
        self.checkpoint.setCurrentIndex(position)
        self.changed.emit()

    def show_facts(self, facts: dict[str, Any]) -> None:
        """Grey what `neuropil info --json` says cannot be used, with the reason as tooltip."""
        for device in facts.get("devices", []):
            reason = device.get("why_unavailable")
            row = self.device.findData(device.get("device"))
            if row < 0:
                continue
            _set_available(self.device, row, reason)
            if not reason and device.get("name"):
                self.device.setItemText(row, f"{_DEVICES[device['device']]}: {device['name']}")
            if reason and self.device.currentIndex() == row:
                self.device.setCurrentIndex(0)
        self._unshipped = {
            str(c["network"]): str(c.get("why_unavailable") or "")
            for c in facts.get("checkpoints", [])
            if c.get("path") is None
        }
        self._show_checkpoint()

    def _show_checkpoint(self) -> None:
        reason = self._unshipped.get(METHODS[self.method_name].network)
        _set_available(self.checkpoint, 0, reason)
        self.checkpoint.setItemText(0, _NONE_SHIPPED if reason else _SHIPPED)
        self.changed.emit()

    def _on_method_changed(self, _index: int) -> None:
        self.form = SettingsForm(METHODS[self.method_name].settings_class)
        self.form.changed.connect(self.changed)
        self.scroll_area.setWidget(self.form)
        self._show_checkpoint()

    def _on_checkpoint_activated(self, index: int) -> None:
        if self.checkpoint.itemData(index) != "":
            self.changed.emit()
            return
        path, _ = QFileDialog.getOpenFileName(
            self, "Choose a checkpoint", "", "Checkpoints (*.safetensors)"
        )
        if path:
            self.set_checkpoint(Path(path))
        else:
            self.checkpoint.setCurrentIndex(0)


class _FittingScrollArea(QScrollArea):
    """As high as its content where there is room, scrolling where there is not."""

    def __init__(self) -> None:
        super().__init__()
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return the content's size."""
        content = self.widget()
        return super().sizeHint() if content is None else content.sizeHint() + QSize(0, 4)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Return the height of a few rows."""
        return QSize(0, min(120, self.sizeHint().height()))

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802
        """Follow the content when a section unfolds."""
        if event is not None and event.type() == QEvent.Type.LayoutRequest:
            self.updateGeometry()
        return super().eventFilter(watched, event)


def _set_available(combo: QComboBox, row: int, reason: str | None) -> None:
    """Grey an entry with the reason, or make it choosable again."""
    model = combo.model()
    if not isinstance(model, QStandardItemModel):
        return
    item = model.item(row)
    if item is not None:
        item.setEnabled(not reason)
        item.setToolTip(reason or "")
