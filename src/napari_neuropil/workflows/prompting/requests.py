"""What the window asks of its prompt worker. No torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, FiniteFloat, NonNegativeInt, model_validator

from napari_neuropil.errors import SettingsError
from napari_neuropil.workflows.prompting.mask_bits import MaskBits, Message, PlacedBits, SectionBits

RequestId = Annotated[int, Field(ge=0, lt=1 << 53)]
"""Whole numbers that every JSON reader keeps exactly."""


class Look(Message):
    """Somebody looks here: image embeddings are made from here outwards. No answer."""

    request: Literal["look"] = "look"
    z: NonNegativeInt
    y: FiniteFloat | None = Field(None, description="The tile nearest to (y, x) comes first.")
    x: FiniteFloat | None = None


class Detect(Message):
    """Find objects in sections: a `BoxesFound` for each, then `Finished`."""

    request: Literal["detect"] = "detect"
    id: RequestId
    sections: tuple[NonNegativeInt, ...] = Field((), description="In this order.")
    span: tuple[NonNegativeInt, NonNegativeInt] | None = Field(
        None, description="First section and one past the last, instead of `sections`."
    )
    min_score: FiniteFloat = Field(0.0, description="Boxes below it are left out.")

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if bool(self.sections) == (self.span is not None):
            raise ValueError("either sections or a span of them is wanted")
        return self

    def wanted(self, depth: int) -> tuple[int, ...]:
        """Return the sections, each once.

        Raises
        ------
        SettingsError
            If one lies outside a volume of `depth` sections, or there is none.
        """
        # The end is looked at before the sections are counted out: a span may claim any length.
        first, end = self.span or (min(self.sections), max(self.sections) + 1)
        if not first < end <= depth:
            raise SettingsError(
                f"Sections {first} to {end - 1} of {depth}.",
                f"sections of 0 to {depth - 1}",
                "choose sections of the volume.",
            )
        return tuple(range(first, end)) if self.span else tuple(dict.fromkeys(self.sections))


class MaskWish(Message):
    """A prompt, to be answered with `MaskFound`."""

    request: Literal["mask"] = "mask"
    id: RequestId
    key: str = Field(
        "", max_length=200, description="A newer wish with this key replaces one not begun."
    )
    z: NonNegativeInt
    box: tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat] | None = None
    points: tuple[tuple[FiniteFloat, FiniteFloat], ...] = Field((), description="(y, x).")
    positive: tuple[bool, ...] = Field((), description="Of each point; false: not this.")
    mask: MaskBits | None = Field(None, description="What the object looks like so far.")


class Propagate(Message):
    """Carry an object on: `SectionFound` for sections as they come, then `Finished`."""

    request: Literal["propagate"] = "propagate"
    id: RequestId
    masks: tuple[SectionBits, ...] = Field(min_length=1, description="What was accepted.")
    edited: NonNegativeInt | None = Field(
        None, description="Only what lies between this section's accepted neighbours is carried on."
    )
    min_overlap: FiniteFloat = Field(
        0.2, ge=0, le=1, description="Least intersection over union with the section before."
    )
    min_score: FiniteFloat = Field(0.0, ge=0, le=1, description="Least score of a mask.")
    branches: bool = Field(default=False, description="Whether branches are looked for.")
    use_segments: bool = Field(
        default=True, description="Whether the project's segments correct the masks."
    )


class Link(Message):
    """Make objects of masks of single sections, however they came about: `Linked`."""

    request: Literal["link"] = "link"
    id: RequestId
    masks: tuple[PlacedBits, ...] = Field(
        min_length=1, description="In any order; several of a section may be one object."
    )
    min_overlap: FiniteFloat = Field(
        0.2, ge=0, le=1, description="Least intersection over union with the section before."
    )
    bridge: bool = Field(default=True, description="Whether objects go on over a missing mask.")


class Cancel(Message):
    """Drop a request, or all; each is closed by `Cancelled`. One already answered is ignored."""

    request: Literal["cancel"] = "cancel"
    id: RequestId | None = None


class Quit(Message):
    """End the worker now; what is not answered is dropped."""

    request: Literal["quit"] = "quit"


Request = Look | Detect | MaskWish | Propagate | Link | Cancel | Quit
