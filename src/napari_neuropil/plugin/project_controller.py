"""The session of one dock: open and close a project, select, look, and call what changes it.

Edits run on the window's thread, since each is a few milliseconds. What may take longer (opening,
working out a split) goes through `in_background`. An edit asked for while a proposal is worked out
waits for it: the session lets only one of them in, and the window must not stand still meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_neuropil.errors import EditRejectedError, NeuropilError
from napari_neuropil.plugin.background import BackgroundCall
from napari_neuropil.plugin.proofread_layers import ProofreadLayers
from napari_neuropil.plugin.proofread_opening import Opened, open_beside
from napari_neuropil.plugin.proposing import Proposing
from napari_neuropil.plugin.view_memory import ViewMemory
from napari_neuropil.plugin.worker import error_text

if TYPE_CHECKING:
    from napari.layers import Image, Labels  # type: ignore[import-untyped]

    from napari_neuropil.geometry import VoxelSize
    from napari_neuropil.plugin.edit_modes import Point
    from napari_neuropil.proofreading import Delta, ProofreadingSession


class ProjectController(QObject):
    """Owns the session of one dock and what of it the window shows.

    Parameters
    ----------
    viewer : napari.Viewer
        The window.
    parent : QObject, optional
        The owner.

    Signals
    -------
    session_changed : no argument
        A project was opened or closed; `session` is the new one, or None.
    opening_changed : no argument
        Read `opening`.
    edited : Delta
        After each edit, undo, redo and jump, on the window's thread; the layers are current.
    distances_changed : no argument
        Embedding distances of contacts were measured, and the session knows them.
    selection_changed : no argument
        Read `selected`.
    message : str, bool
        For the dock's message line; True is an error.
    refused : EditRejectedError, object
        An edit was refused. The second is a callable without arguments that does it anyway, or
        None where nobody can.
    """

    session_changed = Signal()
    opening_changed = Signal()
    edited = Signal(object)
    distances_changed = Signal()
    selection_changed = Signal()
    message = Signal(str, bool)
    refused = Signal(object, object)

    def __init__(self, viewer: Any, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.session: ProofreadingSession | None = None
        self.layers = ProofreadLayers(viewer)
        self.selected: list[int] = []
        self._opening: BackgroundCall | None = None
        self._wanted: Path | None = None
        self._proposing = Proposing(self)
        self._proposing.rested.connect(self._on_proposing_rested)
        self._waiting: list[Callable[[], None]] = []
        self._memory = ViewMemory(viewer, self)
        viewer.layers.events.removed.connect(self._on_layer_removed)

    @property
    def path(self) -> Path | None:
        """Folder of the open project."""
        return None if self.session is None else Path(self.session.path)

    @property
    def editable(self) -> bool:
        """Whether a project is open and this window may edit it."""
        return self.session is not None and not self.session.read_only

    @property
    def opening(self) -> bool:
        """Whether a project is being opened."""
        return self._opening is not None

    @property
    def segments_layer(self) -> Labels | None:
        """The live segments."""
        return self.layers.segments

    @property
    def image_layer(self) -> Image | None:
        """The project's image, where it is in the window."""
        return self.layers.image

    @property
    def voxel_size(self) -> VoxelSize | None:
        """Of the open project, nm."""
        return None if self.session is None else self.session.info.voxel_size_nm

    def open_project(self, path: str | Path) -> None:
        """Open a project beside the window; `session_changed` says when it is there."""
        path = Path(path)
        if self._opening is not None:
            self.message.emit(f"{path.name} was not opened: another project is being opened.", True)
            return
        self.close_project()
        self.message.emit(f"Opening {path.name} ...", False)
        shown = self.layers.shown_for(path) is not None
        self._wanted = path
        self._opening = self.in_background(
            lambda: open_beside(path, with_image=not shown),
            self._on_opened,
            self._on_opening_failed,
        )
        self.opening_changed.emit()

    def close_project(self) -> None:
        """Save where the user looks and let the project go; its layers stay, read-only."""
        # A project that is still being opened is closed as soon as it is there.
        self._wanted = None
        session = self.session
        if session is None:
            return
        self._memory.let_go()
        self._proposing.stop()
        self._waiting.clear()
        self.select(())
        self.session = None
        session.edited.disconnect(self._on_session_edited)
        self.layers.let_go()
        session.close()
        self.session_changed.emit()

    def disconnect_viewer(self) -> None:
        """Close the project and stop listening to the viewer: the dock goes."""
        self.close_project()
        self.viewer.layers.events.removed.disconnect(self._on_layer_removed)
        self.layers.disconnect()
        self._memory.disconnect_viewer()

    def _on_opened(self, opened: Opened) -> None:
        self._opening = None
        if self._wanted is None:
            opened.session.close()
            return
        self.session = opened.session
        self.layers.show(opened)
        opened.session.edited.connect(self._on_session_edited)
        self._memory.follow(opened.session)
        self.layers.enter_view()
        self.opening_changed.emit()
        self.session_changed.emit()
        self.message.emit("\n".join(opened.session.notices), False)
        # The graph's index takes a second for 10^7 contacts; nobody should wait for it later.
        session = opened.session
        self.in_background(lambda: session.graph.contacts_of(np.zeros(0, np.uint64)), _ignore)

    def _on_opening_failed(self, error: dict[str, Any]) -> None:
        self._opening = None
        self.message.emit(error_text(error), True)
        self.opening_changed.emit()

    def select(self, ids: Iterable[int]) -> None:
        """Make these the selected segments, in this order; ids of no segment are left out."""
        wanted = list(dict.fromkeys(int(segment) for segment in ids if int(segment) > 0))
        if self.session is not None:
            wanted = [s for s in wanted if len(self.session.members(s))]
        if wanted == self.selected:
            return
        self.selected = wanted
        self.layers.show_selected(wanted)
        self.selection_changed.emit()

    def jump_to(self, point: Sequence[float], segments: Iterable[int] = ()) -> None:
        """Bring a voxel of the fragments' grid to the middle of the view, on its section.

        Parameters
        ----------
        point : sequence of float
            (z, y, x).
        segments : iterable of int
            Select these as well; none leaves the selection alone.
        """
        wanted = list(segments)
        if wanted:
            self.select(wanted)
        self.layers.look_at(point)

    def jump_to_selected(self) -> None:
        """Bring the first selected segment into view."""
        if self.session is not None and self.selected:
            self.layers.look_at(self.layers.point_in(self.selected[0]))

    def world_to_voxel(self, world: Sequence[float]) -> Point | None:
        """Return the voxel of the fragments' grid at a world point; None outside."""
        return self.layers.world_to_voxel(world)

    def voxel_to_world(self, point: Sequence[float]) -> tuple[float, ...]:
        """Return the world point of a voxel's centre."""
        return self.layers.voxel_to_world(point)

    def refresh_layers(self, delta: Delta | None = None) -> None:
        """Draw the live layers again: the visible section, and only if `delta` lies on it."""
        self.layers.refresh(delta)

    def run(
        self,
        call: Callable[[], Any],
        forced: Callable[[], Any] | None = None,
        then: Callable[[Any], None] | None = None,
    ) -> None:
        """Call a method of the session that changes it, now or as soon as nobody reads it.

        Parameters
        ----------
        call : callable
            Takes nothing, for example ``session.undo``.
        forced : callable, optional
            The same with ``force=True``: offered as "Do it anyway" where that would go through.
        then : callable, optional
            Receives what `call` returned, after the screen is current. Not called when refused.
        """
        if self._proposing.busy:
            self._waiting.append(lambda: self.run(call, forced, then))
            self._proposing.stop()
            return
        try:
            result = call()
        except EditRejectedError as error:
            again = None if forced is None else lambda: self.run(forced, None, then)
            self.refused.emit(error, again if error.forceable else None)
        except NeuropilError as error:
            self.message.emit(str(error), True)
        else:
            if then is not None:
                then(result)

    def in_background(
        self,
        call: Callable[[], Any],
        then: Callable[[Any], None],
        failed: Callable[[dict[str, Any]], None] | None = None,
    ) -> BackgroundCall:
        """Call a function beside the window; `then` receives its result on the window's thread."""
        job = BackgroundCall(call, self)
        job.returned.connect(then)
        job.failed.connect(failed or self._on_background_failed)
        for ended in (job.returned, job.failed):
            ended.connect(job.deleteLater)
        job.start()
        return job

    def reread_distances(self) -> None:
        """Take in what was measured since; `distances_changed` says when it is done."""
        session = self.session
        if session is None:
            return

        def reread() -> ProofreadingSession:
            session.reread_distances()
            return session

        self.in_background(reread, self._on_distances_read)

    def _on_distances_read(self, session: ProofreadingSession) -> None:
        if session is self.session:
            self.distances_changed.emit()

    def undo(self) -> None:
        """Take the last edit back."""
        if self.session is not None and self.editable:
            self.run(self.session.undo)

    def redo(self) -> None:
        """Make the edit again that was taken back last."""
        if self.session is not None and self.editable:
            self.run(self.session.redo)

    def _on_layer_removed(self, event: Any) -> None:
        # Also when the window closes, since napari then removes all layers.
        if event.value is self.layers.segments:
            self.close_project()

    def _on_background_failed(self, error: dict[str, Any]) -> None:
        self.message.emit(error_text(error), True)

    def _on_session_edited(self, delta: Delta) -> None:
        session = self.session
        if session is None:
            return
        self.refresh_layers(delta)
        self.select(_followed(self.selected, delta, session))
        self.edited.emit(delta)

    def _on_proposing_rested(self) -> None:
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            call()


def _followed(selected: Sequence[int], delta: Delta, session: ProofreadingSession) -> list[int]:
    """Return the selection after an edit: a segment that was merged is the one it went into."""
    effect = delta.edit.effect
    followed = []
    for segment in selected:
        if not len(session.members(segment)) and effect is not None:
            went = effect.fragments[effect.before == segment]
            segments = np.unique(session.lookup[went.astype(np.intp)])
            if len(segments) == 1:
                followed.append(int(segments[0]))
                continue
        followed.append(segment)
    return followed


def _ignore(_result: Any) -> None:
    """Take a result nobody needs."""
