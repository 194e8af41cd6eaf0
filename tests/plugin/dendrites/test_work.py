"""What a user's actions make of the state. No window, no worker."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_neuropil.plugin.dendrites.box_rows import (
    MOST_SHOWN,
    DrawnBox,
    apply_boxes,
    read_shapes,
    shape_of_box,
    shown_proposals,
)
from napari_neuropil.plugin.dendrites.cross_section import (
    CrossSection,
    Dot,
    Prompts,
    mask_wish,
    sample_path,
)
from napari_neuropil.plugin.dendrites.history import WorkHistory
from napari_neuropil.plugin.dendrites.records import Target
from napari_neuropil.plugin.dendrites.work import Work
from napari_neuropil.prompts.packed_mask import PackedMask

BOX = (10.0, 12.0, 20.0, 30.0)
OTHER = (30.0, 2.0, 38.0, 9.0)


def square(y: int, x: int, side: int = 4) -> PackedMask:
    mask = PackedMask.of(np.ones((side, side), bool), (y, x))
    assert mask is not None
    return mask


def answered(work: Work, z: int, mask: PackedMask) -> Work:
    target = work.target_at(z)
    assert target is not None
    section = work.section_at(target)
    assert section is not None
    return work.with_section(target, replace(section, mask=mask, known=True))


def accepted(z: int = 3) -> Work:
    return answered(Work().with_new_box(z, BOX), z, square(11, 13)).accepting(z)


def test_a_box_becomes_a_proposal_then_a_dendrite() -> None:
    work = Work().with_new_box(3, BOX)
    assert work.target_at(3) == Target("proposal", 1, 3)
    assert work.target_at(4) is None
    assert work.accepting(3) is work, "no mask yet"
    work = answered(work, 3, square(11, 13)).accepting(3)
    assert work.proposals[1].state == "accepted"
    assert work.proposals[1].dendrite == work.dendrite == 1
    assert work.target_at(3) == Target("dendrite", 1, 3)
    assert work.target_at(5) == Target("dendrite", 1, 5)
    assert list(work.dendrites[1].accepted) == [3]
    assert work.dendrites[1].edited == {3}


def test_a_second_accepted_box_is_another_dendrite_unless_joined() -> None:
    work = answered(accepted().with_new_box(5, OTHER), 5, square(31, 3))
    alone, joined = work.accepting(5), work.accepting(5, join=True)
    assert (len(alone.dendrites), alone.dendrite) == (2, 2)
    assert list(joined.dendrites) == [1]
    assert list(joined.dendrites[1].masks) == [3, 5]
    assert joined.proposals[2].dendrite == 1


def test_points_on_a_carried_mask_refine_that_mask() -> None:
    work = accepted()
    carried = square(12, 13)
    work = work.with_section(Target("dendrite", 1, 4), CrossSection(mask=carried, known=True))
    assert 4 not in work.dendrites[1].accepted
    work = work.with_dots(4, (Dot(12, 13),))
    section = work.dendrites[1].sections[4]
    assert section.prompts.base is carried
    assert section.mask is carried, "shown until the answer comes"
    assert section.wants_mask
    assert section.accepted
    again = work.with_dots(4, (Dot(12, 13), Dot(3, 3, False)))
    assert again.dendrites[1].sections[4].prompts.base is carried


def test_rejecting_a_section_says_that_the_dendrite_is_not_there() -> None:
    work = accepted()
    work = work.with_section(Target("dendrite", 1, 4), CrossSection(mask=square(1, 1), known=True))
    work = work.rejecting(4)
    assert work.dendrites[1].accepted == {3: work.dendrites[1].masks[3], 4: None}
    assert list(work.dendrites[1].masks) == [3]
    rejected = Work().with_new_box(2, BOX).rejecting(2)
    assert rejected.proposals[1].state == "rejected"
    assert not shown_proposals(rejected, 2)
    assert Work().rejecting(0).proposals == {}


def test_a_point_in_an_empty_place_begins_a_proposal() -> None:
    work = Work().with_dots(7, (Dot(5, 6),))
    assert work.target_at(7) == Target("proposal", 1, 7)
    assert work.proposals[1].section.prompts.askable
    assert not Work().with_dots(7, (Dot(5, 6, False),)).proposals[1].section.prompts.askable


def test_painted_masks_need_no_answer() -> None:
    mask = square(2, 2)
    work = accepted().with_mask(3, mask)
    section = work.dendrites[1].sections[3]
    assert section.mask is mask
    assert not section.wants_mask
    assert section.prompts.box is None
    assert Work().with_mask(3, None).proposals == {}
    assert Work().with_mask(3, mask).proposals[1].box == (2, 2, 6, 6)


def test_next_goes_round_over_what_is_open() -> None:
    work = Work().detected(0, [BOX, OTHER], [0.9, 0.8]).detected(1, [BOX], [0.7])
    assert work.current is None
    assert work.next_open() == 1
    assert work.next_open(-1) == 3
    work = work.selected(3)
    assert (work.next_open(), work.next_open(-1)) == (1, 2)
    work = work.selected(1).rejecting(0)
    assert work.selected(3).next_open() == 2
    assert Work().next_open() is None
    assert Work().with_new_box(0, BOX).next_open() is None, "the only one is selected"


def test_a_new_detection_replaces_what_nobody_has_touched() -> None:
    work = Work().detected(0, [BOX, OTHER], [0.9, 0.8])
    work = work.with_box(2, 0, (30.0, 2.0, 37.0, 9.0))
    again = work.detected(0, [BOX, OTHER], [0.5, 0.5])
    scores = {p.id: p.found for p in again.proposals.values()}
    assert scores == {2: 0.8, 3: 0.5}, "the moved box stays, and is not found a second time"


def test_moving_an_accepted_box_asks_anew_for_the_dendrite() -> None:
    work = accepted()
    moved = (11.0, 12.0, 21.0, 30.0)
    work = work.with_box(1, 3, moved)
    assert work.proposals[1].state == "accepted"
    section = work.dendrites[1].sections[3]
    assert section.prompts.box == moved
    assert section.wants_mask
    assert section.mask is not None


def test_undo_gives_back_the_masks_that_had_come() -> None:
    history = WorkHistory()
    history.push(history.now.with_new_box(3, BOX))
    history.amend(lambda work: answered(work, 3, square(11, 13)))
    history.push(history.now.with_dots(3, (Dot(12, 14, False),)))
    target = Target("proposal", 1, 3)
    assert history.undo()
    section = history.now.section_at(target)
    assert section is not None
    assert section.known
    assert section.prompts.dots == ()
    assert history.redo()
    assert history.now.section_at(target).prompts.dots == (Dot(12, 14, False),)  # type: ignore[union-attr]
    assert not history.redo()
    assert history.undo()
    assert history.undo()
    assert not history.undo()
    assert history.now.proposals == {}
    assert not history.push(history.now), "no step without a change"


def test_shapes_are_boxes_half_open() -> None:
    shape = (8, 40, 60)
    corners = shape_of_box(3, BOX)
    np.testing.assert_array_equal(corners[0], [3, 9.5, 11.5])
    assert read_shapes([corners], [5], shape) == [DrawnBox(5, 3, BOX)]
    outside = shape_of_box(3, (-5.0, 50.0, 5.0, 70.0))
    assert read_shapes([outside], [0], shape) == [DrawnBox(0, 3, (0.0, 50.0, 5.0, 60.0))]
    slipped = shape_of_box(3, (5.0, 5.0, 6.0, 6.0))
    beyond = shape_of_box(9, BOX)
    assert read_shapes([slipped, beyond, corners, corners], [0, 0, 5, 5], shape) == [
        DrawnBox(5, 3, BOX),
        DrawnBox(0, 3, BOX),
    ]


def test_the_table_follows_the_layer() -> None:
    work = Work().detected(0, [BOX, OTHER], [0.9, 0.8])
    same = [DrawnBox(1, 0, BOX), DrawnBox(2, 0, OTHER)]
    assert apply_boxes(work, same, (1, 2)) is work
    fewer = apply_boxes(work, same[:1], (1, 2))
    assert list(fewer.proposals) == [1]
    assert apply_boxes(work, same[:1], (1,)) is work, "2 was not drawn, so it was not deleted"
    more = apply_boxes(work, [*same, DrawnBox(0, 4, BOX)], (1, 2))
    assert more.proposals[3].z == 4
    assert more.current == 3
    moved = apply_boxes(work, [DrawnBox(1, 0, (9.0, 12.0, 20.0, 30.0)), same[1]], (1, 2))
    assert moved.proposals[1].touched
    assert moved.proposals[2] is work.proposals[2]


def test_a_new_box_that_is_read_twice_before_it_is_drawn_again_is_one_row() -> None:
    work = Work().detected(0, [BOX], [0.9])
    layer = [DrawnBox(1, 0, BOX), DrawnBox(0, 0, OTHER)]
    once = apply_boxes(work, layer, (1,))
    assert list(once.proposals) == [1, 2]
    assert apply_boxes(once, layer, (1,)) is once
    # Drawn again, a copy that lies on it is another box.
    assert list(apply_boxes(once, [*layer, DrawnBox(2, 0, OTHER)], (1, 2)).proposals) == [1, 2, 3]


def test_of_very_many_boxes_those_of_the_section_are_drawn() -> None:
    work = Work()
    for z in range(2):
        boxes = [(float(i), 0.0, i + 3.0, 3.0) for i in range(0, 4 * MOST_SHOWN, 5)]
        work = work.detected(z, boxes, [0.5] * len(boxes))
    assert {p.z for p in shown_proposals(work, 1)} == {1}


def test_a_scribble_is_points_along_it() -> None:
    points = sample_path([(0.0, 0.0), (0.0, 30.0), (30.0, 30.0)], most=5)
    np.testing.assert_allclose(points, [(0, 0), (0, 15), (0, 30), (15, 30), (30, 30)])
    assert sample_path([(4.0, 4.0), (4.0, 5.0)]) == [(4.0, 5.0)]
    assert len(sample_path([(0.0, 0.0), (0.0, 6.0)])) == 4


@pytest.mark.parametrize("base", [None, square(1, 2)])
def test_prompts_as_the_worker_takes_them(base: PackedMask | None) -> None:
    prompts = Prompts(BOX, (Dot(11, 12), Dot(1.5, 2, False)), base)
    wish = mask_wish(4, "proposal-1-3", 3, prompts)
    assert (wish.id, wish.key, wish.z, wish.box) == (4, "proposal-1-3", 3, BOX)
    assert wish.points == ((11, 12), (1.5, 2))
    assert wish.positive == (True, False)
    assert (wish.mask is None) == (base is None)
    if wish.mask is not None and base is not None:
        np.testing.assert_array_equal(wish.mask.packed().crop(), base.crop())
