"""What a detector's fine-tuning is asked for, will do and came to: plain data, no torch."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from napari_neuropil.workflows.tuning.corrected_source import CorrectedSource


class DetectorTuneRequest(CorrectedSource):
    """A wish, as the window, the command line and scripts state it."""

    out: str = Field(description="File of the tuned detector, ends in .safetensors.")
    base: str | None = Field(None, description="Detector to begin with; None: the built-in one.")
    share: float = Field(0.2, gt=0, lt=1, description="Of the sections, held out.")
    gap: int = Field(1, ge=0, description="Sections left out between the two.")
    epochs: int = Field(20, ge=1, description="Passes over the training sections.")
    smallest_area: float = Field(
        0.05, ge=0, description="Pieces of objects below it, in square µm, get no box."
    )


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
