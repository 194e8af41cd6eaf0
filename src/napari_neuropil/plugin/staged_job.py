"""One long run as the window makes it: write the layer if it has no file, then the worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Generic, Literal, Protocol, Self, TypeVar

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_neuropil.geometry import Roi, VoxelSize
from napari_neuropil.plugin.staging import Staging, discard
from napari_neuropil.plugin.worker import WorkerProcess


class WorkerWish(Protocol):
    """What a job carries out."""

    @property
    def kind(self) -> Literal["image", "labels"]:
        """Kind of the voxels in `array`."""
        ...

    @property
    def array(self) -> Any:
        """Voxels without a file, else None."""
        ...

    @property
    def roi(self) -> Roi | None:
        """Part of `array` to write; None is all of it."""
        ...

    @property
    def path(self) -> str:
        """The .zarr that `array` is written to."""
        ...

    @property
    def voxel_size(self) -> VoxelSize:
        """Of `array`."""
        ...

    def arguments(self, *, dry_run: bool = False) -> list[str]:
        """Return the words after `neuropil`."""
        ...

    def staged(self) -> Self:
        """Return the same wish once its array is written."""
        ...


W = TypeVar("W", bound=WorkerWish)


class StagedJob(QObject, Generic[W]):
    """Carries out a wish; the signals are those of `WorkerProcess`.

    Parameters
    ----------
    wish : WorkerWish
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
        self,
        wish: W,
        *,
        dry_run: bool = False,
        parent: QObject | None = None,
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
        staging = Staging(wish.array, roi, Path(wish.path), wish.voxel_size, wish.kind, self)
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
            discard(self._staged)
            self._staged = None

    def _on_staging_finished(self) -> None:
        self._staged = Path(self.wish.path)
        self.wish = self.wish.staged()
        self._start_worker()

    def _start_worker(self) -> None:
        worker = WorkerProcess(self.wish.arguments(dry_run=self._dry_run), self)
        for name in ("planned", "progressed", "noticed", "finished", "failed", "cancelled"):
            getattr(worker, name).connect(getattr(self, name))
        self._part = worker
        worker.start()
