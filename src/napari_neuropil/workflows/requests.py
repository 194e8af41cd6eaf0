"""What is asked for, what will be done, and what is heard of it: plain data, no torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from napari_neuropil.geometry import Shape

Stage = Literal["affinities", "fragments", "contacts", "segments"]
"""The stages of a segmentation, in this order."""

LAST_STAGE: Final[Stage] = "segments"


class SegmentRequest(BaseModel):
    """A wish, as the window, the command line and scripts state it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image: str = Field(description="Path of the image; HDF5 as file.h5/dataset.")
    project: str = Field(description="Folder of the result, for example brain.neuropil.")
    method: str = Field("segneuron", description="Row of the table of methods.")
    checkpoint: str | None = Field(None, description="Own checkpoint; None takes the shipped one.")
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    voxel_size: tuple[float, float, float] | None = Field(
        None, description="(z, y, x) nm; None takes the file's."
    )
    roi: str | None = Field(None, description="z0:z1,y0:y1,x0:x1 in voxels; None is all.")
    settings: dict[str, Any] = Field(default_factory=dict, description="The method's settings.")
    block_shape: Shape | None = Field(
        None, description="Unit of work on the network's grid; None bounds memory to about 1 GB."
    )
    resume: bool = Field(default=False, description="Go on with an unfinished project.")
    overwrite: bool = Field(default=False, description="Replace an existing project.")
    until: Stage = Field(
        LAST_STAGE, description="The last stage that runs; the project stays unfinished before."
    )
    again: bool = Field(
        default=False,
        description="Keep what the network said in a project that exists, and do the rest anew, "
        "with other settings perhaps.",
    )


class SegmentPlan(BaseModel):
    """The wish resolved against the volume's facts, before any work."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    request: SegmentRequest
    shape: Shape = Field(description="The whole image, voxels.")
    voxel_size: tuple[float, float, float] = Field(description="Of the image, nm.")
    roi: str = Field(description="What will be segmented, voxels.")
    factors: Shape = Field(description="Pooling before the network.")
    grid_shape: Shape = Field(description="The roi on the network's grid.")
    tile_shape: Shape
    overlap: float
    views: int = Field(description="Sides the network looks from.")
    batch: int
    tiles: int = Field(description="Forward passes of one tile, all blocks together.")
    coverage: float = Field(description="Voxels computed per voxel written.")
    block_shape: Shape = Field(description="On the network's grid.")
    blocks: int
    halo: Shape = Field(description="Voxels a block reads beyond what it writes, at most.")
    device: str
    dtype: str
    channels_last: bool
    threads: int
    grey_range: tuple[float, float] = Field(description="Values that become 0 and 1.")
    settings: dict[str, Any] = Field(description="The method's, complete.")
    checkpoint: str
    checkpoint_sha256: str
    seconds: float = Field(description="Expected time; measured passes, other steps by rule.")
    memory_bytes: int = Field(description="Expected peak of this program.")
    disk_bytes: int = Field(description="Expected size of the project, at most.")
    notices: tuple[str, ...] = ()


class Progress(BaseModel):
    """How far a run has come."""

    model_config = ConfigDict(frozen=True)

    stage: str
    done: float
    total: float
    message: str = ""
    values: dict[str, float] = Field({}, description="Numbers for a curve, by name.")


Report = Callable[[Progress], None]
"""Receives progress; may raise `CancelledError` to stop."""
