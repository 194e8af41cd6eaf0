"""Voxel size and position in TIFF metadata: OME-XML, then ImageJ.

The TIFF resolution tags alone are no voxel size: most programs write 72 dpi or 1 there whatever
they hold. ImageJ leaves ``spacing`` out where nobody set a section thickness, so a file without
it has none.
"""

from __future__ import annotations

from typing import Any, Final
from xml.etree import ElementTree

import tifffile

from napari_neuropil.geometry import VoxelSize
from napari_neuropil.volumes.attributes import nm_per_unit, voxel_size_or_none
from napari_neuropil.volumes.output import VolumeSpec
from napari_neuropil.volumes.volume import Translation

_ORIGIN: Final = (0.0, 0.0, 0.0)


def read_place(tiff: tifffile.TiffFile, series: int) -> tuple[VoxelSize | None, Translation]:
    """Return voxel size and translation of a series in nm."""
    if tiff.ome_metadata:
        return _read_ome(tiff.ome_metadata, series)
    if tiff.is_imagej and tiff.imagej_metadata:
        return _read_imagej(tiff.imagej_metadata, tiff), _ORIGIN
    return None, _ORIGIN


def describe(spec: VolumeSpec) -> dict[str, Any]:
    """Return tifffile's description of a volume, from which it makes OME-XML."""
    metadata: dict[str, Any] = {"axes": "ZYX", "Name": spec.container.stem.removesuffix(".ome")}
    if spec.voxel_size is None:
        return metadata
    for axis, length in zip("ZYX", spec.voxel_size, strict=True):
        metadata[f"PhysicalSize{axis}"] = length
        metadata[f"PhysicalSize{axis}Unit"] = "nm"
    if any(spec.translation):
        sections = spec.shape[0]
        z, y, x = spec.translation
        metadata["Plane"] = {
            "PositionZ": [z + index * spec.voxel_size.z for index in range(sections)],
            "PositionY": [y] * sections,
            "PositionX": [x] * sections,
            **{f"Position{axis}Unit": ["nm"] * sections for axis in "ZYX"},
        }
    return metadata


def _read_ome(text: str, series: int) -> tuple[VoxelSize | None, Translation]:
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return None, _ORIGIN
    images = [node for node in root.iter() if node.tag.endswith("}Pixels") or node.tag == "Pixels"]
    if not images:
        return None, _ORIGIN
    pixels = images[min(series, len(images) - 1)]
    # The schema's default unit is the micrometre.
    lengths = [_length(pixels, f"PhysicalSize{axis}", "µm") for axis in "ZYX"]
    voxel_size = voxel_size_or_none([v if v is not None else 0.0 for v in lengths])
    if voxel_size is None:
        return None, _ORIGIN
    plane = next((node for node in pixels if node.tag.endswith("Plane")), None)
    if plane is None:
        return voxel_size, _ORIGIN
    z, y, x = (_length(plane, f"Position{axis}", "") or 0.0 for axis in "ZYX")
    return voxel_size, (z, y, x)


def _length(node: ElementTree.Element, name: str, default_unit: str) -> float | None:
    factor = nm_per_unit(node.get(f"{name}Unit", default_unit))
    try:
        return float(node.get(name, "")) * factor if factor is not None else None
    except ValueError:
        return None


def _read_imagej(metadata: dict[str, Any], tiff: tifffile.TiffFile) -> VoxelSize | None:
    factor = nm_per_unit(metadata.get("unit"))
    tags = tiff.pages.first.tags
    try:
        spacing = abs(float(metadata["spacing"]))
        pixels_per_unit = [float(n) / float(d) for n, d in _resolutions(tags)]
        z, y, x = spacing, *(1.0 / density for density in pixels_per_unit)
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return voxel_size_or_none([v * factor for v in (z, y, x)]) if factor is not None else None


def _resolutions(tags: tifffile.TiffTags) -> list[tuple[int, int]]:
    return [tags[name].value for name in ("YResolution", "XResolution")]
