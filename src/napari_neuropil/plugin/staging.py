"""Give the worker process a file to read: layers in memory are written to Zarr, beside the window.

Also the folder for trial crops, which goes when the program ends.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_neuropil.errors import CancelledError, NeuropilError, OutputError, VolumeFormatError
from napari_neuropil.geometry import Roi, VoxelSize
from napari_neuropil.plugin.background import error_facts
from napari_neuropil.plugin.block_reader import BlockReader
from napari_neuropil.plugin.project_places import free_disk
from napari_neuropil.plugin.task_panel import format_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

_numbers = itertools.count(1)


@cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    # Removed at exit, also after an error; `ignore` since Windows keeps open files.
    return tempfile.TemporaryDirectory(prefix="neuropil-", ignore_cleanup_errors=True)


def temporary_folder() -> Path:
    """Return the folder that is removed when the program ends."""
    return Path(_temporary().name)


def temporary_path(name: str) -> Path:
    """Return a new path in the temporary folder."""
    return temporary_folder() / f"{next(_numbers):03d}-{name}"


def discard(path: Path) -> None:
    """Remove a copy that nobody wants, beside the window: a large folder takes seconds."""
    remove = partial(shutil.rmtree, path, ignore_errors=True)
    threading.Thread(target=remove, name="neuropil-discard", daemon=True).start()


class Staging(QObject):
    """Writes a part of an array to a Zarr volume on another thread.

    Parameters
    ----------
    array : array_like
        (z, y, x); only `roi` is read, block by block.
    roi : Roi
        The part to write.
    path : Path
        The .zarr to make.
    voxel_size : VoxelSize
        Stated in the file.
    kind : str
        "image" or "labels".
    parent : QObject, optional
        The owner.
    """

    progressed = Signal(float)
    finished = Signal()
    failed = Signal(dict)
    cancelled = Signal()

    def __init__(
        self,
        array: Any,
        roi: Roi,
        path: Path,
        voxel_size: VoxelSize,
        kind: Literal["image", "labels"] = "image",
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._stop = threading.Event()
        # Only the thread holds the array, and lets go of it in the end: it may be gigabytes.
        self._thread = threading.Thread(
            target=self._run,
            args=(array, roi, path, voxel_size, kind),
            name="neuropil-staging",
            daemon=True,
        )

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def cancel(self) -> None:
        """Stop before the next block; what was written is removed."""
        self._stop.set()

    def kill(self) -> None:
        """Stop and wait for the thread: the window is closing."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2)

    def _run(
        self,
        array: Any,
        roi: Roi,
        path: Path,
        voxel_size: VoxelSize,
        kind: Literal["image", "labels"],
    ) -> None:
        # A defect's traceback goes where those of threads go, and nobody waits for ever.
        failure: dict[str, Any] | None = {
            "type": "Defect",
            "found": "The layer could not be written; the traceback says where.",
        }
        stopped = False
        try:
            write_crop(array, roi, path, voxel_size, self._report, kind=kind)
            failure = None
        except CancelledError:
            stopped = True
        except NeuropilError as error:
            failure = error_facts(error)
        except (OSError, ValueError, RuntimeError, MemoryError) as error:
            failure = {"type": type(error).__name__, "found": str(error)}
        finally:
            # The owner may be deleted while the thread still runs; then nobody listens.
            with suppress(RuntimeError):
                if stopped:
                    self.cancelled.emit()
                elif failure is not None:
                    self.failed.emit(failure)
                else:
                    self.finished.emit()

    def _report(self, fraction: float) -> None:
        if self._stop.is_set():
            raise CancelledError("Writing the layer was cancelled.")
        with suppress(RuntimeError):
            self.progressed.emit(fraction)


def write_crop(
    array: Any,
    roi: Roi,
    path: Path,
    voxel_size: VoxelSize,
    report: Callable[[float], None],
    *,
    kind: Literal["image", "labels"] = "image",
) -> None:
    """Write `array[roi]` as a volume; bounded memory.

    Parameters
    ----------
    array : array_like
        (z, y, x).
    roi : Roi
        The part to write.
    path : Path
        The .zarr to make or replace.
    voxel_size : VoxelSize
        Stated in the file.
    report : callable
        Called with the fraction done before each block; may raise `CancelledError`.
    kind : str
        "image" or "labels".

    Raises
    ------
    OutputError
        If there is less room than the voxels may take, or the file cannot be written.
    VolumeFormatError
        If the array does not give its voxels.
    """
    from napari_neuropil.volumes import write_volume

    _check_space(path, roi.size * np.dtype(array.dtype).itemsize)
    reader = BlockReader(array)
    done = 0

    def read_block(block: Roi) -> NDArray[Any]:
        nonlocal done
        report(done / roi.size)
        done += block.size
        return _read(reader, block.shifted(roi.start))

    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(
        path,
        read_block,
        roi.shape,
        np.dtype(array.dtype),
        voxel_size,
        kind=kind,
        overwrite=True,
    )


def _read(reader: BlockReader, block: Roi) -> NDArray[Any]:
    try:
        return reader.read(block)
    except Exception as error:  # a lazy array runs code of any plugin, which raises anything
        raise VolumeFormatError(
            f"The layer's voxels cannot be read: {type(error).__name__}: {error}",
            "an array that gives its voxels when asked",
            "save it as .zarr or .tif with the program that made it, and open that file.",
        ) from error


def _check_space(path: Path, needed: int) -> None:
    """Refuse what may fill the disk; compressed it takes less, by how much nobody knows."""
    free = free_disk(path.parent)
    if free is not None and free < needed:
        raise OutputError(
            f"{format_bytes(free)} are free on the disk of {path.parent}.",
            f"{format_bytes(needed)} for a copy of the layer, which is in memory only",
            "free disk space there, or save the layer as .zarr on another disk and open that file.",
        )
