"""Open napari with a project and both docks, or draw that window into a picture.

``python -m napari_neuropil.plugin.window PROJECT [--picture FILE.png]``: the last step of
`neuropil demo`, in a process of its own since the command line may not load the GUI stack.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

import napari  # type: ignore[import-untyped]
from qtpy.QtCore import QTimer

_PLUGIN: Final = "napari-neuropil"
_SEGMENT: Final = "Segment neurons"
_PROOFREAD: Final = "Proofread"
_SIZE: Final = (1400, 1000)
_SETTLING_MS: Final = 3000


def open_window(project: Path) -> napari.Viewer:
    """Open a viewer with a project's image and segments, the Segment and the Proofread dock.

    Parameters
    ----------
    project : Path
        A finished project folder.
    """
    viewer = napari.Viewer(title="Neuropil")
    viewer.window.resize(*_SIZE)
    viewer.open(str(project), plugin=_PLUGIN)
    viewer.window.add_plugin_dock_widget(_PLUGIN, _SEGMENT)
    _dock, proofread = viewer.window.add_plugin_dock_widget(_PLUGIN, _PROOFREAD, tabify=True)
    proofread.controller.open_project(project)
    # The middle of the volume: its first section is often the least typical.
    viewer.dims.set_point(0, sum(viewer.dims.range[0][:2]) / 2)
    return viewer


def draw_window(viewer: napari.Viewer, picture: Path) -> None:
    """Draw the whole window, docks included, into a PNG file.

    Parameters
    ----------
    viewer : napari.Viewer
        An open viewer whose event loop has run for a while.
    picture : Path
        Overwritten if it exists.
    """
    viewer.screenshot(str(picture), canvas_only=False, flash=False)


def main() -> None:
    """Read the words and open the window."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project", type=Path)
    parser.add_argument("--picture", type=Path, help="draw the window here instead of showing it")
    words = parser.parse_args()
    viewer = open_window(words.project)
    picture: Path | None = words.picture
    if picture is not None:

        def finish() -> None:
            try:
                draw_window(viewer, picture)
            finally:
                viewer.close()

        # Layout and the arrival of slices take several rounds of the event loop.
        QTimer.singleShot(_SETTLING_MS, finish)
    napari.run()


if __name__ == "__main__":
    main()
