"""OME-Zarr 0.4 (zarr 2) and 0.5 (zarr 3, sharded or not), and plain zarr arrays.

A group with ``multiscales`` opens its image with all levels; axes besides z, y, x must have
length 1 and are dropped lazily. A scale whose axes have no unit says nothing about nanometres:
the voxel size then counts as unknown. Source: OME-NGFF 0.4 and 0.5, section "multiscales".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from napari_neuropil.errors import VolumeFormatError
from napari_neuropil.geometry import VoxelSize
from napari_neuropil.volumes.attributes import (
    axis_names,
    nm_per_unit,
    read_place,
    voxel_size_or_none,
)
from napari_neuropil.volumes.axes import AxisOrder, arrange, find_order, pick_axes
from napari_neuropil.volumes.ome_zarr_writing import create, write
from napari_neuropil.volumes.volume import Translation, Volume
from napari_neuropil.volumes.zarr_node import (
    ZarrNode,
    find_node,
    list_arrays,
    listed,
    open_array,
    read_node,
)

__all__ = ["create", "multiscale_of", "read", "write"]

_DEFAULT_AXES = ("t", "c", "z", "y", "x")


def read(container: Path, inner: str) -> Volume:
    """Open an image, a labels group or an array; a plain group opens its only 3D array."""
    node = find_node(container / inner if inner else container)
    multiscale = multiscale_of(node)
    if multiscale is not None:
        return _read_multiscale(node, multiscale)
    if node.is_array:
        parent = read_node(node.path.parent)
        around = multiscale_of(parent) if parent is not None else None
        if around is not None and node.path.name in _paths_of(around, node.path.parent):
            return _read_level(node, around)
        return _read_plain(node, parent)
    return _read_only_child(node)


def multiscale_of(node: ZarrNode) -> Mapping[str, Any] | None:
    """Return the first multiscale image of a group, None where it has none."""
    ome = node.attributes.get("ome", node.attributes)
    images = ome.get("multiscales") if isinstance(ome, dict) else None
    if node.is_array or not isinstance(images, list) or not images:
        return None
    return images[0] if isinstance(images[0], dict) else None


def _read_multiscale(node: ZarrNode, multiscale: Mapping[str, Any]) -> Volume:
    paths = _paths_of(multiscale, node.path)
    children = [child for path in paths if (child := read_node(node.path / path)) is not None]
    if not children or children[0].path != node.path / paths[0]:
        raise VolumeFormatError(
            f"{node.path} lacks its full-size level {paths[0]}.",
            f"the levels {', '.join(paths)}",
            "copy the whole folder again, hidden files included.",
        )
    arrays = [open_array(child) for child in children]
    names = _axes_of(multiscale, arrays[0].ndim)
    order = find_order(arrays[0].shape, names, str(node.path))
    voxel_size, translation = _place_of(multiscale, 0, order, arrays[0].ndim)
    return Volume(
        arrange(arrays[0], order),
        voxel_size,
        translation=translation,
        name=_name_of(node.path),
        source=str(node.path),
        levels=tuple(arrange(array, order) for array in arrays),
        level_factors=_factors_of(multiscale, len(arrays), order, arrays[0].ndim),
    )


def _read_level(node: ZarrNode, multiscale: Mapping[str, Any]) -> Volume:
    array = open_array(node)
    level = _paths_of(multiscale, node.path.parent).index(node.path.name)
    order = find_order(array.shape, _axes_of(multiscale, array.ndim), str(node.path))
    voxel_size, translation = _place_of(multiscale, level, order, array.ndim)
    return Volume(
        arrange(array, order),
        voxel_size,
        translation=translation,
        name=_name_of(node.path),
        source=str(node.path),
    )


def _read_plain(node: ZarrNode, parent: ZarrNode | None) -> Volume:
    array = open_array(node)
    names = axis_names(node.attributes)
    dimensions = node.metadata.get("dimension_names")
    if names is None and isinstance(dimensions, list):
        names = [str(name) for name in dimensions]
    order = find_order(array.shape, names, str(node.path))
    layers = [node.attributes] + ([parent.attributes] if parent is not None else [])
    voxel_size, translation = read_place(layers, order, array.ndim)
    return Volume(
        arrange(array, order),
        voxel_size,
        translation=translation,
        name=_name_of(node.path),
        source=str(node.path),
    )


def _read_only_child(node: ZarrNode) -> Volume:
    """Open what a group without an image holds, if that is one volume (image or array)."""
    images = [
        child
        for entry in sorted(p for p in node.path.iterdir() if p.is_dir())
        if (child := read_node(entry)) is not None and multiscale_of(child) is not None
    ]
    found = images or [child for child in list_arrays(node) if _may_be_volume(child)]
    if len(found) == 1:
        return read(found[0].path, "")
    raise VolumeFormatError(
        f"{node.path} is a group with {len(found)} volumes: {listed(found, node.path)}.",
        "the path of one volume",
        f"give one, for example {found[0].path}."
        if found
        else "give the path of a group or array with a volume in it.",
    )


def _may_be_volume(node: ZarrNode) -> bool:
    shape = node.metadata.get("shape")
    if not isinstance(shape, list):
        return False
    return len(shape) >= 3 and sum(n != 1 for n in shape) <= 3


def _paths_of(multiscale: Mapping[str, Any], base: Path) -> list[str]:
    try:
        paths = [str(dataset["path"]) for dataset in multiscale["datasets"]]
    except (KeyError, TypeError) as error:
        raise _bad_metadata(base, "datasets without paths") from error
    leaves = any(Path(path).is_absolute() or ".." in Path(path).parts for path in paths)
    if leaves or not paths:
        raise _bad_metadata(base, f"datasets {paths}")
    return paths


def _axes_of(multiscale: Mapping[str, Any], ndim: int) -> Sequence[str]:
    axes = multiscale.get("axes")
    if not isinstance(axes, list):
        return _DEFAULT_AXES[-ndim:]  # OME-Zarr 0.1 and 0.2 have this order and no names
    return [str(axis.get("name")) if isinstance(axis, dict) else str(axis) for axis in axes]


def _place_of(
    multiscale: Mapping[str, Any], level: int, order: AxisOrder, ndim: int
) -> tuple[VoxelSize | None, Translation]:
    axes = multiscale.get("axes")
    units = [
        nm_per_unit(axis.get("unit")) if isinstance(axis, dict) else None
        for axis in (axes if isinstance(axes, list) else [None] * ndim)
    ]
    nm = pick_axes([unit or 0.0 for unit in units], order, ndim)
    scale, translation = _transformation(multiscale, level, ndim)
    if nm is None or 0.0 in nm:
        return None, (0.0, 0.0, 0.0)
    lengths, origin = pick_axes(scale, order, ndim), pick_axes(translation, order, ndim)
    if lengths is None or origin is None:
        return None, (0.0, 0.0, 0.0)
    tz, ty, tx = (t * f for t, f in zip(origin, nm, strict=True))
    return voxel_size_or_none([v * f for v, f in zip(lengths, nm, strict=True)]), (tz, ty, tx)


def _factors_of(
    multiscale: Mapping[str, Any], count: int, order: AxisOrder, ndim: int
) -> tuple[tuple[float, float, float], ...]:
    """Return each level's scale over that of level 0; empty where the file does not tell."""
    base = pick_axes(_transformation(multiscale, 0, ndim)[0], order, ndim)
    factors: list[tuple[float, float, float]] = []
    for level in range(count):
        scale = pick_axes(_transformation(multiscale, level, ndim)[0], order, ndim)
        if base is None or scale is None or min(*base, *scale) <= 0:
            return ()
        z, y, x = (a / b for a, b in zip(scale, base, strict=True))
        factors.append((z, y, x))
    told = len(set(factors)) == len(factors)  # levels that all say the same size say nothing
    return tuple(factors) if told else ()


