"""What travels between the window and its prompt worker, and the two pixel grids it speaks of."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys

import numpy as np
import pytest

from napari_neuropil.errors import CheckpointError, SettingsError
from napari_neuropil.prompts.packed_mask import PackedMask
from napari_neuropil.prompts.prompt import Prompt
from napari_neuropil.workflows.prompting.grid import SectionGrid, best_factors
from napari_neuropil.workflows.prompting.messages import (
    BoxesFound,
    Cancel,
    Detect,
    Finished,
    Look,
    MaskBits,
    MaskFound,
    MaskWish,
    Problem,
    Propagate,
    Quit,
    Request,
    SectionBits,
    SectionFound,
    StopFact,
    decode_event,
    decode_request,
    encode,
)
from napari_neuropil.workflows.prompting.streams import bounded_lines


def packed(mask: np.ndarray, offset: tuple[int, int] = (0, 0)) -> PackedMask:
    found = PackedMask.of(mask.astype(bool), offset)
    assert found is not None
    return found


BITS = MaskBits.of(packed(np.array([[0, 1, 0], [1, 1, 1]]), (4, 5)))


def test_a_mask_travels_as_bits_of_its_box() -> None:
    assert BITS.box == (4, 5, 6, 8)
    # 010 111 and two bits of filling.
    assert base64.b64decode(BITS.bits) == bytes([0b01011100])
    np.testing.assert_array_equal(BITS.packed().crop(), [[False, True, False], [True, True, True]])
    loose = MaskBits(box=(0, 0, 2, 4), bits=base64.b64encode(bytes([0b00100000])).decode())
    assert loose.packed().box == (0, 2, 1, 3)


@pytest.mark.parametrize(
    ("box", "bits"),
    [
        ((4, 5, 6, 8), ""),
        ((4, 5, 6, 8), base64.b64encode(b"ab").decode()),
        ((4, 5, 6, 8), "no base64!"),
        ((4, 5, 6, 8), base64.b64encode(b"\0").decode()),
        ((6, 5, 4, 8), base64.b64encode(b"a").decode()),
        ((0, 0, 1 << 40, 1 << 40), base64.b64encode(b"a").decode()),
        ((-1, 0, 1, 1), base64.b64encode(b"a").decode()),
    ],
)
def test_forged_masks_are_refused(box: tuple[int, ...], bits: str) -> None:
    line = {"request": "mask", "id": 1, "z": 0, "mask": {"box": box, "bits": bits}}
    with pytest.raises(SettingsError, match="no request"):
        decode_request(json.dumps(line).encode())


@pytest.mark.parametrize(
    "request_",
    [
        Look(z=3, y=1.5, x=2),
        Detect(id=1, sections=(2, 1)),
        Detect(id=1, span=(0, 4), min_score=0.5),
        MaskWish(id=2, key="a", z=1, box=(0, 0, 5, 5.5), mask=BITS),
        MaskWish(id=2, z=1, points=((1, 2), (3, 4)), positive=(True, False)),
        Propagate(id=3, masks=(SectionBits(z=1, mask=BITS),), branches=False),
        Cancel(),
        Cancel(id=4),
        Quit(),
    ],
)
def test_requests_come_back_as_they_were(request_: Request) -> None:
    line = encode(request_)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode_request(line) == request_


def test_events_come_back_as_they_were() -> None:
    stop = StopFact(z=3, direction=1, reason="gap", value=0, place=(1, 2), area=4, doubtful=True)
    for event in (
        BoxesFound(id=1, z=0, boxes=((0, 1, 2, 3),), scores=(0.5,), done=1, total=2),
        MaskFound(id=1, z=0, score=0.5, stability=1, box=BITS.box, mask=BITS, seconds=0.1),
        SectionFound(
            id=1, z=2, mask=BITS, origin=1, direction=1, overlap=1, area_ratio=1, score=1, pieces=1
        ),
        Finished(id=1, seconds=2, stops=(stop,)),
        Problem.of(CheckpointError("two\nlines µ", "a", "b"), 5),
    ):
        assert decode_event(encode(event)) == event


def test_sections_are_counted_out_only_inside_the_volume() -> None:
    assert Detect(id=1, sections=(3, 1, 3)).wanted(5) == (3, 1)
    assert Detect(id=1, span=(3, 5)).wanted(5) == (3, 4)
    for outside in (
        Detect(id=1, sections=(5,)),
        Detect(id=1, span=(3, 1 << 60)),
        Detect(id=1, span=(3, 3)),
    ):
        with pytest.raises(SettingsError, match="of 5"):
            outside.wanted(5)


def test_lines_are_cut_and_bounded() -> None:
    def lines(text: bytes, piece: int, most: int = 4) -> list[bytes | None]:
        stream = io.BytesIO(text)
        return list(bounded_lines(lambda _size: stream.read(piece), most))

    for piece in (1, 2, 3, 100):
        assert lines(b"ab\n\nabcd\nlast", piece) == [b"ab", b"", b"abcd", b"last"]
        assert lines(b"abcde\nab\n", piece) == [None, b"ab"]
        assert lines(b"abcdefghijkl\nab", piece) == [None, b"ab"]
        assert lines(b"ab\nabcdefghijkl", piece) == [b"ab", None]
        assert lines(b"", piece) == []


def test_factors_bring_pixels_nearest_to_a_trained_size() -> None:
    section = (100, 100)
    assert best_factors((4, 4), (), section) == (1, 1)
    assert best_factors((4, 4), (8.0,), section) == (2, 2)
    assert best_factors((4, 8), (8.0,), section) == (2, 1)
    assert best_factors((16, 16), (8.0,), section) == (1, 1)
    assert best_factors((5, 5), (8.0, 10.0), section) == (2, 2)
    assert best_factors((1, 1), (8.0,), (3, 100)) == (3, 8)


def test_masks_go_to_the_coarse_grid_and_back() -> None:
    grid = SectionGrid((1, 7, 9), (2, 4))
    assert grid.coarse_shape == (1, 3, 2)
    coarse = np.array([[0, 1], [1, 1], [0, 1]], bool)
    fine = grid.fine_mask(packed(coarse)).onto(grid.section)
    expected = np.zeros((7, 9), bool)
    for y in range(7):
        for x in range(9):
            expected[y, x] = coarse[min(y // 2, 2), min(x // 4, 1)]
    np.testing.assert_array_equal(fine, expected)
    np.testing.assert_array_equal(grid.coarse_mask(packed(fine)).onto((3, 2)), coarse)
    # Half of a coarse pixel is enough; a crumb is not, unless it is all there is.
    half = np.zeros((7, 9), bool)
    half[0, :4] = half[2, 4] = True
    np.testing.assert_array_equal(
        grid.coarse_mask(packed(half)).onto((3, 2)), [[1, 0], [0, 0], [0, 0]]
    )
    crumb = np.zeros((7, 9), bool)
    crumb[6, 8] = True
    assert grid.coarse_mask(packed(crumb)).box == (2, 1, 3, 2)


def test_prompts_go_to_the_coarse_grid() -> None:
    grid = SectionGrid((1, 8, 9), (2, 4))
    points = np.array([[0, 0], [3, 7], [7, 8]], np.float32)
    given = Prompt(box=(2, 4, 6, 9), points=points, positive=np.ones(3, bool))
    prompt = grid.coarse_prompt(given)
    assert prompt.box == (1, 1, 3, 2)
    # Middles of fine pixels; the last one lies beyond the last coarse pixel and is drawn in.
    np.testing.assert_allclose(prompt.points, [[-0.25, -0.375], [1.25, 1], [3, 1]])
    corner = grid.coarse_prompt(Prompt(box=(0, 8.5, 1, 9)))
    assert corner.box == (0, 1, 0.5, 2)


def test_the_messages_load_no_torch() -> None:
    script = (
        "import sys, napari_neuropil.workflows.prompting.messages; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout.strip() == b"False"
