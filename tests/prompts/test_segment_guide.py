"""Segments take leaks off a walk and fill it up; where they are wrong it stays as it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_neuropil.prompts.packed_mask import PackedMask
from napari_neuropil.prompts.prompt import Prompt, SectionMask
from napari_neuropil.prompts.propagation import propagate
from napari_neuropil.prompts.propagation_evidence import Stop
from napari_neuropil.prompts.propagation_settings import Sections
from napari_neuropil.prompts.segment_guide import SegmentGuide
from napari_neuropil.prompts.segmenter import ImageEmbedding

Mask = NDArray[np.bool_]
Labels = NDArray[np.int64]
Shift = Callable[[int, int], tuple[float, float]]
SIDE, DEPTH = 120, 6
OBJECT = (slice(40, 70), slice(30, 60))
BESIDE = (slice(40, 70), slice(60, 90))
"""A neighbour that touches the object."""


class Told:
    """Answers every prompt in a section with the mask it was told."""

    name, fingerprint, longest_side = "told", "0", 1024

    def __init__(self, answers: Mask) -> None:
        self.answers = answers

    def embed(self, section: NDArray[np.uint8]) -> ImageEmbedding:
        raise AssertionError("nobody embeds here")

    def masks(self, embedding: ImageEmbedding, prompts: Sequence[Prompt]) -> list[SectionMask]:
        z = int(embedding.arrays["z"][0])
        return [SectionMask(self.answers[z], 0.75) for _ in prompts]


def truth() -> Mask:
    mask = np.zeros((DEPTH, SIDE, SIDE), np.bool_)
    mask[:, *OBJECT] = True
    return mask


def two_segments() -> Labels:
    """The object is 1 and its neighbour 2, all else is 3."""
    segments = np.full((DEPTH, SIDE, SIDE), 3, np.int64)
    segments[:, *OBJECT], segments[:, *BESIDE] = 1, 2
    return segments


def walked(
    answers: Mask,
    segments: NDArray[np.generic] | None,
    accepted: Mapping[int, Mask] | None = None,
    *,
    shift: Shift | None = None,
) -> tuple[Mask, list[Stop]]:
    """Return the object as carried on from section 0, and where it stopped."""
    known = {0: truth()[0]} if accepted is None else accepted
    found = np.zeros_like(answers)
    stops: list[Stop] = []
    for z, mask in known.items():
        found[z] = mask
    sections = Sections(
        answers.shape,
        lambda z: ImageEmbedding({"z": np.array([z])}, (SIDE, SIDE)),
        shift,
    )
    steps = propagate(
        known,
        Told(answers),
        sections,
        segments_of=None if segments is None else segments.__getitem__,
        on_stop=stops.append,
    )
    for z, mask, _ in steps:
        assert z not in known
        found[z] = mask
    return found, [stop for stop in stops if stop.is_doubtful]


@pytest.mark.parametrize("width", [2, 10, 30])
def test_a_leak_is_cut_off(width: int) -> None:
    answers = truth()
    answers[2:, 40:70, 60 : 60 + width] = True
    found, stops = walked(answers, two_segments())
    np.testing.assert_array_equal(found, truth())
    assert not stops
    # As before where there are no segments.
    np.testing.assert_array_equal(walked(answers, None)[0], answers)


def test_a_leak_too_large_to_be_believed_no_longer_ends_the_walk() -> None:
    answers = truth()
    answers[3, 5:115, 5:115] = True
    (stop,) = walked(answers, None)[1]
    assert (stop.z, stop.reason) == (3, "overlap")
    found, stops = walked(answers, two_segments())
    np.testing.assert_array_equal(found, truth())
    assert not stops


def test_a_neighbour_that_was_grazed_before_is_still_one() -> None:
    # The accepted mask takes in a little of it; that alone gives it no right to more.
    accepted = truth()[0]
    accepted[40:70, 60:65] = True
    answers = truth()
    answers[1:, 40:70, 60:88] = True
    found, _ = walked(answers, two_segments(), {0: accepted})
    np.testing.assert_array_equal(found[1:], truth()[1:])
    np.testing.assert_array_equal(found[0], accepted)


def test_what_a_cut_leaves_over_is_no_piece() -> None:
    answers, segments = truth(), two_segments()
    answers[2:, 70:90, 30:60] = True
    segments[:, 88:90, 30:33] = 1  # a speck of the object's segment, beyond what is cut
    found, stops = walked(answers, segments)
    np.testing.assert_array_equal(found, truth())
    assert not stops


def test_an_answer_that_is_all_leak_is_empty() -> None:
    answers = truth()
    answers[3] = False
    answers[3, *BESIDE] = True
    found, stops = walked(answers, two_segments())
    np.testing.assert_array_equal(found[:3], truth()[:3])
    assert not found[3:].any()
    assert [(stop.z, stop.reason) for stop in stops] == [(3, "empty")]


def test_a_held_segment_is_filled_up_where_most_of_it_is_covered() -> None:
    answers = truth()
    answers[2, 40:48] = False  # 22 of 30 rows
    answers[4, 40:50] = False  # 20 of 30
    found, _ = walked(answers, two_segments())
    np.testing.assert_array_equal(found[:4], truth()[:4])
    np.testing.assert_array_equal(found[4], answers[4])


def test_half_a_segment_is_not_held() -> None:
    # The object is half of segment 1; a mask of three quarters of that is not made the whole.
    answers, segments = truth(), two_segments()
    segments[segments == 2] = 1
    answers[2, 40:70, 60:78] = True
    np.testing.assert_array_equal(walked(answers, segments)[0][2], answers[2])


def test_a_merged_segment_changes_nothing() -> None:
    answers = truth()
    merged = two_segments()
    merged[merged == 2] = 1
    np.testing.assert_array_equal(walked(answers, merged)[0], answers)
    # Joined from section 2 on, or by a bridge in one section.
    later = two_segments()
    later[2:, *BESIDE] = 1
    np.testing.assert_array_equal(walked(answers, later)[0], answers)
    once = two_segments()
    once[:, 5:20, 5:115], once[1, 5:41, 50:55] = 1, 1
    np.testing.assert_array_equal(walked(answers, once)[0], answers)
    # Everything is one segment.
    np.testing.assert_array_equal(walked(answers, np.ones_like(merged))[0], answers)


def test_a_split_segment_changes_nothing() -> None:
    answers = truth()
    along = two_segments()
    along[3:, *OBJECT] = 7  # a new id in the middle of the object
    across = two_segments()
    across[2:, 40:70, 50:60] = 8  # a third of it is called otherwise
    crumbs = two_segments()
    grid = np.arange(SIDE) // 10
    tiles = 10 + grid[:, None] * 12 + grid
    crumbs[:, *OBJECT] = tiles[OBJECT]
    for segments in (along, across, crumbs):
        found, stops = walked(answers, segments)
        np.testing.assert_array_equal(found, answers)
        assert not stops


def test_a_new_segment_beside_the_object_is_a_leak() -> None:
    # It begins in section 3, beside the object; that the mask takes all of it does not help.
    answers, segments = truth(), two_segments()
    answers[3:, *BESIDE] = True
    segments[3:, *BESIDE] = 9
    np.testing.assert_array_equal(walked(answers, segments)[0], truth())


@pytest.mark.parametrize("numbering", ["own ids", "ids from 1", "none", "no segments"])
def test_ids_of_single_sections_change_nothing(numbering: str) -> None:
    answers = truth()
    answers[2:, 40:70, 60:80] = True
    segments = two_segments()
    if numbering == "own ids":
        segments += 10 * np.arange(DEPTH)[:, None, None]
    elif numbering == "ids from 1":
        for z in range(DEPTH):
            segments[z] = np.array([0, 1, 2, 3])[np.roll([1, 2, 3], z)][segments[z] - 1]
    elif numbering == "none":
        segments[:] = 0
    found, stops = walked(answers, segments)
    if numbering == "no segments":
        segments[1:] = 0
        found, stops = walked(answers, segments)
    np.testing.assert_array_equal(found, answers)
    assert not stops


def test_what_lies_in_no_segment_stays() -> None:
    answers, segments = truth(), two_segments()
    answers[2:, 36:40, 30:60] = True
    segments[:, 36:40] = 0
    np.testing.assert_array_equal(walked(answers, segments)[0], answers)


def test_the_users_masks_come_before_the_segments() -> None:
    # The user says that the neighbour belongs to the object, in the first and in the last section.
    both = truth()
    both[:, *BESIDE] = True
    for accepted in ({0: both[0]}, {0: both[0], DEPTH - 1: both[-1]}):
        found, stops = walked(both, two_segments(), accepted)
        np.testing.assert_array_equal(found, both)
        assert not stops


def test_a_leak_is_cut_from_both_ends_of_a_gap() -> None:
    answers = truth()
    answers[2:4, *BESIDE] = True
    accepted = {0: truth()[0], DEPTH - 1: truth()[-1]}
    found, stops = walked(answers, two_segments(), accepted)
    np.testing.assert_array_equal(found, truth())
    assert not stops


def test_known_shifts_are_followed() -> None:
    moved, segments = truth(), two_segments()
    moved[3:], segments[3:] = np.roll(moved[3:], 20, axis=2), np.roll(segments[3:], 20, axis=2)
    answers = moved.copy()
    answers[3:, 40:70, 80:90] = True

    def shift(here: int, there: int) -> tuple[float, float]:
        return 0.0, 20.0 * ((there >= 3) - (here >= 3))

    np.testing.assert_array_equal(walked(answers, segments, shift=shift)[0], moved)


def test_ids_of_any_size_and_masks_at_the_border() -> None:
    segments = two_segments().astype(np.uint64) + np.uint64(2**63)
    answers = truth()
    answers[:, 0:40, 30:60] = True  # up to the border
    segments[:, 0:40, 30:60] = 2**63 + 1
    leak = answers.copy()
    leak[2:, 60:70, 60:90] = True
    np.testing.assert_array_equal(walked(leak, segments, {0: answers[0]})[0], answers)


def test_sections_are_read_once_on_the_way() -> None:
    read: list[int] = []
    segments = two_segments()

    def segments_of(z: int) -> Labels:
        read.append(z)
        section: Labels = segments[z]
        return section

    guide = SegmentGuide(segments_of)
    mask = PackedMask.of(truth()[0])
    assert mask is not None
    for z in range(DEPTH - 1):
        hint = guide.hint(z, mask, z + 1, mask, [mask])
        assert hint is not None
        assert hint.corrected(mask) is mask
    assert read == list(range(DEPTH))
    assert SegmentGuide(lambda z: None).hint(0, mask, 1, mask, [mask]) is None