def _transformation(
    multiscale: Mapping[str, Any], level: int, ndim: int
) -> tuple[list[float], list[float]]:
    """Return scale and translation of a level, that of the whole image applied after it."""
    scale, translation = [1.0] * ndim, [0.0] * ndim
    for holder in (multiscale["datasets"][level], multiscale):
        for step in holder.get("coordinateTransformations") or ():
            values = step.get(step.get("type"))
            if not isinstance(values, list) or len(values) != ndim:
                continue
            numbers = [float(v) for v in values]
            if step["type"] == "scale":
                scale = [a * b for a, b in zip(scale, numbers, strict=True)]
                translation = [a * b for a, b in zip(translation, numbers, strict=True)]
            elif step["type"] == "translation":
                translation = [a + b for a, b in zip(translation, numbers, strict=True)]
    return scale, translation


def _name_of(path: Path) -> str:
    outer = next((p for p in path.parents if p.suffix == ".zarr"), None)
    stem = path.name.removesuffix(".zarr").removesuffix(".ome")
    if outer is None:
        return stem
    return f"{outer.name.removesuffix('.zarr').removesuffix('.ome')} {stem}"


def _bad_metadata(path: Path, found: str) -> VolumeFormatError:
    return VolumeFormatError(
        f"{path} has OME metadata with {found}.",
        "multiscales with the paths of arrays below the group",
        "copy the volume again from where it came, or save it anew.",
    )
