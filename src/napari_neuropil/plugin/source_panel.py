"""Which layer to segment, and how large its voxels are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QFormLayout, QHBoxLayout, QLabel, QWidget

from napari_neuropil.geometry import VoxelSize
from napari_neuropil.plugin.field_editors import FloatBox
from napari_neuropil.plugin.layers import set_voxel_size, view_centre, voxel_size_of

if TYPE_CHECKING:
    from napari.layers import Layer  # type: ignore[import-untyped]

LABEL_WIDTH: Final = 84
"""Of the first column, in pixels, so that the panels of a dock line up."""

_LARGEST_NM: Final = 1e6


class SourcePanel(QWidget):
    """The layer and its voxel size; a size typed here becomes the layer's scale.

    Parameters
    ----------
    viewer : napari.Viewer
        Its 3D grey image layers are offered.
    parent : QWidget, optional
        The owner.
    """

    changed = Signal()

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._layers: list[Layer] = []
        self._filling = False
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setVerticalSpacing(4)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.combo = QComboBox()
        self.combo.setToolTip("The 3D image to segment.")
        self.combo.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        form.addRow(row_label("Image"), self.combo)
        self.boxes = [self._voxel_box(axis) for axis in "zyx"]
        row = QWidget()
        layout = QHBoxLayout(row)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for box in self.boxes:
            layout.addWidget(box)
        layout.addWidget(QLabel("nm"))
        form.addRow(row_label("Voxel z, y, x"), row)
        self.hint = QLabel()
        self.hint.setWordWrap(True)
        form.addRow(self.hint)
        self.combo.currentIndexChanged.connect(self._on_combo_changed)
        for emitter in (viewer.layers.events.inserted, viewer.layers.events.removed):
            emitter.connect(self._on_layers_changed)
        self._on_layers_changed()

    def _voxel_box(self, axis: str) -> QDoubleSpinBox:
        box = FloatBox()
        box.setDecimals(4)
        box.setRange(0.0, _LARGEST_NM)
        box.setSpecialValueText("?")
        box.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
        box.setKeyboardTracking(False)
        box.setAlignment(Qt.AlignmentFlag.AlignRight)
        # napari's style sheet would make three boxes wider than the dock.
        box.setStyleSheet("min-width: 50px;")
        box.setToolTip(f"Edge of a voxel along {axis}, in nanometres.")
        box.valueChanged.connect(self._on_voxel_size_edited)
        return box

    @property
    def layer(self) -> Layer | None:
        """The chosen layer."""
        index = self.combo.currentIndex()
        return self._layers[index] if 0 <= index < len(self._layers) else None

    @property
    def voxel_size(self) -> VoxelSize | None:
        """The voxel size in nm, or None until all three are known."""
        z, y, x = (float(box.value()) for box in self.boxes)
        return VoxelSize(z, y, x) if min(z, y, x) > 0 else None

    def _on_layers_changed(self, event: Any = None) -> None:
        chosen = self.layer
        for layer in self._layers:
            for emitter in (layer.events.name, layer.events.scale, layer.events.units):
                emitter.disconnect(self._on_layer_edited)
        self._layers = [layer for layer in self._viewer.layers if _is_volume(layer)]
        for layer in self._layers:
            for emitter in (layer.events.name, layer.events.scale, layer.events.units):
                emitter.connect(self._on_layer_edited)
        self._fill_combo(chosen)

    def _fill_combo(self, chosen: Layer | None) -> None:
        self.combo.blockSignals(True)
        self.combo.clear()
        self.combo.addItems([layer.name for layer in self._layers])
        if chosen in self._layers:
            self.combo.setCurrentIndex(self._layers.index(chosen))
        self.combo.blockSignals(False)
        self._on_combo_changed()

    def _on_layer_edited(self, event: Any = None) -> None:
        if not self._filling:
            self._fill_combo(self.layer)

    def _on_combo_changed(self, _index: int = 0) -> None:
        layer = self.layer
        size = None if layer is None else voxel_size_of(layer)
        self._filling = True
        for box, value in zip(self.boxes, size or (0.0, 0.0, 0.0), strict=True):
            box.setValue(value)
            box.setEnabled(layer is not None)
        self._filling = False
        self._show_hint()
        self.changed.emit()

    def _on_voxel_size_edited(self, _value: float) -> None:
        if self._filling:
            return
        layer, size = self.layer, self.voxel_size
        if layer is not None and size is not None:
            self._filling = True
            _apply(self._viewer, layer, size)
            self._filling = False
        self._show_hint()
        self.changed.emit()

    def _show_hint(self) -> None:
        text = ""
        if self.layer is None:
            text = "Open a 3D image first: File > Open, or File > Open Sample > Neuropil."
        elif self.voxel_size is None:
            text = "The voxel size is not known. Type it above, in nm."
        self.hint.setText(text)
        self.hint.setVisible(bool(text))


def row_label(text: str) -> QLabel:
    """Return a label as wide as those of the other panels."""
    label = QLabel(text)
    label.setMinimumWidth(LABEL_WIDTH)
    return label


def _is_volume(layer: Layer) -> bool:
    return type(layer).__name__ == "Image" and layer.ndim == 3 and not getattr(layer, "rgb", False)


def _apply(viewer: Any, layer: Layer, size: VoxelSize) -> None:
    """Set the size of a layer and its companions, and keep the view on the same voxels.

    Companions are layers of the same shape whose size nothing states either, such as the labels
    opened beside an image: left in pixels they would no longer lie over it.
    """
    centre = view_centre(viewer, layer)
    before = np.asarray(layer.scale, float)
    unknown = voxel_size_of(layer) is None
    companions = [
        other
        for other in viewer.layers
        if unknown
        and other is not layer
        and other.ndim == 3
        and voxel_size_of(other) is None
        and tuple(getattr(other.data, "shape", ())) == tuple(layer.data.shape)
    ]
    for each in (layer, *companions):
        set_voxel_size(each, size)
    world = layer.data_to_world(centre)
    viewer.dims.point = world
    viewer.scene.camera.center = tuple(world)
    viewer.scene.camera.zoom *= float(before[-1] / np.asarray(layer.scale)[-1])
