"""What every fine-tuning is told: an image, what was corrected in it, and how to go about it."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class CorrectedSource(BaseModel):
    """The part that the wishes for segmenters and detectors share."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image: str = Field(description="Path of the image; HDF5 as file.h5/dataset.")
    project: str | None = Field(None, description="Project whose segments are learned from.")
    labels: str | None = Field(None, description="Or labels, on the image's grid or the roi's.")
    segments: str | None = Field(
        None,
        description="Ids and ranges; of a project also a status, corrected or all. None: those "
        "marked done, of labels all.",
    )
    voxel_size: tuple[float, float, float] | None = Field(
        None, description="(z, y, x) nm; None takes the project's or the file's."
    )
    roi: str | None = Field(None, description="z0:z1,y0:y1,x0:x1 in voxels; None is all.")
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    seed: int = Field(0, ge=0, description="Of everything random.")
    overwrite: bool = Field(
        default=False, description="Replace the file, and a run begun with other settings."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.project is None) == (self.labels is None):
            raise ValueError("either a project or labels are wanted")
        return self
