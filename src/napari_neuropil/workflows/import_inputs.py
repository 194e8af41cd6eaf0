"""What an import is given: the wish, and its files opened and checked before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from napari_neuropil.errors import SettingsError, VolumeFormatError
from napari_neuropil.geometry import Roi, VoxelSize
from napari_neuropil.volumes import Volume, check_image, open_volume
from napari_neuropil.workflows.contact_scores import (
    AffinitySource,
    GivenAffinities,
    ImageAffinities,
    UnknownAffinities,
)

_HIGHEST_ID: Final = 2**63 - 1


class ImportRequest(BaseModel):
    """A wish, as the window, the command line and scripts state it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    labels: str = Field(description="Path of the labels; HDF5 as file.h5/dataset.")
    project: str = Field(description="Folder of the result, for example brain.neuropil.")
    image: str | None = Field(None, description="Path of the image they were made on.")
    affinities: str | None = Field(None, description="Path of affinities, (channel, z, y, x).")
    voxel_size: tuple[float, float, float] | None = Field(
        None, description="(z, y, x) nm; None takes the files'."
    )
    invert: bool = Field(default=False, description="The image's membranes are bright.")
    bridge: float | None = Field(
        None,
        ge=0,
        description="Contacts count across background up to so many nm wide; None: only where most "
        "fragments touch nothing.",
    )
    overwrite: bool = Field(default=False, description="Replace a project without edits.")


class Inputs:
    """The request's files, opened and checked before any work."""

    def __init__(self, request: ImportRequest) -> None:
        self.request = request
        self.labels = open_volume(request.labels)
        _check_labels(self.labels)
        self.image = open_volume(request.image) if request.image else None
        self.voxel_size = self._voxel_size()
        self.notices: list[str] = []
        self.source = self._source()

    @property
    def translation(self) -> tuple[float, float, float]:
        """World position of voxel 0: the labels', or the image's where these say none."""
        known = [v.translation for v in (self.labels, self.image) if v is not None]
        return next((t for t in known if any(t)), (0.0, 0.0, 0.0))

    def _voxel_size(self) -> VoxelSize:
        if self.request.voxel_size is not None:
            return VoxelSize(*self.request.voxel_size)
        for volume in (self.labels, self.image):
            if volume is not None and volume.voxel_size is not None:
                return volume.voxel_size
        raise SettingsError(
            f"{self.request.labels} does not state its voxel size"
            + (", and neither does the image." if self.image else "."),
            "edge lengths z,y,x in nm",
            "give it, for example --voxel-size 29,6,6.",
        )

    def _source(self) -> AffinitySource:
        shape = self.labels.shape
        if self.image is not None:
            check_image(self.image)
            if self.image.shape != shape:
                raise VolumeFormatError(
                    f"The labels have shape {shape}, the image {self.image.shape}.",
                    "one and the same grid",
                    "give the part of the image that the labels cover, or leave --image out.",
                )
        if self.request.affinities is not None:
            return GivenAffinities(Path(self.request.affinities).expanduser(), shape)
        if self.image is not None:
            self.notices.append(
                "Scores are a rough guess from the image's darkness between two fragments; "
                "give --affinities for better ones."
            )
            return ImageAffinities(self.image, self.voxel_size, invert=self.request.invert)
        self.notices.append(
            "All scores are 0.5, since neither an image nor affinities were given: candidates are "
            "not ranked by them, and splits follow the contacts' areas alone."
        )
        return UnknownAffinities()


def refuse_markers(labels: NDArray[Any], name: str, roi: Roi) -> None:
    """Refuse -1 and the like, also as unsigned numbers: they mean that nothing is there."""
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest > _HIGHEST_ID:
        raise VolumeFormatError(
            f"{name} holds the id {lowest if lowest < 0 else highest} at {roi}.",
            f"ids of 0 (background) to {_HIGHEST_ID}",
            "such ids mark what is not labelled: set it to 0 and save the labels anew.",
        )


def _check_labels(labels: Volume) -> None:
    if labels.dtype.kind not in "buif":
        raise VolumeFormatError(f"{labels.source} holds {labels.dtype}.", "integer ids", "")
    if labels.dtype.kind == "f":
        raise VolumeFormatError(
            f"{labels.source} holds {labels.dtype} values.",
            "labels: whole numbers, 0 for background",
            "choose the labels, or save them as integers; probabilities are no labels.",
        )
