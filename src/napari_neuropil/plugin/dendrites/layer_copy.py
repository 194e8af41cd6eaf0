"""A layer in memory as a file: written before the worker starts, removed once it has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_neuropil.errors import SettingsError
from napari_neuropil.geometry import Roi, VoxelSize
from napari_neuropil.plugin.dendrites.image_choice import ImageChoice, why_not
from napari_neuropil.plugin.layers import finest_data
from napari_neuropil.plugin.staging import Staging, discard, temporary_path

if TYPE_CHECKING:
    from napari.layers import Layer  # type: ignore[import-untyped]


class LayerCopy(QObject):
    """The voxels that a layer has now, in a .zarr of the temporary folder.

    Parameters
    ----------
    layer : Layer
        Three axes; of a pyramid the finest level.
    voxel_size : VoxelSize
        Stated in the file.
    parent : QObject, optional
        The owner.

    Signals
    -------
    progressed : no argument
        Read `share`.
    written : no argument
        The file at `path` is whole.
    failed : dict
        Facts of the error; there is no file.

    Raises
    ------
    OSError
        If the system has no temporary folder.
    """

    progressed = Signal()
    written = Signal()
    failed = Signal(dict)

    def __init__(self, layer: Layer, voxel_size: VoxelSize, parent: QObject | None = None) -> None:
        super().__init__(parent)
        array = finest_data(layer)
        self.path = temporary_path("layer.zarr")
        self.share: float | None = 0.0
        """How much of it is written; None: all."""
        self._wanted = True
        self._staging = Staging(
            array, Roi.of_shape(array.shape), self.path, voxel_size, parent=self
        )
        self._staging.progressed.connect(self._on_progressed)
        self._staging.finished.connect(self._on_finished)
        self._staging.failed.connect(self._on_failed)
        self._staging.cancelled.connect(self.deleteLater)

    def start(self) -> None:
        """Begin; returns at once."""
        self._staging.start()

    def drop(self) -> None:
        """Let nothing of it be left, without a word.

        A block that is being read is waited for beside the window.
        """
        self._wanted = False
        if self.share is None:
            discard(self.path)
            self.deleteLater()
        else:
            self._staging.cancel()

    def kill(self) -> None:
        """Do the same, and wait a little for the block: the window is closing."""
        self._wanted = False
        self._staging.kill()
        discard(self.path)

    def _on_progressed(self, share: float) -> None:
        self.share = share
        if self._wanted:
            self.progressed.emit()

    def _on_finished(self) -> None:
        self.share = None
        if self._wanted:
            self.written.emit()
        else:
            self.drop()

    def _on_failed(self, facts: dict[str, object]) -> None:
        if self._wanted:
            self.failed.emit(facts)
        self.deleteLater()


def copy_of(choice: ImageChoice, voxel_size: VoxelSize | None) -> LayerCopy | None:
    """Return what is to be written before the worker starts; None: it opens what is there.

    Parameters
    ----------
    choice : ImageChoice
        What is to be worked on.
    voxel_size : VoxelSize or None
        Where the layer states none.

    Raises
    ------
    SettingsError
        If the layer cannot be worked on (its data may have changed since the menu was filled), or
        its voxel size is not known.
    OSError
        If the system has no temporary folder.
    """
    if not choice.in_memory:
        return None
    size, missing = voxel_size or choice.voxel_size, why_not(choice.layer)
    if missing or size is None:
        raise SettingsError(
            f"{choice.title} cannot be worked on.",
            "a layer of grey values with three axes and a voxel size",
            missing or "type the voxel size above.",
        )
    return LayerCopy(choice.layer, size)
