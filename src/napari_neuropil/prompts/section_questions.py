"""What a segmenter is asked about a piece of an object: does it go on, does it branch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from napari_neuropil.prompts.mask_prompts import mask_pieces, prompt_of_mask
from napari_neuropil.prompts.packed_mask import (
    PackedMask,
    mask_overlap,
    mask_without,
    masks_united,
    overlap_area,
)
from napari_neuropil.prompts.propagation_evidence import StopReason
from napari_neuropil.prompts.propagation_settings import PropagationSettings, Sections
from napari_neuropil.prompts.segment_guide import SegmentGuide
from napari_neuropil.prompts.segmenter import Segmenter

_LEAST_BRANCH = 0.03  # of the piece it leaves; smaller rests are jitter of the outline
_MOST_BRANCHES = 3


class Answer(NamedTuple):
    """A mask that is not empty, and the quality its segmenter expects."""

    mask: PackedMask
    score: float


class SectionQuestions:
    """Asks one segmenter about the sections of one volume.

    Parameters
    ----------
    segmenter : Segmenter
        Answers.
    sections : Sections
        Of the volume.
    settings : PropagationSettings
        Thresholds.
    guide : SegmentGuide, optional
        Mends the answers that carry pieces on.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        sections: Sections,
        settings: PropagationSettings,
        guide: SegmentGuide | None = None,
    ) -> None:
        self.sections = sections
        self.settings = settings
        self._guide = guide
        self._segmenter = segmenter

    def ask(self, z: int, masks: Sequence[PackedMask]) -> list[Answer | None]:
        """Ask in a section for objects that looked like these; None for an empty answer."""
        if not masks:
            return []
        shape, use = self.sections.section_shape, self.settings.prompting
        prompts = [prompt_of_mask(mask, shape, use) for mask in masks]
        answers = self._segmenter.masks(self.sections.embedding_of(z), prompts)
        packed = [(PackedMask.of(answer.mask), answer.score) for answer in answers]
        return [Answer(mask, score) if mask is not None else None for mask, score in packed]

    def carry(
        self, z: int, pieces: Sequence[PackedMask], target: int, expected: Sequence[PackedMask]
    ) -> list[Answer | None]:
        """Ask where pieces of a section go on; what the segments contradict is cut off.

        Parameters
        ----------
        z : int
            The section that was.
        pieces : sequence of PackedMask
            The object there.
        target : int
            The section that is asked.
        expected : sequence of PackedMask
            The pieces as expected there; those that leave the section are missing.
        """
        answers = self.ask(target, expected)
        found = [answer.mask for answer in answers if answer is not None]
        before, there = masks_united(pieces), masks_united(expected)
        if self._guide is None or before is None or there is None:
            return answers
        hint = self._guide.hint(z, before, target, there, found)
        if hint is None:
            return answers
        mended: list[Answer | None] = []
        for answer in answers:
            mask = None if answer is None else hint.corrected(answer.mask)
            mended.append(Answer(mask, answer.score) if answer and mask else None)
        return mended

    def refusal(
        self,
        piece: PackedMask,
        answer: Answer | None,
        pieces: Sequence[PackedMask],
        z: int,
        target: int,
    ) -> tuple[StopReason, float] | None:
        """Return why an answer does not carry a piece on, or None if it does.

        Parameters
        ----------
        piece : PackedMask
            As expected in section `target`.
        answer : Answer or None
            What was found there.
        pieces : sequence of PackedMask
            All pieces of the object that are expected there, `piece` among them.
        z, target : int
            The section that was, and the one that is asked.
        """
        settings = self.settings
        if answer is None:
            return "empty", 0.0
        if answer.score < settings.min_score:
            return "score", answer.score
        # Pieces that merge are in the mask together.
        inside = [p for p in pieces if p is piece or self.lies_in(p, answer.mask)]
        before = masks_united(inside) or piece
        overlap = mask_overlap(before, answer.mask)
        ratio = answer.mask.area / before.area
        if overlap < settings.min_overlap:
            return "overlap", overlap
        if max(ratio, 1 / ratio) > settings.max_area_ratio:
            return "area", ratio
        if overlap < settings.sure_overlap:
            agreement = self._way_back(answer.mask, before, z, target)
            if agreement < settings.agreement:
                return "return", agreement
        return None

    def branches(
        self, piece: PackedMask, taken: Sequence[PackedMask], z: int, direction: int
    ) -> list[Answer]:
        """Return branches in a section.

        Parameters
        ----------
        piece : PackedMask
            Of the section next to it.
        taken : sequence of PackedMask
            What accounts for parts of the piece already.
        z : int
            The section that is asked.
        direction : int
            In which the branches would go on.
        """
        settings = self.settings
        rest = mask_without(piece, taken)
        if rest is None:
            return []
        least = max(settings.min_area, _LEAST_BRANCH * piece.area)
        likely = [p for p in mask_pieces(rest) if p.area >= least][:_MOST_BRANCHES]
        found: list[Answer] = []
        for answer in self.ask(z, likely):
            if answer is None or answer.score < settings.min_score:
                continue
            mask = answer.mask
            known = [*taken, *(branch.mask for branch in found)]
            contained = overlap_area(mask, piece) >= settings.min_containment * mask.area
            if (
                contained
                and not any(self.lies_in(mask, other) for other in known)
                and not self._grows(mask, z, direction)
            ):
                found.append(answer)
        return found

    def lies_in(self, mask: PackedMask, other: PackedMask) -> bool:
        """Whether enough of a mask lies in another one."""
        return overlap_area(mask, other) >= self.settings.agreement * mask.area

    def _way_back(self, mask: PackedMask, before: PackedMask, z: int, target: int) -> float:
        """Return how well what a mask leads back to is what it came from."""
        back = self.sections.moved(mask, target, z)
        source = self.sections.moved(before, target, z)
        if back is None or source is None:
            return 0.0
        (found,) = self.ask(z, [back])
        return mask_overlap(found.mask, source) if found is not None else 0.0

    def _grows(self, mask: PackedMask, z: int, direction: int) -> bool:
        """Whether a new mask grows away from where it begins, or does not go on at all."""
        beyond = z + direction
        if not self.sections.has(beyond):
            return False
        ahead = self.sections.moved(mask, z, beyond)
        if ahead is None:
            return True
        (answer,) = self.ask(beyond, [ahead])
        if answer is None or mask_overlap(answer.mask, ahead) < self.settings.min_overlap:
            return True
        return answer.mask.area >= self.settings.max_growth * mask.area
