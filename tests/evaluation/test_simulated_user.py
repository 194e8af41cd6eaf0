"""The simulated user clicks where the error is, as often as it takes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_neuropil.errors import SettingsError, VolumeFormatError
from napari_neuropil.evaluation.simulated_user import (
    Box,
    ClickRun,
    UserSettings,
    mean_clicks,
    next_click,
    simulate_user,
)

SHAPE = (60, 80)
Mask = NDArray[np.bool_]
ROWS, COLUMNS = np.indices(SHAPE)


def disc(y: float, x: float, radius: float) -> Mask:
    return np.asarray((ROWS - y) ** 2 + (COLUMNS - x) ** 2 <= radius**2)


def bar() -> Mask:
    mask = np.zeros(SHAPE, np.bool_)
    mask[20:30, 10:70] = True
    return mask


class Painter:
    """An oracle: each positive click paints a disc, each negative one wipes it.

    Parameters
    ----------
    radius : float
        Of the brush.
    box : bool
        Whether the box is painted first.
    """

    def __init__(self, radius: float, box: bool = False) -> None:
        self.radius = radius
        self.fill = box
        self.boxes: list[Box | None] = []

    def __call__(self, points: NDArray[np.float32], signs: Mask, box: Box | None) -> Mask:
        assert points.shape == (len(signs), 2)
        assert points.dtype == np.float32
        self.boxes.append(box)
        mask = np.zeros(SHAPE, np.bool_)
        if self.fill and box is not None:
            y0, x0, y1, x1 = (int(n) for n in box)
            mask[y0:y1, x0:x1] = True
        for (y, x), sign in zip(points, signs, strict=True):
            mask[disc(y, x, self.radius)] = sign
        return mask


def test_a_good_segmenter_needs_the_box_alone() -> None:
    painter = Painter(3, box=True)
    run = simulate_user(bar(), painter)
    assert run.overlaps == (1.0,)
    assert run.reached == {0.85: 0, 0.90: 0}
    assert painter.boxes == [(20, 10, 30, 70)]
    assert len(run.points) == 0


def test_a_point_is_the_first_click() -> None:
    run = simulate_user(disc(30, 40, 10), Painter(10), UserSettings(start="point"))
    assert run.points.tolist() == [[30, 40]]
    assert run.reached == {0.85: 1, 0.90: 1}
    assert run.overlaps == (1.0,)


def test_missing_regions_are_clicked_in_their_middle_one_by_one() -> None:
    squares = np.zeros(SHAPE, int)
    for name, (size, x) in enumerate(((9, 5), (13, 30), (11, 60)), 1):
        squares[20 : 20 + size, x : x + size] = name

    def fill(points: NDArray[np.float32], signs: Mask, box: Box | None) -> Mask:
        clicked = [squares[int(y), int(x)] for y, x in points[signs]]
        return np.isin(squares, [name for name in clicked if name])

    run = simulate_user(squares > 0, fill, UserSettings(goals=(1.0,)))
    assert run.points.tolist() == [[26, 36], [25, 65], [24, 9]]
    assert run.positive.all()
    total = 81 + 169 + 121
    assert run.overlaps == (0, 169 / total, 290 / total, 1)
    assert run.reached == {1.0: 3}


def test_too_much_is_clicked_away() -> None:
    truth = disc(30, 20, 12)
    wrong = disc(30, 60, 8)
    mask = (truth | wrong) & ~disc(30, 20, 3)
    place, sign = next_click(mask, truth, np.zeros((0, 2)))
    assert (place, sign) == ((30, 60), False)
    # Of equal errors the missing one first; nobody clicks on a pixel twice.
    square = np.zeros(SHAPE, np.bool_)
    square[5:8, 5:8] = True
    moved = np.roll(square, 20, 1)
    assert next_click(moved, square, np.zeros((0, 2))) == ((6, 6), True)
    again, _ = next_click(moved, square, np.array([[6.0, 6.0]]))
    assert again != (6, 6)
    assert square[again]


def test_the_border_is_an_edge() -> None:
    corner = np.zeros(SHAPE, np.bool_)
    corner[:9, :9] = True
    place, _ = next_click(np.zeros(SHAPE, np.bool_), corner, np.zeros((0, 2)))
    assert place == (4, 4)


def test_the_user_gives_up() -> None:
    run = simulate_user(bar(), lambda *_: np.zeros(SHAPE, np.bool_), UserSettings(max_clicks=7))
    assert run.clicks == tuple(range(8))
    assert run.reached == {0.85: None, 0.90: None}
    assert len({tuple(p) for p in run.points.tolist()}) == 7


def test_clicks_to_a_goal_are_counted() -> None:
    run = simulate_user(bar(), Painter(6), UserSettings(goals=(0.3, 0.6, 0.99)))
    for goal, clicks in run.reached.items():
        first = next((i for i, o in enumerate(run.overlaps) if o >= goal), None)
        assert clicks == (None if first is None else run.clicks[first])
    assert run.reached[0.3] is not None
    assert run.reached[0.6] is not None
    assert run.reached[0.3] < run.reached[0.6]


def test_noise_is_seeded_and_stays_inside() -> None:
    noisy = UserSettings(jitter=30, wrong_share=0.3, box_jitter=0.5, seed=4, max_clicks=30)
    runs = [simulate_user(bar(), Painter(2), noisy) for _ in range(2)]
    np.testing.assert_array_equal(runs[0].points, runs[1].points)
    np.testing.assert_array_equal(runs[0].positive, runs[1].positive)
    assert runs[0].overlaps == runs[1].overlaps
    points = runs[0].points
    assert (points >= 0).all()
    assert (points < SHAPE).all()
    other = simulate_user(bar(), Painter(2), UserSettings(jitter=30, seed=5, max_clicks=30))
    assert not np.array_equal(other.points[:5], points[:5])
    painter = Painter(2)
    for seed in range(30):
        simulate_user(bar(), painter, UserSettings(box_jitter=2.0, seed=seed, max_clicks=1))
    for box in painter.boxes:
        assert box is not None
        y0, x0, y1, x1 = box
        assert 0 <= y0 < y1 <= SHAPE[0]
        assert 0 <= x0 < x1 <= SHAPE[1]


def test_wrong_clicks_have_the_wrong_sign() -> None:
    run = simulate_user(
        bar(), Painter(2), UserSettings(start="point", wrong_share=1.0, max_clicks=4)
    )
    # The first click is where the object is; after it everything is missing and called too much.
    assert run.positive.tolist() == [True, False, False, False]


def test_mean_clicks_count_failures_in_full() -> None:
    def run(clicks: int | None) -> ClickRun:
        return ClickRun((), (), np.zeros((0, 2), np.float32), np.zeros(0, np.bool_), {0.9: clicks})

    assert mean_clicks([run(2), run(0), run(None)], 0.9, 20) == (22 / 3, 2 / 3)


def test_bad_input_is_refused() -> None:
    with pytest.raises(VolumeFormatError, match="0 pixels"):
        simulate_user(np.zeros(SHAPE, np.bool_), Painter(2))
    with pytest.raises(VolumeFormatError, match="a mask of shape"):
        simulate_user(bar(), lambda *_: np.zeros((3, 3), np.bool_))
    for settings in ({"max_clicks": 0}, {"goals": ()}, {"jitter": -1.0}, {"wrong_share": 2.0}):
        with pytest.raises(SettingsError, match="simulated user"):
            UserSettings(**settings)  # type: ignore[arg-type]
