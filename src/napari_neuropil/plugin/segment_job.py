"""One segmentation as the window runs it: write the layer if it has no file, then the worker."""

from __future__ import annotations

import shutil
import threading
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_neuropil.geometry import Roi, VoxelSize
from napari_neuropil.plugin.staging import Staging
from napari_neuropil.plugin.worker import WorkerProcess


@dataclass(frozen=True)
class SegmentWish:
    """What the dock asks for; the command line resolves it into a plan.

    Parameters
    ----------
    image : str
        Path of the image; where `array` is given, the .zarr it is written to first.
    project : Path
        The folder to make.
    voxel_size : VoxelSize
        As the dock shows it; it overrules the file's.
    roi : Roi or None
        Box in voxels of the layer; None is all of it.
    array : array_like, optional
        Voxels without a file. Only `roi` of it is written, so the worker then gets no roi.
    options : tuple of str
        Method, checkpoint, device and settings as words of the command line.
    resume, overwrite : bool
        What to do with a project that is there.
    """

    image: str
    project: Path
    voxel_size: VoxelSize
    roi: Roi | None = None
    array: Any = field(default=None, compare=False)
    options: tuple[str, ...] = ()
    resume: bool = False
    overwrite: bool = False

    def arguments(self, *, dry_run: bool = False) -> list[str]:
        """Return the words after `neuropil`."""
        words = ["segment", self.image, str(self.project), *self.options]
        words += ["--voxel-size", ",".join(f"{edge:.9g}" for edge in self.voxel_size)]
        if self.roi is not None and self.array is None:
            words += ["--roi", str(self.roi)]
        for name in ("resume", "overwrite"):
            if getattr(self, name):
                words.append(f"--{name}")
        if dry_run:
            words.append("--dry-run")
        return [*words, "--json"]

    def staged(self) -> SegmentWish:
        """Return the same wish once its array is written."""
        return replace(self, array=None, roi=None)


class SegmentJob(QObject):
    """Carries out a wish; the signals are those of `WorkerProcess`.

    Parameters
    ----------
    wish : SegmentWish
        What to do.
    dry_run : bool
        Only plan.
    parent : QObject, optional
        The owner.
    """

    planned = Signal(dict)
    progressed = Signal(dict)
    noticed = Signal(str)
    finished = Signal(dict)
    failed = Signal(dict)
    cancelled = Signal()

    def __init__(
        self, wish: SegmentWish, *, dry_run: bool = False, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self.wish = wish
        self._dry_run = dry_run
        self._staged: Path | None = None
        self._part: Staging | WorkerProcess | None = None

    def start(self) -> None:
        """Begin; returns at once."""
        wish = self.wish
        if wish.array is None:
            self._start_worker()
            return
        roi = wish.roi or Roi.of_shape(wish.array.shape)
        staging = Staging(wish.array, roi, Path(wish.image), wish.voxel_size, self)
        staging.progressed.connect(self._on_staging_progressed)
        staging.finished.connect(self._on_staging_finished)
        staging.failed.connect(self.failed)
        staging.cancelled.connect(self.cancelled)
        self._part = staging
        staging.start()

    def cancel(self) -> None:
        """Stop; `cancelled` comes within two seconds."""
        if self._part is not None:
            self._part.cancel()

    def kill(self) -> None:
        """Stop now and say nothing: the window is closing."""
        if self._part is not None:
            self._part.kill()

    def _on_staging_progressed(self, fraction: float) -> None:
        self.progressed.emit({"stage": "writing the layer", "done": fraction, "total": 1})

    def discard(self) -> None:
        """Remove the copy of a layer that was written for a run nobody wanted."""
        if self._staged is not None:
            # Beside the window: a large folder takes seconds to remove.
            remove = partial(shutil.rmtree, self._staged, ignore_errors=True)
            threading.Thread(target=remove, name="neuropil-discard", daemon=True).start()
            self._staged = None

    def _on_staging_finished(self) -> None:
        self._staged = Path(self.wish.image)
        self.wish = self.wish.staged()
        self._start_worker()

    def _start_worker(self) -> None:
        worker = WorkerProcess(self.wish.arguments(dry_run=self._dry_run), self)
        for name in ("planned", "progressed", "noticed", "finished", "failed", "cancelled"):
            getattr(worker, name).connect(getattr(self, name))
        self._part = worker
        worker.start()
