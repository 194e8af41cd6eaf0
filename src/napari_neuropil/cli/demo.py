"""``neuropil demo``: the whole walk on the sample volume, ending in the window or its picture."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from napari_neuropil.errors import MissingExtraError, OutputError

_QT_BACKENDS: Final = ("PyQt6", "PySide6", "PyQt5")
_SCREEN: Final = "-screen 0 1400x1000x24"
_PICTURE_SECONDS: Final = 300


def register(app: typer.Typer) -> None:
    """Add the command to the table."""
    app.command("demo")(demo)


def demo(
    folder: Annotated[
        Path, typer.Option(help="Where the project and, without a display, the picture go.")
    ] = Path("neuropil-demo"),
    window: Annotated[
        bool, typer.Option("--window/--no-window", help="Open napari at the end.")
    ] = True,
) -> None:
    """Segment the sample volume, score it against its labels and open napari with the result."""
    from napari_neuropil.cli.evaluate import show_scores
    from napari_neuropil.cli.reporting import console, format_seconds, reporting

    with reporting(as_json=False) as reporter:
        from napari_neuropil.workflows.demo import run_demo

        result = run_demo(folder, report=reporter.progress)
    target = console()
    target.print(f"segmented {result.image.name} in {format_seconds(result.seconds)}")
    show_scores(result.scores.as_dict())
    target.print(f"project: {result.project}", markup=False)
    if window:
        _show(result.project, folder / "window.png")


def _show(project: Path, picture: Path) -> None:
    """Open the window; where that fails for want of a display, draw it into a picture."""
    from napari_neuropil.cli.reporting import console

    if not any(importlib.util.find_spec(name) for name in _QT_BACKENDS):
        raise MissingExtraError(
            "No Qt is installed, so the window cannot open.",
            f"one of {', '.join(_QT_BACKENDS)}",
            'pip install "napari-neuropil[gui]", then repeat neuropil demo.',
        )
    command = [sys.executable, "-m", "napari_neuropil.plugin.window", str(project)]
    if has_display():
        console().print("opening napari ...")
        if subprocess.run(command, check=False).returncode == 0:
            return
        console(stderr=True).print("note: the window did not open; drawing it into a picture.")
    picture.unlink(missing_ok=True)
    line = _virtual_screen([*command, "--picture", str(picture)])
    try:
        failed = subprocess.run(line, check=False, timeout=_PICTURE_SECONDS).returncode != 0
    except subprocess.TimeoutExpired:
        failed = True
    if failed or not picture.is_file():
        raise OutputError(
            f"The window could not be drawn into {picture}; see above.",
            "Qt and OpenGL libraries that load",
            "make system (or scripts/system-libraries.sh) installs or names them. "
            f"The project is finished: napari {project}",
        )
    console().print(f"no display: the window is drawn in {picture}", markup=False)


def has_display() -> bool:
    """Return whether a window can be shown to somebody."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _virtual_screen(command: list[str]) -> list[str]:
    """Put a command on a virtual X server (Qt's own off-screen platform has no OpenGL)."""
    xvfb = shutil.which("xvfb-run")
    if xvfb is None:
        raise OutputError(
            "There is neither a display nor xvfb-run to draw the window with.",
            "one of them",
            "apt-get install xvfb, or look at the project on a machine with a display.",
        )
    return [xvfb, "-a", "-s", _SCREEN, *command]
