"""Labels from anywhere become a project: what the Proofread dock asks the worker for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from napari_neuropil.errors import SettingsError
from napari_neuropil.geometry import VoxelSize
from napari_neuropil.plugin.layers import finest_data, source_of, voxel_size_of
from napari_neuropil.plugin.staged_job import StagedJob

if TYPE_CHECKING:
    from napari.layers import Layer  # type: ignore[import-untyped]


@dataclass(frozen=True)
class ImportWish:
    """Labels that are to become a project.

    Parameters
    ----------
    labels : str
        Path of the labels; where `array` is given, the .zarr they are written to first.
    project : Path
        The folder to make.
    voxel_size : VoxelSize
        As the layer shows it.
    image : str
        Path of the image they were made on; empty for none.
    array : array_like, optional
        Labels without a file.
    """

    kind: ClassVar[Literal["labels"]] = "labels"
    roi: ClassVar[None] = None

    labels: str
    project: Path
    voxel_size: VoxelSize
    image: str = ""
    array: Any = field(default=None, compare=False)

    @property
    def path(self) -> str:
        """What is written first where there is an array."""
        return self.labels

    def arguments(self, *, dry_run: bool = False) -> list[str]:
        """Return the words after `neuropil`; an import has no dry run."""
        words = ["import", self.labels, str(self.project)]
        words += ["--voxel-size", ",".join(f"{edge:.9g}" for edge in self.voxel_size)]
        if self.image:
            words += ["--image", self.image]
        return [*words, "--json"]

    def staged(self) -> ImportWish:
        """Return the same wish once its array is written."""
        return replace(self, array=None)


class ImportJob(StagedJob[ImportWish]):
    """One import."""


def import_wish(layer: Layer, others: list[Layer], project: Path) -> ImportWish:
    """Word the import of a labels layer.

    Parameters
    ----------
    layer : Labels
        3D labels.
    others : list of Layer
        Among them the image, if it is open: one of the same size in the world, with a file.
    project : Path
        The folder to make.

    Raises
    ------
    SettingsError
        If nothing states a voxel size.
    """
    image = _image_under(layer, others)
    size = voxel_size_of(layer)
    if size is None and image is not None:
        size = voxel_size_of(image)
    if size is None:
        raise SettingsError(
            f"The voxel size of {layer.name} is not known.",
            "a layer whose scale is in nm",
            "open its image, type the voxel size in the Segment dock, then import.",
        )
    source = source_of(layer)
    return ImportWish(
        labels=source or str(project.with_suffix(".labels.zarr")),
        project=project,
        voxel_size=size,
        image=(source_of(image) or "") if image is not None else "",
        array=None if source else finest_data(layer),
    )


def _image_under(layer: Layer, others: list[Layer]) -> Layer | None:
    for other in others:
        if type(other).__name__ == "Image" and other.ndim == 3:
            same_shape = tuple(finest_data(other).shape) == tuple(finest_data(layer).shape)
            if same_shape or np.allclose(other.extent.world, layer.extent.world):
                return other
    return None
