"""File > Open Sample: generated neuropil, and the same as a segmented project."""

from __future__ import annotations

from typing import Any

from napari_neuropil.plugin.layers import METADATA_KEY, LayerData
from napari_neuropil.plugin.reader import read_layers
from napari_neuropil.workflows.samples import SAMPLE_PROJECT, SAMPLE_VOLUME, find_sample


def open_sample_volume() -> list[LayerData]:
    """Return the generated volume and its labels (npe2 sample data)."""
    return _open(SAMPLE_VOLUME)


def open_sample_project() -> list[LayerData]:
    """Return the generated volume and its segments (npe2 sample data)."""
    return _open(SAMPLE_PROJECT)


def _open(name: str) -> list[Any]:
    layers = read_layers(find_sample(name))
    for _, attributes, _ in layers:
        attributes["metadata"][METADATA_KEY]["sample"] = True
    return list(layers)
