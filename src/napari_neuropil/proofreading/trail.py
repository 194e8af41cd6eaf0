"""The way through the queue: what was shown, in which order, and where one stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from napari_neuropil.proofreading.candidate_table import Candidate
from napari_neuropil.proofreading.open_candidates import Place


@dataclass
class Stop:
    """A candidate that was shown, and its place among the open ones."""

    candidate: Candidate
    place: Place


class Trail:
    """Candidates shown, walked forward and back."""

    def __init__(self) -> None:
        self._stops: list[Stop] = []
        self._at = -1

    @property
    def current(self) -> Stop | None:
        """Where one stands; None before the first."""
        return self._stops[self._at] if self._at >= 0 else None

    def __iter__(self) -> Iterator[Stop]:
        """Give all stops, oldest first."""
        return iter(self._stops)

    def add(self, candidate: Candidate, place: Place) -> None:
        """Stop at a candidate, behind the present one and before those that follow."""
        self._at += 1
        self._stops.insert(self._at, Stop(candidate, place))

    def forward(self, is_open: Callable[[Place], bool]) -> bool:
        """Go to the next stop that is open; False, and at the end, if there is none."""
        while self._at + 1 < len(self._stops):
            self._at += 1
            if is_open(self._stops[self._at].place):
                return True
        return False

    def back(self) -> bool:
        """Go one stop back; False at the first."""
        if self._at <= 0:
            return False
        self._at -= 1
        return True

    def step_before(self) -> None:
        """Stand before the present stop, so that `forward` comes to it."""
        self._at = max(-1, self._at - 1)

    def clear(self) -> None:
        """Forget the way."""
        self._stops, self._at = [], -1

    def forget_all_but(self, count: int) -> None:
        """Forget the oldest stops, never the present one or those after it."""
        gone = max(0, min(self._at, len(self._stops) - count))
        del self._stops[:gone]
        self._at -= gone
