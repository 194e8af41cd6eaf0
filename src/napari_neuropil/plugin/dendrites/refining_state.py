"""What the user has done so far, drawn as layers, read back from them, and completed by the worker.

Whatever the user does becomes a new `Work` (`act`), the missing mask is asked for, and layers and
panels are drawn again from the state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from qtpy.QtCore import QObject, Qt, QTimer, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QApplication

from napari_neuropil.errors import NeuropilError
from napari_neuropil.geometry import VoxelSize
from napari_neuropil.plugin.dendrites.box_rows import apply_boxes, shown_proposals
from napari_neuropil.plugin.dendrites.cross_section import Dot, sample_path
from napari_neuropil.plugin.dendrites.dendrite_layers import DendriteLayers
from napari_neuropil.plugin.dendrites.dendrite_text import count_text
from napari_neuropil.plugin.dendrites.history import WorkHistory
from napari_neuropil.plugin.dendrites.layer_making import BOXES, MASK, POINTS
from napari_neuropil.plugin.dendrites.prompt_desk import LongWork, PromptDesk
from napari_neuropil.plugin.dendrites.work import Work
from napari_neuropil.plugin.dendrites.worker_link import WorkerLink
from napari_neuropil.plugin.worker import error_text
from napari_neuropil.workflows.prompting.messages import (
    Event,
    Finished,
    Look,
    Problem,
    Ready,
)

if TYPE_CHECKING:
    from napari_neuropil.plugin.dendrites.image_choice import ImageChoice
    from napari_neuropil.plugin.dendrites.layer_copy import LayerCopy
    from napari_neuropil.plugin.dendrites.records import Target
    from napari_neuropil.prompts.packed_mask import PackedMask

_LOOK_MS: Final = 150
_DRAW_MS: Final = 15
_ONLY_NEGATIVE: Final = (
    "Points that say only where the dendrite is not.\n"
    "Expected: a box, a mask, or a positive point\n"
    "Cure: press K, and click on the dendrite."
)


class RefiningState(QObject):
    """The state of one dock, drawn and read back.

    Parameters
    ----------
    viewer : napari.Viewer
        The window.
    parent : QObject, optional
        The owner.

    Signals
    -------
    work_changed : no argument
        Read `work`; what the user did, and answers of the worker.
    busy_changed : no argument
        Read `long`: what takes long, and how far it is.
    moved : no argument
        Another section is in view.
    message : str, bool
        For the message line; True is an error.
    """

    work_changed = Signal()
    busy_changed = Signal()
    moved = Signal()
    message = Signal(str, bool)

    def __init__(self, viewer: Any, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.layers = DendriteLayers(viewer, self._on_touched)
        self.link = WorkerLink(self)
        self.link.became_ready.connect(self._on_ready)
        self.link.answered.connect(self._on_answered)
        self.link.ended.connect(self._on_worker_ended)
        self.link.message.connect(self.message)
        self.positive = True
        self.desk = PromptDesk()
        self._history = WorkHistory()
        self._touched: dict[str, int] = {}
        self._reading = self._timer(0, self._read_layers)
        self._drawing = self._timer(_DRAW_MS, self._draw)
        self._looking = self._timer(_LOOK_MS, self._look)
        viewer.dims.events.current_step.connect(self._on_moved)

    def _timer(self, delay: int, call: Callable[[], None]) -> QTimer:
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.setInterval(delay)
        timer.timeout.connect(call)
        return timer

    # what is there

    @property
    def work(self) -> Work:
        """What has been done so far."""
        return self._history.now

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to take back."""
        return self._history.can_undo

    @property
    def can_redo(self) -> bool:
        """Whether a step can be made again."""
        return self._history.can_redo

    @property
    def z(self) -> int:
        """The section in view."""
        return self.layers.section_in_view()

    @property
    def voxel_size(self) -> VoxelSize | None:
        """As the worker has it, nm."""
        ready = self.link.ready
        return None if ready is None else VoxelSize(*ready.voxel_size)

    @property
    def mask(self) -> PackedMask | None:
        """The mask of what is in work in the section in view."""
        target = self.work.target_at(self.z)
        section = None if target is None else self.work.section_at(target)
        return None if section is None else section.mask

    # the worker

    def start(
        self, choice: ImageChoice, words: Sequence[str], copy: LayerCopy | None = None
    ) -> None:
        """Start the worker on an image; what was done on it before is kept.

        Parameters
        ----------
        choice : ImageChoice
            Whose voxels are worked on.
        words : sequence of str
            After `neuropil`.
        copy : LayerCopy, optional
            Not begun: what the worker opens of a layer in memory.
        """
        before = self.link.choice
        # A layer in memory may be given other data between two starts.
        grown = self.layers.over is not None and self.layers.shape != choice.shape
        if grown or (before is not None and not before.same_as(choice)):
            self._history = WorkHistory()
            self.layers.remove()
            # Copying takes a while: nobody draws on the image before meanwhile.
            self.layers.over = None
        self.link.start(choice, words, copy)

    def close(self) -> None:
        """End the worker now and let go of the viewer: the dock goes."""
        self.link.close()
        for timer in (self._reading, self._drawing, self._looking):
            timer.stop()
        self.viewer.dims.events.current_step.disconnect(self._on_moved)
        self.layers.remove()

    def _on_worker_ended(self) -> None:
        self.desk.forget()
        self.busy_changed.emit()

    def _on_answered(self, event: Event) -> None:
        long = self.desk.long
        if self._history.amend(lambda work: self.desk.answer(work, event)):
            self._changed()
        if isinstance(event, Problem):
            self.message.emit(error_text(event.model_dump()), True)
        if long is not self.desk.long:
            self.busy_changed.emit()
        if long is not None and self.desk.long is None and isinstance(event, Finished):
            self.message.emit(self._outcome(long), False)

    def _outcome(self, long: LongWork) -> str:
        """Return what came of what took long."""
        if long.kind == "detect":
            rows = self.work.proposals.values()
            return f"{count_text(sum(p.state == 'proposed' for p in rows), 'proposal')} to look at."
        dendrite = self.work.dendrites.get(long.dendrite)
        if dendrite is None:
            return ""
        doubtful = sum(stop.doubtful for stop in dendrite.stops)
        text = f"Followed through {count_text(len(dendrite.masks), 'section')}"
        return f"{text}; {count_text(doubtful, 'stop')} to look at." if doubtful else f"{text}."

    def _on_ready(self, ready: Ready) -> None:
        if self.link.choice is not None:
            self.layers.show_over(self.link.choice.layer, ready.shape)
        self.message.emit("Ready. Draw a box around a dendrite, or set a point on it.", False)
        self._changed()
        self._look()
        self._ask()

    # asking, drawing, reading

    def act(self, work: Work) -> bool:
        """Make a step that can be undone; return whether it changes anything."""
        if not self._history.push(work):
            return False
        self.message.emit("", False)
        self._changed()
        self._ask()
        return True

    def _ask(self) -> None:
        self.ask_for(self.work.target_at(self.z))

    def ask_for(self, target: Target | None) -> None:
        """Ask for a mask, if it is wanted and somebody is there to answer."""
        wish = None if self.link.ready is None else self.desk.wish(self.work, target)
        if wish is not None:
            self.link.send(wish)

    def _look(self) -> None:
        if self.link.ready is not None:
            y, x = self.layers.centre_of_view() or (None, None)
            self.link.send(Look(z=self.z, y=y, x=x))

    def _on_moved(self, _event: Any = None) -> None:
        if self.layers.over is not None and self.z != self.layers.z:
            self._read_layers()
            self._drawing.start()
            self._looking.start()
            self._ask()
            self.moved.emit()

    def _changed(self) -> None:
        self._drawing.start()
        self.work_changed.emit()

    def _draw(self) -> None:
        if self.layers.over is None:
            return
        if self._touched or QApplication.mouseButtons() != Qt.MouseButton.NoButton:
            # A shape that is being dragged is in the layer, and not yet in the state.
            self._drawing.start()
            return
        work, z = self.work, self.z
        target = work.target_at(z)
        section = None if target is None else work.section_at(target)
        mine = None if target is None or target.kind == "proposal" else target.id
        others = [d.masks[z] for d in work.dendrites.values() if d.id != mine and z in d.masks]
        try:
            self.layers.draw_mask(z, None if section is None else section.mask, others)
            self.layers.draw_boxes(shown_proposals(work, z), work.current)
            dots = () if section is None else section.prompts.dots
            self.layers.draw_points(z, dots, positive=self.positive)
        except NeuropilError as error:
            self.message.emit(str(error), True)

    def _on_touched(self, name: str) -> None:
        # Read after napari is through with the change: it goes on with the layer after the event.
        self._touched[name] = self.layers.z if name == MASK else self.z
        self._reading.start()

    def _read_layers(self) -> None:
        # Each with the section it was touched in: the view may have moved on since.
        touched, self._touched = self._touched, {}
        work = self.work
        dots: list[Dot] = []
        if BOXES in touched:
            work = apply_boxes(work, self.layers.read_boxes(), self.layers.shown)
            paths = [sample_path(path) for path in self.layers.read_scribbles()]
            dots = [Dot(y, x, self.positive) for path in paths for y, x in path]
            if dots:
                z = touched[BOXES]
                work = work.with_dots(z, (*self._dots(work, z), *dots))
        if POINTS in touched:
            z = touched[POINTS]
            dots = list(self.layers.read_points(z))
            if tuple(dots) != self._dots(work, z):
                work = work.with_dots(z, tuple(dots))
        if MASK in touched:
            work = work.with_mask(touched[MASK], self.layers.read_mask())
        if touched:
            self.act(work)
            self._drawing.start()
            if dots and self.mask is None and not any(dot.positive for dot in dots):
                target = work.target_at(self.z)
                section = None if target is None else work.section_at(target)
                if section is not None and not section.prompts.askable:
                    self.message.emit(_ONLY_NEGATIVE, True)

    @staticmethod
    def _dots(work: Work, z: int) -> tuple[Dot, ...]:
        target = work.target_at(z)
        section = None if target is None else work.section_at(target)
        return () if section is None else section.prompts.dots
