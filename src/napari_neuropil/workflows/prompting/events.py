"""What a prompt worker says. No torch."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from napari_neuropil.errors import NeuropilError
from napari_neuropil.geometry import Shape
from napari_neuropil.workflows.prompting.mask_bits import MaskBits, Message, PixelBox


class Ready(Message):
    """The first line: what there is to work with."""

    event: Literal["ready"] = "ready"
    shape: Shape = Field(description="(Z, Y, X) of the part that is worked on, voxels.")
    start: Shape = Field(description="Its first voxel in the image.")
    voxel_size: tuple[float, float, float] = Field(description="(z, y, x) nm.")
    segmenter: str
    fingerprint: str = Field(description="Of the segmenter.")
    pooling: tuple[int, int] = Field(description="Pixels (y, x) that the segmenter sees as one.")
    tiles: int = Field(description="Of a section.")


class Embedded(Message):
    """An image embedding has been made, or could not be."""

    event: Literal["embedded"] = "embedded"
    z: int
    tile: int
    done: int
    total: int = Field(description="Of what the last look asks for.")
    seconds: float = Field(description="0 if it was kept from before.")
    problem: str | None = None


class BoxesFound(Message):
    """The objects a detector finds in a section."""

    event: Literal["boxes"] = "boxes"
    id: int
    z: int
    boxes: tuple[tuple[float, float, float, float], ...]
    scores: tuple[float, ...]
    done: int = Field(description="Sections so far.")
    total: int


class MaskFound(Message):
    """Closes `MaskWish`."""

    event: Literal["mask"] = "mask"
    id: int
    z: int
    score: float = Field(description="Expected intersection over union with the truth.")
    stability: float
    box: PixelBox | None = Field(description="Of the mask; null if it is empty.")
    mask: MaskBits | None
    seconds: float = Field(description="What it took, the embedding being ready.")


class SectionFound(Message):
    """A section that an object was carried on to; of one that comes again, the last counts."""

    event: Literal["section"] = "section"
    id: int
    z: int
    mask: MaskBits | None = Field(description="Null: it turned out not to be there.")
    origin: int = Field(description="The accepted section it comes from.")
    direction: int
    overlap: float = Field(description="Intersection over union with the section before.")
    area_ratio: float
    score: float
    pieces: int
    agreement: float | None = Field(None, description="Of both ends of a gap.")
    segments: float | None = Field(
        None,
        description="Share of its pixels that lies in the segments of its origin, by the project; "
        "null where that says nothing.",
    )


class StopFact(Message):
    """Where a piece of an object was not carried on, and why; see `propagation_evidence.Stop`."""

    z: int
    direction: int
    reason: str
    value: float
    place: tuple[int, int] = Field(description="(y, x) in the section before.")
    area: int
    doubtful: bool = Field(description="Whether a look is worthwhile.")


class Finished(Message):
    """Closes `Detect` and `Propagate`."""

    event: Literal["finished"] = "finished"
    id: int
    seconds: float
    stops: tuple[StopFact, ...] = ()


class LinkFact(Message):
    """A link between two masks that deserves a look; see `linked_masks.DoubtfulLink`."""

    masks: tuple[int, int] = Field(description="As they were given, from 0; the lower one first.")
    linked: bool = Field(description="Whether the two became one object.")
    overlap: float = Field(description="Intersection over union.")
    agreement: float | None = Field(
        description="Share of their pixels in common segments; null where nothing is known."
    )
    support: float = Field(description="Rough share of such pairs that are one object.")
    worth: float = Field(description="Voxels that a look is expected to put right.")


class Linked(Message):
    """Closes `Link`."""

    event: Literal["linked"] = "linked"
    id: int
    objects: tuple[int, ...] = Field(description="Of each mask as they were given, from 1.")
    doubtful: tuple[LinkFact, ...] = Field(description="The most worthwhile first.")
    seconds: float


class Superseded(Message):
    """Closes a `MaskWish` that a newer one with its key has replaced."""

    event: Literal["superseded"] = "superseded"
    id: int


class Cancelled(Message):
    """Closes a request that was cancelled."""

    event: Literal["cancelled"] = "cancelled"
    id: int


class Notice(Message):
    """Something the user should know."""

    event: Literal["notice"] = "notice"
    message: str


class Problem(Message):
    """What went wrong; closes the request `id`, if there is one. The worker goes on."""

    event: Literal["error"] = "error"
    id: int | None = None
    type: str
    found: str
    expected: str = ""
    cure: str = ""

    @classmethod
    def of(cls, error: Exception, request: int | None = None) -> Problem:
        """Return an error as it travels."""
        name = type(error).__name__
        if isinstance(error, NeuropilError):
            return cls(
                id=request, type=name, found=error.found, expected=error.expected, cure=error.cure
            )
        if isinstance(error, MemoryError):
            cure = "close other programs, or choose a smaller segmenter or part of the image."
        elif isinstance(error, OSError):
            cure = "check that the image can still be read."
        else:
            cure = "this is a defect of napari-neuropil: please report it with the traceback."
        return cls(id=request, type=name, found=str(error) or name, cure=cure)


Event = (
    Ready
    | Embedded
    | BoxesFound
    | MaskFound
    | SectionFound
    | Finished
    | Linked
    | Superseded
    | Cancelled
    | Notice
    | Problem
)
CLOSING: Final = (MaskFound, Finished, Linked, Superseded, Cancelled, Problem)
"""Events that end a request."""
