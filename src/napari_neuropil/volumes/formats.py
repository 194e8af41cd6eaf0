"""The table of formats, and the three functions that choose from it.

A file is recognised by its first bytes, then by its suffix; a folder by being zarr. To add a
format, write a module with ``read(container, inner) -> Volume`` (and ``write(spec, source)``)
and give it a row in `FORMATS`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from napari_neuropil.errors import (
    NeuropilError,
    OutputError,
    VolumeFormatError,
    VolumeNotFoundError,
)
from napari_neuropil.geometry import Roi, VoxelSize
from napari_neuropil.volumes.output import BlockSource, Kind, VolumeSpec, is_zarr
from napari_neuropil.volumes.volume import READ_ERRORS, Volume


@dataclass(frozen=True)
class VolumeFormat:
    """A row of the table.

    Parameters
    ----------
    name : str
        For messages.
    suffixes : tuple of str
        Lower case, with the dot.
    module : str
        In this package; imported when a path asks for it.
    signatures : tuple of bytes
        How such a file begins; none for a folder.
    writes : bool
        Whether the module has ``write``.
    """

    name: str
    suffixes: tuple[str, ...]
    module: str
    signatures: tuple[bytes, ...] = ()
    writes: bool = False

    def function(self, name: str) -> Callable[..., Any]:
        """Return a function of the format's module."""
        module = import_module(f"napari_neuropil.volumes.{self.module}")
        return cast("Callable[..., Any]", getattr(module, name))


ZARR: Final = VolumeFormat("OME-Zarr or zarr", (".zarr",), "ome_zarr", writes=True)

