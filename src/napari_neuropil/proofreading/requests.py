"""What a user may point at, resolved and checked before anything is worked out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import EditRejectedError
from napari_neuropil.proofreading.edits import Annotation, Point
from napari_neuropil.proofreading.state import ProofreadingState

Pick = int | np.integer[Any] | Sequence[int]
"""An id, or a (z, y, x) point in voxels."""


class Resolver:
    """Turns ids and points into fragments and segments.

    Parameters
    ----------
    state : ProofreadingState
        Live.
    fragment_at : callable
        Returns the fragment at a voxel; refuses points outside.
    annotations : dict
        Live; a segment that is done is protected.
    """

    def __init__(
        self,
        state: ProofreadingState,
        fragment_at: Callable[[Point], int],
        annotations: dict[int, Annotation],
    ) -> None:
        self._state = state
        self._fragment_at = fragment_at
        self._annotations = annotations

    def segment(self, pick: Pick) -> int:
        """Return the segment that is meant.

        An id is read as a segment's; if no segment has it, as a fragment's.
        """
        if not _is_id(pick):
            return self._segment_of(self.fragment(pick))
        number = int(pick)  # type: ignore[arg-type]
        if len(self._state.members.of(number)):
            return number
        if 0 < number < len(self._state.lookup) and int(self._state.lookup[number]):
            return int(self._state.lookup[number])
        raise EditRejectedError(
            f"There is no segment {number}.", "the id of a segment", "pick it in the image."
        )

    def fragment(self, pick: Pick) -> int:
        """Return the fragment that is meant."""
        if _is_id(pick):
            number = int(pick)  # type: ignore[arg-type]
            if not 0 < number < len(self._state.lookup):
                raise EditRejectedError(
                    f"There is no fragment {number}.",
                    f"1 to {len(self._state.lookup) - 1}",
                    "pick it in the image.",
                )
            if self._state.is_replaced(number):
                raise EditRejectedError(
                    f"The fragment {number} was cut into pieces.",
                    "a fragment that has voxels",
                    "name its pieces, or pick one in the image.",
                )
            return number
        point = self.point(pick)
        fragment = self._fragment_at(point)
        if fragment == 0:
            raise EditRejectedError(
                f"There is background at {point}.",
                "a voxel of a segment",
                "pick a voxel inside the neuron.",
            )
        return fragment

    def point(self, pick: Pick) -> Point:
        """Return a point as whole numbers."""
        values = [] if _is_id(pick) else [float(v) for v in pick]  # type: ignore[union-attr]
        if len(values) != 3 or not all(np.isfinite(values)):
            raise EditRejectedError(f"{pick!r} is no place.", "(z, y, x) in voxels", "")
        z, y, x = (round(v) for v in values)
        return z, y, x

    def fragments(self, picks: Pick | Iterable[Pick]) -> NDArray[np.uint64]:
        """Return the fragments of one pick or several, ascending, without repeats."""
        found = {self.fragment(pick) for pick in as_picks(picks)}
        if not found:
            raise EditRejectedError("Nothing is picked.", "at least one fragment", "")
        return np.array(sorted(found), np.uint64)

    def check_unprotected(self, segments: Iterable[int], *, force: bool) -> None:
        """Refuse to touch a segment marked done, unless forced."""
        done = [s for s in segments if s in self._annotations]
        done = [s for s in done if self._annotations[s].status == "done"]
        if done and not force:
            names = ", ".join(str(s) for s in done)
            raise EditRejectedError(
                f"Segment {names} is marked done.",
                "segments that are not done",
                "set its status to in work, or force the edit.",
                forceable=True,
            )

    def _segment_of(self, fragment: int) -> int:
        segment = int(self._state.lookup[fragment])
        if segment == 0:
            raise EditRejectedError(
                f"The fragment {fragment} is background.", "a fragment of a segment", ""
            )
        return segment


def as_picks(picks: Any) -> list[Any]:
    """Return picks as a list: one id, one point, or several of either."""
    if _is_id(picks):
        return [picks]
    items = list(picks)
    # Three plain numbers are one point in a tuple, and three fragments in any other sequence.
    if isinstance(picks, tuple) and len(items) == 3 and all(_is_number(i) for i in items):
        return [picks]
    return items


def _is_id(pick: object) -> bool:
    return isinstance(pick, int | np.integer) and not isinstance(pick, bool)


def _is_number(item: object) -> bool:
    return isinstance(item, int | float | np.number)
