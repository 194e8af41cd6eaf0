"""Mouse and keys of the Proofread dock on napari's canvas.

A click is a press and a release at one place: a drag stays napari's own (pan, rotate, zoom box),
and while a layer's own tool is active (paint, add points, ...) no click is taken. Keys are bound in
code, since napari ignores those of a manifest, and given back when the dock closes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from napari_neuropil.plugin.edit_modes import Point
from napari_neuropil.plugin.proofread_controller import ProofreadController

_STILL_PIXELS: Final = 4
_STEP_VOXELS: Final = 3
_COMMIT: Final = "Enter"
_LEAVE: Final = "Escape"
_LINE: Final[dict[str, Any]] = {
    "text": "",
    "position": "top_center",
    "font_size": 8.0,
    "color": "white",
    "box": True,
    "box_color": "#1f2a3ad0",
    "visible": True,
}


class CanvasInput:
    """Connects a viewer's mouse and keys with a controller until `disconnect`.

    Parameters
    ----------
    controller : ProofreadController
        What clicks and keys are for; its keys are complete by now.
    """

    def __init__(self, controller: ProofreadController) -> None:
        self._controller = controller
        self._viewer = controller.viewer
        self._unbound: list[tuple[Any, str, Any]] = []
        self._unbound_in_mode: list[tuple[Any, str, Any]] = []
        self._helped: list[tuple[Any, str]] = []
        self._said: dict[str, Any] = {}
        for key, (_title, action) in controller.keys.items():
            self._bind(self._viewer, key, action, self._unbound)
        self._viewer.mouse_drag_callbacks.append(self._on_mouse)
        self._viewer.layers.selection.events.active.connect(self._on_changed)
        for signal in (
            controller.mode_changed,
            controller.session_changed,
            controller.wish_changed,
            controller.proposal_changed,
        ):
            signal.connect(self._on_changed)
        self._on_changed()

    def disconnect(self) -> None:
        """Give keys, mouse and status line back."""
        for key in (self._unbound_in_mode, self._unbound):
            _give_back(key)
        if self._on_mouse in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self._on_mouse)
        self._viewer.layers.selection.events.active.disconnect(self._on_changed)
        self._show_help("")
        self._say("")

    def help_text(self) -> str:
        """Return what can be done now, for the status line."""
        controller = self._controller
        if controller.session is None:
            return ""
        mode = controller.edit_mode
        if mode is not None:
            enter = f" · Enter {mode.verb}" if controller.proposal is not None else ""
            return f"{mode.title}: {mode.hint}{enter} · Esc leaves"
        keys = [f"{key} {title}" for key, (title, _action) in controller.keys.items()]
        return " · ".join(["Proofread: click selects, Shift + click adds", *keys])

    def _on_changed(self, _event: Any = None) -> None:
        _give_back(self._unbound_in_mode)
        if self._controller.edit_mode is not None:
            # Enter and Esc are a labels layer's own while it draws polygons, so they are taken
            # from the active layer only for as long as a mode lasts.
            owners = [self._viewer, self._viewer.layers.selection.active]
            for owner in [o for o in owners if o is not None]:
                self._bind(owner, _COMMIT, self._controller.commit, self._unbound_in_mode)
                self._bind(owner, _LEAVE, self._controller.leave_mode, self._unbound_in_mode)
        self._show_help(self.help_text())
        self._say(self.help_text() if self._controller.edit_mode is not None else "")

    @staticmethod
    def _bind(
        owner: Any, key: str, action: Callable[[], None], kept: list[tuple[Any, str, Any]]
    ) -> None:
        def press(_owner: Any) -> None:
            action()

        kept.append((owner, key, owner.bind_key(key, press, overwrite=True)))

    def _say(self, text: str) -> None:
        """Write the mode on the canvas: napari's status bar hides its help beside coordinates."""
        line = self._viewer.canvas.overlays.text
        if text and not self._said:
            self._said = {name: getattr(line, name) for name in _LINE}
        if text:
            for name, value in _LINE.items():
                setattr(line, name, value)
            # napari's box is a little narrower than its text.
            line.text = f"  {text}  "
        elif self._said:
            old, self._said = self._said, {}
            for name, value in old.items():
                setattr(line, name, value)

    def _show_help(self, text: str) -> None:
        # napari copies the active layer's help into the status bar at each move of the mouse.
        for layer, old in self._helped:
            layer.help = old
        self._helped = []
        active = self._viewer.layers.selection.active
        if text and active is not None:
            self._helped = [(active, active.help)]
            active.help = text
        self._viewer.help = text or getattr(active, "help", "")

    def _on_mouse(self, viewer: Any, event: Any) -> Iterator[None]:
        """Tell a click from a drag; draw a line of seeds where Shift is held."""
        if not self._is_ours(event):
            return
        mode = self._controller.edit_mode
        draws = mode is not None and mode.seeds and len(event.dims_displayed) == 2
        if draws and "Shift" in event.modifiers:
            yield from self._draw(viewer, event)
            return
        extend = "Shift" in event.modifiers
        begin = np.asarray(event.pos, float)
        still = True
        yield
        while event.type == "mouse_move":
            still = still and float(np.abs(np.asarray(event.pos) - begin).max()) <= _STILL_PIXELS
            yield
        point = self._voxel(event) if still else None
        if point is not None:
            self._controller.click(point, extend=extend)

    def _draw(self, viewer: Any, event: Any) -> Iterator[None]:
        camera = viewer.scene.camera
        could_pan = camera.mouse_pan
        camera.mouse_pan = False
        points: list[Point] = []
        try:
            self._add_to(points, event)
            yield
            while event.type == "mouse_move":
                self._add_to(points, event)
                yield
        finally:
            camera.mouse_pan = could_pan
        self._controller.add_seeds(points)

    def _add_to(self, points: list[Point], event: Any) -> None:
        point = self._voxel(event)
        if point is None:
            return
        far = not points or max(abs(a - b) for a, b in zip(point, points[-1], strict=True))
        if far is True or far >= _STEP_VOXELS:
            points.append(point)

    def _is_ours(self, event: Any) -> bool:
        if self._controller.session is None or event.button != 1:
            return False
        if {"Alt", "Control", "Meta"} & {str(m) for m in event.modifiers}:
            return False
        active = self._viewer.layers.selection.active
        return active is None or str(getattr(active, "mode", "pan_zoom")) == "pan_zoom"

    def _voxel(self, event: Any) -> Point | None:
        if len(event.dims_displayed) == 3:
            return self._controller.layers.voxel_on_ray(
                event.position, event.view_direction, event.dims_displayed
            )
        return self._controller.world_to_voxel(event.position)


def _give_back(bound: list[tuple[Any, str, Any]]) -> None:
    while bound:
        owner, key, old = bound.pop()
        owner.bind_key(key, old, overwrite=True)
