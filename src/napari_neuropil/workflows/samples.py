"""The volumes that come with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from napari_neuropil.errors import VolumeNotFoundError

SAMPLE_VOLUME: Final = "neuropil.ome.zarr"
SAMPLE_LABELS: Final = "neuropil.ome.zarr/labels/neurons"
SAMPLE_PROJECT: Final = "neuropil.neuropil"


def find_sample(name: str) -> Path:
    """Return a packaged sample: inside an installed package, or at the root of a source tree.

    Parameters
    ----------
    name : str
        Path inside the folder of samples.

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
