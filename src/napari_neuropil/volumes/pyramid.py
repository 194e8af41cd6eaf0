"""Coarser levels for an OME-Zarr volume, block by block.

Images are averaged, labels strided (a mean of ids is no id). A mean's voxels are centred between
those they come from, so its translation moves by half a voxel; a strided level's does not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import VolumeFormatError
from napari_neuropil.geometry import Roi, Shape, VoxelSize
from napari_neuropil.volumes.ome_zarr import multiscale_of, read
from napari_neuropil.volumes.ome_zarr_writing import default_chunks, make_array, write_group
from napari_neuropil.volumes.output import BlockSource, output_error, partial_output, rois_of
from napari_neuropil.volumes.volume import LazyArray, Volume
from napari_neuropil.volumes.zarr_node import find_node, open_array, read_node

_THICK: Final = 1.5
"""An axis is halved while its voxel is at most this many times the smallest edge."""


def add_levels(path: Path, levels: int, report: Callable[[int, int], None] | None) -> None:
    """Write levels 1 to `levels` - 1 of the group at `path`, then its metadata."""
    node = find_node(path)
    multiscale = multiscale_of(node)
    volume = read(path, "")
    plain = len(getattr(volume.array, "chunks", ())) == 3
    if multiscale is None or node.zarr_format != 3 or not plain:
        raise VolumeFormatError(
            f"{path} is no OME-Zarr 0.5 volume with the axes z, y, x.",
            "a volume made by write_volume or create_volume",
            "write the volume anew as .zarr.",
        )
    is_labels = "image-label" in node.attributes["ome"]
    shapes, factors = _plan(volume, levels)
    blocks = [rois_of(shape, default_chunks(shape, volume.dtype)) for shape in shapes]
    total, done = sum(len(rois) for rois in blocks), 0
    source = BlockSource(lambda _: np.empty(0), report)
    finer: LazyArray = volume.array
    for level, (shape, step, rois) in enumerate(zip(shapes, factors, blocks, strict=True), 1):
        with partial_output(path / str(level), overwrite=True, source=source) as partial:
            array = make_array(partial, shape, volume.dtype)
            for roi in rois:
                array[roi.slices] = _shrink(finer, roi, step, nearest=is_labels)
                done += 1
                source.done(done, total)
        child = read_node(path / str(level))
        if child is None:
            raise VolumeFormatError(f"Level {level} of {path} is gone.", "a folder left alone")
        finer = open_array(child)
    datasets = multiscale["datasets"][:1] + _describe(multiscale, factors, nearest=is_labels)
    first = {**multiscale, "datasets": datasets, "type": "nearest" if is_labels else "mean"}
    ome = {**node.attributes["ome"], "multiscales": [first]}
    try:
        write_group(path, json.loads(json.dumps({**node.attributes, "ome": ome})))
    except OSError as error:
        raise output_error(path, error) from error


def _plan(volume: Volume, levels: int) -> tuple[list[Shape], list[Shape]]:
    """Return shape and step (over the level before) of each level to write."""
    shapes: list[Shape] = []
    steps: list[Shape] = []
    shape = volume.shape
    # Unknown voxels are taken as thick ones: in-plane halving suits both kinds of volume.
    size = volume.voxel_size or VoxelSize(2.0, 1.0, 1.0)
    for _ in range(levels - 1):
        thin = _THICK * min(size)
        z, y, x = (2 if v <= thin and n > 1 else 1 for v, n in zip(size, shape, strict=True))
        step = (z, y, x)
        size = size.scaled(step)
        sz, sy, sx = (-(-n // f) for n, f in zip(shape, step, strict=True))
        shape = (sz, sy, sx)
        shapes.append(shape)
        steps.append(step)
    return shapes, steps


def _shrink(finer: LazyArray, roi: Roi, step: Shape, *, nearest: bool) -> NDArray[Any]:
    """Return the voxels of `roi` in the coarser grid."""
    index = tuple(
        slice(a * f, min(b * f, n))
        for a, b, f, n in zip(roi.start, roi.stop, step, finer.shape, strict=True)
    )
    block = np.asarray(finer[index])
    if nearest:
        return block[tuple(slice(None, None, f) for f in step)]
    pad = [(0, n * f - have) for n, f, have in zip(roi.shape, step, block.shape, strict=True)]
    (z, y, x), (fz, fy, fx) = roi.shape, step
    cells = np.pad(block, pad, mode="edge").reshape(z, fz, y, fy, x, fx)
    mean = cells.mean(axis=(1, 3, 5), dtype=np.float64)
    rounded: NDArray[Any] = mean if block.dtype.kind == "f" else np.rint(mean)
    return rounded.astype(block.dtype)


def _describe(
    multiscale: Any,
    steps: Sequence[Shape],
    *,
    nearest: bool,
) -> list[dict[str, Any]]:
    given = multiscale["datasets"][0].get("coordinateTransformations", [])
    scale = next((s["scale"] for s in given if s["type"] == "scale"), [1.0] * 3)
    origin = next((s["translation"] for s in given if s["type"] == "translation"), [0.0] * 3)
    factor = [1, 1, 1]
    datasets = []
    for level, step in enumerate(steps, start=1):
        factor = [a * b for a, b in zip(factor, step, strict=True)]
        shift = [0.0 if nearest else (f - 1) / 2 * v for f, v in zip(factor, scale, strict=True)]
        moved = [o + s for o, s in zip(origin, shift, strict=True)]
        datasets.append(
            {
                "path": str(level),
                "coordinateTransformations": [
                    {"type": "scale", "scale": [v * f for v, f in zip(scale, factor, strict=True)]},
                    {"type": "translation", "translation": moved},
                ],
            }
        )
    return datasets
