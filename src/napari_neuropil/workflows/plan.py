"""From a wish to a plan: every choice is made here, before any work is done."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from napari_neuropil.errors import SettingsError
from napari_neuropil.geometry import Roi, Shape, VoxelSize
from napari_neuropil.inference.grey_values import find_grey_range
from napari_neuropil.inference.grids import pooled_shape
from napari_neuropil.inference.tiles import count_passes
from napari_neuropil.methods import MethodEntry, method_entry
from napari_neuropil.methods.settings import MethodSettings
from napari_neuropil.networks import pretrained_path
from napari_neuropil.volumes import Volume, check_image, open_volume
from napari_neuropil.workflows.embedded_image import NETWORK as EMBEDDING_NETWORK
from napari_neuropil.workflows.requests import SegmentPlan, SegmentRequest

if TYPE_CHECKING:
    from torch import nn

    from napari_neuropil.inference.predict import TilingPlan
    from napari_neuropil.networks.checkpoint import CheckpointSpec

CHUNK_SHAPE: Final[Shape] = (16, 256, 256)
"""Stored chunks of the fragments, on the image's grid."""

_PROBE_SHAPE: Final[Shape] = (8, 64, 64)
_MEMORY_PROBE_SHAPE: Final[Shape] = (8, 96, 96)
_BYTES_PER_BLOCK_VOXEL: Final = 16
"""Fragments and what makes them, and beside it for each stored channel:"""
_BYTES_PER_BLOCK_VOXEL_AND_CHANNEL: Final = 8

_BYTES_PER_TILE_VOXEL_AND_CHANNEL: Final = 70
_BASE_BYTES: Final = 600 * 2**20
"""Python, torch and the packages, as resident before the first block."""

_POSTPROCESSING_SECONDS_PER_VOXEL: Final = 1.5e-6
"""Watershed, graph and partition on one core, per voxel of the network's grid."""

_DISK_BYTES_PER_VOXEL: Final = 0.6
"""Fragments after compression, per image voxel, at most as measured on EM."""

_LARGEST_BATCH: Final = 32


@dataclass(frozen=True)
class Resolved:
    """What planning opened, kept for the run.

    Parameters
    ----------
    plan : SegmentPlan
        Plain data.
    volume : Volume
        The image, with its voxel size.
    roi : Roi
        The part to segment.
    method : MethodEntry
        Row of the table.
    settings : MethodSettings
        The method's, validated.
    network : Module
        With its weights.
    spec : CheckpointSpec
        What the weights say of themselves.
    tiling : TilingPlan
        How the network is run.
    """

    plan: SegmentPlan
    volume: Volume
    roi: Roi
    method: MethodEntry
    settings: MethodSettings
    network: nn.Module
    spec: CheckpointSpec
    tiling: TilingPlan


def plan_segmentation(request: SegmentRequest) -> SegmentPlan:
    """Resolve a wish: open the image, choose blocks, tiles and device, estimate time and size.

    Costs a few seconds, since the network is timed on this machine.

    Raises
    ------
    NeuropilError
        Whatever stands in the way: image, voxel size, roi, settings, checkpoint, device.
    """
    return resolve(request).plan


