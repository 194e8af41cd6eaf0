"""What a detector's fine-tuning is asked for, will do and came to: plain data, no torch."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class DetectorTuneRequest(BaseModel):
    """A wish, as the window, the command line and scripts state it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image: str = Field(description="Path of the image; HDF5 as file.h5/dataset.")
    out: str = Field(description="File of the tuned detector, ends in .safetensors.")
    project: str | None = Field(None, description="Project whose segments are to be found.")
    labels: str | None = Field(None, description="Or labels, on the image's grid or the roi's.")
    segments: str | None = Field(None, description="As of `TuneRequest`.")
    base: str | None = Field(None, description="Detector to begin with; None: the built-in one.")
    share: float = Field(0.2, gt=0, lt=1, description="Of the sections, held out.")
    gap: int = Field(1, ge=0, description="Sections left out between the two.")
    epochs: int = Field(20, ge=1, description="Passes over the training sections.")
    smallest_area: float = Field(
        0.05, ge=0, description="Pieces of objects below it, in square µm, get no box."
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


class DetectorTunePlan(BaseModel):
    """What will be learned from and measured on, before any training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    request: DetectorTuneRequest
    base: str = Field(description="File of the detector to begin with.")
    object_name: str
    pixel_size: float = Field(description="nm that the detector sees.")
    training_sections: tuple[int, int] = Field(description="First and one past the last.")
    held_out_sections: tuple[int, int] = Field(description="The same.")
    segments: int | None = Field(description="How many are to be found; null: all labels.")
    epochs: int
    folder: str = Field(description="Of the run: images, state and log.")
    notices: tuple[str, ...] = ()


class DetectorTuneOutcome(BaseModel):
    """What came of it."""

    model_config = ConfigDict(frozen=True)

    accepted: bool = Field(description="Whether the tuned detector was better and was written.")
    verdict: str
    reason: str = Field(description="One sentence for the user.")
    before: dict[str, float] = Field(description="Scores on the held-out sections.")
    after: dict[str, float]
    gain: float = Field(description="Of the average precision, mean over sections.")
    low: float
    high: float
    sections: int = Field(description="Measured on: those that hold an object.")
    seconds: float
    checkpoint: str | None
    folder: str
