"""The tab "Fine-tune": segmenter and detector learn from what was corrected."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qtpy.QtCore import QSize, Qt, QTimer, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QFrame, QGroupBox, QScrollArea, QVBoxLayout, QWidget

from napari_neuropil.errors import SettingsError
from napari_neuropil.plugin.dendrites.asking_again import AskingAgain
from napari_neuropil.plugin.dendrites.image_choice import image_of_project
from napari_neuropil.plugin.dendrites.panel_parts import button
from napari_neuropil.plugin.dendrites.segmenter_choice import WITHOUT_NETWORK
from napari_neuropil.plugin.dendrites.source_box import embedding_folder
from napari_neuropil.plugin.dendrites.tune_forms import (
    DetectorFormBox,
    SourceForm,
    TuneFormBox,
)
from napari_neuropil.plugin.dendrites.tuning_group import GroupTexts, TuningGroup
from napari_neuropil.plugin.dendrites.tuning_text import detector_plan_text, plan_text
from napari_neuropil.plugin.dendrites.tuning_words import committed_segments
from napari_neuropil.plugin.dendrites.unedited import unedited

if TYPE_CHECKING:
    from napari_neuropil.plugin.dendrites.dendrite_controller import DendriteController
    from napari_neuropil.plugin.dendrites.image_choice import ImageChoice
    from napari_neuropil.plugin.dendrites.project_link import ProjectLink

_LOOK_MS: Final = 50
_NO_PROJECT: Final = "Choose a project as the image above: its segments are learned from."
_NO_NETWORK: Final = "Choose a segmenter with a network above; this one has nothing to learn."
_SEGMENTER: Final = GroupTexts(
    start="Start",
    start_tip="Learn, in a process of its own, and measure before and after on the held-out part.",
    used="Start the segmenter again with what it has learned; boxes and masks stay.",
    back="Start the segmenter again that was in use before; boxes and masks stay.",
    plan=plan_text,
)
_DETECTOR: Final = GroupTexts(
    start="Train detector on these",
    start_tip="Let the detector learn from the sections of these segments. Every dendrite in them "
    "has to be among these, since what is not counts as background.",
    used="Find dendrites with it from now on; the segmenter starts again.",
    back="Find dendrites with the detector that was in use before.",
    plan=detector_plan_text,
)


class TuneBox(QScrollArea):
    """The tab "Fine-tune".

    Parameters
    ----------
    controller : DendriteController
        Whose masks are asked for again.
    link : ProjectLink
        Who has the project open.
    parent : QWidget, optional
        The owner.

    Signals
    -------
    segmenter_wanted, detector_wanted : str
        Use this name or file.
    """

    segmenter_wanted = Signal(str)
    detector_wanted = Signal(str)

    def __init__(
        self, controller: DendriteController, link: ProjectLink, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._controller = controller
        self._link = link
        self._project: Path | None = None
        self._segmenter = self._detector = ""
        self._segmenters: list[str] = []
        self._detectors: list[str] = []
        self.source = SourceForm()
        self.form = TuneFormBox()
        self.tuning = TuningGroup(self._segmenter_words, _SEGMENTER)
        self.detector_form = DetectorFormBox()
        self.detecting = TuningGroup(self._detector_words, _DETECTOR)
        self.again = AskingAgain(controller, self)
        self.again_button = button(
            "",
            "Ask for a new mask wherever it came from the box alone: no points, paint or "
            "scribble, not accepted. One undo takes all of it back.",
            self.again.ask,
        )
        self._build()
        for form, group in ((self.form, self.tuning), (self.detector_form, self.detecting)):
            form.changed.connect(group.forget_plan)
            self.source.changed.connect(group.forget_plan)
            group.over.connect(form.release)
            group.over.connect(partial(self._look_at_result, group))
            group.changed.connect(self._show)
        self.tuning.wanted.connect(self._use_segmenter)
        self.tuning.back_wanted.connect(self._segmenter_back)
        self.detecting.wanted.connect(self._use_detector)
        self.detecting.back_wanted.connect(self._detector_back)
        self.again.changed.connect(self._show)
        controller.work_changed.connect(self._show)
        controller.link.changed.connect(self._show)
        self._show()

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return a size that leaves the dock's to the other tabs."""
        return QSize(300, 240)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Return a few lines: the rest is scrolled to."""
        return QSize(200, 120)

    def show_source(self, choice: ImageChoice | None, segmenter: str, detector: str) -> None:
        """Work on what is chosen in the head of the dock."""
        project = None if choice is None else choice.project
        if (project, segmenter) != (self._project, self._segmenter):
            self.tuning.forget_plan()
        if (project, detector) != (self._project, self._detector):
            self.detecting.forget_plan()
        self._project, self._segmenter, self._detector = project, segmenter, detector
        missing = _NO_PROJECT if project is None else ""
        self.tuning.need(missing or (_NO_NETWORK if segmenter in WITHOUT_NETWORK else ""))
        self.detecting.need(missing)

    def stop(self) -> None:
        """End what runs: the dock goes."""
        self.tuning.close_job()
        self.detecting.close_job()

    def _build(self) -> None:
        content = QWidget()
        layout = QVBoxLayout(content)
        layout.setContentsMargins(4, 6, 4, 4)
        layout.setSpacing(6)
        layout.addWidget(self.source)
        layout.addWidget(_boxed("Segmenter", self.form, self.tuning, self.again_button))
        layout.addWidget(_boxed("Detector", self.detector_form, self.detecting))
        layout.addStretch(1)
        self.setWidget(content)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    def _show(self) -> None:
        count, left = len(unedited(self._controller.work)), self.again.left
        ready = self._controller.link.ready is not None
        self.again_button.setEnabled(ready and bool(count) and not left)
        self.again_button.setText(
            f"Asking again: {self.again.total - left} of {self.again.total}"
            if left
            else f"Ask again where nobody edited ({count})"
        )
        for form, group in ((self.form, self.tuning), (self.detector_form, self.detecting)):
            form.setEnabled(not group.busy)
            # Its room is for the curve.
            form.setVisible(not group.learning)
        self.source.setEnabled(not (self.tuning.busy or self.detecting.busy))

    def _look_at_result(self, group: TuningGroup) -> None:
        # The layout has to find room for it first.
        QTimer.singleShot(_LOOK_MS, partial(self.ensureWidgetVisible, group.buttons))

    def _committed(self) -> tuple[int, ...]:
        owner = self._link.controller_of(self._project)
        if owner is None or owner.session is None:
            return ()
        edits = [d.committed for d in self._controller.work.dendrites.values()]
        return committed_segments(owner.session, [edit for edit in edits if edit is not None])

    def _segmenter_words(self) -> Callable[[], list[str]]:
        project = self._chosen_project()
        form = self.form.read(self.source.read(self._committed), self._segmenter)
        out, cache = self.form.output(project), embedding_folder()
        return lambda: form.words(image_of_project(project), project, out, cache)

    def _detector_words(self) -> Callable[[], list[str]]:
        project = self._chosen_project()
        form = self.detector_form.read(self.source.read(self._committed), self._detector)
        out = self.detector_form.output(project)
        return lambda: form.words(image_of_project(project), project, out)

    def _chosen_project(self) -> Path:
        if self._project is None:
            raise SettingsError(_NO_PROJECT, "a project", "")
        return self._project

    def _use_segmenter(self, name: str) -> None:
        self._segmenters.append(self._segmenter)
        self.tuning.can_go_back(True)
        self.segmenter_wanted.emit(name)

    def _segmenter_back(self) -> None:
        name = self._segmenters.pop()
        self.tuning.can_go_back(bool(self._segmenters))
        self.segmenter_wanted.emit(name)

    def _use_detector(self, name: str) -> None:
        self._detectors.append(self._detector)
        self.detecting.can_go_back(True)
        self.detector_wanted.emit(name)

    def _detector_back(self) -> None:
        name = self._detectors.pop()
        self.detecting.can_go_back(bool(self._detectors))
        self.detector_wanted.emit(name)


def _boxed(title: str, *parts: QWidget) -> QGroupBox:
    box = QGroupBox(title)
    layout = QVBoxLayout(box)
    layout.setContentsMargins(6, 6, 6, 6)
    layout.setSpacing(4)
    for part in parts:
        layout.addWidget(part)
    return box
