"""What can be worked on: projects and images that the window shows and the worker can open."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_neuropil.errors import NeuropilError, ProjectError
from napari_neuropil.geometry import VoxelSize
from napari_neuropil.plugin.layers import (
    LayerArray,
    facts_of,
    finest_data,
    source_of,
    voxel_size_of,
)
from napari_neuropil.plugin.task_panel import format_bytes

if TYPE_CHECKING:
    from napari.layers import Layer  # type: ignore[import-untyped]

OVERLAY = "dendrites"
"""What the dock's own layers are marked with."""

_AXES: Final = 3
_LARGEST_VOXEL: Final = 8
"""Bytes: what a volume on disk may have."""


@dataclass(frozen=True, eq=False)
class ImageChoice:
    """A line of the menu.

    Parameters
    ----------
    title : str
        What users read.
    layer : Layer
        On whose voxels boxes and masks are.
    place : str
        The image's path; of a project its folder; empty for a layer that no file holds.
    project : Path or None
        The project.
    missing : str
        Why it cannot be chosen; empty if it can.
    """

    title: str
    layer: Layer
    place: str
    project: Path | None = None
    missing: str = ""

    @property
    def in_memory(self) -> bool:
        """Whether another process can open it only once it is written."""
        return not self.place

    @property
    def tip(self) -> str:
        """Where it is; for what cannot be chosen the reason."""
        if self.missing or self.place:
            return self.missing or self.place
        data = finest_data(self.layer)
        size = math.prod(self.shape) * np.dtype(data.dtype).itemsize
        return (
            f"Only in memory: a copy is written to a temporary folder ({format_bytes(size)}) "
            "when you start"
        )

    def same_as(self, other: ImageChoice) -> bool:
        """Whether both mean the same voxels, however often the menu was filled since."""
        if self.in_memory or other.in_memory:
            return self.layer is other.layer
        return self.place == other.place

    @property
    def voxel_size(self) -> VoxelSize | None:
        """Of the layer, where it states one."""
        return voxel_size_of(self.layer)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the layer."""
        return tuple(int(n) for n in finest_data(self.layer).shape)


def image_choices(layers: Sequence[Any]) -> list[ImageChoice]:
    """Return projects, then images; each once, what cannot be chosen with the reason."""
    projects: dict[Path, ImageChoice] = {}
    images = []
    for layer in layers:
        facts = facts_of(layer)
        if "overlay" in facts:
            continue
        if facts.get("project") and layer.ndim == _AXES:
            path = Path(facts["project"])
            projects.setdefault(path, ImageChoice(f"{path.stem} (project)", layer, str(path), path))
        elif type(layer).__name__ == "Image":
            place = source_of(layer) or ""
            images.append(ImageChoice(layer.name, layer, place, missing=why_not(layer)))
    return [*projects.values(), *images]


def why_not(layer: Layer) -> str:
    """Return why an image layer cannot be worked on; empty if it can."""
    data = finest_data(layer)
    if getattr(layer, "rgb", False):
        return "Colours (RGB): convert it to grey values first."
    if len(data.shape) != _AXES:
        return f"{len(data.shape)} axes: add one volume (z, y, x) as a layer of its own."
    if not all(data.shape):
        return "It has no voxels."
    if not _is_grey(data.dtype):
        return (
            f"Voxels of type {data.dtype}: convert it to integers or floats of at most 64 bits "
            "first, for example uint8."
        )
    if isinstance(data, LayerArray) and facts_of(layer).get("source") and not source_of(layer):
        return f"Its file is gone: put {facts_of(layer)['source']} back there."
    return ""


def _is_grey(dtype: Any) -> bool:
    try:
        voxel = np.dtype(dtype)
    except TypeError:
        return False
    return voxel.kind in "iuf" and voxel.itemsize <= _LARGEST_VOXEL


def worker_words(
    choice: ImageChoice,
    *,
    segmenter: str,
    detector: str = "",
    voxel_size: VoxelSize | None = None,
    cache_dir: Path | None = None,
    copy: Path | None = None,
) -> list[str]:
    """Return the words after `neuropil` that start the worker; reads a project's notes.

    Parameters
    ----------
    choice : ImageChoice
        Project or image.
    segmenter : str
        Name or file.
    detector : str
        File; empty: the one that ships.
    voxel_size : VoxelSize, optional
        Where nothing states it.
    cache_dir : Path, optional
        For image embeddings.
    copy : Path, optional
        The file that a layer in memory is written to.

    Raises
    ------
    ProjectError
        If the project cannot be read, or its image is not there.
    """
    image = choice.place if copy is None else str(copy)
    if choice.project is not None:
        image = image_of_project(choice.project)
    words = ["prompts", image, "--segmenter", segmenter]
    if detector:
        words += ["--detector", detector]
    if choice.project is not None:
        words += ["--project", str(choice.project)]
    size = voxel_size or (choice.voxel_size if choice.project is None else None)
    if size is not None:
        words += ["--voxel-size", ",".join(f"{edge:.9g}" for edge in size)]
    if cache_dir is not None:
        words += ["--cache-dir", str(cache_dir)]
    return words


def image_of_project(project: Path) -> str:
    """Return the path of the image a project was made from.

    Raises
    ------
    ProjectError
        If there is none, or it is not where the project says.
    """
    from napari_neuropil.project import read_info
    from napari_neuropil.volumes import open_volume

    source = read_info(project).image_source
    if not source:
        raise ProjectError(
            f"{project.name} names no image.",
            "a project made from an image",
            "choose the image's own layer instead, and save the result as a labels layer.",
        )
    # A project that travels with its image names it from its own folder.
    place = project / source
    try:
        return str(open_volume(place).source)
    except NeuropilError as error:
        raise ProjectError(
            f"The image of {project.name} cannot be opened: {error.found}",
            str(place),
            "put the image back there.",
        ) from error
