"""What is asked of the worker, and where answers go. No window, no worker."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_neuropil.geometry import VoxelSize
from napari_neuropil.plugin.dendrites.cross_section import CrossSection, Dot
from napari_neuropil.plugin.dendrites.dendrite_text import (
    area_text,
    count_text,
    dendrite_text,
    stop_value_text,
)
from napari_neuropil.plugin.dendrites.following import FollowOptions, edited_section, reach_of
from napari_neuropil.plugin.dendrites.object_output import dense_crop, drawn_rows
from napari_neuropil.plugin.dendrites.prompt_desk import PromptDesk
from napari_neuropil.plugin.dendrites.records import Dendrite
from napari_neuropil.plugin.dendrites.work import Work
from napari_neuropil.prompts.packed_mask import PackedMask
from napari_neuropil.workflows.prompting.messages import (
    BoxesFound,
    Cancelled,
    Finished,
    MaskBits,
    MaskFound,
    Problem,
    SectionFound,
    StopFact,
)

BOX = (2.0, 2.0, 8.0, 8.0)


def square(y: int, x: int, side: int = 4) -> PackedMask:
    mask = PackedMask.of(np.ones((side, side), bool), (y, x))
    assert mask is not None
    return mask


def found(number: int, z: int, mask: PackedMask | None) -> MaskFound:
    bits = None if mask is None else MaskBits.of(mask)
    box = None if mask is None else mask.box
    return MaskFound(
        id=number, z=z, score=0.8, stability=1, box=box, mask=bits, seconds=0.01
    )  # fmt: skip


def section(number: int, z: int, mask: PackedMask | None) -> SectionFound:
    return SectionFound(
        id=number,
        z=z,
        mask=None if mask is None else MaskBits.of(mask),
        origin=3,
        direction=1,
        overlap=0.9,
        area_ratio=1,
        score=0.7,
        pieces=1,
    )


def stop(z: int, reason: str = "overlap") -> StopFact:
    return StopFact(
        z=z, direction=1, reason=reason, value=0.1, place=(4, 4), area=9, doubtful=True
    )  # fmt: skip


def dendrite(**sections: tuple[PackedMask | None, bool]) -> Dendrite:
    made = {
        int(name[1:]): CrossSection(mask=mask, known=True, accepted=said)
        for name, (mask, said) in sections.items()
    }
    return Dendrite(1, made)


def test_an_answer_counts_for_what_was_asked_only() -> None:
    desk, work = PromptDesk(), Work().with_new_box(3, BOX)
    wish = desk.wish(work, work.target_at(3))
    assert wish is not None
    assert wish.box == BOX
    assert desk.wish(work, work.target_at(3)) is None, "it is on its way"
    assert desk.waiting
    changed = work.with_dots(3, (Dot(4, 4),))
    newer = desk.wish(changed, changed.target_at(3))
    assert newer is not None
    assert newer.key == wish.key
    assert newer.id != wish.id
    assert desk.answer(changed, found(wish.id, 3, square(2, 2))) is changed, "too late"
    answered = desk.answer(changed, found(newer.id, 3, square(3, 3)))
    mask = answered.proposals[1].section.mask
    assert mask is not None
    assert mask.box == (3, 3, 7, 7)
    assert answered.proposals[1].section.score == 0.8
    assert desk.wish(answered, answered.target_at(3)) is None
    assert not desk.waiting
    assert desk.answer(answered, found(newer.id, 3, square(1, 1))) is answered, "not asked for"


def test_an_empty_answer_takes_the_mask_away_and_a_problem_frees_the_question() -> None:
    desk, work = PromptDesk(), Work().with_new_box(3, BOX)
    wish = desk.wish(work, work.target_at(3))
    assert wish is not None
    empty = desk.answer(work, found(wish.id, 3, None))
    assert empty.proposals[1].section.known
    assert empty.proposals[1].section.mask is None
    wish = desk.wish(work, work.target_at(3))
    assert wish is not None
    assert desk.answer(work, Problem(id=wish.id, type="X", found="no")) is work
    assert desk.wish(work, work.target_at(3)) is not None
    desk.forget()
    assert desk.wish(work, work.target_at(3)) is not None, "a new worker is asked again"


def test_detection_fills_the_table() -> None:
    desk = PromptDesk()
    wish = desk.detect((4, 5), 0.3)
    assert (wish.sections, wish.min_score) == ((4, 5), 0.3)
    event = BoxesFound(id=wish.id, z=4, boxes=(BOX,), scores=(0.6,), done=1, total=2)
    work = desk.answer(Work(), event)
    assert [(p.z, p.box, p.found) for p in work.proposals.values()] == [(4, BOX, 0.6)]
    assert desk.long is not None
    assert (desk.long.done, desk.long.total) == (1, 2)
    assert desk.answer(work, Finished(id=wish.id, seconds=1)) is work
    assert desk.long is None
    assert desk.answer(work, event) is work, "nobody waits any more"


def test_following_begins_where_the_user_edited() -> None:
    a = square(2, 2)
    fresh = dendrite(z3=(a, True))
    assert edited_section(fresh) is None
    carried = dendrite(z2=(a, False), z3=(a, True), z4=(a, False), z6=(a, True), z7=(a, False))
    assert edited_section(replace(carried, edited=frozenset({3}))) == 3
    assert edited_section(replace(carried, edited=frozenset({3, 6}))) is None
    assert reach_of(carried, 3) == (float("-inf"), 6)
    assert reach_of(carried, 6) == (3, float("inf"))


def test_sections_come_and_what_the_user_said_stays() -> None:
    a, b = square(2, 2), square(3, 3)
    thing = replace(
        dendrite(z1=(a, False), z3=(a, True), z4=(a, False), z6=(a, True), z8=(a, False)),
        edited=frozenset({3}),
        stops=(stop(5), stop(9)),
    )
    work = replace(Work().with_dendrite(thing), dendrite=1)
    desk = PromptDesk()
    begun, wish = desk.follow(work, FollowOptions(0.3, use_segments=False))
    assert wish is not None
    assert [m.z for m in wish.masks] == [3, 6]
    assert (wish.edited, wish.min_overlap, wish.branches) == (3, 0.3, False)
    assert not wish.use_segments
    assert sorted(begun.dendrites[1].sections) == [3, 6, 8], "beyond 6 nothing can change"
    assert [s.z for s in begun.dendrites[1].stops] == [9]
    assert not begun.dendrites[1].edited
    now = desk.answer(begun, section(wish.id, 4, b))
    now = desk.answer(now, section(wish.id, 6, b))
    now = desk.answer(now, section(wish.id, 2, b))
    now = desk.answer(now, section(wish.id, 2, None))
    masks = now.dendrites[1].masks
    assert {z: m.box[0] for z, m in masks.items()} == {3: 2, 4: 3, 6: 2, 8: 2}
    assert now.dendrites[1].sections[4].overlap == 0.9
    assert list(now.dendrites[1].accepted) == [3, 6]
    done = desk.answer(
        now, Finished(id=wish.id, seconds=1, stops=(stop(2), stop(4), stop(9, "volume")))
    )
    assert [(s.z, s.reason) for s in done.dendrites[1].stops] == [(2, "overlap"), (9, "volume")]


def test_following_without_an_accepted_mask_asks_nothing() -> None:
    desk = PromptDesk()
    assert desk.follow(Work(), FollowOptions(0.2, branches=True))[1] is None
    work = replace(Work().with_dendrite(dendrite(z2=(None, True))), dendrite=1)
    assert desk.follow(work, FollowOptions(0.2, branches=True))[1] is None
    assert desk.long is None


def test_a_cancelled_propagation_keeps_what_came() -> None:
    work = replace(Work().with_dendrite(dendrite(z3=(square(2, 2), True))), dendrite=1)
    desk = PromptDesk()
    begun, wish = desk.follow(work, FollowOptions(0.2, branches=True))
    assert wish is not None
    now = desk.answer(begun, section(wish.id, 4, square(2, 2)))
    now = desk.answer(now, Cancelled(id=wish.id))
    assert desk.long is None
    assert list(now.dendrites[1].masks) == [3, 4]


def test_a_dendrite_as_rows_and_as_a_crop() -> None:
    thing = dendrite(z3=(square(2, 3), True), z4=(None, True), z5=(square(4, 1, 2), False))
    labels, start = dense_crop(thing, (8, 20, 20))
    assert start == (3, 2, 1)
    assert labels.shape == (3, 4, 6)
    assert [int(s.sum()) for s in labels] == [16, 0, 4]
    assert labels[0, 0, 2] == labels[2, 2, 0] == 1
    drawing = drawn_rows(thing, (8, 20, 20))
    assert drawing.grid == (8, 20, 20)
    assert len(drawing.boxes) == 2


@pytest.mark.parametrize(
    ("pixels", "size", "text"),
    [
        (1240, None, "1 240 px"),
        (1240, VoxelSize(30, 6, 6), "1 240 px, 0.0446 µm²"),
        (12, VoxelSize(30, 6, 8), "12 px, 576 nm²"),
    ],
)
def test_sizes_in_words(pixels: int, size: VoxelSize | None, text: str) -> None:
    assert area_text(pixels, size) == text


def test_dendrites_and_stops_in_words() -> None:
    thing = dendrite(z3=(square(2, 3), True), z5=(square(4, 1), False))
    text = dendrite_text(thing, VoxelSize(30, 10, 10))
    assert text.splitlines() == [
        "Dendrite 1: sections 3-5, 1 of 2 accepted",
        "32 voxels, 9.6e-05 µm³",
        "1 section without a mask between",
    ]
    assert stop_value_text(stop(3)) == "overlap 0.10"
    assert stop_value_text(stop(3, "volume")) == ""
    assert [count_text(1, "box"), count_text(2, "box"), count_text(0, "section")] == [
        "1 box",
        "2 boxes",
        "0 sections",
    ]
