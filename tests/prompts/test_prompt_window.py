"""Windows around prompts: they hold what is pointed at, and grow where an answer is cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_neuropil.prompts.prompt import Prompt
from napari_neuropil.prompts.prompt_window import is_cut, prompt_in_window, windows_of_prompt

_SHAPE = (500, 470)
_WHOLE = (slice(0, 500), slice(0, 470))


@given(st.integers(0, 499), st.integers(0, 469), st.integers(1, 400), st.integers(1, 400))
def test_a_window_holds_what_is_pointed_at(y: int, x: int, height: int, width: int) -> None:
    box = (float(y), float(x), float(min(y + height, 500)), float(min(x + width, 470)))
    windows = list(windows_of_prompt(Prompt(box=box), _SHAPE))
    assert windows[-1] == _WHOLE
    for window in windows:
        for part, low, high, length in zip(window, box[:2], box[2:], _SHAPE, strict=True):
            assert part.start % 32 == 0
            assert part.start <= low < high <= part.stop
            assert part.stop - part.start >= min(256, length - part.start)


def test_all_of_a_prompt_counts() -> None:
    mask = np.zeros(_SHAPE, np.bool_)
    mask[10:20, 100:120] = True
    points = np.array([[300.0, 110.0]], np.float32)
    prompt = Prompt(points=points, positive=np.ones(1, np.bool_), mask=mask)
    first, _ = windows_of_prompt(prompt, _SHAPE)
    # 291 pixels high, so 437 with surroundings, rounded up to cells; 256 wide around column 110.
    assert first == (slice(0, 448), slice(0, 256))


def test_a_small_section_is_one_window() -> None:
    assert list(windows_of_prompt(Prompt(box=(0, 0, 5, 5)), (200, 256))) == [
        (slice(0, 200), slice(0, 256))
    ]


def test_a_prompt_moves_with_its_window() -> None:
    mask = np.zeros((100, 100), np.bool_)
    mask[40, 70] = True
    prompt = Prompt(
        box=(33.0, 66.0, 50.0, 80.0),
        points=np.array([[40.0, 70.0]], np.float32),
        positive=np.ones(1, np.bool_),
        mask=mask,
    )
    moved = prompt_in_window(prompt, (slice(32, 96), slice(64, 100)))
    assert moved.box == (1.0, 2.0, 18.0, 16.0)
    assert moved.points.tolist() == [[8.0, 6.0]]
    assert moved.points.dtype == np.float32
    assert moved.mask is not None
    assert np.argwhere(moved.mask).tolist() == [[8, 6]]


@pytest.mark.parametrize(
    ("pixel", "cut"), [((0, 5), False), ((31, 5), True), ((5, 0), True), ((5, 15), False)]
)
def test_a_mask_is_cut_where_the_section_goes_on(pixel: tuple[int, int], cut: bool) -> None:
    # The window lies at the upper and at the right end of its section.
    window = (slice(0, 32), slice(84, 100))
    mask = np.zeros((32, 16), np.bool_)
    mask[5, 5] = mask[pixel] = True
    assert is_cut(mask, window, (100, 100)) is cut
