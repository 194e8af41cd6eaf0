"""File > Open Sample: generated neuropil, and the same as a segmented project."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from napari_neuropil.errors import VolumeNotFoundError
from napari_neuropil.plugin.layers import METADATA_KEY, LayerData
from napari_neuropil.plugin.reader import read_layers

_VOLUME: Final = "neuropil.ome.zarr"
_PROJECT: Final = "neuropil.neuropil"


def open_sample_volume() -> list[LayerData]:
    """Return the generated volume and its labels (npe2 sample data)."""
    return _open(_VOLUME)


def open_sample_project() -> list[LayerData]:
    """Return the generated volume and its segments (npe2 sample data)."""
    return _open(_PROJECT)


def _open(name: str) -> list[Any]:
    layers = read_layers(find_sample(name))
    for _, attributes, _ in layers:
        attributes["metadata"][METADATA_KEY]["sample"] = True
    return list(layers)


def find_sample(name: str) -> Path:
    """Return a packaged sample: inside an installed package, or at the root of a checkout.

    Raises
    ------
    VolumeNotFoundError
        If it is in neither place.
    """
    package = Path(__file__).resolve().parents[1]
    places = [package / "sample_data", package.parents[1] / "sample_data"]
    for place in places:
        if (place / name).exists():
            return place / name
    raise VolumeNotFoundError(
        f"The sample {name} is not installed.",
        f"it in {' or '.join(str(place) for place in places)}",
        "reinstall napari-neuropil, or run `neuropil demo`, which makes it anew.",
    )
