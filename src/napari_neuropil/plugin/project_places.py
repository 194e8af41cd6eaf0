"""Where projects go, and what lies there already."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QStandardPaths

from napari_neuropil.errors import NeuropilError
from napari_neuropil.plugin.layers import facts_of, source_of

if TYPE_CHECKING:
    from napari.layers import Layer  # type: ignore[import-untyped]


def project_state(project: Path) -> str:
    """Return absent, unfinished or finished; a folder that is no project counts as absent."""
    if not (project / "project.json").is_file():
        return "absent"
    # Only here, since it reads Zarr: a dock opened on fresh data stays fast.
    from napari_neuropil.project import read_info

    try:
        return str(read_info(project).state)
    except NeuropilError:
        return "absent"


def free_disk(path: Path) -> int | None:
    """Return the bytes free where `path` is going to be."""
    for place in (path, *path.parents):
        if place.is_dir():
            return shutil.disk_usage(place).free
    return None


def documents_folder() -> Path:
    """Return the folder for projects whose image has none of its own."""
    place = QStandardPaths.StandardLocation.DocumentsLocation
    return Path(QStandardPaths.writableLocation(place)) / "napari-neuropil"


def default_project(layer: Layer) -> Path:
    """Return where a layer's project goes: beside its file, else in the user's documents.

    Parameters
    ----------
    layer : Layer
        The image.
    """
    source = source_of(layer)
    folder, stem = documents_folder(), layer.name
    if source is not None:
        path = Path(source)
        file = next((p for p in (path, *path.parents) if p.suffix and p.exists()), path)
        stem = "_".join([file.name.split(".")[0], *path.relative_to(file).parts])
        # A sample lies inside the installed package: no place for a user's projects.
        if os.access(file.parent, os.W_OK) and not facts_of(layer).get("sample"):
            folder = file.parent
    safe = "".join(c if c.isalnum() or c in "-_ ." else "_" for c in stem).strip() or "volume"
    return folder / f"{safe}.neuropil"
