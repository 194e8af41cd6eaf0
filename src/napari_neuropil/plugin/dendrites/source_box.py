"""The head of the dock: which image, which segmenter, which detector, Start and Stop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from qtpy.QtCore import QStandardPaths, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QComboBox, QFileDialog, QGridLayout, QLabel, QLineEdit, QWidget

from napari_neuropil.errors import NeuropilError
from napari_neuropil.geometry import VoxelSize
from napari_neuropil.plugin.background import BackgroundCall
from napari_neuropil.plugin.dendrites.dendrite_controller import DendriteController
from napari_neuropil.plugin.dendrites.image_choice import (
    ImageChoice,
    image_choices,
    worker_words,
)
from napari_neuropil.plugin.dendrites.layer_copy import LayerCopy, copy_of
from napari_neuropil.plugin.dendrites.panel_parts import PRIMARY, button, combo, row
from napari_neuropil.plugin.dendrites.segmenter_choice import (
    WITHOUT_NETWORK,
    ModelChoice,
    detector_choices,
    segmenter_choices,
)
from napari_neuropil.plugin.worker import error_text

_FILE: Final = "\0file"
_NOTHING: Final = "Open an image or a project first"
_REMOVED: Final = "The layer was removed: it is not copied, and nothing was started."


class SourceBox(QWidget):
    """Chooses and starts.

    Parameters
    ----------
    controller : DendriteController
        Gets the worker.
    parent : QWidget, optional
        The owner.

    Signals
    -------
    changed : no argument
        Read `choice` and `models`.
    """

    changed = Signal()

    def __init__(self, controller: DendriteController, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._viewer = controller.viewer
        self._choices: list[ImageChoice] = []
        self._preparing: BackgroundCall | None = None
        self.image = combo("The image to work on, or a project: then masks become its segments.")
        self.segmenter = combo("Turns boxes and points into masks.")
        self.detector = combo("Finds boxes by itself. Boxes drawn by hand need none.")
        self.edges = QLineEdit()
        self.edges.setPlaceholderText("z, y, x in nm, for example 29, 6, 6")
        self.edges.setToolTip("Voxel size in nm, z first: the file does not say it.")
        self.start_button = button(
            "Start", "Start the segmenter in a process of its own.", self.start
        )
        self.start_button.setStyleSheet(PRIMARY)
        self.stop_button = button(
            "Stop", "End the segmenter and free its memory; boxes and masks stay.", self._stop
        )
        self._build()
        _fill(self.segmenter, segmenter_choices())
        _fill(self.detector, detector_choices())
        for menu in (self.segmenter, self.detector):
            menu.activated.connect(lambda index, c=menu: self._on_model_chosen(c, index))
            menu.currentIndexChanged.connect(lambda _index: self.changed.emit())
        self.image.currentIndexChanged.connect(self._show)
        self._emitters = (self._viewer.layers.events.inserted, self._viewer.layers.events.removed)
        for emitter in self._emitters:
            emitter.connect(self._update)
        controller.link.changed.connect(self._show)
        self._update()

    def stop_listening(self) -> None:
        """Let go of the viewer: the dock goes."""
        for emitter in self._emitters:
            emitter.disconnect(self._update)

    @property
    def choice(self) -> ImageChoice | None:
        """What is chosen."""
        index = self.image.currentData()
        return self._choices[index] if index is not None else None

    @property
    def models(self) -> tuple[str, str]:
        """Names or files of the segmenter and the detector that are chosen; empty: none."""
        return str(self.segmenter.currentData() or ""), str(self.detector.currentData() or "")

    def choose(self, place: str) -> None:
        """Choose the image or project at a path."""
        self._take(lambda choice: choice.place == place)

    def choose_segmenter(self, name: str) -> None:
        """Choose a segmenter by name or file."""
        _choose(self.segmenter, name)

    def switch(self, *, segmenter: str | None = None, detector: str | None = None) -> None:
        """Choose other models, and begin again with them where a worker runs.

        Boxes and masks stay.
        """
        for menu, name in ((self.segmenter, segmenter), (self.detector, detector)):
            if name is not None:
                _choose(menu, name)
        link = self._controller.link
        if link.running and link.choice is not None:
            self._take(link.choice.same_as)
            # At once: the old one must not answer what is asked of the new one.
            link.drop()
            link.changed.emit()
            self.start()

    def start(self) -> None:
        """Start the worker on what is chosen; a layer in memory is copied as it is now."""
        choice = self.choice
        busy = self._preparing is not None or self._controller.link.share_copied is not None
        if choice is None or busy:
            return
        segmenter, detector = self.models
        try:
            size = _size(self.edges.text()) if self.edges.isVisibleTo(self) else None
            copy = copy_of(choice, size)
        except (NeuropilError, OSError) as error:
            self._controller.message.emit(str(error), True)
            return
        cache = None if segmenter in WITHOUT_NETWORK else embedding_folder()
        call = BackgroundCall(
            lambda: worker_words(
                choice,
                segmenter=segmenter,
                detector=detector if Path(detector).suffix else "",
                voxel_size=size,
                cache_dir=cache,
                copy=None if copy is None else copy.path,
            ),
            self,
        )
        call.returned.connect(lambda words: self._on_prepared(choice, words, copy))
        call.failed.connect(self._on_failed)
        self._preparing = call
        self._show()
        call.start()

    def _build(self) -> None:
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        grid.setColumnStretch(1, 1)
        self._edges_title = QLabel("Voxel size")
        lines: tuple[tuple[QLabel, QWidget], ...] = (
            (QLabel("Image"), self.image),
            (self._edges_title, self.edges),
            (QLabel("Segmenter"), self.segmenter),
            (QLabel("Detector"), self.detector),
        )
        for number, (title, widget) in enumerate(lines):
            title.setToolTip(widget.toolTip())
            grid.addWidget(title, number, 0)
            grid.addWidget(widget, number, 1)
        grid.addLayout(row(self.start_button, self.stop_button, stretch=0), len(lines), 0, 1, 2)

    def _update(self, _event: Any = None) -> None:
        chosen = self.choice
        self._choices = image_choices(list(self._viewer.layers))
        self.image.blockSignals(True)
        self.image.clear()
        for number, choice in enumerate(self._choices):
            self.image.addItem(choice.title, number)
            _explain(self.image, number, choice.missing, choice.tip)
        if not self._choices:
            self.image.addItem(_NOTHING, None)
        else:
            kept = [n for n, c in enumerate(self._choices) if chosen and c.layer == chosen.layer]
            open_ones = [n for n, c in enumerate(self._choices) if not c.missing]
            self.image.setCurrentIndex((kept or open_ones or [0])[0])
        self.image.blockSignals(False)
        link = self._controller.link
        if link.share_copied is not None and not self._is_there(link.choice):
            link.stop(_REMOVED)
        self._show()

    def _is_there(self, choice: ImageChoice | None) -> bool:
        return choice is not None and choice.layer in self._viewer.layers

    def _take(self, wanted: Callable[[ImageChoice], bool]) -> None:
        for number, choice in enumerate(self._choices):
            if wanted(choice):
                self.image.setCurrentIndex(self.image.findData(number))

    def _show(self, _event: Any = None) -> None:
        choice, link = self.choice, self._controller.link
        why = _NOTHING if choice is None else choice.missing
        unknown = (
            choice is not None and choice.project is None and choice.voxel_size is None and not why
        )
        self.edges.setVisible(unknown)
        self._edges_title.setVisible(unknown)
        busy = self._preparing is not None or (link.running and link.ready is None)
        self.start_button.setEnabled(not why and not busy)
        self.start_button.setToolTip(why or "Start the segmenter in a process of its own.")
        text = "Start again" if link.running else "Start"
        if busy:
            text = "Starting ..." if link.share_copied is None else "Copying ..."
        self.start_button.setText(text)
        self.start_button.setStyleSheet("" if link.running else PRIMARY)
        self.stop_button.setEnabled(link.running)
        self.changed.emit()

    def _stop(self) -> None:
        self._controller.link.stop()

    def _on_prepared(self, choice: ImageChoice, words: list[str], copy: LayerCopy | None) -> None:
        self._forget_call()
        if copy is not None and not self._is_there(choice):
            self._controller.message.emit(_REMOVED, False)
            self._show()
            return
        self._controller.start(choice, words, copy)

    def _on_failed(self, facts: dict[str, Any]) -> None:
        self._forget_call()
        self._controller.message.emit(error_text(facts), True)
        self._show()

    def _forget_call(self) -> None:
        # With it goes what it holds: the voxels of a layer.
        call, self._preparing = self._preparing, None
        if call is not None:
            call.deleteLater()

    def _on_model_chosen(self, menu: QComboBox, index: int) -> None:
        if menu.itemData(index) != _FILE:
            return
        path, _ = QFileDialog.getOpenFileName(
            self, "Checkpoint", "", "Checkpoints (*.safetensors *.pt *.pth);;All files (*)"
        )
        menu.setCurrentIndex(0)
        if path:
            _choose(menu, path)


def embedding_folder() -> Path:
    """Return where image embeddings outlive the program."""
    place = QStandardPaths.StandardLocation.GenericCacheLocation
    return Path(QStandardPaths.writableLocation(place)) / "napari-neuropil" / "image-embeddings"


def _fill(menu: QComboBox, choices: list[ModelChoice]) -> None:
    for number, choice in enumerate(choices):
        menu.addItem(choice.title, choice.name)
        _explain(menu, number, choice.missing, "")
    menu.addItem("From a file ...", _FILE)


def _explain(menu: QComboBox, number: int, missing: str, tip: str) -> None:
    """Grey a line that cannot be chosen, with the reason as its tooltip."""
    menu.setItemData(number, missing or tip, Qt.ItemDataRole.ToolTipRole)
    if missing:
        model: Any = menu.model()
        model.item(number).setEnabled(False)


def _choose(menu: QComboBox, name: str) -> None:
    at = menu.findData(name)
    if at < 0:
        at = menu.count() - 1
        menu.insertItem(at, Path(name).name, name)
        menu.setItemData(at, name, Qt.ItemDataRole.ToolTipRole)
    menu.setCurrentIndex(at)


def _size(text: str) -> VoxelSize:
    return VoxelSize.parse(text.replace(" ", ""))
