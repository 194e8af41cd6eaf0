"""Masks of sections become objects: continuations, branches, gaps, shifts, segments as evidence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_neuropil.errors import VolumeFormatError
from napari_neuropil.prompts.link_rules import LinkSettings
from napari_neuropil.prompts.linked_masks import LinkedMasks
from napari_neuropil.prompts.linking import link_masks
from napari_neuropil.prompts.packed_mask import PackedMask
from napari_neuropil.prompts.section_masks import (
    SectionMasks,
    aligned_overlaps,
    count_overlaps,
    masks_of_labels,
)

SHAPE = (120, 160)
Box = tuple[int, int, int, int]


def box(y0: int, x0: int, y1: int, x1: int) -> PackedMask:
    mask = np.zeros(SHAPE, np.bool_)
    mask[y0:y1, x0:x1] = True
    packed = PackedMask.of(mask)
    assert packed is not None
    return packed


def link(
    sections: Sequence[Sequence[Box]],
    settings: LinkSettings | None = None,
    *,
    missing: Sequence[int] = (),
    segments_of: Callable[[int], NDArray[Any] | None] | None = None,
) -> LinkedMasks:
    """Link rectangles, leaving out some sections."""
    given = [(z, [box(*b) for b in boxes]) for z, boxes in enumerate(sections) if z not in missing]
    return link_masks(given, settings, segments_of=segments_of)


def ids(linked: LinkedMasks) -> list[list[int]]:
    return [linked.ids_of(z).tolist() for z in sorted(set(linked.z.tolist()))]


def test_objects_that_drift_are_followed() -> None:
    sections = [[(10, 5 * z, 40, 30 + 5 * z), (60, 100 - 5 * z, 90, 120)] for z in range(8)]
    linked = link(sections)
    assert ids(linked) == [[1, 2]] * 8
    assert linked.count == 2
    assert linked.masks_of(2) == [(z, 1) for z in range(8)]


def test_order_of_the_masks_does_not_matter() -> None:
    linked = link([[(0, 0, 20, 20), (40, 0, 60, 20)], [(41, 0, 61, 20), (1, 0, 21, 20)]])
    assert ids(linked) == [[1, 2], [2, 1]]


def test_a_weak_overlap_is_not_enough() -> None:
    # 20 x 20 moved by 13: 140 of 660 pixels, 0.21; by 14: 120 of 680, 0.18.
    assert ids(link([[(0, 0, 20, 20)], [(0, 13, 20, 33)]])) == [[1], [1]]
    assert ids(link([[(0, 0, 20, 20)], [(0, 14, 20, 34)]])) == [[1], [2]]


def test_a_branch_leaves_and_joins_again() -> None:
    trunk, thin, side = (20, 20, 60, 80), (20, 20, 60, 55), (25, 60, 50, 80)
    sections = [[trunk], [trunk], [thin, side], [side, thin], [thin, side], [trunk], [trunk]]
    linked = link(sections)
    assert linked.count == 1


def test_a_tip_that_grows_is_somebody_else() -> None:
    # Both begin with the same masks; one stays as it is, the other pushes in.
    wide, narrow = (20, 20, 60, 80), (20, 20, 60, 64)
    steady = [[wide], [wide], [narrow, (20, 66, 60, 76)], [narrow, (20, 66, 60, 76)]]
    growing = [[wide], [wide], [narrow, (20, 66, 60, 76)], [narrow, (10, 66, 70, 79)]]
    assert ids(link(steady)) == [[1], [1], [1, 1], [1, 1]]
    assert ids(link(growing)) == [[1], [1], [1, 2], [1, 2]]
    # The same downwards.
    assert link(growing[::-1]).count == 2
    assert link(steady[::-1]).count == 1


def test_whoever_goes_on_is_nobodys_branch() -> None:
    # The second one jumps into the place of the first, but it has a partner below.
    low = [(20, 20, 60, 80), (20, 80, 60, 86)]
    high = [(20, 20, 60, 64), (20, 66, 60, 86)]
    assert ids(link([low, low, high, high])) == [[1, 2]] * 4


def test_a_mask_of_one_section_must_lie_well_inside() -> None:
    wide, narrow = (20, 20, 60, 80), (20, 20, 60, 60)
    inside = [[wide], [narrow, (30, 64, 50, 84)], [narrow]]  # 16 of 20 columns
    deeper = [[wide], [narrow, (30, 62, 50, 82)], [narrow]]  # 18 of 20
    assert link(inside).count == 2
    assert link(deeper).count == 1


def test_a_chain_does_not_join_two_parents() -> None:
    # Below it lies in one wide object, above in another one: one of them at most is right.
    left, right = (20, 10, 60, 70), (20, 50, 60, 110)
    child = (25, 52, 50, 66)
    sections = [
        [left],
        [left],
        [(20, 10, 60, 48), child],
        [(20, 10, 60, 48), child, (20, 75, 60, 110)],
        [right, (20, 10, 60, 48)],
        [right, (20, 10, 60, 48)],
    ]
    linked = link(sections)
    assert linked.count == 2
    refused = [d for d in linked.doubtful if not d.linked]
    assert len(refused) == 1
    assert refused[0].stake == 2 * 25 * 14
    assert refused[0].worth == 0.5 * refused[0].stake


def test_nothing_floods_by_small_overlaps_inside() -> None:
    # Overlap over the smaller area is 1 everywhere; each is a tip that grows into the next one.
    sections = [[(0, 0, 40, 40), (0, 40, 40, 80)] for _ in range(3)]
    sections += [[(0, 0, 40, 30), (0, 30, 40, 80)], [(0, 0, 40, 10), (0, 10, 40, 80)]]
    sections += [[(0, 0, 40, 4), (0, 4, 40, 80)], [(0, 0, 40, 80)], [(0, 0, 40, 80)]]
    linked = link(sections)
    assert ids(linked)[0] == [1, 2]
    assert set(linked.ids_of(7).tolist()) == {2}


def test_objects_go_on_over_a_missing_section() -> None:
    sections = [[(10, 4 * z, 40, 40 + 4 * z)] for z in range(6)]
    assert link(sections, missing=[2]).count == 1
    assert link(sections, LinkSettings(bridge=False), missing=[2]).count == 2
    assert link(sections, missing=[2, 3]).count == 2
    empty: list[list[Box]] = [list(s) for s in sections]
    empty[2] = []
    assert link(empty).count == 1


def test_objects_go_on_over_a_missing_mask() -> None:
    other = (80, 80, 110, 120)
    there, gone = [(10, 0, 40, 40), other], [other]
    assert link([there, there, gone, there, there]).count == 2
    assert link([there, there, gone, there, there], LinkSettings(bridge=False)).count == 3
    # Not where somebody else lies between,
    between = link([there, there, [(0, 16, 100, 100), other], there, there])
    assert between.ids_of(0)[0] != between.ids_of(4)[0]
    # nor where the one tapers off and the other begins.
    tip = [(20, 10, 32, 26), other]
    assert link([there, there, tip, gone, tip, there, there]).count == 3


def test_segments_as_evidence() -> None:
    weak = [[(0, 0, 20, 20)], [(0, 12, 20, 32)]]  # 0.25
    faint = [[(0, 0, 20, 20)], [(0, 14, 20, 34)]]  # 0.18
    strong = [[(0, 0, 20, 20)], [(0, 5, 20, 25)]]  # 0.6

    def segments(first: int, second: int) -> Callable[[int], NDArray[Any]]:
        def of(z: int) -> NDArray[Any]:
            section = np.full(SHAPE, second if z else first, np.uint64)
            section[50:] = 9  # in common, so that the ids mean the same in both
            return section

        return of

    apart, together = segments(1, 2), segments(1, 1)
    third = [(60, 0, 90, 40)]
    for boxes, without, wrong, right in ((weak, 1, 2, 1), (faint, 2, 2, 1), (strong, 1, 1, 1)):
        sections = [[*boxes[0], *third], [*boxes[1], *third]]
        assert link(sections).count == without + 1
        assert link(sections, segments_of=apart).count == wrong + 1
        assert link(sections, segments_of=together).count == right + 1
    # Also over a missing section.
    gap = [[*faint[0], *third], [], [*faint[1], *third]]
    assert link(gap).count == 3
    assert link(gap, segments_of=together).count == 2


def test_segments_that_know_nothing_contradict_nothing() -> None:
    weak = [[(0, 0, 20, 20)], [(0, 12, 20, 32)]]
    assert link(weak, segments_of=lambda z: np.zeros(SHAPE, np.uint64)).count == 1
    assert link(weak, segments_of=lambda z: None).count == 1
    # Different segments, but most of the masks lies in none.

    def little(z: int) -> NDArray[Any]:
        section = np.zeros(SHAPE, np.uint64)
        section[0:20, 12:14], section[100] = z + 1, 9
        return section

    third = (95, 0, 110, 40)
    sections = [[*weak[0], third], [*weak[1], third]]
    assert link(sections, segments_of=little).count == 2
    # Ids of single sections: nothing is in common anywhere.
    assert link(weak, segments_of=lambda z: np.full(SHAPE, z + 1)).count == 1


def blobs(seed: int, count: int = 40) -> list[Box]:
    rng = np.random.default_rng(seed)
    places = [(y, x) for y in range(10, 100, 15) for x in range(10, 140, 15)]
    chosen = rng.permutation(len(places))[:count]
    return [(y, x, y + 10, x + 10) for y, x in (places[i] for i in chosen)]


def test_shifts_between_sections_are_taken_out() -> None:
    first = blobs(0)
    jumps = [(0, 0), (6, -5), (2, 0), (7, 4)]
    sections = [[(y + a, x + b, q + a, r + b) for y, x, q, r in first] for a, b in jumps]
    linked = link(sections)
    assert ids(linked) == [list(range(1, 41))] * 4
    assert link(sections, LinkSettings(align=False)).count > 60


def test_no_shift_is_made_up() -> None:
    boxes = [box(*b) for b in blobs(1)]
    rng = np.random.default_rng(2)
    wobbled = []
    for y, x, q, r in blobs(1):
        dy, dx = rng.integers(-2, 3, 2).tolist()
        wobbled.append(box(y + dy, x + dx, q + dy, r + dx))
    one, other = SectionMasks.of(boxes), SectionMasks.of(wobbled)
    assert aligned_overlaps(one, other).shift in ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0))
    # A pixel is within the noise of large masks, four are not.
    side = np.ones((60, 60), np.bool_)
    for move, expected in ((1, (0, 0)), (4, (0, 4))):
        large = [
            SectionMasks.of([p for n in range(9) if (p := PackedMask.of(side, (0, 99 * n + by)))])
            for by in (0, move)
        ]
        assert aligned_overlaps(large[0], large[1]).shift == expected
    # Few masks that all lean one way are neurites, not a shift.
    few = SectionMasks.of([box(0, 0, 20, 20), box(40, 0, 60, 20)])
    leaning = SectionMasks.of([box(4, 0, 24, 20), box(44, 0, 64, 20)])
    assert aligned_overlaps(few, leaning).shift == (0, 0)


@pytest.mark.parametrize("shift", [(0, 0), (3, -2)])
def test_overlaps_equal_those_of_dense_masks(shift: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    sides: list[list[NDArray[np.bool_]]] = []
    for _ in range(2):
        masks = []
        for _ in range(9):
            y, x, h, w = (int(n) for n in rng.integers(1, 40, 4))
            mask = np.zeros(SHAPE, np.bool_)
            mask[y : y + h, x : x + w] = rng.random((h, w)) < 0.7
            mask[y, x] = True
            masks.append(mask)
        sides.append(masks)
    packed = [[p for p in map(PackedMask.of, side) if p is not None] for side in sides]
    table = count_overlaps(SectionMasks.of(packed[0]), SectionMasks.of(packed[1]), shift)
    expected = {}
    for i, one in enumerate(sides[0]):
        for j, other in enumerate(sides[1]):
            back = np.roll(other, [-n for n in shift], (0, 1))
            if np.count_nonzero(one & back):
                expected[i, j] = np.count_nonzero(one & back)
    found = zip(table.first.tolist(), table.second.tolist(), table.shared.tolist(), strict=True)
    assert {(i, j): n for i, j, n in found} == expected


def test_centres_of_mass() -> None:
    masks = SectionMasks.of([box(2, 4, 4, 10), box(0, 0, 1, 1)])
    np.testing.assert_array_equal(masks.centres(), [[2.5, 6.5], [0, 0]])


def test_masks_of_a_label_image() -> None:
    labels = np.zeros(SHAPE, np.uint64)
    labels[3:5, 3:9] = 2**60
    labels[10:12, 1] = labels[20, 5] = 4
    masks = masks_of_labels(labels)
    assert [(m.area, m.start) for m in masks] == [(3, (10, 1)), (12, (3, 3))]
    assert masks_of_labels(np.zeros(SHAPE, int)) == []
    full = masks_of_labels(np.full((2, 3), 5))
    assert [m.area for m in full] == [6]
    with pytest.raises(VolumeFormatError, match="one section of whole numbers"):
        masks_of_labels(np.zeros(SHAPE))


def test_objects_are_put_together() -> None:
    sections = [[(0, 0, 20, 20)], [(0, 0, 20, 8), (0, 10, 20, 20)], [(0, 0, 20, 20)]]
    masks = {z: [box(*b) for b in boxes] for z, boxes in enumerate(sections)}
    linked = link_masks(masks.items())
    thing = linked.object_of(1, masks, (3, *SHAPE))
    assert thing.voxels == 400 + 360 + 400
    assert thing.section(1)[:20, :20].sum(axis=0).tolist() == [20] * 8 + [0, 0] + [20] * 10


def test_edges() -> None:
    assert link([]).count == 0
    assert link([[], [], []]).count == 0
    alone = link([[], [(0, 0, 3, 3)], []])
    assert alone.count == 1
    assert alone.ids_of(0).tolist() == []
    assert alone.ids_of(1).tolist() == [1]
    assert alone.doubtful == ()
    # The whole section, and equal masks twice: only one of them goes on.
    whole = (0, 0, 120, 160)
    assert link([[whole], [whole], [whole]]).count == 1
    twice = link([[(0, 0, 9, 9), (0, 0, 9, 9)], [(0, 0, 9, 9)]])
    assert twice.count <= 2
    with pytest.raises(VolumeFormatError, match="ascending"):
        link_masks([(1, []), (1, [])])


def test_doubtful_links_say_where_they_are() -> None:
    weak = [[(0, 0, 20, 20)], [(0, 0, 20, 20)], [(0, 12, 20, 32)], [(0, 12, 20, 32)]]
    linked = link(weak)
    assert linked.count == 1
    (doubt,) = linked.doubtful
    assert (doubt.z, doubt.mask, doubt.other_z, doubt.other_mask) == (1, 0, 2, 0)
    assert doubt.linked
    assert doubt.overlap == pytest.approx(160 / 640)
    assert doubt.stake == 800
    assert np.isnan(doubt.agreement)
    assert 0 < doubt.worth < 0.1 * doubt.stake
