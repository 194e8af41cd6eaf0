"""Volumes as napari layers: lazy data, a place in nm, and where the data came from.

A layer made here carries `layer.metadata["neuropil"]`, a dict with `source` (the path that opens
the volume again) and `voxel_size` ((z, y, x) in nm, or None where the file does not say).
napari asks its data for more than a `LazyArray` promises (integers, negative steps, `ndim`, ...);
`LayerArray` closes that gap without reading more than the voxels asked for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_neuropil.errors import VolumeFormatError
from napari_neuropil.geometry import NM_PER_UNIT, Roi, VoxelSize

if TYPE_CHECKING:
    from napari.layers import Layer  # type: ignore[import-untyped]
    from numpy.typing import NDArray

    from napari_neuropil.project import Project
    from napari_neuropil.proofreading.live_project import LiveProject
    from napari_neuropil.volumes import Volume

LayerData = tuple[Any, dict[str, Any], str]

METADATA_KEY: Final = "neuropil"
UNITS: Final = ("nm", "nm", "nm")
CROP_VOXELS: Final = 2**20
"""Voxels of a trial crop: 16 x 256 x 256, a few seconds of work without a GPU."""

_LABEL_NAME = re.compile(r"label|segment|(?<![a-z])(seg|gt|ids)(?![a-z])", re.IGNORECASE)
_ID_TYPES = ("uint32", "uint64", "int64")


class LayerArray:
    """A lazy array that answers every index napari uses; reads only what an index names.

    Parameters
    ----------
    array : LazyArray
        Anything with `shape`, `dtype` and `__getitem__` on three slices of step 1.
    """

    def __init__(self, array: Any) -> None:
        self._array = array
        self.shape = tuple(int(n) for n in array.shape)
        self.dtype = np.dtype(array.dtype).newbyteorder("=")

    def __repr__(self) -> str:
        """Return shape and type; never the voxels."""
        return f"LayerArray(shape={self.shape}, dtype={self.dtype})"

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        """Return the number of sections."""
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Read the voxels an index names, as numpy would return them."""
        keys = self._full_key(key)
        outer: list[slice] = []
        inner: list[Any] = []
        for item, length in zip(keys, self.shape, strict=True):
            box, rest = _split_index(item, length)
            outer.append(box)
            inner.append(rest)
        if any(s.stop <= s.start for s in outer):
            block = np.empty([max(0, s.stop - s.start) for s in outer], self.dtype)
        else:
            block = np.asarray(self._array[tuple(outer)]).astype(self.dtype, copy=False)
        return np.asarray(block[tuple(inner)])

    def __setitem__(self, key: Any, value: Any) -> None:
        """Refuse: the file on disk is not painted into by accident."""
        raise VolumeFormatError(
            "This layer reads its file lazily and cannot be painted.",
            "a layer held in memory",
            "duplicate a crop of it, or save it and open the copy in memory.",
        )

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Read everything (numpy's protocol); nothing here calls it on a whole volume."""
        whole = self[...]
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def _full_key(self, key: Any) -> list[Any]:
        keys = list(key) if isinstance(key, tuple) else [key]
        for position, item in enumerate(keys):
            if item is Ellipsis:
                missing = self.ndim - (len(keys) - 1)
                keys[position : position + 1] = [slice(None)] * missing
                break
        if len(keys) > self.ndim:
            raise IndexError(f"{len(keys)} indices for an array of {self.ndim} axes")
        return keys + [slice(None)] * (self.ndim - len(keys))


def _split_index(item: Any, length: int) -> tuple[slice, Any]:
    """Return the box that holds an index along one axis, and the index inside that box."""
    if isinstance(item, slice):
        picked = range(*item.indices(length))
        if not picked:
            return slice(0, 0), slice(None)
        low, high = min(picked[0], picked[-1]), max(picked[0], picked[-1])
        rest = slice(None) if picked.step == 1 else slice(None, None, picked.step)
        return slice(low, high + 1), rest
    indices = np.asarray(item)
    if indices.dtype == bool:
        indices = np.flatnonzero(indices)
    if indices.size and (indices.min() < -length or indices.max() >= length):
        raise IndexError(f"index {item} is out of bounds for an axis of {length}")
    indices = np.where(indices < 0, indices + length, indices)
    if indices.ndim == 0:
        return slice(int(indices), int(indices) + 1), 0
    if indices.size == 0:
        return slice(0, 0), indices.astype(np.intp)
    low = int(indices.min())
    return slice(low, int(indices.max()) + 1), indices - low


def is_labels(volume: Volume) -> bool:
    """Tell whether a volume holds ids: wide unsigned integers, or integers under such a name."""
    if volume.dtype.kind not in "iu":
        return False
    if volume.dtype.newbyteorder("=").name in _ID_TYPES:
        return True
    source = volume.source.replace("\\", "/")
    last = source.rsplit("/", 1)[-1]
    return "/labels/" in source or bool(_LABEL_NAME.search(f"{volume.name} {last}"))


def layer_from_volume(volume: Volume, *, name: str | None = None) -> LayerData:
    """Return napari layer data for a volume; nothing is read but what napari draws.

    Parameters
    ----------
    volume : Volume
        The opened volume. Several `levels` become a multiscale layer.
    name : str, optional
        The layer's name; the volume's by default.
    """
    levels = tuple(volume.levels) or (volume.array,)
    data = [LayerArray(level) for level in levels]
    voxel_size = volume.voxel_size
    attributes: dict[str, Any] = {
        "name": name or volume.name,
        "multiscale": len(data) > 1,
        "metadata": {
            METADATA_KEY: {
                "source": volume.source,
                "voxel_size": None if voxel_size is None else tuple(voxel_size),
            }
        },
    }
    if voxel_size is not None:
        attributes |= {
            "scale": tuple(voxel_size),
            "translate": tuple(volume.translation),
            "units": UNITS,
        }
    return (data if len(data) > 1 else data[0]), attributes, _kind(volume)


def _kind(volume: Volume) -> str:
    return "labels" if is_labels(volume) else "image"


def layer_from_segments(project: Project | LiveProject, *, name: str) -> LayerData:
    """Return a labels layer that reads `lookup[fragments]` block by block.

    Parameters
    ----------
    project : Project or LiveProject
        As segmented, or with its edits.
    name : str
        The layer's name.
    """
    data, attributes, _ = layer_from_volume(project.segments(), name=name)
    attributes["metadata"][METADATA_KEY]["project"] = str(project.path)
    return data, attributes, "labels"


def facts_of(layer: Layer) -> dict[str, Any]:
    """Return the plugin's own notes on a layer; empty for a layer from elsewhere."""
    facts = layer.metadata.get(METADATA_KEY, {})
    return facts if isinstance(facts, dict) else {}


def voxel_size_of(layer: Layer) -> VoxelSize | None:
    """Return a 3D layer's voxel size in nm, or None where nothing states it.

    A layer counts as stated if its units are lengths; a scale in pixels is only a proportion.
    """
    factors = []
    for unit in layer.units[-3:]:
        factor = NM_PER_UNIT.get(str(unit))
        if factor is None:
            return None
        factors.append(factor)
    if layer.ndim != 3 or len(factors) != 3:
        return None
    edges = [abs(float(s)) * f for s, f in zip(layer.scale, factors, strict=True)]
    return VoxelSize(edges[0], edges[1], edges[2])


def set_voxel_size(layer: Layer, voxel_size: VoxelSize) -> None:
    """Give a layer its voxel size; its translation keeps the voxel it pointed at."""
    old = voxel_size_of(layer)
    shift = [t / s for t, s in zip(layer.translate, layer.scale, strict=True)]
    if old is not None and _close(old, voxel_size):
        return
    layer.units = UNITS
    layer.scale = tuple(voxel_size)
    layer.translate = [n * s for n, s in zip(shift, voxel_size, strict=True)]
    facts = dict(facts_of(layer))
    facts["voxel_size"] = tuple(voxel_size)
    layer.metadata[METADATA_KEY] = facts


def _close(a: VoxelSize, b: VoxelSize) -> bool:
    return all(math.isclose(x, y, rel_tol=1e-6) for x, y in zip(a, b, strict=True))


def source_of(layer: Layer) -> str | None:
    """Return the path that opens a layer's voxels again, or None if they live in memory only."""
    source = facts_of(layer).get("source")
    if not isinstance(source, str) or not source or not isinstance(finest_data(layer), LayerArray):
        return None
    path = Path(source)
    # "a.h5/image" is no path of its own: the file is one of its parents.
    return source if any(p.exists() for p in (path, *list(path.parents)[:4])) else None


def finest_data(layer: Layer) -> Any:
    """Return a layer's array; of a pyramid the finest level."""
    return layer.data[0] if getattr(layer, "multiscale", False) else layer.data


def crop_roi(shape: Sequence[int], centre: Sequence[float], voxel_size: VoxelSize | None) -> Roi:
    """Return the trial crop around a voxel, clipped to the volume.

    Parameters
    ----------
    shape : sequence of int
        The volume's shape.
    centre : sequence of float
        Where the user looks, in voxels; points outside are moved to the border.
    voxel_size : VoxelSize or None
        Thick sections take 16 of them, near-cubic voxels 64; both hold `CROP_VOXELS`.

    Notes
    -----
    At a border the crop is moved, not cut, so that it keeps its size where the volume allows.
    """
    thin = voxel_size is not None and voxel_size.anisotropy < 2
    wanted = (64, 128, 128) if thin else (16, 256, 256)
    start, stop = [], []
    for length, size, at in zip(shape, wanted, centre, strict=True):
        n = min(int(length), size)
        middle = round(at) if math.isfinite(at) else int(length) // 2
        first = min(max(0, middle - n // 2), int(length) - n)
        start.append(first)
        stop.append(first + n)
    return Roi((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def view_centre(viewer: Any, layer: Layer) -> tuple[float, ...]:
    """Return the voxel of `layer` at the middle of the canvas and on the current section."""
    world = list(viewer.dims.point)
    displayed = viewer.dims.displayed
    for axis, value in zip(displayed, viewer.scene.camera.center[-len(displayed) :], strict=True):
        world[axis] = value
    return tuple(float(v) for v in layer.world_to_data(world[-layer.ndim :]))


def placement(layer: Layer, start: Sequence[int]) -> dict[str, Any]:
    """Return the layer attributes that put a crop, cut at voxel `start`, over `layer`."""
    shift = np.asarray(layer.rotate) @ (np.asarray(start, float) * np.asarray(layer.scale))
    return {
        "scale": tuple(layer.scale),
        "translate": tuple(np.asarray(layer.translate) + shift),
        "rotate": layer.rotate,
        "affine": layer.affine,
        "units": layer.units,
    }
