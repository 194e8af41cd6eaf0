"""Where the user looked: kept in the project, so that reopening resumes there."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from qtpy.QtCore import QObject, QTimer

from napari_neuropil.errors import NeuropilError

if TYPE_CHECKING:
    from napari_neuropil.proofreading import ProofreadingSession

_KEY: Final = "view"
_CALM_MS: Final = 1500


class ViewMemory(QObject):
    """Saves camera, section and selection into a session once the view has come to rest.

    Parameters
    ----------
    viewer : napari.Viewer
        The window.
    parent : QObject, optional
        The owner.
    """

    def __init__(self, viewer: Any, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._session: ProofreadingSession | None = None
        # Waiting for calm, since each save is a transaction: a drag would be hundreds of them.
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_CALM_MS)
        self._timer.timeout.connect(self.save)
        for events in (viewer.scene.camera.events, viewer.dims.events):
            events.connect(self._on_viewer_moved)

    def follow(self, session: ProofreadingSession) -> None:
        """Go to where the user last looked in this project, and save from now on."""
        self._session = None
        view = session.recall(_KEY, None)
        if isinstance(view, dict):
            self._restore(view)
        self._session = session

    def save(self) -> None:
        """Keep the view now."""
        self._timer.stop()
        if self._session is not None:
            # Losing the view to a full disk is no reason to stop anybody from closing a project.
            with suppress(NeuropilError):
                self._session.remember(_KEY, self._view())

    def let_go(self) -> None:
        """Keep the view and forget the session."""
        self.save()
        self._session = None

    def disconnect_viewer(self) -> None:
        """Stop listening: the dock goes."""
        self._timer.stop()
        for events in (self._viewer.scene.camera.events, self._viewer.dims.events):
            events.disconnect(self._on_viewer_moved)

    def _on_viewer_moved(self, _event: Any = None) -> None:
        if self._session is not None:
            self._timer.start()

    def _view(self) -> dict[str, Any]:
        viewer = self._viewer
        return {
            "ndisplay": int(viewer.dims.ndisplay),
            "point": [float(v) for v in viewer.dims.point],
            "center": [float(v) for v in viewer.scene.camera.center],
            "zoom": float(viewer.scene.camera.zoom),
            "angles": [float(v) for v in viewer.scene.camera.angles],
        }

    def _restore(self, view: dict[str, Any]) -> None:
        viewer = self._viewer
        point = view.get("point", [])
        if view.get("ndisplay") in (2, 3):
            viewer.dims.ndisplay = view["ndisplay"]
        if len(point) == viewer.dims.ndim:
            viewer.dims.set_point(range(len(point)), point)
        for name in ("center", "zoom", "angles"):
            if name in view:
                value = view[name]
                setattr(
                    viewer.scene.camera, name, tuple(value) if isinstance(value, list) else value
                )
