"""What can be worked on: projects and images that the window shows and the worker can open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_neuropil.errors import NeuropilError, ProjectError
from napari_neuropil.geometry import VoxelSize
from napari_neuropil.plugin.layers import facts_of, finest_data, source_of, voxel_size_of

if TYPE_CHECKING:
    from napari.layers import Layer  # type: ignore[import-untyped]

OVERLAY = "dendrites"
"""What the dock's own layers are marked with."""


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
        The image's path; of a project its folder.
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
        if layer.ndim != 3 or "overlay" in facts:
            continue
        if facts.get("project"):
            path = Path(facts["project"])
            projects.setdefault(path, ImageChoice(f"{path.stem} (project)", layer, str(path), path))
        elif type(layer).__name__ == "Image" and not getattr(layer, "rgb", False):
            place = source_of(layer)
            missing = "" if place else "Not from a file: save it as .zarr or .tif, and open that."
            images.append(ImageChoice(layer.name, layer, place or "", missing=missing))
    return [*projects.values(), *images]


def worker_words(
    choice: ImageChoice,
    *,
    segmenter: str,
    detector: str = "",
    voxel_size: VoxelSize | None = None,
    cache_dir: Path | None = None,
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

    Raises
    ------
    ProjectError
        If the project cannot be read, or its image is not there.
    """
    image = choice.place if choice.project is None else image_of_project(choice.project)
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
