"""What the network said, as a layer: affinities, foreground, confidence, queries.

Read lazily from the project's ``affinities.zarr``, on the grid that the network saw.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QWidget

from napari_neuropil.errors import NeuropilError
from napari_neuropil.plugin.layers import METADATA_KEY, LayerArray
from napari_neuropil.project.affinities import AffinityStore
from napari_neuropil.segmentation.channel_names import LABEL_CHANNELS

if TYPE_CHECKING:
    from napari.layers import Labels, Layer  # type: ignore[import-untyped]
    from numpy.typing import NDArray

    from napari_neuropil.plugin.proofread_controller import ProofreadController

NAME: Final = "Network"
_NOTHING: Final = "nothing"


class ChannelArray:
    """One channel of a store as a lazy (Z, Y, X) array: labels as stored, all else in [0, 1].

    Parameters
    ----------
    store : AffinityStore
        Of a project.
    channel : int
        Which.
    """

    def __init__(self, store: AffinityStore, channel: int) -> None:
        self._array, self._channel = store.array, channel
        self.is_labels = store.names[channel] in LABEL_CHANNELS
        self.shape = store.shape
        self.dtype = np.dtype(np.uint8 if self.is_labels else np.float32)

    def __getitem__(self, key: tuple[slice, slice, slice]) -> NDArray[Any]:
        """Read a box."""
        stored = np.asarray(self._array[(self._channel, *key)])
        return stored if self.is_labels else stored / np.float32(255)


class StoredView(QWidget):
    """Chooses which of the stored channels is shown.

    Parameters
    ----------
    controller : ProofreadController
        Session and viewer.
    parent : QWidget, optional
        The owner.
    """

    def __init__(self, controller: ProofreadController, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._layer: Layer | None = None
        self._store: AffinityStore | None = None
        self._listening = False
        self.combo = QComboBox()
        self.combo.setToolTip(
            "Show what the network said of each voxel, under the segments: bright is 1. Affinities "
            "are of a voxel and its neighbour that many voxels away. Queries are coloured; each "
            "block has its own. Dim (Shift+H) fades the segments above."
        )
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(QLabel("Show of the network"))
        layout.addWidget(self.combo, 1)
        self.combo.currentIndexChanged.connect(self._on_chosen)
        controller.session_changed.connect(self._on_session_changed)
        self._on_session_changed()

    def _on_session_changed(self) -> None:
        self._remove()
        path = self._controller.path if self._controller.session is not None else None
        self._store = None
        if path is not None:
            # Absent in projects of labels only, and a finished project may do without.
            try:
                self._store = AffinityStore.open(path / "affinities.zarr")
            except NeuropilError:
                self._store = None
        self.combo.blockSignals(True)
        self.combo.clear()
        self.combo.addItems([_NOTHING, *(self._store.names if self._store else ())])
        self.combo.blockSignals(False)
        self.setVisible(self._store is not None)
        listen = self._store is not None
        emitter = self._controller.viewer.layers.events.removed
        # Only while a project is open: a closed dock must not hear of the viewer.
        if listen != self._listening:
            (emitter.connect if listen else emitter.disconnect)(self._on_layer_removed)
            self._listening = listen

    def _on_chosen(self, index: int) -> None:
        self._remove()
        segments, store = self._controller.segments_layer, self._store
        if index < 1 or segments is None or store is None:
            return
        viewer = self._controller.viewer
        active = viewer.layers.selection.active
        name = store.names[index - 1]
        channel = ChannelArray(store, index - 1)
        data = LayerArray(channel)
        looks = {
            "name": f"{NAME}: {name}",
            "metadata": {METADATA_KEY: {"overlay": NAME}},
            **_on_grid(segments, data.shape),
        }
        if channel.is_labels:
            self._layer = viewer.add_labels(data, **looks)
        else:
            self._layer = viewer.add_image(data, contrast_limits=(0, 1), **looks)
        layers = viewer.layers
        layers.move(layers.index(self._layer), layers.index(segments))
        layers.selection.active = active

    def _on_layer_removed(self, event: Any) -> None:
        if self._layer is not None and event.value is self._layer:  # taken away by hand
            self._layer = None
            self.combo.setCurrentIndex(0)

    def _remove(self) -> None:
        layer, self._layer = self._layer, None
        if layer is not None and layer in self._controller.viewer.layers:
            self._controller.viewer.layers.remove(layer)


def _on_grid(segments: Labels, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return the attributes that lay a coarser grid over the segments."""
    factors = np.array(
        [max(1, round(n / m)) for n, m in zip(segments.data.shape, shape, strict=True)], float
    )
    scale = np.asarray(segments.scale, float)
    # The middle of a coarse voxel is the middle of those it was pooled of.
    shift = np.asarray(segments.rotate) @ ((factors - 1) / 2 * scale)
    return {
        "scale": tuple(factors * scale),
        "translate": tuple(np.asarray(segments.translate) + shift),
        "rotate": segments.rotate,
        "affine": segments.affine,
        "units": segments.units,
    }
