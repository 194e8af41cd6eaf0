"""Requests that wait, while a thread goes on reading: what is newer, and what was cancelled."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from napari_neuropil.errors import SettingsError
from napari_neuropil.workflows.prompting.messages import (
    Cancel,
    Cancelled,
    Detect,
    Event,
    Link,
    Look,
    MaskWish,
    Problem,
    Propagate,
    Quit,
    Request,
    Superseded,
)

LongRequest = Detect | Propagate | Link


class PromptInbox:
    """What is to be done. One thread puts requests in, another one takes them out.

    Parameters
    ----------
    send : callable
        Takes the closing events of requests that are dropped unbegun.
    """

    def __init__(self, send: Callable[[Event], None]) -> None:
        self._send = send
        self._look: Look | None = None
        self._wishes: dict[int, MaskWish] = {}
        self._long: deque[LongRequest] = deque()
        self._open: set[int] = set()
        self._cancelled: set[int] = set()
        self._ended = False
        self._quit = False
        self._news = 0
        self._changed = threading.Condition()

    def put(self, request: Request) -> None:
        """Take a request in; answer for those that it drops."""
        with self._changed:
            answers = self._take_in(request)
            self._note()
        # Outside the lock: whoever reads the answers may be slow.
        for answer in answers:
            self._send(answer)

    def end(self) -> None:
        """Note that no further request comes."""
        with self._changed:
            self._ended = True
            self._note()

    def quit(self) -> None:
        """Note that nothing further is wanted."""
        with self._changed:
            self._quit = True
            self._note()

    @property
    def has_ended(self) -> bool:
        """Whether no further request comes."""
        return self._ended

    @property
    def has_quit(self) -> bool:
        """Whether nothing further is wanted."""
        return self._quit

    @property
    def news(self) -> int:
        """Changes with everything that comes in; for `wait`."""
        return self._news

    def wait(self, seen: int) -> None:
        """Wait until something has come in since `news` was `seen`."""
        with self._changed:
            self._changed.wait_for(lambda: self._news != seen)

    def take_look(self) -> Look | None:
        """Take the last place that was looked at, if it is new."""
        with self._changed:
            look, self._look = self._look, None
            return look

    def take_long(self) -> LongRequest | None:
        """Take the next request that takes long."""
        with self._changed:
            return self._long.popleft() if self._long else None

    def wishes(self) -> list[MaskWish]:
        """Return the wishes not begun, oldest first; they stay."""
        with self._changed:
            return list(self._wishes.values())

    def begin(self, wish: MaskWish) -> bool:
        """Take a wish; False if it was dropped meanwhile."""
        with self._changed:
            return self._wishes.pop(wish.id, None) is not None

    def is_unwanted(self, request: int) -> bool:
        """Whether a request that was taken should be given up."""
        with self._changed:
            return self._quit or request in self._cancelled

    def close(self, request: int) -> None:
        """Note that a request has been answered; its id is free again."""
        with self._changed:
            self._open.discard(request)
            self._cancelled.discard(request)

    def _note(self) -> None:
        self._news += 1
        self._changed.notify_all()

    def _take_in(self, request: Request) -> list[Event]:
        if isinstance(request, Quit):
            self._quit = True
            return []
        if isinstance(request, Look):
            self._look = request
            return []
        if isinstance(request, Cancel):
            return self._drop(request)
        if request.id in self._open:
            used = SettingsError(f"The id {request.id} twice.", "an id of its own", "")
            return [Problem.of(used)]
        self._open.add(request.id)
        if not isinstance(request, MaskWish):
            self._long.append(request)
            return []
        older = [wish.id for wish in self._wishes.values() if wish.key == request.key]
        for number in older:
            del self._wishes[number]
            self._open.discard(number)
        self._wishes[request.id] = request
        return [Superseded(id=number) for number in older]

    def _drop(self, cancel: Cancel) -> list[Event]:
        wanted = self._open & ({cancel.id} if cancel.id is not None else self._open)
        waiting = wanted & {*self._wishes, *(job.id for job in self._long)}
        for number in waiting:
            self._wishes.pop(number, None)
        self._long = deque(job for job in self._long if job.id not in waiting)
        self._open -= waiting
        # What is being worked on says so itself, when it has stopped.
        self._cancelled |= wanted - waiting
        return [Cancelled(id=number) for number in sorted(waiting)]
