"""What the window and its prompt worker say to each other: one JSON object a line, either way.

Both sides use these classes, so a field has one home. No torch. Places are (z, y, x) voxels of the
part of the image that is worked on (`Ready.shape`); boxes are y0, x0, y1, x1, half open. Every
request with an `id` gets exactly one closing event with that id (`CLOSING`).
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field, TypeAdapter, ValidationError

from napari_neuropil.errors import SettingsError
from napari_neuropil.workflows.prompting.events import (
    CLOSING,
    BoxesFound,
    Cancelled,
    Embedded,
    Event,
    Finished,
    Linked,
    LinkFact,
    MaskFound,
    Notice,
    Problem,
    Ready,
    SectionFound,
    StopFact,
    Superseded,
)
from napari_neuropil.workflows.prompting.mask_bits import MaskBits, PlacedBits, SectionBits
from napari_neuropil.workflows.prompting.requests import (
    Cancel,
    Detect,
    Link,
    Look,
    MaskWish,
    Propagate,
    Quit,
    Request,
)

__all__ = [
    "CLOSING",
    "BoxesFound",
    "Cancel",
    "Cancelled",
    "Detect",
    "Embedded",
    "Event",
    "Finished",
    "Link",
    "LinkFact",
    "Linked",
    "Look",
    "MaskBits",
    "MaskFound",
    "MaskWish",
    "Notice",
    "PlacedBits",
    "Problem",
    "Propagate",
    "Quit",
    "Ready",
    "Request",
    "SectionBits",
    "SectionFound",
    "StopFact",
    "Superseded",
    "decode_event",
    "decode_request",
    "encode",
]

_REQUESTS: Final[TypeAdapter[Request]] = TypeAdapter(
    Annotated[Request, Field(discriminator="request")]
)
_EVENTS: Final[TypeAdapter[Event]] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


def encode(message: Request | Event) -> bytes:
    """Return a message as one line of JSON in UTF-8, with its end."""
    return message.model_dump_json().encode() + b"\n"


def decode_request(line: bytes) -> Request:
    """Read one line as a request.

    Raises
    ------
    SettingsError
        If it is none.
    """
    try:
        return _REQUESTS.validate_json(line)
    except ValidationError as error:
        raise _unreadable("request", error) from error


def decode_event(line: bytes) -> Event:
    """Read one line as an event.

    Raises
    ------
    SettingsError
        If it is none.
    """
    try:
        return _EVENTS.validate_json(line)
    except ValidationError as error:
        raise _unreadable("event", error) from error


def _unreadable(kind: str, error: ValidationError) -> SettingsError:
    first: Any = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"])[:80]
    where = f" at {place}" if place else ""
    return SettingsError(
        f"A line that is no {kind}{where}: {first['msg'][:200]}.",
        f"one {kind} as a JSON object",
        "docs/cli.md lists them with their fields, under prompts.",
    )
