"""The image that is prompted on, in grey values 0 to 255, on the grid of a project if need be."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import ProjectError, SettingsError
from napari_neuropil.geometry import Roi, Shape, VoxelSize
from napari_neuropil.inference.grey_values import GreyRange, find_grey_range
from napari_neuropil.project import Project, ProjectInfo
from napari_neuropil.volumes import Volume, check_image, open_volume
from napari_neuropil.workflows.prompting.segment_sections import FineSection
from napari_neuropil.workflows.results import open_segments


class PromptVolume:
    """A part of an image. Its voxels are counted from the first one of the part.

    Several threads may read at once.

    Parameters
    ----------
    volume : Volume
        The image.
    roi : Roi
        The part, image voxels.
    voxel_size : VoxelSize
        nm.
    grey : GreyRange
        What becomes 0 and 255.
    project : path-like, optional
        The project whose fragments lie on this grid.
    """

    def __init__(
        self,
        volume: Volume,
        roi: Roi,
        voxel_size: VoxelSize,
        grey: GreyRange,
        project: Path | None = None,
    ) -> None:
        self.volume = volume
        self.roi = roi
        self.voxel_size = voxel_size
        self.grey = grey
        self.project = project
        # Not all libraries below let two threads read one file.
        self._reading = threading.Lock()

    @property
    def shape(self) -> Shape:
        """(Z, Y, X) of the part."""
        return self.roi.shape

    @property
    def pixel_size(self) -> tuple[float, float]:
        """(y, x), nm."""
        return self.voxel_size.y, self.voxel_size.x

    def section(self, z: int) -> NDArray[np.uint8]:
        """Return a section, (Y, X).

        Raises
        ------
        VolumeFormatError
            If the file is damaged there, or holds NaN.
        """
        (first, y0, x0), (_, y1, x1) = self.roi.start, self.roi.stop
        box = Roi((first + z, y0, x0), (first + z + 1, y1, x1))
        with self._reading:
            pixels = self.volume.read(box)[0]
        if pixels.dtype == np.uint8 and (self.grey.low, self.grey.high) == (0, 255):
            return np.asarray(pixels)
        scaled = self.grey.apply(pixels)
        scaled *= 255
        grey: NDArray[np.uint8] = np.rint(scaled, out=scaled).astype(np.uint8)
        return grey

    @contextmanager
    def segments(self) -> Iterator[Callable[[int], FineSection] | None]:
        """Open the project's segments with all edits up to now.

        Yields
        ------
        callable or None
            Gives the segments of a section, read where they are asked for; None without a project.

        Raises
        ------
        ProjectError
            If the project is gone or damaged.
        """
        if self.project is None:
            yield None
            return
        with open_segments(self.project) as segments:
            yield partial(FineSection, segments.array)


def open_prompt_volume(
    image: str | Path,
    *,
    voxel_size: VoxelSize | None = None,
    roi: str | None = None,
    project: str | Path | None = None,
) -> PromptVolume:
    """Open an image to be prompted on.

    Parameters
    ----------
    image : path-like
        Any volume.
    voxel_size : VoxelSize, optional
        Wins over the file's.
    roi : str, optional
        ``z0:z1,y0:y1,x0:x1`` in voxels; None is all.
    project : path-like, optional
        A project made from this image: its part, voxel size and grey values count.

    Raises
    ------
    SettingsError
        If the voxel size is unknown, the roi leaves the image, or is another one than the
        project's.
    ProjectError
        If there is no finished project, or it was made from another image.
    VolumeNotFoundError, VolumeFormatError
        If the image cannot be read, or is constant.
    """
    volume = open_volume(image)
    check_image(volume)
    info = None if project is None else Project.open(project).info
    part = Roi.parse(roi, volume.shape) if roi else None
    if info is not None:
        part = _project_roi(info, volume, part)
    part = part or Roi.of_shape(volume.shape)
    size = voxel_size or (info.voxel_size_nm if info else None) or volume.voxel_size
    if size is None:
        raise SettingsError(
            f"{image} does not state its voxel size.",
            "edge lengths z,y,x in nm",
            "give it, for example --voxel-size 29,6,6.",
        )
    grey = _grey_of(info) or find_grey_range(volume, part, "auto", invert=_inverted(info))[0]
    return PromptVolume(volume, part, size, grey, None if project is None else Path(project))


def _project_roi(info: ProjectInfo, volume: Volume, wanted: Roi | None) -> Roi:
    if info.image_shape is not None and tuple(info.image_shape) != volume.shape:
        raise ProjectError(
            f"An image of {volume.shape} voxels.",
            f"the image that the project was made from, of {tuple(info.image_shape)} voxels",
            "open the project with its own image.",
        )
    roi = Roi.parse(info.roi, volume.shape)
    if wanted is not None and wanted != roi:
        raise SettingsError(
            f"The roi {wanted} with a project of {roi}.",
            "the part that the project covers",
            "leave the roi out.",
        )
    return roi


def _grey_of(info: ProjectInfo | None) -> GreyRange | None:
    """Return the range that a project was segmented with, if it says."""
    return GreyRange(*info.plan["grey_range"]) if info and "grey_range" in info.plan else None


def _inverted(info: ProjectInfo | None) -> bool:
    return bool(info and info.plan.get("settings", {}).get("invert", False))
