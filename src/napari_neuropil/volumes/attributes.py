"""Voxel size, translation and axis names from the attributes that programs write beside arrays.

Known are funlib (``voxel_size``, ``offset``, ``units``, ``axis_names``), CREMI (``resolution``,
``offset``), PlantSeg and ilastik (``element_size_um``, ``axistags``), xarray
(``_ARRAY_DIMENSIONS``) and our own ``voxel_size_nm`` and ``translation_nm``. Numbers stand in the
array's own axis order. What is zero, negative or not a number counts as unknown, so that the user
is asked instead of a guess being kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from napari_neuropil.errors import SettingsError
from napari_neuropil.geometry import NM_PER_UNIT, VoxelSize
from napari_neuropil.volumes.axes import AxisOrder, pick_axes
from napari_neuropil.volumes.volume import Translation

# key -> unit where the key itself names it; None: from `unit(s)`, nm if those are absent
_VOXEL_SIZE_KEYS: Final[dict[str, float | None]] = {
    "voxel_size_nm": 1.0,
    "element_size_um": 1e3,
    "voxel_size": None,
    "resolution": None,
}
_TRANSLATION_KEYS: Final[dict[str, float | None]] = {"translation_nm": 1.0, "offset": None}
_AXES_KEYS: Final = ("axes", "axis_names", "_ARRAY_DIMENSIONS")


def nm_per_unit(unit: object) -> float | None:
    """Return the nanometres of a unit's spelling, None for an unknown one."""
    if isinstance(unit, bytes):
        unit = unit.decode("utf-8", errors="replace")
    if not isinstance(unit, str):
        return None
    # ImageJ writes the Greek letter as an escape.
    text = unit.strip().replace("\\u00B5", "µ").replace("\\u03BC", "µ")
    return NM_PER_UNIT.get(text) or NM_PER_UNIT.get(text.lower())


def voxel_size_or_none(lengths: Sequence[float] | None) -> VoxelSize | None:
    """Return the voxel size of three lengths in nm, None where they are no possible one."""
    if lengths is None:
        return None
    try:
        return VoxelSize(*(float(v) for v in lengths))
    except (SettingsError, TypeError, ValueError):
        return None


def axis_names(attributes: Mapping[str, Any]) -> list[str] | None:
    """Return the axis names of an array in its own order, None where it has none."""
    for key in _AXES_KEYS:
        names = attributes.get(key)
        if isinstance(names, bytes):
            names = names.decode("utf-8", errors="replace")
        if isinstance(names, str):
            return list(names)
        if isinstance(names, (list, tuple, np.ndarray)):
            return [n.decode() if isinstance(n, bytes) else str(n) for n in names]
    try:
        return [axis["key"] for axis in json.loads(attributes["axistags"])["axes"]]
    except (KeyError, TypeError, ValueError):
        return None


def read_place(
    layers: Sequence[Mapping[str, Any]], order: AxisOrder, ndim: int
) -> tuple[VoxelSize | None, Translation]:
    """Return voxel size and translation in nm.

    Parameters
    ----------
    layers : sequence of mapping
        Attributes of the array and of what holds it; the first that knows wins.
    order : AxisOrder
        The file's axis number for z, y and x.
    ndim : int
        Number of axes in the file.
    """
    voxel_size: VoxelSize | None = None
    translation: Translation | None = None
    for attributes in layers:
        if voxel_size is None:
            voxel_size = voxel_size_or_none(_find(attributes, _VOXEL_SIZE_KEYS, order, ndim))
        if translation is None:
            translation = _find(attributes, _TRANSLATION_KEYS, order, ndim)
    return voxel_size, translation or (0.0, 0.0, 0.0)


def _find(
    attributes: Mapping[str, Any], keys: Mapping[str, float | None], order: AxisOrder, ndim: int
) -> Translation | None:
    for key, factor in keys.items():
        if key not in attributes:
            continue
        numbers = _numbers(attributes[key])
        factors = [factor] if factor is not None else _unit_factors(attributes)
        if numbers is None or factors is None or len(factors) not in (1, len(numbers)):
            continue
        if len(factors) == 1:
            factors = factors * len(numbers)
        return pick_axes([v * f for v, f in zip(numbers, factors, strict=True)], order, ndim)
    return None


def _unit_factors(attributes: Mapping[str, Any]) -> list[float] | None:
    units = attributes.get("units", attributes.get("unit"))
    if units is None:
        return [1.0]
    listed = list(units) if isinstance(units, (list, tuple, np.ndarray)) else [units]
    # funlib keeps units of the axes in space only, "" or "dimensionless" for others.
    factors = [factor for unit in listed if (factor := nm_per_unit(unit)) is not None]
    return factors or None


def _numbers(value: object) -> list[float] | None:
    try:
        array = np.asarray(value, dtype=np.float64).ravel()
    except (TypeError, ValueError):
        return None
    if array.size == 0 or not np.isfinite(array).all():
        return None
    return [float(v) for v in array]
