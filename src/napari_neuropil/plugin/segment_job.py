"""What the Segment dock asks the worker for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from napari_neuropil.geometry import Roi, VoxelSize
from napari_neuropil.plugin.staged_job import StagedJob


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

    kind: ClassVar[Literal["image"]] = "image"

    image: str
    project: Path
    voxel_size: VoxelSize
    roi: Roi | None = None
    array: Any = field(default=None, compare=False)
    options: tuple[str, ...] = ()
    resume: bool = False
    overwrite: bool = False

    @property
    def path(self) -> str:
        """What is written first where there is an array."""
        return self.image

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


class SegmentJob(StagedJob[SegmentWish]):
    """One segmentation, or its plan."""
