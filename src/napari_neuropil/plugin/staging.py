"""Give the worker process a file to read: layers in memory are written to Zarr, beside the window.

Also the folder for trial crops, which goes when the program ends.
"""

from __future__ import annotations

import itertools
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_neuropil.errors import CancelledError, NeuropilError
from napari_neuropil.geometry import Roi, VoxelSize
from napari_neuropil.plugin.background import error_facts

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
        self._work = (array, roi, path, voxel_size)
        self._kind: Literal["image", "labels"] = kind
        self._thread = threading.Thread(target=self._run, name="neuropil-staging", daemon=True)

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

    def _run(self) -> None:
        failure: dict[str, Any] | None = None
        stopped = False
        try:
            write_crop(*self._work, kind=self._kind, report=self._report)
        except CancelledError:
            stopped = True
        except NeuropilError as error:
            failure = error_facts(error)
        except (OSError, ValueError, RuntimeError, MemoryError) as error:
            failure = {"type": type(error).__name__, "found": str(error)}
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
    """
    from napari_neuropil.volumes import write_volume

    done = 0

    def read_block(block: Roi) -> NDArray[Any]:
        nonlocal done
        report(done / roi.size)
        done += block.size
        return np.asarray(array[block.shifted(roi.start).slices])

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
