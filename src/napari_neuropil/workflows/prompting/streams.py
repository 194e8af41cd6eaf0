"""Lines in, lines out: the two ends of a prompt worker's pipes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from pydantic_core import from_json

from napari_neuropil.errors import SettingsError
from napari_neuropil.workflows.prompting.inbox import PromptInbox
from napari_neuropil.workflows.prompting.messages import (
    Event,
    Problem,
    Quit,
    decode_request,
    encode,
)

MOST_BYTES: Final = 64 << 20
"""Of a line: an object of a thousand sections fits."""

_AT_ONCE: Final = 1 << 16
_IDS: Final = 1 << 53


class Sink(Protocol):
    """Takes bytes: a binary stream."""

    def write(self, line: bytes, /) -> object:
        """Take a line."""
        ...

    def flush(self) -> object:
        """Hand on what was taken."""
        ...


class Outbox:
    """Writes events, one a line. Several threads may send.

    Parameters
    ----------
    sink : Sink
        Where lines go; flushed after each, since a program waits for them.
    gone : callable
        Called when nobody reads any more. `send` never raises for that: the thread that embeds
        sends too, and must not end by it.
    """

    def __init__(self, sink: Sink, gone: Callable[[], None]) -> None:
        self._sink = sink
        self._gone = gone
        self._lock = threading.Lock()

    def send(self, event: Event) -> None:
        """Write an event."""
        line = encode(event)
        try:
            with self._lock:
                self._sink.write(line)
                self._sink.flush()
        except (OSError, ValueError):  # a broken pipe; a closed stream
            self._gone()


def read_requests(
    read: Callable[[int], bytes | None], inbox: PromptInbox, send: Callable[[Event], None]
) -> None:
    """Put requests into the inbox until the input ends or says quit; refuse what is none.

    Parameters
    ----------
    read : callable
        Returns up to so many bytes as soon as there are any, and none at the end: ``read`` of an
        unbuffered stream, ``read1`` of a buffered one.
    inbox : PromptInbox
        Hears of the end, too.
    send : callable
        Takes the refusals.
    """
    try:
        for line in bounded_lines(read, MOST_BYTES):
            if line is None:
                found = SettingsError(
                    f"A line of more than {MOST_BYTES >> 20} MiB.",
                    "one request as a JSON object",
                    "send fewer masks at a time.",
                )
                send(Problem.of(found))
                continue
            if not line.strip():
                continue
            try:
                request = decode_request(line)
            except SettingsError as error:
                send(Problem.of(error, _id_in(line)))
                continue
            inbox.put(request)
            if isinstance(request, Quit):
                return
    except OSError:  # the other side has gone: as good as an end
        return
    finally:
        inbox.end()


def bounded_lines(read: Callable[[int], bytes | None], most: int) -> Iterator[bytes | None]:
    """Yield lines without their ends; None for one that is longer than `most` bytes."""
    kept = bytearray()
    too_long = False
    while chunk := read(_AT_ONCE):
        *ended, rest = chunk.split(b"\n")
        for part in ended:
            kept += part
            yield None if too_long or len(kept) > most else bytes(kept)
            kept.clear()
            too_long = False
        if not too_long:
            kept += rest
        if len(kept) > most:
            kept.clear()
            too_long = True
    if kept or too_long:
        yield None if too_long else bytes(kept)


def _id_in(line: bytes) -> int | None:
    """Return the id in a line that is no request, so that whoever sent it need not wait."""
    try:
        content = from_json(line)
    except ValueError:
        return None
    found = content.get("id") if isinstance(content, dict) else None
    return found if type(found) is int and 0 <= found < _IDS else None
