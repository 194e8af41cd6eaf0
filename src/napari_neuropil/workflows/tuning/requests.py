"""What a fine-tuning is asked for, what it will do, and what came of it: plain data, no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from napari_neuropil.workflows.tuning.corrected_source import CorrectedSource

Trainer = Literal["own", "micro_sam"]
TrainerWish = Literal["auto", "own", "micro_sam"]


class TuneRequest(CorrectedSource):
    """A wish, as the window, the command line and scripts state it."""

    out: str = Field(description="File of the tuned network, ends in .safetensors.")
    pseudo: str = Field(
        "", description="Segments that a network is sure of: learned from, never measured on."
    )
    pseudo_labels: str | None = Field(
        None, description="Labels that hold the pseudo segments; None: as the others."
    )
    pseudo_weight: float = Field(
        0.3, gt=0, le=1, description="How often they are drawn, relative to corrected ones."
    )
    base: str = Field("compact", description="Name or file of the network to begin with.")
    parts: Literal["decoder", "lora", "all"] = Field("decoder", description="What learns.")
    trainer: TrainerWish = Field(
        "auto",
        description="Whose loop trains: the one here, or micro_sam's. auto: micro_sam's for "
        "published networks where it is installed.",
    )
    held_out: Literal["sections", "segments"] = Field(
        "sections", description="What is measured on: the last sections, or whole segments."
    )
    share: float = Field(0.2, gt=0, lt=1, description="Of the corrected objects, held out.")
    gap: int | None = Field(
        None, ge=0, description="Sections left out between the two; None: about 40 nm."
    )
    most_sections: int = Field(
        64, ge=2, description="More are thinned out evenly; neighbours show nearly the same."
    )
    smallest: int = Field(
        60, ge=1, description="Parts of fewer pixels in a section are left out; the network's own."
    )
    steps: int = Field(200, ge=1, description="Of training.")
    minutes: float | None = Field(
        None, gt=0, description="Training ends after so long, at a whole state; None: never."
    )
    learning_rate: float | None = Field(None, gt=0, description="None: 1e-4, of all parts 1e-5.")
    cache_dir: str | None = Field(
        None, description="Folder for image embeddings; the one of the prompts has most of them."
    )


class TunePlan(BaseModel):
    """What will be learned from and measured on, before any training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    request: TuneRequest
    base: str = Field(description="What the network is called.")
    base_fingerprint: str = Field(description="Hash of its encoder.")
    device: str
    voxel_size: tuple[float, float, float] = Field(description="Of the image, nm.")
    factors: tuple[int, int] = Field(description="Pixels (y, x) that the network sees as one.")
    trainer: Trainer = Field(description="Whose loop trains.")
    learning: int = Field(description="Numbers of the network that learn.")
    training_objects: int = Field(description="Corrected cross-sections to learn from.")
    training_segments: tuple[int, ...]
    training_sections: tuple[int, ...]
    held_out_objects: int = Field(description="Cross-sections to measure on; none is pseudo.")
    held_out_segments: tuple[int, ...]
    held_out_sections: tuple[int, ...]
    pseudo_objects: int = Field(description="Unchecked cross-sections that join the training.")
    left_out: int = Field(description="In the gap, or pseudo where they would reach the held-out.")
    tiles: int = Field(description="Sections, or tiles of them, to learn from.")
    steps: int
    done_steps: int = Field(description="Of an earlier, stopped run, which goes on.")
    folder: str = Field(description="Of the run: state and log.")
    notices: tuple[str, ...] = ()


class TuneOutcome(BaseModel):
    """What came of it."""

    model_config = ConfigDict(frozen=True)

    accepted: bool = Field(description="Whether the tuned network was better and was written.")
    verdict: str
    reason: str = Field(description="One sentence for the user.")
    before: dict[str, float] = Field(description="Mean intersection over union, by prompt.")
    after: dict[str, float]
    gain: float
    low: float = Field(description="Bounds of the gain, 95 % each.")
    high: float
    objects: int = Field(description="Measured on.")
    segments: int
    steps: int = Field(description="Of training, earlier runs among them.")
    seconds: float = Field(description="This run, all in all.")
    checkpoint: str | None = Field(description="The file; null if none was written.")
    folder: str
