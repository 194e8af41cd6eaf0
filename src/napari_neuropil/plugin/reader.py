"""File > Open for volumes and Neuropil projects; opens lazily, keeps place and voxel size.

What napari's own reader serves better (a photograph, a 2D or colour TIFF, a stack of files) is
left to it: `get_reader` answers None. Everything else that fails becomes an error notification
with the whole message, since napari's dialog would show only "tried, but failed".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from napari_neuropil.errors import NeuropilError, VolumeFormatError
from napari_neuropil.plugin.layers import (
    METADATA_KEY,
    LayerData,
    layer_from_segments,
    layer_from_volume,
)

if TYPE_CHECKING:
    from napari_neuropil.project import ProjectInfo
    from napari_neuropil.volumes import Volume

PROJECT_SUFFIX: Final = ".neuropil"
_TIFF: Final = (".tif", ".tiff")
_HDF5: Final = (".h5", ".hdf5")
_ZARR_FILES: Final = ("zarr.json", ".zarray", ".zgroup")


def get_reader(path: str | Sequence[str]) -> Callable[[Any], list[Any]] | None:
    """Return a reading function for `path`, or None where it is not ours.

    Parameters
    ----------
    path : str or sequence of str
        What napari was asked to open; several files at once (a stack) are not ours.
    """
    if not isinstance(path, str):
        if len(path) != 1:
            return None
        path = path[0]
    place = Path(path)
    suffix = place.suffix.lower()
    if place.is_dir():
        known = suffix == PROJECT_SUFFIX or suffix == ".zarr" or _is_zarr(place)
        return _read if known else None
    if suffix in (*_TIFF, ".npy"):
        return None if _is_picture(place) else _read
    return _read if suffix in _HDF5 or suffix in (".zarr", PROJECT_SUFFIX) else None


def _read(path: str | Sequence[str]) -> list[Any]:
    """Read, and turn an error the user can mend into a notification."""
    from napari.utils.notifications import show_error, show_info  # type: ignore[import-untyped]

    place = path if isinstance(path, str) else path[0]
    try:
        layers = read_layers(place)
    except NeuropilError as error:
        show_error(str(error))
        # napari's word for "handled, no layer": an empty list would bring a second, vaguer error.
        return [(None,)]
    unknown = [a["name"] for _, a, _ in layers if _lacks_voxel_size(a)]
    if unknown:
        show_info(
            f"{', '.join(unknown)}: the file does not state a voxel size. "
            "Set it in Plugins > Segment neurons (Neuropil)."
        )
    return layers


def _lacks_voxel_size(attributes: dict[str, Any]) -> bool:
    return attributes["metadata"][METADATA_KEY]["voxel_size"] is None


def read_layers(path: str | Path) -> list[LayerData]:
    """Return the layers in a file, a Zarr hierarchy or a project folder; all of them lazy.

    Parameters
    ----------
    path : str or Path
        A TIFF, HDF5, NPY or Zarr volume, or a project folder.

    Raises
    ------
    NeuropilError
        If nothing in it can be opened as a volume.
    """
    place = Path(path)
    if place.suffix.lower() == PROJECT_SUFFIX:
        return _read_project(place)
    volumes = _open_all(_sources(place))
    several = len(volumes) > 1
    stem = place.name.split(".")[0] or place.name
    return [layer_from_volume(v, name=_layer_name(v, stem, several=several)) for v in volumes]


def _layer_name(volume: Volume, stem: str, *, several: bool) -> str:
    last = volume.source.replace("\\", "/").rsplit("/", 1)[-1]
    return f"{stem} {last}" if several and not last.startswith(stem) else stem


def _open_all(sources: Iterable[str]) -> list[Volume]:
    """Open every source that is a volume; raise the first refusal if none is."""
    from napari_neuropil.volumes import open_volume

    volumes: list[Volume] = []
    refusal: NeuropilError | None = None
    for source in sources:
        try:
            volumes.append(open_volume(source))
        except VolumeFormatError as error:
            refusal = refusal or error
    if not volumes and refusal is not None:
        raise refusal
    return volumes


def _sources(path: Path) -> list[str]:
    """Return the volume paths inside a file or folder, images first."""
    if path.is_file() and path.suffix.lower() in _HDF5:
        inner = _datasets_in_hdf5(path)
        return [f"{path}/{name}" for name in inner] or [str(path)]
    if path.is_dir():
        return _arrays_in_zarr(path)
    return [str(path)]


def _datasets_in_hdf5(path: Path) -> list[str]:
    """Return the names of the 3D numeric datasets; none where the file cannot be read."""
    import h5py

    found: list[str] = []

    def _visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim == 3 and item.dtype.kind in "iuf":
            found.append(name)

    try:
        with h5py.File(path, "r") as file:
            file.visititems(_visit)
    except OSError:
        return []  # open_volume words the refusal
    return found


def _is_zarr(path: Path) -> bool:
    return any((path / name).is_file() for name in _ZARR_FILES)


def _attributes(path: Path) -> dict[str, Any]:
    """Return a Zarr node's attributes, of either format; empty where they cannot be read."""
    for name in ("zarr.json", ".zattrs"):
        try:
            content = json.loads((path / name).read_text("utf-8"))
        except (OSError, ValueError):
            continue
        attributes = content.get("attributes", {}) if name == "zarr.json" else content
        return attributes if isinstance(attributes, dict) else {}
    return {}


