"""Sizes, stops and dendrites in words. No Qt."""

from __future__ import annotations

from typing import Final

from napari_neuropil.geometry import VoxelSize
from napari_neuropil.plugin.dendrites.records import Dendrite
from napari_neuropil.workflows.prompting.messages import StopFact

_REASONS: Final = {
    "overlap": "too little in common with the section before",
    "return": "the way back leads elsewhere",
    "area": "a jump in size",
    "score": "a doubtful mask",
    "empty": "no mask",
    "volume": "end of the volume",
    "gap": "both ends of the gap disagree",
    "cancelled": "cancelled",
}
_MEASURED: Final = {
    "overlap": "overlap",
    "return": "way back",
    "area": "ratio",
    "score": "score",
    "gap": "agreement",
}
_NM2_IN_UM2: Final = 1_000_000.0


def count_text(count: int, what: str) -> str:
    """Return for example ``1 box`` or ``12 400 voxels``."""
    plural = "" if count == 1 else ("es" if what.endswith("x") else "s")
    return f"{count:,} {what}{plural}".replace(",", " ")


def area_text(pixels: int, voxel_size: VoxelSize | None) -> str:
    """Return for example ``1 240 px, 0.0446 µm²``; nm² below a thousandth of a µm²."""
    text = f"{pixels:,} px".replace(",", " ")
    if voxel_size is None:
        return text
    area = pixels * voxel_size.y * voxel_size.x
    if area < _NM2_IN_UM2 / 1000:
        return f"{text}, {area:.0f} nm²"
    return f"{text}, {area / _NM2_IN_UM2:.3g} µm²"


def volume_text(voxels: int, voxel_size: VoxelSize | None) -> str:
    """Return for example ``12 400 voxels, 0.031 µm³``."""
    text = count_text(voxels, "voxel")
    return text if voxel_size is None else f"{text}, {voxels * voxel_size.volume_um3:.3g} µm³"


def stop_text(stop: StopFact) -> str:
    """Return why a piece of an object was not carried on."""
    return _REASONS.get(stop.reason, stop.reason)


def stop_value_text(stop: StopFact) -> str:
    """Return what was measured where it stopped; empty where nothing was."""
    name = _MEASURED.get(stop.reason)
    return "" if name is None else f"{name} {stop.value:.2f}"


def dendrite_text(dendrite: Dendrite, voxel_size: VoxelSize | None) -> str:
    """Return where a dendrite is, how large, and how much of it the user has accepted."""
    masks = dendrite.masks
    if not masks:
        return f"Dendrite {dendrite.id}: no mask yet"
    first, last = min(masks), max(masks)
    where = f"section {first}" if first == last else f"sections {first}-{last}"
    missing = last - first + 1 - len(masks)
    accepted = sum(mask is not None for mask in dendrite.accepted.values())
    parts = [
        f"Dendrite {dendrite.id}: {where}, {accepted} of {len(masks)} accepted",
        volume_text(sum(mask.area for mask in masks.values()), voxel_size),
    ]
    if missing:
        parts.append(f"{count_text(missing, 'section')} without a mask between")
    if dendrite.committed is not None:
        parts.append("in the project")
    return "\n".join(parts)
