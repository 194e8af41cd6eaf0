"""Carry an object from an accepted section outward, piece by piece.

Each piece of the object in a section asks for itself in the next one. Beyond that:

- Where the overlap is weak the way back is tried: the mask found must lead to the piece it came
  from. That is what "each is the other's best partner" is for masks that are all known.
- What of a piece no mask accounts for may be a *branch*: it is asked for on its own, and counts if
  it lies inside the piece and does not grow from its first section to the second. What grows is
  another neurite that pushes in (measured in `link_rules`).
- What of a mask no piece accounts for may be a branch that comes from behind: looked for in the
  section before by the same rule, and carried on backwards.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from napari_neuropil.prompts.mask_prompts import mask_pieces
from napari_neuropil.prompts.packed_mask import (
    PackedMask,
    mask_holds,
    mask_overlap,
    masks_united,
)
from napari_neuropil.prompts.propagation_evidence import Evidence, Stop
from napari_neuropil.prompts.section_questions import Answer, SectionQuestions

_Todo = dict[tuple[int, int], list[PackedMask]]
"""Pieces to carry on, by section and direction."""


class WalkStep(NamedTuple):
    """A section that has a mask now, or a larger one."""

    z: int
    mask: PackedMask
    evidence: Evidence


@dataclass(frozen=True, eq=False, slots=True)
class Way:
    """Where a walk leads.

    Parameters
    ----------
    origin : int
        The accepted section where it begins.
    direction : int
        1 upwards, -1 downwards.
    end : int
        The accepted section where it ends, or the one after the last of the volume.
    accepted : container of int
        Sections that are never entered; looked at anew in every step.
    cancelled : callable
        Asked before every step.
    """

    origin: int
    direction: int
    end: int
    accepted: Container[int]
    cancelled: Callable[[], bool]

    def may_enter(self, z: int) -> bool:
        """Whether a section lies on the way and may be written."""
        inside = min(self.origin, self.end) < z < max(self.origin, self.end)
        return inside and z not in self.accepted


class SectionWalk:
    """One walk. Iterate `run`; afterwards the attributes say how it went.

    Parameters
    ----------
    way : Way
        Where it leads.
    questions : SectionQuestions
        The segmenter and the sections.

    Attributes
    ----------
    found : dict of int to PackedMask
        The object by section.
    stops : list of Stop
        Where pieces ended.
    arrived : list of PackedMask
        Pieces in the section before `way.end`.
    """

    def __init__(self, way: Way, questions: SectionQuestions) -> None:
        self.way = way
        self.found: dict[int, PackedMask] = {}
        self.stops: list[Stop] = []
        self.arrived: list[PackedMask] = []
        self._questions = questions
        self._least = questions.settings.min_area

    def run(self, mask: PackedMask) -> Iterator[WalkStep]:
        """Walk, beginning with the mask of the accepted section.

        Yields
        ------
        WalkStep
            A section may come twice; the later mask holds the earlier one.
        """
        way = self.way
        todo: _Todo = {(way.origin, way.direction): mask_pieces(mask, self._least)}
        while todo:
            # The one nearest to the origin: branches from behind before what lies ahead.
            z, direction = min(todo, key=lambda key: (abs(key[0] - way.origin), key[1]))
            if way.cancelled():
                self.stops += [
                    Stop.of_piece(z + step, step, "cancelled", 0.0, pieces[0])
                    for (z, step), pieces in todo.items()
                ]
                return
            pieces = todo.pop((z, direction))
            if way.may_enter(z + direction):
                yield from self._step(z, direction, pieces, todo)
            elif not self._questions.sections.has(z + direction):
                self.stops.append(Stop.of_piece(z, direction, "volume", 0.0, pieces[0]))
            elif z + direction == way.end:
                self.arrived += pieces

    def _step(
        self, z: int, direction: int, pieces: list[PackedMask], todo: _Todo
    ) -> Iterator[WalkStep]:
        """Carry the pieces of a section on to the next one."""
        target = z + direction
        expected, kept, stops = self._carried(z, target, pieces)
        if self._questions.settings.branches:
            for piece in expected:
                taken = [answer.mask for answer in kept]
                kept += self._questions.branches(piece, taken, target, direction)
        # A piece that joined another one was not lost.
        self.stops += [s for s in stops if not any(mask_holds(k.mask, s.place) for k in kept)]
        fresh = self._new_in(target, kept)
        if not fresh:
            return
        ahead = masks_united([answer.mask for answer in fresh])
        if ahead is not None:
            todo.setdefault((target, direction), []).extend(mask_pieces(ahead, self._least))
        yield self._grown(target, direction, fresh, expected)
        if self._questions.settings.branches and z in self.found:
            yield from self._from_behind(fresh, z, target, todo)

    def _carried(
        self, z: int, target: int, pieces: list[PackedMask]
    ) -> tuple[list[PackedMask], list[Answer], list[Stop]]:
        """Return what is expected in the next section, what is found there, and what is lost."""
        direction = target - z
        stops: list[Stop] = []
        expected: list[PackedMask] = []
        for piece in pieces:
            moved = self._questions.sections.moved(piece, z, target)
            if moved is None:
                stops.append(Stop.of_piece(target, direction, "empty", 0.0, piece))
            else:
                expected.append(moved)
        kept: list[Answer] = []
        answers = self._questions.carry(z, pieces, target, expected)
        for piece, answer in zip(expected, answers, strict=True):
            refusal = self._questions.refusal(piece, answer, expected, z, target)
            if refusal is not None:
                stops.append(Stop.of_piece(target, direction, *refusal, piece))
            elif answer is not None:
                kept.append(answer)
        return expected, kept, stops

    def _from_behind(
        self, fresh: list[Answer], z: int, target: int, todo: _Todo
    ) -> Iterator[WalkStep]:
        """Look for branches that join the object from the section before."""
        back = z - target
        for answer in fresh:
            mask = self._questions.sections.moved(answer.mask, target, z)
            if mask is None or not self.way.may_enter(z):
                continue
            found = self._questions.branches(mask, [self.found[z]], z, back)
            for branch in found:
                todo.setdefault((z, back), []).append(branch.mask)
                yield self._grown(z, back, [branch], [mask])

    def _new_in(self, z: int, answers: Sequence[Answer]) -> list[Answer]:
        """Return the answers that are not yet in the object, each once."""
        known = [self.found[z]] if z in self.found else []
        fresh: list[Answer] = []
        for answer in sorted(answers, key=lambda answer: -answer.mask.area):
            others = [*known, *(other.mask for other in fresh)]
            if not any(self._questions.lies_in(answer.mask, other) for other in others):
                fresh.append(answer)
        return fresh

    def _grown(
        self, z: int, direction: int, fresh: list[Answer], before: list[PackedMask]
    ) -> WalkStep:
        """Add masks to a section."""
        parts = [answer.mask for answer in fresh]
        known = [self.found[z]] if z in self.found else []
        new, old = masks_united(parts) or parts[0], masks_united(before) or before[0]
        self.found[z] = masks_united([*parts, *known]) or new
        evidence = Evidence(
            self.way.origin,
            direction,
            mask_overlap(new, old),
            new.area / old.area,
            min(answer.score for answer in fresh),
            len(fresh),
        )
        return WalkStep(z, self.found[z], evidence)
