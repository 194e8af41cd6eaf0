"""Cross-sections of segments, by hand."""

from __future__ import annotations

import numpy as np

from napari_neuropil.training.section_objects import find_objects, paint_objects

_LARGE = 2**60 + 3


def _labels() -> np.ndarray:
    labels = np.zeros((12, 20), np.uint64)
    labels[1:4, 2:6] = 5
    labels[1:4, 6:9] = 8  # touches 5: another object
    labels[6:11, 12:19] = _LARGE
    labels[8, 12:16] = 0  # a dent, not a cut
    labels[9, 1] = 5
    return labels


def test_parts_of_chosen_segments() -> None:
    found = find_objects(_labels(), 4, {5, _LARGE}, {8, 5, 77}, smallest=2)
    assert [(o.segment, o.pseudo, o.box, o.area) for o in found] == [
        (5, False, (1, 2, 4, 6), 12),
        (8, True, (1, 6, 4, 9), 9),
        (_LARGE, False, (6, 12, 11, 19), 31),
    ]
    assert {o.z for o in found} == {4}
    assert len(find_objects(_labels(), 4, [5], smallest=1)) == 2
    assert find_objects(_labels(), 4, [0, 77]) == []


def test_painting_gives_them_back() -> None:
    found = find_objects(_labels(), 4, {5, 8, _LARGE}, smallest=2)
    painted = paint_objects(found, (12, 20))
    for number, segment in enumerate((5, 8, _LARGE), start=1):
        wanted = _labels() == segment
        wanted[9, 1] = False
        np.testing.assert_array_equal(painted == number, wanted)
