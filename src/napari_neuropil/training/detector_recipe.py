"""What a detector is trained on and how: the settings of its recipe. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from napari_neuropil.errors import SettingsError

_STRICT = ConfigDict(extra="forbid", frozen=True)

Sections = tuple[int, int]
"""First section and one past the last."""


class DetectorVolume(BaseModel):
    """A labelled volume on disk, some of whose objects are to be found."""

    model_config = _STRICT

    name: str = Field(description="For logs and the card of the weights.")
    image: str = Field(description="Path below the data root; HDF5 as file.h5/dataset.")
    labels: str = Field(description="Its labels, 0 = background.")
    voxel_size: tuple[float, float, float] = Field(description="(z, y, x) nm.")
    ids: tuple[int, ...] | Literal["all"] = Field(
        description="Labels of the objects to find; all takes every one but 0."
    )
    train_sections: Sections = Field(description="First and one past the last.")
    validation_sections: Sections | None = Field(None, description="Never trained on.")
    step: int = Field(1, ge=1, description="Every how many sections one is taken.")
    licence: str = Field("", description="Of the data, for the card.")


class DetectorTraining(BaseModel):
    """Length, speed and augmentation of a detector's training."""

    model_config = _STRICT

    epochs: int = Field(120, ge=1, description="Passes over the training sections.")
    batch: int = Field(8, ge=1, description="Sections in a step.")
    learning_rate: float = Field(2e-3, gt=0, description="AdamW's, after the warm-up.")
    last_rate: float = Field(0.02, gt=0, le=1, description="Share of it at the end; cosine.")
    warm_up: float = Field(3.0, ge=0, description="Epochs of linear warm-up.")
    weight_decay: float = Field(5e-4, ge=0, description="AdamW's.")
    patience: int = Field(
        0, ge=0, description="Epochs without a better validation before it ends; 0 never ends."
    )
    keep: Literal["last", "best"] = Field(
        "last",
        description="Which weights are kept. best chooses by the validation sections, whose "
        "scores then flatter.",
    )
    mosaic: float = Field(0.5, ge=0, le=1, description="Share of examples made of four sections.")
    plain_epochs: int = Field(10, ge=0, description="Last epochs, without mosaics and rotations.")
    degrees: float = Field(180.0, ge=0, le=180, description="Largest rotation in plane.")
    translate: float = Field(0.1, ge=0, le=1, description="Largest shift, share of the image.")
    scale: float = Field(0.3, ge=0, lt=1, description="Largest change of size.")
    brightness: float = Field(0.4, ge=0, le=1, description="Largest change of grey values.")
    flip: float = Field(0.5, ge=0, le=1, description="Share mirrored, along each axis.")


class DetectorRecipe(BaseModel):
    """A whole training run of a detector."""

    model_config = _STRICT

    seed: int = Field(description="Of everything random.")
    architecture: str = Field("newest", description="yolo26n, yolo11n ...; the newest smallest.")
    start: str | None = Field(
        None, description="Weights to go on from, a path below the data root; None is random."
    )
    object_name: str = Field("dendrite", min_length=1, description="What it finds.")
    pixel_size: float = Field(12.0, gt=0, description="nm; sections are averaged down to it.")
    image_side: int = Field(
        512, ge=64, multiple_of=32, description="Pixels of a training image; larger are tiled."
    )
    overlap: int = Field(128, ge=0, description="Pixels that tiles of a section share.")
    smallest_area: float = Field(
        0.05, ge=0, description="Pieces of objects below this area, in square µm, get no box."
    )
    volumes: tuple[DetectorVolume, ...] = Field(min_length=1)
    training: DetectorTraining = DetectorTraining()
    licence: str | None = Field(None, description="Of the weights; None is ultralytics' own.")


class DetectorJob(BaseModel):
    """What the training process is told: no volumes any more, only a data set on disk."""

    model_config = _STRICT

    architecture: str
    data: str = Field(description="Path of the data set's YAML.")
    data_sha256: str = Field(description="Hash of its boxes: the same run has the same.")
    object_name: str
    image_side: int
    seed: int
    start: str | None
    start_sha256: str
    training: DetectorTraining


def split_sections(
    first: int, last: int, *, share: float = 0.2, gap: int = 0
) -> tuple[Sections, Sections]:
    """Divide a run of sections into one to train on and one to validate on, by z.

    Never section by section at random: neighbours are almost the same picture, so such a
    validation only asks what was learnt by heart.

    Parameters
    ----------
    first, last : int
        First section and one past the last.
    share : float
        Of the sections, that validate; at least one does.
    gap : int
        Sections in between that are left out. Objects go on through the cut: what is one
        section away is nearly seen. A fifth of a micrometre of gap makes it harder.

    Returns
    -------
    train, validation : tuple of int
        First and one past the last of each; validation comes after training.

    Raises
    ------
    SettingsError
        If not a section is left for either.
    """
    count = last - first
    validating = max(1, round(count * share))
    training = count - validating - gap
    if not 0 < share < 1 or gap < 0 or training < 1:
        raise SettingsError(
            f"{count} sections, {share:g} of them to validate on, {gap} left out between.",
            "at least one section to train on and one to validate on",
            "label more sections, or make the gap smaller.",
        )
    return (first, first + training), (last - validating, last)


def check_split(volumes: Sequence[DetectorVolume]) -> None:
    """Refuse recipes that would validate on what they train on, or not at all.

    Volumes of the same image are one: a section that one of them trains on may not validate
    another.

    Raises
    ------
    SettingsError
        Naming the volumes and sections.
    """
    for volume in volumes:
        for sections in (volume.train_sections, volume.validation_sections):
            if sections is not None and not 0 <= sections[0] < sections[1]:
                raise SettingsError(
                    f"{volume.name}: sections {sections[0]} to {sections[1]}.",
                    "first and one past the last",
                    "",
                )
    if all(volume.validation_sections is None for volume in volumes):
        raise SettingsError(
            "No volume has validation sections.",
            "sections that are not trained on, in one volume at least",
            "set validation_sections.",
        )
    for trained, held in product(volumes, volumes):
        sections = held.validation_sections
        if trained.image != held.image or sections is None:
            continue
        low = max(trained.train_sections[0], sections[0])
        high = min(trained.train_sections[1], sections[1])
        if low < high:
            raise SettingsError(
                f"{held.name}: validation sections {low}-{high - 1} are trained on "
                f"(by {trained.name}).",
                "sections apart from train_sections",
                "split by z, for example with a few sections between.",
            )
