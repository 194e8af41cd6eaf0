"""Objects are carried from accepted sections outward and into gaps; stops say why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_neuropil.errors import SettingsError, VolumeFormatError
from napari_neuropil.prompts.mask_prompts import MaskPrompting
from napari_neuropil.prompts.prompt import Prompt, SectionMask
from napari_neuropil.prompts.propagation import propagate, reach_of_edit
from napari_neuropil.prompts.propagation_evidence import Evidence, Stop
from napari_neuropil.prompts.propagation_settings import PropagationSettings, Sections
from napari_neuropil.prompts.segmenter import ImageEmbedding

Mask = NDArray[np.bool_]
SIDE = 100
Box = tuple[int, int, int, int]


class Oracle:
    """Knows every piece of every section, and returns the one that fits the prompt best.

    Parameters
    ----------
    scores : mapping of int to float
        Expected quality in some sections; 1 elsewhere.
    """

    name, fingerprint, longest_side = "oracle", "0", 1024

    def __init__(self, scores: Mapping[int, float] | None = None) -> None:
        self.scores = scores or {}
        self.asked: list[int] = []

    def embed(self, section: NDArray[np.uint8]) -> ImageEmbedding:
        raise AssertionError("nobody embeds here")

    def masks(self, embedding: ImageEmbedding, prompts: Sequence[Prompt]) -> list[SectionMask]:
        labels = embedding.arrays["labels"]
        z = int(embedding.arrays["z"][0])
        self.asked += [z] * len(prompts)
        return [SectionMask(self._best(labels, p), self.scores.get(z, 1.0)) for p in prompts]

    def _best(self, labels: NDArray[np.generic], prompt: Prompt) -> Mask:
        asked = np.zeros(labels.shape, np.bool_)
        if prompt.mask is not None:
            asked = prompt.mask
        elif prompt.box is not None:
            y0, x0, y1, x1 = (int(n) for n in prompt.box)
            asked[y0:y1, x0:x1] = True
        else:
            y, x = prompt.points[0].astype(int)
            return np.asarray((labels == labels[y, x]) & (labels != 0))
        best, mask = 0.0, np.zeros(labels.shape, np.bool_)
        for name in np.unique(labels[asked]):
            piece = labels == name
            overlap = np.count_nonzero(piece & asked) / np.count_nonzero(piece | asked)
            if name != 0 and overlap > best:
                best, mask = overlap, piece
        return mask


BRANCHING = PropagationSettings(branches=True)


class Volume:
    """Sections of rectangles; each has its own id, `object` holds the first `mine` of a section.

    Parameters
    ----------
    sections : sequence of sequence of box
        y0, x0, y1, x1.
    mine : sequence of int
        How many rectangles of each section belong to the object.
    """

    def __init__(self, sections: Sequence[Sequence[Box]], mine: Sequence[int]) -> None:
        self.labels = np.zeros((len(sections), SIDE, SIDE), np.int64)
        for z, boxes in enumerate(sections):
            for name, (y0, x0, y1, x1) in enumerate(boxes, 1):
                self.labels[z, y0:y1, x0:x1] = name
        limits = np.array(mine)[:, None, None]
        self.object: Mask = (self.labels > 0) & (self.labels <= limits)

    def sections(self, shift: Callable[[int, int], tuple[float, float]] | None = None) -> Sections:
        def embedding_of(z: int) -> ImageEmbedding:
            arrays = {"labels": self.labels[z], "z": np.array([z])}
            return ImageEmbedding(arrays, (SIDE, SIDE))

        depth = len(self.labels)
        return Sections((depth, SIDE, SIDE), embedding_of, shift)


class Result:
    """What came out: the object, and why it ended."""

    def __init__(
        self,
        volume: Volume,
        accepted: Mapping[int, Mask] | Sequence[int],
        settings: PropagationSettings | None = None,
        **options: object,
    ) -> None:
        if not isinstance(accepted, Mapping):
            accepted = {z: volume.object[z] for z in accepted}
        segmenter = options.pop("segmenter", None) or Oracle()
        shift = options.pop("shift", None)
        self.stops: list[Stop] = []
        self.evidence: dict[int, Evidence] = {}
        self.masks = np.zeros(volume.labels.shape, np.bool_)
        for z, mask in accepted.items():
            self.masks[z] = mask
        steps = propagate(
            accepted,
            segmenter,  # type: ignore[arg-type]
            volume.sections(shift),  # type: ignore[arg-type]
            settings,
            on_stop=self.stops.append,
            **options,  # type: ignore[arg-type]
        )
        for z, mask, evidence in steps:
            assert z not in accepted
            self.masks[z] = mask
            self.evidence[z] = evidence

    def reasons(self) -> list[tuple[int, int, str]]:
        return sorted((s.z, s.direction, s.reason) for s in self.stops)


def tube(depth: int, step: int = 3, width: int = 30) -> Volume:
    boxes = [[(20, 5 + step * z, 50, 5 + step * z + width), (60, 0, 99, 99)] for z in range(depth)]
    return Volume(boxes, [1] * depth)


@pytest.mark.parametrize("start", [0, 1, 2])
def test_a_volume_of_three_sections(start: int) -> None:
    volume = tube(3)
    result = Result(volume, [start])
    np.testing.assert_array_equal(result.masks, volume.object)
    ends = {0: [(2, 1, "volume")], 2: [(0, -1, "volume")]}
    both = [(0, -1, "volume"), (2, 1, "volume")]
    assert result.reasons() == ends.get(start, both)
    assert not any(stop.is_doubtful for stop in result.stops)


def test_evidence_is_what_was_measured() -> None:
    result = Result(tube(3), [0])
    first = result.evidence[1]
    assert (first.origin, first.direction, first.pieces) == (0, 1, 1)
    assert first.overlap == pytest.approx(27 / 33)
    assert (first.area_ratio, first.score, first.agreement) == (1, 1, None)


@pytest.mark.parametrize(
    "prompting",
    [
        MaskPrompting(),
        MaskPrompting(box=False, mask=False),
        MaskPrompting(box=False, points=3),
    ],
)
def test_any_prompt_will_do(prompting: MaskPrompting) -> None:
    volume = tube(6)
    result = Result(volume, [2], PropagationSettings(prompting=prompting))
    np.testing.assert_array_equal(result.masks, volume.object)


def forked() -> Volume:
    """A trunk that becomes two, and one again; neighbours on both sides."""
    trunk, thin, side = (20, 20, 60, 80), (20, 20, 60, 55), (25, 60, 50, 80)
    left, right = (20, 0, 60, 18), (20, 82, 60, 99)
    whole, parts = [trunk, left, right], [thin, side, left, right]
    order = [whole, whole, parts, parts, parts, whole, whole]
    return Volume(order, [1, 1, 2, 2, 2, 1, 1])


@pytest.mark.parametrize("start", [0, 3, 6])
def test_branches_are_carried_on_and_joined_again(start: int) -> None:
    volume = forked()
    result = Result(volume, [start], BRANCHING)
    np.testing.assert_array_equal(result.masks, volume.object)
    assert all(stop.reason == "volume" for stop in result.stops)


def test_many_branches_join_in_one_section() -> None:
    # Each of them alone has a sixth in common with the whole.
    strips = [(20, 10 + 12 * n, 60, 20 + 12 * n) for n in range(6)]
    volume = Volume([strips, strips, [(20, 10, 60, 80)]], [6, 6, 1])
    result = Result(volume, [0])
    np.testing.assert_array_equal(result.masks, volume.object)
    assert [stop.reason for stop in result.stops] == ["volume"]


def test_a_piece_that_another_one_takes_in_is_not_lost() -> None:
    # What resembles the small piece most is a neighbour; but it is in the large one now.
    large, small = (20, 20, 60, 70), (64, 20, 68, 40)
    volume = Volume([[large, small], [(20, 20, 67, 70), (67, 20, 72, 50)]], [2, 1])
    result = Result(volume, [0])
    np.testing.assert_array_equal(result.masks, volume.object)
    assert [stop.reason for stop in result.stops] == ["volume"]


def test_without_branches_one_is_lost() -> None:
    volume = forked()
    result = Result(volume, [0])
    assert not result.masks[3, 25:50, 60:80].any()
    assert result.masks[3, 20:60, 20:55].all()


def test_a_branch_from_behind_is_found() -> None:
    # A fork that opens downwards; only one of its arms was accepted.
    one, other, both = (20, 20, 60, 48), (20, 52, 60, 80), (20, 20, 60, 80)
    volume = Volume([[one, other]] * 4 + [[both]] * 3, [2] * 4 + [1] * 3)
    accepted = np.zeros((SIDE, SIDE), np.bool_)
    accepted[20:60, 20:48] = True
    result = Result(volume, {0: accepted}, BRANCHING)
    np.testing.assert_array_equal(result.masks[1:], volume.object[1:])
    np.testing.assert_array_equal(result.masks[0], accepted)  # the user's own


def test_a_tip_that_pushes_in_is_not_a_branch() -> None:
    wide, narrow = (20, 20, 60, 80), (20, 20, 60, 60)
    grows = [[wide]] * 2 + [[narrow, (20, 63, 60, 76)], [narrow, (15, 63, 70, 80)]]
    volume = Volume([*grows, [narrow, (5, 63, 90, 90)]], [1] * 5)
    result = Result(volume, [0])
    np.testing.assert_array_equal(result.masks, volume.object)


def test_where_the_object_ends_a_neighbour_is_not_taken() -> None:
    here, there = (20, 10, 50, 40), (20, 34, 50, 90)
    volume = Volume([[here], [here], [there], [there]], [1, 1, 0, 0])
    result = Result(volume, [0])
    np.testing.assert_array_equal(result.masks, volume.object)
    (stop,) = result.stops
    assert (stop.z, stop.direction, stop.reason) == (2, 1, "overlap")
    assert stop.value == pytest.approx(6 / 80)
    assert stop.is_doubtful
    assert stop.area == 900
    assert volume.object[1][stop.place]


def test_each_reason_to_stop() -> None:
    tubes = tube(4)
    low = Result(tubes, [0], PropagationSettings(min_score=0.5), segmenter=Oracle({2: 0.4}))
    assert [(s.z, s.reason, s.value) for s in low.stops] == [(2, "score", 0.4)]

    box = (20, 20, 50, 50)
    gone = Result(Volume([[box], [box], [], [box]], [1, 1, 0, 1]), [0])
    assert [(s.z, s.reason) for s in gone.stops] == [(2, "empty")]

    wide = (20, 20, 50, 95)
    jump = Result(
        Volume([[box], [box], [wide]], [1, 1, 0]), [0], PropagationSettings(max_area_ratio=2.0)
    )
    assert [(s.z, s.reason, s.value) for s in jump.stops] == [(2, "area", 2.5)]

    # The mask in section 1 has more in common with another one of section 0.
    leads = [[(20, 20, 50, 50), (20, 52, 50, 85)], [(20, 37, 50, 85)]]
    back = Result(Volume(leads, [1, 0]), [0])
    assert [(s.z, s.reason) for s in back.stops] == [(1, "return")]
    assert not back.masks[1].any()


def test_an_empty_accepted_section_is_a_wall() -> None:
    volume = tube(7)
    none = np.zeros((SIDE, SIDE), np.bool_)
    result = Result(volume, {2: volume.object[2], 4: none})
    expected = volume.object.copy()
    expected[4:] = False
    np.testing.assert_array_equal(result.masks, expected)
    # Nothing comes out of an empty section, nor of none.
    assert not Result(volume, {4: none}).masks.any()
    assert not Result(volume, {}).masks.any()


def test_a_gap_is_filled_from_both_ends() -> None:
    volume = tube(9)
    result = Result(volume, [1, 7])
    np.testing.assert_array_equal(result.masks, volume.object)
    assert {z: e.agreement for z, e in result.evidence.items() if 1 < z < 7} == dict.fromkeys(
        range(2, 7), 1.0
    )
    assert all(stop.reason == "volume" for stop in result.stops)


def test_a_gap_keeps_the_branch_that_one_end_sees() -> None:
    main, side = (20, 20, 60, 55), (70, 20, 90, 40)
    volume = Volume([[main, side]] * 3 + [[main]] * 2, [2, 2, 2, 1, 1])
    result = Result(volume, [0, 4])
    np.testing.assert_array_equal(result.masks, volume.object)


def jumping() -> Volume:
    """The object jumps aside at 3, and somebody else takes its place there."""
    here, aside, other = (20, 10, 50, 40), (20, 37, 50, 67), (20, 5, 50, 35)
    return Volume([[here]] * 3 + [[aside, other]] * 4, [1] * 7)


def test_an_end_that_leaks_gives_way_to_the_other() -> None:
    volume = jumping()
    alone = Result(volume, [0])
    assert alone.masks[6, 20:50, 5:35].all()  # what happens without the other end
    result = Result(volume, [0, 6])
    np.testing.assert_array_equal(result.masks, volume.object)
    # What the lower end lost at the jump the upper one has: nothing to look at there.
    assert result.reasons() == [(6, 1, "gap")]
    assert next(s.value for s in result.stops if s.reason == "gap") == 0


def test_if_both_ends_leak_each_counts_in_its_half() -> None:
    here, other = (20, 10, 50, 40), (60, 10, 90, 40)
    # One object at the top, another one at the bottom; they never meet.
    volume = Volume([[here, other]] * 6, [1] * 6)
    top, bottom = volume.labels[0] == 1, volume.labels[5] == 2
    result = Result(volume, {0: top, 5: bottom})
    for z in range(6):
        np.testing.assert_array_equal(result.masks[z], top if z < 3 else bottom)
    assert result.reasons() == [(0, -1, "gap"), (5, 1, "gap")]


def test_after_an_edit_all_beyond_the_neighbours_stays() -> None:
    volume = tube(12)
    accepted = {z: volume.object[z] for z in (2, 5, 9)}
    assert reach_of_edit(accepted, 5, 12) == range(3, 9)
    assert reach_of_edit(accepted, 2, 12) == range(5)
    assert reach_of_edit(accepted, 9, 12) == range(6, 12)
    assert reach_of_edit({4: None}, 4, 9) == range(9)
    result = Result(volume, accepted, edited=5)
    assert sorted(result.evidence) == [3, 4, 6, 7, 8]
    assert sorted(Result(volume, accepted, edited=9).evidence) == [6, 7, 8, 10, 11]
    with pytest.raises(VolumeFormatError, match="section 4, edited"):
        Result(volume, accepted, edited=4)


def test_cancel_tells_what_was_left() -> None:
    volume = tube(20)
    result = Result(volume, [10, 14], cancelled=iter([False] * 4 + [True] * 90).__next__)
    assert len(result.evidence) == 3  # the gap forwards; its last step arrives
    assert {reason for _, _, reason in result.reasons()} == {"cancelled"}
    assert [(z, d) for z, d, _ in result.reasons()] == [(9, -1), (13, -1), (15, 1)]


def test_what_is_accepted_meanwhile_is_safe() -> None:
    volume = tube(10)
    accepted = {0: volume.object[0]}
    seen = []
    for z, _, _ in propagate(accepted, Oracle(), volume.sections()):
        seen.append(z)
        if z == 3:
            accepted[5] = np.zeros((SIDE, SIDE), np.bool_)
    assert seen == [1, 2, 3, 4]


def test_the_volume_is_read_no_further_than_needed() -> None:
    oracle = Oracle()
    steps = propagate({2: tube(30).object[2]}, oracle, tube(30).sections(), edited=2)
    next(steps)
    steps.close()
    assert set(oracle.asked) <= {0, 1, 2, 3}


def test_objects_at_the_border() -> None:
    boxes = [[(0, 0, 30, 20 + z), (0, 40, 99, 100)] for z in range(5)]
    for mine, start in ((1, 0), (2, 4)):
        volume = Volume(boxes, [mine] * 5)
        result = Result(volume, [start])
        np.testing.assert_array_equal(result.masks, volume.object)
    everything = Volume([[(0, 0, SIDE, SIDE)]] * 3, [1] * 3)
    assert Result(everything, [1]).masks.all()


def test_known_shifts_are_followed() -> None:
    # The whole section jumps by 40 pixels; a neighbour comes to lie where the object was.
    boxes = [[(20, 50, 50, 80), (20, 10, 50, 40)]] * 2 + [[(20, 10, 50, 40)]] * 2
    volume = Volume(boxes, [1] * 4)

    def shift(here: int, there: int) -> tuple[float, float]:
        return 0.0, 40.0 * ((here >= 2) - (there >= 2))

    assert not Result(volume, [0]).masks[2:].any()
    np.testing.assert_array_equal(Result(volume, [0], shift=shift).masks, volume.object)
    np.testing.assert_array_equal(Result(volume, [3], shift=shift).masks, volume.object)
    far = Result(volume, [0], shift=lambda here, there: (0.0, 500.0))
    assert [stop.reason for stop in far.stops] == ["empty"]


def test_what_does_not_fit_is_refused() -> None:
    volume = tube(4)
    with pytest.raises(VolumeFormatError, match="accepted in section 0"):
        list(propagate({0: volume.object[0, :50]}, Oracle(), volume.sections()))
    with pytest.raises(VolumeFormatError, match="accepted in section 4"):
        list(propagate({4: volume.object[0]}, Oracle(), volume.sections()))
    with pytest.raises(SettingsError, match="min_overlap"):
        PropagationSettings(min_overlap=1.2)
    with pytest.raises(SettingsError, match="max_area_ratio"):
        PropagationSettings(max_area_ratio=0.5)
