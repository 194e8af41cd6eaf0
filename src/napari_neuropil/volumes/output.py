"""Outputs that are there whole or not at all.

A file is written under a partial name beside its place and renamed when it is done. Whatever
happens before (full disk, Ctrl-C, an error of the caller's) removes the partial; a killed process
leaves it behind under its hidden name, and the next write of the same output clears it away.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import NeuropilError, OutputError, VolumeFormatError
from napari_neuropil.geometry import Roi, Shape, VoxelSize

Kind = Literal["image", "labels"]

ZARR_MARKERS: Final = ("zarr.json", ".zgroup", ".zarray", ".zattrs")
"""Files of which each zarr node has one."""

_FULL_DISK: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class VolumeSpec:
    """What is to be written, and where.

    Parameters
    ----------
    container : Path
        The file or zarr folder.
    inner : str
        Path inside it, empty for the container itself.
    shape : Shape
        In voxels.
    dtype : numpy.dtype
        Native byte order.
    voxel_size : VoxelSize or None
        In nm; None is written as unknown.
    translation : tuple of float
        In nm.
    kind : {"image", "labels"}
        Decides metadata, default names and how a pyramid is made.
    overwrite : bool
        Replace an output that exists.
    """

    container: Path
    inner: str
    shape: Shape
    dtype: np.dtype[Any]
    voxel_size: VoxelSize | None
    translation: tuple[float, float, float]
    kind: Kind
    overwrite: bool

    @property
    def target(self) -> Path:
        """The path of the volume itself."""
        return self.container / self.inner if self.inner else self.container


class BlockSource:
    """The caller's voxels, block by block, checked and cast.

    Parameters
    ----------
    read_block : callable
        Roi -> array of its shape.
    report : callable or None
        Called with (blocks done, blocks in all).
    """

    def __init__(
        self,
        read_block: Callable[[Roi], NDArray[Any]],
        report: Callable[[int, int], None] | None,
    ) -> None:
        self._read_block = read_block
        self._report = report
        self.in_caller = False
        """True while the caller's functions run: an error of theirs is not the output's."""

    def read(self, roi: Roi, dtype: np.dtype[Any], cure: str = "") -> NDArray[Any]:
        """Read a block in `dtype`.

        Raises
        ------
        VolumeFormatError
            If the block has another shape, or values that `dtype` cannot hold.
        """
        self.in_caller = True
        block = np.asarray(self._read_block(roi))
        self.in_caller = False
        if block.shape != roi.shape:
            raise VolumeFormatError(
                f"The block for roi {roi} has shape {block.shape}.",
                f"shape {roi.shape}",
                "this is a defect of the function that makes the blocks.",
            )
        return cast_exactly(block, dtype, cure)

    def done(self, done: int, total: int) -> None:
        """Tell the caller how far the output is."""
        if self._report is not None:
            self.in_caller = True
            self._report(done, total)
            self.in_caller = False


def cast_exactly(block: NDArray[Any], dtype: np.dtype[Any], cure: str = "") -> NDArray[Any]:
    """Return `block` in `dtype`; floats may be rounded, whole numbers may not.

    Raises
    ------
    VolumeFormatError
        If `dtype` cannot hold a value of the block.
    """
    both_float = block.dtype.kind == dtype.kind == "f"
    # numpy calls 64-bit integers to float64 safe; ids above 2**53 would change.
    wide_to_float = dtype.kind == "f" and block.dtype.kind in "iu"
    if both_float or (np.can_cast(block.dtype, dtype, "safe") and not wide_to_float):
        return block.astype(dtype, copy=False)
    with np.errstate(invalid="ignore"):
        cast = block.astype(dtype)
    # Comparing uint64 with int64 goes through float64, so signs are checked apart.
    signs_agree = np.array_equal(block < 0, cast < 0)
    if signs_agree and np.array_equal(cast.astype(block.dtype), block):
        return cast
    raise VolumeFormatError(
        f"Voxels of type {block.dtype} reach from {block.min()} to {block.max()}.",
        f"values that {dtype} holds exactly",
        cure or "write the volume with a wider type.",
    )


def rois_of(shape: Shape, block: Shape) -> list[Roi]:
    """Return the boxes of at most `block` voxels that tile a volume, x fastest."""
    grid = [range(0, n, b) for n, b in zip(shape, block, strict=True)]
    return [
        Roi(
            (z, y, x),
            (
                min(z + block[0], shape[0]),
                min(y + block[1], shape[1]),
                min(x + block[2], shape[2]),
            ),
        )
        for z in grid[0]
        for y in grid[1]
        for x in grid[2]
    ]


@contextmanager
def partial_output(
    target: Path, *, overwrite: bool, source: BlockSource | None = None
) -> Iterator[Path]:
    """Yield the partial name for `target`; rename it when the body ends without an error.

    Raises
    ------
    OutputError
        If `target` exists and `overwrite` is false, its folder cannot be written, or the disk
        is full.
    """
    refuse_existing(target, overwrite=overwrite)
    partial = target.with_name(f".{target.name}.partial")
    try:
        remove(partial)
        yield partial
        _move_into_place(partial, target)
    except (OSError, RuntimeError) as error:
        if isinstance(error, NeuropilError) or (source is not None and source.in_caller):
            raise
        raise output_error(target, error) from error
    finally:
        remove(partial, forgive=True)


def refuse_existing(target: Path, *, overwrite: bool) -> None:
    """Refuse an output that may not be replaced or has no folder to lie in.

    Raises
    ------
    OutputError
        If so.
    """
    try:
        exists = target.exists() or target.is_symlink()
        folder = target.parent.is_dir()
        foreign = target.is_dir() and any(target.iterdir()) and not is_zarr(target)
    except OSError as error:
        raise output_error(target, error) from error
    if not folder:
        raise OutputError(
            f"There is no folder {target.parent}.",
            "an existing folder to write to",
            "make the folder, or choose another one.",
        )
    if exists and not overwrite:
        raise OutputError(
            f"{target} exists already.",
            "a name that is free",
            "choose another name, or allow overwriting.",
        )
    if foreign:
        raise OutputError(
            f"{target} is a folder with other content.",
            "a zarr folder or a free name",
            "choose another name; folders that are not zarr are never replaced.",
        )


def output_error(target: Path | str, error: Exception) -> OutputError:
    """Return the error that says why `target` cannot be written."""
    code = getattr(error, "errno", None)
    full = code in _FULL_DISK or "No space left" in str(error)
    return OutputError(
        f"{target} cannot be written: {error}",
        "a folder that can be written, with space enough",
        "free space on the disk, or write to another one." if full else "choose another folder.",
    )


def is_zarr(folder: Path) -> bool:
    """Return whether a folder is a zarr node."""
    return any((folder / marker).is_file() for marker in ZARR_MARKERS)


def remove(path: Path, *, forgive: bool = False) -> None:
    """Remove a file or folder; `forgive` keeps an error from hiding the one under way."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=forgive)
        elif path.exists() or path.is_symlink():
            if forgive and not path.is_symlink():
                # HDF5 keeps a file that it could not flush open, and with it the full disk.
                os.truncate(path, 0)
            path.unlink(missing_ok=True)
    except OSError:
        if not forgive:
            raise


def _move_into_place(partial: Path, target: Path) -> None:
    if not target.is_dir():
        partial.replace(target)
        return
    # A folder cannot be replaced in one step: put the old one aside until the new one stands.
    old = target.with_name(f".{target.name}.old")
    remove(old)
    target.rename(old)
    moved = False
    try:
        partial.rename(target)
        moved = True
    finally:
        if not moved:
            old.rename(target)
    remove(old, forgive=True)
