"""TIFF stacks, lazily: memory-mapped where uncompressed, else decoded strip by strip.

Written as OME-TIFF with zlib strips, which Fiji, QuPath and napari read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray

from napari_neuropil.errors import NeuropilError, VolumeFormatError, VolumeNotFoundError
from napari_neuropil.geometry import Roi
from napari_neuropil.volumes.axes import AxisOrder, arrange, find_order
from napari_neuropil.volumes.output import BlockSource, VolumeSpec, partial_output, rois_of
from napari_neuropil.volumes.tiff_metadata import describe, read_place
from napari_neuropil.volumes.volume import READ_ERRORS, LazyArray, Volume

_SLAB_BYTES: Final = 2**26
_MAX_SLAB: Final = 64
_CLASSIC_BYTES: Final = 2**32 - 2**25
"""A classic TIFF ends at 4 GiB; incompressible voxels need some more than their own size."""

_CLASSIC_OFFSET: Final = 4
"""Bytes of an offset in a classic TIFF; BigTIFF has 8."""

# dtypes without a place in OME-XML -> the one written
_NARROWED: Final = {"uint64": "uint32", "int64": "int32", "bool": "uint8", "float16": "float32"}


def read(container: Path, inner: str) -> Volume:
    """Open the first series that is a 3D volume."""
    if inner:
        raise VolumeNotFoundError(
            f"{container} is a file without datasets; {inner} was asked for.",
            "the path of the file alone",
            f"give {container}.",
        )
    try:
        tiff = tifffile.TiffFile(container)
        return _read_series(tiff, container)
    except NeuropilError:
        raise
    except READ_ERRORS as error:
        raise VolumeFormatError(
            f"{container} cannot be read: {error}",
            "an undamaged TIFF stack",
            "copy it again from where it came, or open it in Fiji and save it anew.",
        ) from error


def write(spec: VolumeSpec, source: BlockSource) -> None:
    """Write an OME-TIFF, a few sections at a time."""
    if spec.inner:
        raise VolumeFormatError(
            f"{spec.container} is a file without datasets; {spec.inner} was asked for.",
            "the path of the file alone",
            f"give {spec.container}.",
        )
    dtype = np.dtype(_NARROWED.get(spec.dtype.name, spec.dtype.name))
    size = int(np.prod(spec.shape, dtype=np.int64)) * dtype.itemsize
    with (
        partial_output(spec.container, overwrite=spec.overwrite, source=source) as partial,
        tifffile.TiffWriter(partial, bigtiff=size > _CLASSIC_BYTES, ome=True) as writer,
    ):
        writer.write(
            _sections(spec, source, dtype),
            shape=spec.shape,
            dtype=dtype,
            photometric="minisblack",
            compression="zlib",
            compressionargs={"level": 1},
            metadata=describe(spec),
        )


def _sections(
    spec: VolumeSpec, source: BlockSource, dtype: np.dtype[Any]
) -> Iterator[NDArray[Any]]:
    _, y, x = spec.shape
    depth = max(1, min(_MAX_SLAB, _SLAB_BYTES // (y * x * dtype.itemsize)))
    rois: list[Roi] = rois_of(spec.shape, (depth, y, x))
    cure = f"TIFF holds no {spec.dtype}: write to a .zarr or .h5 path instead."
    for done, roi in enumerate(rois, start=1):
        sections = source.read(roi, dtype, cure)
        yield from sections[:-1]
        # The writer never comes back for more after the last section.
        source.done(done, len(rois))
        yield sections[-1]


def _read_series(tiff: tifffile.TiffFile, container: Path) -> Volume:
    refusal: VolumeFormatError | None = None
    for number, series in enumerate(tiff.series):
        voxel_size, translation = read_place(tiff, number)
        try:
            order = _order_of(series, str(container), one_section=voxel_size is not None)
        except VolumeFormatError as error:
            refusal = refusal or error
            continue
        _refuse_truncated(tiff, series, container)
        levels = tuple(
            arrange(_lazy(tiff, level, container), order)
            for level in series.levels
            if len(level.shape) == len(series.shape)
        )
        return Volume(
            levels[0],
            voxel_size,
            translation=translation,
            name=container.stem.removesuffix(".ome"),
            source=str(container),
            levels=levels,
        )
    raise refusal or VolumeFormatError(
        f"{container} holds no image.", "a TIFF stack", "save the volume anew."
    )


def _order_of(series: tifffile.TiffPageSeries, what: str, *, one_section: bool) -> AxisOrder:
    names = series.axes.lower()
    # An unnamed sequence of pages is a stack of sections.
    if "z" not in names and len(series.shape) == 3:
        names = names.replace("i", "z").replace("q", "z")
    if names == "yx" and one_section:
        return None, 0, 1
    return find_order(series.shape, [_AXIS_WORDS.get(name, name) for name in names], what)


_AXIS_WORDS: Final = {"s": "rgb", "c": "channel", "t": "time", "i": "page", "q": "unknown"}


def _lazy(tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries, container: Path) -> LazyArray:
    offset = series.dataoffset
    if offset is not None and series.keyframe.is_memmappable and not series.is_multifile:
        return np.memmap(
            container,
            dtype=series.dtype.newbyteorder(tiff.byteorder),
            mode="r",
            offset=offset,
            shape=series.shape,
        )
    return zarr.open_array(store=series.aszarr(multiscales=False), mode="r")


def _refuse_truncated(
    tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries, container: Path
) -> None:
    """Refuse a file whose end is missing: tifffile gives what is left, without an error."""
    # A page of an OME-TIFF set may lie in another file: each is held against its own file's size.
    broken = any(
        offset + count > page.parent.filehandle.size
        for page in series.pages
        if page is not None
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)
    )
    if broken or _last_page_leads_on(tiff) or _first_page_lacks_tags(tiff):
        raise VolumeFormatError(
            f"{container} is truncated: it ends before its last section or its metadata does.",
            "a whole TIFF stack",
            "copy it again from where it came.",
        )


def _last_page_leads_on(tiff: tifffile.TiffFile) -> bool:
    """Return whether the last page that was found names a next one beyond the file's end."""
    form = tiff.tiff
    tags = _read_tags(tiff, tiff.pages[-1].offset)
    start = len(tags) - form.offsetsize
    (following,) = struct.unpack(form.offsetformat, tags[start:])
    return bool(following >= tiff.filehandle.size)


def _first_page_lacks_tags(tiff: tifffile.TiffFile) -> bool:
    """Return whether tifffile passed over a tag because its value lies beyond the file's end.

    OME-XML stands at the end of a file, so voxel size and axes would go unnoticed.
    """
    form = tiff.tiff
    page = tiff.pages.first
    entry = struct.Struct(
        f"{tiff.byteorder}HH{'QQ' if form.offsetsize > _CLASSIC_OFFSET else 'II'}"
    )
    tags = _read_tags(tiff, page.offset)
    entries = entry.iter_unpack(tags[: len(tags) - form.offsetsize])
    size = tiff.filehandle.size
    return any(code not in page.tags and value + count > size for code, _, count, value in entries)


def _read_tags(tiff: tifffile.TiffFile, offset: int) -> bytes:
    """Return a page's raw tags, and the offset of the next page behind them."""
    form = tiff.tiff
    handle = tiff.filehandle
    handle.seek(offset)
    (count,) = struct.unpack(form.tagnoformat, handle.read(form.tagnosize))
    return bytes(handle.read(count * form.tagsize + form.offsetsize))