def resolve(request: SegmentRequest) -> Resolved:
    """Return the plan together with what it opened.

    Raises
    ------
    NeuropilError
        As `plan_segmentation`.
    """
    volume, roi, voxel_size = _open_image(request)
    method = method_entry(request.method)
    from napari_neuropil.inference.predict import VIEWS, turned_tile
    from napari_neuropil.networks.registry import load_checkpoint

    checkpoint = Path(request.checkpoint) if request.checkpoint else pretrained_path(method.network)
    loaded, spec = load_checkpoint(checkpoint, method.network)
    settings = _validate_settings(method, {**spec.settings, **request.settings})
    if settings.mean_embedding and method.network != EMBEDDING_NETWORK:
        pretrained_path(EMBEDDING_NETWORK)  # missing weights are found now, not after the work
    grey, grey_note = find_grey_range(volume, roi, settings.normalisation, invert=settings.invert)
    factors = method.module.working_factors(voxel_size, spec.voxel_sizes, settings)
    grid_shape = pooled_shape(roi.shape, factors)
    settings = method.module.settle(settings, voxel_size.scaled(factors))
    network = method.module.predictor_of(loaded, settings)
    views = method.module.view_count(settings)
    notices = [grey_note, *_notices(voxel_size, factors, grid_shape, spec)]

    overlap = settings.overlap
    tiling, seconds_per_voxel = _choose_tiling(network, request.device, spec, overlap, notices)
    tiling = replace(tiling, views=views, margin=method.margin)
    tile, block_shape = _tile_and_block(request, method, tiling, spec, grid_shape)
    tiling = replace(tiling, tile_shape=tile)
    channels = len(method.module.kept_channels(spec.offsets, settings))
    blocks = math.prod(math.ceil(n / b) for n, b in zip(grid_shape, block_shape, strict=True))
    passes, computed = 0, 0
    for view in VIEWS[:views]:
        tile = turned_tile(tiling.tile_shape, view)
        margin = turned_tile(method.margin, view)
        count = (
            blocks
            if method.windows
            else count_passes(grid_shape, block_shape, tile, overlap, margin)
        )
        passes += count
        computed += count * math.prod(min(n, t) for n, t in zip(grid_shape, tile, strict=True))
    voxels = math.prod(grid_shape)
    plan = SegmentPlan(
        request=request,
        shape=volume.shape,
        voxel_size=(voxel_size.z, voxel_size.y, voxel_size.x),
        roi=str(roi),
        factors=factors,
        grid_shape=grid_shape,
        tile_shape=tiling.tile_shape,
        overlap=overlap,
        views=views,
        batch=tiling.batch,
        tiles=passes,
        coverage=round(computed / voxels, 3),
        block_shape=block_shape,
        blocks=blocks,
        halo=tiling.tile_shape,
        device=tiling.device,
        dtype="bfloat16" if tiling.half else "float32",
        channels_last=tiling.channels_last,
        threads=tiling.threads,
        grey_range=(grey.low, grey.high),
        settings=settings.model_dump(mode="json"),
        checkpoint=str(checkpoint),
        checkpoint_sha256=spec.sha256,
        seconds=round(computed * seconds_per_voxel + voxels * _POSTPROCESSING_SECONDS_PER_VOXEL, 1),
        memory_bytes=_estimate_memory(block_shape, grid_shape, factors, tiling, volume, channels),
        disk_bytes=int(roi.size * _DISK_BYTES_PER_VOXEL + voxels * channels),
        notices=tuple(notices),
    )
    return Resolved(
        plan, volume.with_voxel_size(voxel_size), roi, method, settings, network, spec, tiling
    )


def check_disk(plan: SegmentPlan, folder: Path) -> None:
    """Refuse to begin where the result would not fit.

    Raises
    ------
    OutputError
        If less space is free than the plan expects to need.
    """
    from napari_neuropil.errors import OutputError

    existing = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(existing).free
    if free < plan.disk_bytes:
        raise OutputError(
            f"{free / 1e9:.1f} GB are free on the disk of {existing}.",
            f"{plan.disk_bytes / 1e9:.1f} GB for this segmentation",
            "free disk space, choose another folder or a smaller roi.",
        )


def _open_image(request: SegmentRequest) -> tuple[Volume, Roi, VoxelSize]:
    volume = open_volume(request.image)
    check_image(volume)
    roi = Roi.parse(request.roi, volume.shape) if request.roi else Roi.of_shape(volume.shape)
    if request.voxel_size is not None:
        return volume, roi, VoxelSize(*request.voxel_size)
    if volume.voxel_size is None:
        raise SettingsError(
            f"{request.image} does not state its voxel size.",
            "edge lengths z,y,x in nm",
            "give it, for example --voxel-size 29,6,6.",
        )
    return volume, roi, volume.voxel_size


