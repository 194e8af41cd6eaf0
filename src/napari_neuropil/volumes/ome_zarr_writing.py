"""Write OME-Zarr 0.5: zarr 3, one level, axes z, y, x in nanometres.

Chunks are not sharded: a shard written in parts by two threads loses one of the parts without a
word (zarr-python issue 3682), and callers write block by block.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import zarr
from zarr.codecs import BloscCodec
from zarr.storage import LocalStore

from napari_neuropil.errors import OutputError
from napari_neuropil.geometry import Shape
from napari_neuropil.volumes.output import (
    BlockSource,
    VolumeSpec,
    partial_output,
    remove,
    rois_of,
)
from napari_neuropil.volumes.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION: Final = "0.5"
_CHUNK: Final = (64, 256, 256)
_CHUNK_VOXEL_BYTES: Final = 128
"""Sections in a chunk times bytes in a voxel: keeps a chunk at 8 MB or less."""


def create(spec: VolumeSpec, chunks: Sequence[int] | None) -> Volume:
    """Make a volume of zeros that can be written."""
    with _folder_for(spec), partial_output(spec.target, overwrite=spec.overwrite) as partial:
        _make_group(partial, spec, chunks)
    _register_labels(spec)
    array = zarr.open_array(store=LocalStore(spec.target / "0"), mode="r+", zarr_format=3)
    return Volume(
        array,
        spec.voxel_size,
        translation=spec.translation,
        name=spec.target.name.removesuffix(".zarr").removesuffix(".ome"),
        source=str(spec.target),
    )


def reopen(volume: Volume, path: Path) -> Volume:
    """Return a volume that `create` made, so that it can be written again."""
    array = zarr.open_array(store=LocalStore(path / "0"), mode="r+", zarr_format=3)
    return replace(volume, array=array, levels=(), level_factors=())


def write(spec: VolumeSpec, source: BlockSource) -> None:
    """Write a volume chunk by chunk."""
    with (
        _folder_for(spec),
        partial_output(spec.target, overwrite=spec.overwrite, source=source) as partial,
    ):
        array = _make_group(partial, spec, None)
        rois = rois_of(spec.shape, default_chunks(spec.shape, spec.dtype))
        for done, roi in enumerate(rois, start=1):
            array[roi.slices] = source.read(roi, spec.dtype)
            source.done(done, len(rois))
    _register_labels(spec)


def default_chunks(shape: Shape, dtype: np.dtype[Any]) -> Shape:
    """Return a chunk of at most 64 x 256 x 256 voxels and about 8 MB."""
    depth = min(_CHUNK[0], _CHUNK_VOXEL_BYTES // dtype.itemsize)
    z, y, x = (min(n, c) for n, c in zip(shape, (depth, *_CHUNK[1:]), strict=True))
    return z, y, x


def make_array(
    path: Path, shape: Shape, dtype: np.dtype[Any], chunks: Sequence[int] | None = None
) -> zarr.Array[Any]:
    """Make an array of zeros in a folder of its own; blocks of zeros take no space."""
    return zarr.create_array(
        store=LocalStore(path),
        shape=shape,
        dtype=dtype,
        chunks=tuple(int(n) for n in chunks) if chunks else default_chunks(shape, dtype),
        compressors=BloscCodec(cname="zstd", clevel=3, shuffle="shuffle", typesize=dtype.itemsize),
        fill_value=0,
        dimension_names=("z", "y", "x"),
        zarr_format=3,
    )


def write_group(path: Path, attributes: dict[str, Any]) -> None:
    """Write a group's metadata in one step."""
    path.mkdir(exist_ok=True)
    text = json.dumps({"zarr_format": 3, "node_type": "group", "attributes": attributes}, indent=2)
    partial = path / ".zarr.json.partial"
    partial.write_text(text, encoding="utf-8")
    partial.replace(path / "zarr.json")


def _make_group(path: Path, spec: VolumeSpec, chunks: Sequence[int] | None) -> zarr.Array[Any]:
    path.mkdir()
    array = make_array(path / "0", spec.shape, spec.dtype, chunks)
    write_group(path, {"ome": _describe(spec)})
    return array


def _describe(spec: VolumeSpec) -> dict[str, Any]:
    known = spec.voxel_size is not None
    axis = {"type": "space", "unit": "nanometer"} if known else {"type": "space"}
    scale = list(spec.voxel_size) if spec.voxel_size is not None else [1.0, 1.0, 1.0]
    steps: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
    if known:
        steps.append({"type": "translation", "translation": list(spec.translation)})
    ome: dict[str, Any] = {
        "version": VERSION,
        "multiscales": [
            {
                "name": spec.target.name.removesuffix(".zarr").removesuffix(".ome"),
                "axes": [{"name": name, **axis} for name in "zyx"],
                "datasets": [{"path": "0", "coordinateTransformations": steps}],
            }
        ],
    }
    if spec.kind == "labels":
        beside = Path(spec.inner).parent.name == "labels"
        ome["image-label"] = {"source": {"image": "../../"}} if beside else {}
    return ome


@contextmanager
def _folder_for(spec: VolumeSpec) -> Iterator[None]:
    """Make the groups between container and target; take them back if the body fails."""
    made: Path | None = None
    finished = False
    try:
        if spec.inner:
            for parent in reversed(spec.target.relative_to(spec.container).parents):
                folder = spec.container / parent
                if not folder.exists() and folder.parent.is_dir():
                    made = made or folder
                    write_group(folder, {})
                elif (folder / ".zgroup").is_file() or (folder / ".zarray").is_file():
                    raise OutputError(
                        f"{folder} is zarr format 2; volumes are written in format 3.",
                        "a folder that holds one format",
                        "write to a .zarr of its own.",
                    )
        yield
        finished = True
    finally:
        if made is not None and not finished:
            remove(made, forgive=True)


def _register_labels(spec: VolumeSpec) -> None:
    """List a labels volume in the ``labels`` group that holds it, as the standard asks."""
    group = spec.target.parent
    if spec.kind != "labels" or not spec.inner or group.name != "labels":
        return
    content = json.loads((group / "zarr.json").read_text(encoding="utf-8"))
    attributes = content.get("attributes") or {}
    ome = attributes.setdefault("ome", {"version": VERSION})
    if spec.target.name not in ome.setdefault("labels", []):
        ome["labels"].append(spec.target.name)
    write_group(group, attributes)