def _is_array_or_pyramid(path: Path) -> bool:
    if (path / ".zarray").is_file():
        return True
    attributes = _attributes(path)
    if "multiscales" in attributes or "multiscales" in attributes.get("ome", {}):
        return True
    try:
        content = json.loads((path / "zarr.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("node_type") == "array"


def _arrays_in_zarr(path: Path) -> list[str]:
    """Return an image and its labels, or the arrays one level down in a plain group."""
    labels = path / "labels"
    inner = _children(labels) if not _is_array_or_pyramid(labels) else []
    if _is_array_or_pyramid(path):
        return [str(path), *inner]
    return [*(p for p in _children(path) if _is_array_or_pyramid(Path(p))), *inner] or [str(path)]


def _children(path: Path) -> list[str]:
    if not path.is_dir():
        return []
    return sorted(str(child) for child in path.iterdir() if _is_zarr(child))


def _is_picture(path: Path) -> bool:
    """Tell whether a readable TIFF or NPY is not one 3D grey volume: napari's own business."""
    try:
        if path.suffix.lower() == ".npy":
            import numpy as np

            return bool(np.load(path, mmap_mode="r", allow_pickle=False).ndim != 3)
        import tifffile

        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            return "S" in series.axes or len([n for n in series.shape if n != 1]) != 3
    except (OSError, ValueError, IndexError):
        return False  # damaged: our own refusal says more


def _read_project(path: Path) -> list[LayerData]:
    """Return the project's image, where it still exists, and its segments after the last edit."""
    from napari_neuropil.project import Project
    from napari_neuropil.proofreading import ProofreadingSession
    from napari_neuropil.proofreading.database import DATABASE

    name = f"{path.stem} segments"
    if not (path / DATABASE).exists():
        project = Project.open(path)
        return [*_read_image(path, project.info), layer_from_segments(project, name=name)]
    # Reading only: the Proofread dock is the one that takes the project for writing.
    with ProofreadingSession.open(path, read_only=True) as session:
        for notice in session.notices:
            _tell(notice)
        return [*_read_image(path, session.info), layer_from_segments(session, name=name)]


def _read_image(project: Path, info: ProjectInfo) -> list[LayerData]:
    from napari_neuropil.volumes import open_volume

    if not info.image_source:
        return []
    try:
        # A project that travels with its image names it from its own folder.
        image = open_volume(project / info.image_source)
    except NeuropilError:
        _tell(
            f"{project.stem}: the image {info.image_source} is not where it was; "
            "the segments are shown without it."
        )
        return []
    if image.voxel_size is None:
        image = image.with_voxel_size(info.voxel_size_nm)
    return [layer_from_volume(image, name=image.name)]


def _tell(text: str) -> None:
    from napari.utils.notifications import show_info

    show_info(text)
