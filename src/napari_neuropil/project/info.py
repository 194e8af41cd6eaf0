"""What ``project.json`` holds."""

from __future__ import annotations

import os
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from napari_neuropil.geometry import Shape, VoxelSize

PROJECT_FORMAT: Final = 1
"""Rises whenever an older program could no longer read a project."""


def lasting_source(source: str) -> str:
    """Return a path that opens an image from wherever a project is opened later."""
    return os.path.abspath(os.path.expanduser(source))  # noqa: PTH100, PTH111 - file.h5/dataset


class ProjectInfo(BaseModel):
    """Facts of a project: where it came from, how it was made, what it holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = Field(PROJECT_FORMAT, description="Version of the project folder.")
    state: Literal["unfinished", "finished"] = "unfinished"
    image_source: str = Field("", description="Path that opens the image; empty if none.")
    image_shape: Shape | None = Field(None, description="Shape of the whole image.")
    voxel_size: tuple[float, float, float] = Field(description="(z, y, x) nm.")
    translation: tuple[float, float, float] = Field(
        (0.0, 0.0, 0.0), description="World position of the fragments' voxel 0, nm."
    )
    roi: str = Field(description="Part of the image the fragments cover, voxels.")
    method: str = Field("", description="Method that made the fragments.")
    plan: dict[str, Any] = Field(default_factory=dict, description="The plan that was carried out.")
    checkpoint_sha256: str = Field("", description="Hash of the network's weights.")
    versions: dict[str, str] = Field(default_factory=dict, description="Of the packages used.")
    fragment_count: int = Field(0, description="Fragments are numbered 1 to this.")
    fingerprint: str = Field("", description="Hash of the fragments, block by block.")
    notices: tuple[str, ...] = Field((), description="What the user should know of the run.")
    seconds: dict[str, float] = Field(default_factory=dict, description="Time of each stage.")

    @property
    def voxel_size_nm(self) -> VoxelSize:
        """The voxel size as a VoxelSize."""
        return VoxelSize(*self.voxel_size)