FORMATS: Final = (
    VolumeFormat(
        "TIFF",
        (".tif", ".tiff"),
        "tiff",
        (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
        writes=True,
    ),
    VolumeFormat("HDF5", (".h5", ".hdf5", ".hdf"), "hdf5", (b"\x89HDF\r\n\x1a\n",), writes=True),
    VolumeFormat("NPY", (".npy",), "npy", (b"\x93NUMPY",)),
    ZARR,
)


def open_volume(path: str | Path) -> Volume:
    """Open a volume lazily; nothing but its header is read.

    Parameters
    ----------
    path : str or Path
        A TIFF, NPY or zarr path, ``file.h5/dataset`` or ``image.zarr/labels/neurons``. A group
        without a dataset's name opens the only 3D volume in it.

    Returns
    -------
    Volume
        (z, y, x), with voxel size and translation in nm where the file states them.

    Raises
    ------
    VolumeNotFoundError
        If there is no such file or dataset; similar names are listed.
    VolumeFormatError
        If the file is damaged, of an unknown format or holds no 3D volume of numbers.
    """
    place = Path(path).expanduser().absolute()
    try:
        container, inner = _find_container(place)
        return cast("Volume", _format_of(container).function("read")(container, inner))
    except NeuropilError:
        raise
    except READ_ERRORS as error:
        raise VolumeFormatError(
            f"{path} cannot be read: {error}",
            "an undamaged " + ", ".join(f.name for f in FORMATS) + " volume you may read",
            "check its permissions; copy it again from where it came, or save it anew.",
        ) from error


def create_volume(
    path: str | Path,
    shape: Sequence[int],
    dtype: DTypeLike,
    voxel_size: VoxelSize | None,
    *,
    translation: Sequence[float] = (0.0, 0.0, 0.0),
    chunks: Sequence[int] | None = None,
    kind: Kind = "image",
    overwrite: bool = False,
) -> Volume:
    """Make an OME-Zarr 0.5 volume of zeros, to be written block by block.

    The volume is in place at once: the caller keeps the record of which blocks are done.

    Parameters
    ----------
    path : str or Path
        ``x.zarr``, or a group inside one (``x.zarr/labels/neurons``).
    shape : sequence of int
        (Z, Y, X) in voxels.
    dtype : dtype
        Bool, integer or float of up to 64 bits.
    voxel_size : VoxelSize or None
        In nm.
    translation : sequence of float
        World position of voxel 0 in nm, (z, y, x).
    chunks : sequence of int, optional
        (z, y, x) in voxels; at most 64 x 256 x 256 and about 8 MB where left out. Two threads
        may write at once if each keeps to whole chunks.
    kind : {"image", "labels"}
        Labels get ``image-label`` metadata.
    overwrite : bool
        Replace a volume that exists.

    Returns
    -------
    Volume
        Its `array` takes block writes; so does `Volume.write`.

    Raises
    ------
    OutputError
        If the output exists or cannot be written.
    VolumeFormatError
        If `shape` or `dtype` is no volume's.
    """
    spec = _make_spec(path, shape, dtype, voxel_size, translation, kind, overwrite)
    if _writer_of(spec.container) is not ZARR:
        raise OutputError(
            f"{path} does not end in .zarr.", "a path x.zarr", "use write_volume for other formats."
        )
    return cast("Volume", ZARR.function("create")(spec, chunks))


def reopen_volume(path: str | Path) -> Volume:
    """Open a volume that `create_volume` made, to write the blocks that are missing.

    Raises
    ------
    NeuropilError
        As `open_volume`; `OutputError` if it cannot be written.
    """
    from napari_neuropil.volumes import ome_zarr_writing

    volume = open_volume(path)
    try:
        return ome_zarr_writing.reopen(volume, Path(path))
    except (OSError, ValueError, KeyError) as error:
        raise OutputError(
            f"{path} cannot be opened for writing: {error}",
            "a volume made by this program, in a folder that can be written",
            "choose another folder.",
        ) from error


def write_volume(  # noqa: PLR0913  (a volume's whole description, flat for scripts)
    path: str | Path,
    read_block: Callable[[Roi], NDArray[Any]],
    shape: Sequence[int],
    dtype: DTypeLike,
    voxel_size: VoxelSize | None,
    *,
    translation: Sequence[float] = (0.0, 0.0, 0.0),
    kind: Kind = "labels",
    overwrite: bool = False,
    report: Callable[[int, int], None] | None = None,
) -> None:
    """Write a volume block by block; the output is there whole or not at all.

    ``.zarr`` (OME-Zarr 0.5) and ``.h5`` (``file.h5/dataset``; other datasets of the file are
    kept, at the price of a copy of the file) hold every dtype exactly. TIFF (OME-TIFF) has no
    64-bit integers and no float16: uint64 and int64 are written as uint32 and int32 if every
    value fits and are refused at the first that does not; bool becomes uint8, float16 float32.
    One TIFF section at least is held in memory, else blocks of a few MB.

    Parameters
    ----------
    path : str or Path
        The suffix chooses the format. Without a dataset, HDF5 uses "labels" or "image".
    read_block : callable
        Roi -> (Z, Y, X) array; called in storage order, each voxel once.
    shape : sequence of int
        (Z, Y, X) in voxels.
    dtype : dtype
        Of the written voxels; blocks of another one are cast if every value fits.
    voxel_size : VoxelSize or None
        In nm; None writes none.
    translation : sequence of float
        World position of voxel 0 in nm, (z, y, x).
    kind : {"image", "labels"}
        Decides metadata and default names.
    overwrite : bool
        Replace an output that exists, once the new one is whole.
    report : callable, optional
        Called with (blocks done, blocks in all); an error it raises stops the writing.

    Raises
    ------
    OutputError
        If the output exists or cannot be written.
    VolumeFormatError
        If a block has another shape or values that `dtype` or the format cannot hold.
    """
    spec = _make_spec(path, shape, dtype, voxel_size, translation, kind, overwrite)
    _writer_of(spec.container).function("write")(spec, BlockSource(read_block, report))


def add_levels(
    path: str | Path, levels: int, *, report: Callable[[int, int], None] | None = None
) -> None:
    """Give an OME-Zarr 0.5 volume a pyramid, each level half the one before.

    Images are averaged, labels (by their metadata) strided. z is halved only while a voxel is
    not much thicker than wide.

    Parameters
    ----------
    path : str or Path
        A volume made by `create_volume` or `write_volume`.
    levels : int
        How many in all, the full one included.
    report : callable, optional
        Called with (blocks done, blocks in all).

    Raises
    ------
    OutputError
        If the levels cannot be written.
    VolumeFormatError
        If `path` is no such volume.
    """
    function = import_module("napari_neuropil.volumes.pyramid").add_levels
    function(Path(path).expanduser().absolute(), levels, report)


def _find_container(path: Path) -> tuple[Path, str]:
    """Return the file or zarr folder and the path inside it."""
    for parent in (path, *path.parents):
        if parent.is_file():
            return parent, "/".join(path.relative_to(parent).parts)
    if path.is_dir():
        return path, ""
    missing = path
    while not missing.parent.is_dir() and missing.parent != missing:
        missing = missing.parent
    names = sorted(entry.name for entry in missing.parent.iterdir())
    similar = difflib.get_close_matches(missing.name, names, n=3)
    raise VolumeNotFoundError(
        f"There is no {missing.name} in {missing.parent}.",
        "the path of a file, a zarr folder or a dataset in one",
        f"did you mean {', '.join(similar)}?" if similar else "check the path.",
    )


def _format_of(container: Path) -> VolumeFormat:
    suffix = container.suffix.lower()
    if container.is_dir():
        if is_zarr(container) or suffix in ZARR.suffixes:
            return ZARR
        raise VolumeFormatError(
            f"{container} is a folder, and no zarr.",
            "a zarr folder or a file",
            "give a file in it, or save the folder's sections as one TIFF stack.",
        )
    with container.open("rb") as file:
        start = file.read(16)
    for volume_format in FORMATS:
        if start.startswith(volume_format.signatures or (b"\xff" * 17,)):
            return volume_format
    for volume_format in FORMATS:
        if suffix in volume_format.suffixes and volume_format.signatures:
            return volume_format
    raise VolumeFormatError(
        f"{container} has an unknown format.",
        ", ".join(f"{f.name} ({' '.join(f.suffixes)})" for f in FORMATS),
        "save the volume as a TIFF stack or as OME-Zarr.",
    )


def _writer_of(container: Path) -> VolumeFormat:
    for volume_format in FORMATS:
        if volume_format.writes and container.suffix.lower() in volume_format.suffixes:
            return volume_format
    suffixes = ", ".join(suffix for f in FORMATS if f.writes for suffix in f.suffixes)
    raise OutputError(
        f"{container} has a suffix that is not written.",
        f"a name that ends in {suffixes}",
        "choose another name.",
    )


def _make_spec(
    path: str | Path,
    shape: Sequence[int],
    dtype: DTypeLike,
    voxel_size: VoxelSize | None,
    translation: Sequence[float],
    kind: Kind,
    overwrite: bool,
) -> VolumeSpec:
    place = Path(path).expanduser().absolute()
    suffixes = {suffix for f in FORMATS if f.writes for suffix in f.suffixes}
    container = next(
        (p for p in reversed((place, *place.parents)) if _may_hold(p, suffixes)), place
    )
    voxel_type = np.dtype(dtype).newbyteorder("=")
    edges = tuple(int(n) for n in shape)
    if len(edges) != 3 or min(edges) < 1 or voxel_type.kind not in "buif":
        raise VolumeFormatError(
            f"A volume of shape {edges} and type {voxel_type} was to be written.",
            "three positive edge lengths, and bool, integers or floats",
            "convert the array first.",
        )
    tz, ty, tx = (float(v) for v in translation)
    z, y, x = edges
    return VolumeSpec(
        container=container,
        inner="/".join(place.relative_to(container).parts),
        shape=(z, y, x),
        dtype=voxel_type,
        voxel_size=voxel_size,
        translation=(tz, ty, tx),
        kind=kind,
        overwrite=overwrite,
    )


def _may_hold(path: Path, suffixes: set[str]) -> bool:
    """Return whether `path` is the container: a plain folder called data.h5 is none."""
    return path.suffix.lower() in suffixes and (is_zarr(path) or not path.is_dir())
