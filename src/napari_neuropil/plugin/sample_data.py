"""File > Open Sample: generated neuropil, and the same as a segmented project.

The project is opened as a copy in the user's documents: proofreading writes into a project, and the
installed package is no place for that. A second opening finds the edits of the first.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from napari_neuropil.plugin.layers import METADATA_KEY, LayerData
from napari_neuropil.plugin.project_places import documents_folder
from napari_neuropil.plugin.reader import read_layers
from napari_neuropil.workflows.samples import SAMPLE_PROJECT, SAMPLE_VOLUME, find_sample


def open_sample_volume() -> list[LayerData]:
    """Return the generated volume and its labels (npe2 sample data)."""
    return _mark(read_layers(find_sample(SAMPLE_VOLUME)))


def open_sample_project() -> list[LayerData]:
    """Return the generated volume and its segments, from a copy of one's own (npe2 sample data)."""
    return _mark(read_layers(_own_copy()))


def _own_copy() -> Path:
    """Return the user's copy of the project, made if there is none of this version."""
    from napari_neuropil.project import read_info

    project = find_sample(SAMPLE_PROJECT)
    place = documents_folder() / f"sample {read_info(project).fingerprint[:8]}"
    if not place.exists():
        partial = place.with_name(f".{place.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        # The project names its image by the way from its own folder.
        for name in (SAMPLE_VOLUME, SAMPLE_PROJECT):
            shutil.copytree(find_sample(name), partial / name)
        partial.rename(place)
    return place / SAMPLE_PROJECT


def _mark(layers: list[LayerData]) -> list[Any]:
    for _, attributes, _ in layers:
        attributes["metadata"][METADATA_KEY]["sample"] = True
    return list(layers)