def _tile_and_block(
    request: SegmentRequest,
    method: MethodEntry,
    tiling: TilingPlan,
    spec: CheckpointSpec,
    grid_shape: Shape,
) -> tuple[Shape, Shape]:
    tile = tiling.tile_shape
    if not method.windows:
        return tile, request.block_shape or method.block_shape
    if request.block_shape is not None:
        raise SettingsError(
            f"Blocks of {request.block_shape} for {method.name}.",
            f"none: a block is one window of the network, {tile} voxels",
            "leave --block-shape out; --overlap sets how far windows reach into each other.",
        )
    from napari_neuropil.inference.windows import LONGER, even_windows

    short = tile != spec.tile_shape  # it was made smaller to fit into memory
    return even_windows(grid_shape, tile, tiling.overlap, 1.0 if short else LONGER)


def _validate_settings(method: MethodEntry, values: dict[str, Any]) -> MethodSettings:
    try:
        return method.settings_class.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        fields = ", ".join(method.settings_class.model_fields)
        raise SettingsError(
            f"Setting {name!r} of {method.name} is {first.get('input')!r}: {first['msg']}.",
            f"settings {fields}",
            "see `neuropil segment --help` for their bounds.",
        ) from error


def _choose_tiling(
    network: nn.Module,
    device_name: str,
    spec: CheckpointSpec,
    overlap: float,
    notices: list[str],
) -> tuple[TilingPlan, float]:
    """Return how to run the network, and its seconds per voxel of a tile."""
    from napari_neuropil.inference.devices import choose_device
    from napari_neuropil.inference.predict import TilingPlan
    from napari_neuropil.inference.tuning import (
        choose_batch,
        choose_cpu_plan,
        cpu_tile_that_fits,
        measure_pass,
        measure_peak_bytes,
    )

    device = choose_device(device_name)
    tile = spec.tile_shape
    if device.type == "cpu":
        # What an earlier pass left in the allocator hides the price; where nothing was seen, the
        # rule stands in.
        rule = int(next(network.parameters()).shape[0]) * _BYTES_PER_TILE_VOXEL_AND_CHANNEL
        measured = measure_peak_bytes(network, _MEMORY_PROBE_SHAPE)
        tile = cpu_tile_that_fits(tile, max(measured, rule), notices.append)
        return choose_cpu_plan(network, tile, overlap, _PROBE_SHAPE)
    plan = TilingPlan(tile, overlap, device=str(device), half=device.type == "cuda")
    plan = replace(plan, batch=choose_batch(network, plan, _LARGEST_BATCH))
    return plan, measure_pass(network, plan) / (plan.batch * math.prod(tile))


def _notices(
    voxel_size: VoxelSize, factors: Shape, grid_shape: Shape, spec: CheckpointSpec
) -> list[str]:
    notices = []
    working = voxel_size.scaled(factors)
    if factors != (1, 1, 1):
        notices.append(f"The network sees voxels of {working} (averaged over {factors}).")
    sizes = [VoxelSize(*size) for size in spec.voxel_sizes]
    far = [
        s for s in sizes if max(abs(math.log(a / b)) for a, b in zip(s, working, strict=True)) < 0.5
    ]
    if sizes and not far:
        seen = "; ".join(str(size) for size in sizes)
        notices.append(f"Voxels of {working} are unlike what the weights were trained on ({seen}).")
    if min(grid_shape[1:]) < 32 or grid_shape[0] < 4:
        notices.append(
            f"Only {grid_shape} voxels on the network's grid: there is little context to go by."
        )
    return notices


def _estimate_memory(
    block_shape: Shape,
    grid_shape: Shape,
    factors: Shape,
    tiling: TilingPlan,
    volume: Volume,
    channels: int,
) -> int:
    block = math.prod(
        min(b + 2 * t, n)
        for b, t, n in zip(block_shape, tiling.tile_shape, grid_shape, strict=True)
    )
    image = block * math.prod(factors) * (volume.dtype.itemsize + 4)
    tile = math.prod(tiling.tile_shape) * tiling.batch * 16 * _BYTES_PER_TILE_VOXEL_AND_CHANNEL
    # Two blocks' images: one is read ahead while the other is predicted.
    bytes_per_voxel = _BYTES_PER_BLOCK_VOXEL + channels * _BYTES_PER_BLOCK_VOXEL_AND_CHANNEL
    return int(_BASE_BYTES + block * bytes_per_voxel + 2 * image + tile)
