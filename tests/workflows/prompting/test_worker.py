"""The prompt worker over pipes, with a segmenter and a detector that do what the test says."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_neuropil.errors import MissingExtraError, ProjectError, SettingsError
from napari_neuropil.geometry import Roi, VoxelSize
from napari_neuropil.inference.grey_values import GreyRange
from napari_neuropil.prompts.detector import Detections
from napari_neuropil.prompts.packed_mask import PackedMask
from napari_neuropil.prompts.prompt import Prompt, SectionMask
from napari_neuropil.prompts.segmenter import ImageEmbedding
from napari_neuropil.volumes import Volume
from napari_neuropil.workflows.prompting.messages import (
    BoxesFound,
    Cancel,
    Cancelled,
    Detect,
    Embedded,
    Event,
    Finished,
    Link,
    Linked,
    Look,
    MaskBits,
    MaskFound,
    MaskWish,
    Notice,
    PlacedBits,
    Problem,
    Propagate,
    Quit,
    Ready,
    Request,
    SectionBits,
    SectionFound,
    Superseded,
    decode_event,
    encode,
)
from napari_neuropil.workflows.prompting.tasks import ScaledDetector
from napari_neuropil.workflows.prompting.volume import PromptVolume, open_prompt_volume
from napari_neuropil.workflows.prompting.worker import PromptTools, run_prompt_worker

SHAPE = (6, 40, 48)
WAIT = 30


def grey_volume() -> NDArray[np.uint8]:
    """Return a square of 200 on 50 that moves one row a section; the first pixel says which."""
    image = np.full(SHAPE, 50, np.uint8)
    for z in range(SHAPE[0]):
        image[z, 8 + z : 20 + z, 10:24] = 200
        image[z, 0, 0] = z
    return image


class Gate:
    """Lets a fake go on, one step at a time, where the test has closed it."""

    def __init__(self) -> None:
        self.closed = False
        self.begun = threading.Semaphore(0)
        self.permits = threading.Semaphore(0)

    def close(self) -> None:
        self.closed = True

    def open(self) -> None:
        self.closed = False
        self.permits.release(100)

    def pass_through(self) -> None:
        self.begun.release()
        if self.closed:
            assert self.permits.acquire(timeout=WAIT)

    def wait_for_begin(self) -> None:
        assert self.begun.acquire(timeout=WAIT)


class SameGrey:
    """A mask is what has the grey value under the middle of the prompt."""

    name = "same grey"
    fingerprint = "1"

    def __init__(self, side: int = 1000, pixel_sizes_nm: tuple[float, ...] = ()) -> None:
        self.longest_side = side
        self.pixel_sizes_nm = pixel_sizes_nm
        self.embedding, self.masking = Gate(), Gate()
        self.failing: set[int] = set()
        self.shapes: set[tuple[int, ...]] = set()
        self.embedded: set[int] = set()

    def embed(self, section: NDArray[np.uint8]) -> ImageEmbedding:
        self.embedding.pass_through()
        self.shapes.add(section.shape)
        self.embedded.add(int(section[0, 0]))
        if int(section[0, 0]) in self.failing:
            raise MemoryError("no room")
        return ImageEmbedding({"grey": section}, (section.shape[0], section.shape[1]))

    def masks(self, embedding: ImageEmbedding, prompts: Sequence[Prompt]) -> list[SectionMask]:
        self.masking.pass_through()
        grey = embedding.arrays["grey"]
        found = []
        for prompt in prompts:
            if prompt.box is not None:
                y, x = (prompt.box[0] + prompt.box[2]) / 2, (prompt.box[1] + prompt.box[3]) / 2
            elif len(prompt.points):
                y, x = prompt.points[prompt.positive][0] + 0.5
            else:
                assert prompt.mask is not None
                y, x = np.argwhere(prompt.mask).mean(axis=0) + 0.5
            found.append(SectionMask(grey == grey[int(y), int(x)], 0.75, 0.5))
        return found


class BrightBox:
    """Finds the bright square."""

    name = "bright"
    fingerprint = "2"
    tile_side = 100

    def __init__(self) -> None:
        self.gate = Gate()

    def detect(self, section: NDArray[np.uint8]) -> Detections:
        self.gate.pass_through()
        rows, columns = np.nonzero(section > 150)
        box = (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)
        boxes = np.array([box, (0, 0, 3, 3)], np.float32)
        return Detections(boxes, np.array([0.9, 0.2], np.float32))


class Bench:
    """A worker in a thread, a pipe into it and what it says."""

    def __init__(self, tools: PromptTools) -> None:
        inner, self._outer = os.pipe()
        self._source = os.fdopen(inner, "rb", buffering=0)
        self._events: queue.Queue[Event] = queue.Queue()
        self.embedded: list[Embedded] = []
        self.broken = False
        self.thread = threading.Thread(
            target=run_prompt_worker, args=(tools, self._source.read, self), daemon=True
        )
        self.thread.start()

    def write(self, line: bytes) -> None:
        if self.broken:
            raise BrokenPipeError
        assert line.count(b"\n") == 1
        self._events.put(decode_event(line))

    def flush(self) -> None:
        pass

    def ask(self, *requests: Request) -> None:
        self.send(b"".join(encode(request) for request in requests))

    def send(self, octets: bytes) -> None:
        os.write(self._outer, octets)

    def sync(self) -> None:
        """Wait until all that was asked has been taken in."""
        self.send(b"?\n")
        answer = self.next()
        assert isinstance(answer, Problem), answer
        assert answer.id is None

    def next(self) -> Event:
        while True:
            event = self._events.get(timeout=WAIT)
            if not isinstance(event, Embedded):
                return event
            self.embedded.append(event)

    def rest(self) -> list[Event]:
        """Return what was said before the worker ended."""
        self.thread.join(WAIT)
        assert not self.thread.is_alive()
        events = []
        while not self._events.empty():
            events.append(self._events.get())
        return [event for event in events if not isinstance(event, Embedded)]

    def end_input(self) -> None:
        if self._outer >= 0:
            os.close(self._outer)
            self._outer = -1


Start = Callable[..., Bench]


@pytest.fixture
def start() -> Iterator[Start]:
    """Return a function that starts a worker; at the end all are closed."""
    benches: list[tuple[Bench, SameGrey]] = []

    def begin(
        segmenter: SameGrey | None = None,
        detector: Callable[[], ScaledDetector] | None = None,
        *,
        image: NDArray[Any] | None = None,
        cache_dir: Path | None = None,
    ) -> Bench:
        own = segmenter or SameGrey()
        values = grey_volume() if image is None else image
        size, roi = VoxelSize(30, 8, 8), Roi.of_shape(values.shape)
        volume = PromptVolume(Volume(values, size), roi, size, GreyRange(0, 255))
        tools = PromptTools(volume, own, detector or no_detector, cache_dir)
        bench = Bench(tools)
        benches.append((bench, own))
        assert isinstance(bench.next(), Ready)
        return bench

    yield begin
    for bench, segmenter in benches:
        segmenter.embedding.open()
        segmenter.masking.open()
        bench.end_input()
        bench.rest()


def no_detector() -> ScaledDetector:
    raise MissingExtraError("No ultralytics.", "the extra", "pip install it.")


def square(z: int) -> NDArray[np.bool_]:
    return grey_volume()[z] == 200


def mask_of(event: Event) -> NDArray[np.bool_]:
    assert isinstance(event, MaskFound | SectionFound), event
    assert event.mask is not None
    return event.mask.packed().onto(SHAPE[1:])


def wish(number: int, z: int = 0, key: str = "", **fields: Any) -> MaskWish:
    return MaskWish(id=number, z=z, key=key, **{"box": (8 + z, 10, 20 + z, 24), **fields})


def test_boxes_points_and_masks_become_masks(start: Start) -> None:
    bench = start()
    packed = PackedMask.of(square(1))
    assert packed is not None
    known = MaskBits.of(packed)
    for number, asked in enumerate(
        (
            wish(0, 1),
            wish(1, 1, box=None, points=((15, 15), (0, 0)), positive=(True, False)),
            wish(2, 1, box=None, mask=known),
        )
    ):
        bench.ask(asked)
        answer = bench.next()
        np.testing.assert_array_equal(mask_of(answer), square(1))
        assert isinstance(answer, MaskFound)
        assert (answer.id, answer.z, answer.box) == (number, 1, (9, 10, 21, 24))
        assert (answer.score, answer.stability) == (0.75, 0.5)


def test_fine_sections_are_pooled_and_masks_come_back_fine(start: Start) -> None:
    segmenter = SameGrey(pixel_sizes_nm=(16.0,))
    image = np.full((2, 41, 49), 50, np.uint8)
    image[:, 36:41, 10:24] = 200
    bench = start(segmenter, image=image)
    bench.ask(MaskWish(id=1, z=0, box=(36, 10, 41, 24)))
    answer = bench.next()
    assert isinstance(answer, MaskFound)
    assert segmenter.shapes == {(20, 24)}
    # The last, incomplete row goes with the one before it.
    assert answer.box == (36, 10, 41, 24)
    assert answer.mask is not None
    assert answer.mask.packed().area == 5 * 14


def test_large_sections_are_tiled(start: Start) -> None:
    segmenter = SameGrey(side=32)
    bench = start(segmenter)
    bench.ask(wish(1, 2))
    np.testing.assert_array_equal(mask_of(bench.next()), square(2))
    assert segmenter.shapes == {(32, 32)}


def test_looking_embeds_outwards(start: Start) -> None:
    bench = start()
    bench.ask(Look(z=4, y=3, x=3))
    while len(bench.embedded) < SHAPE[0]:
        event = bench._events.get(timeout=WAIT)
        assert isinstance(event, Embedded)
        bench.embedded.append(event)
    assert [event.z for event in bench.embedded] == [4, 5, 3, 2, 1, 0]
    assert bench.embedded[-1].done == bench.embedded[-1].total == SHAPE[0]
    bench.ask(Look(z=6))
    problem = bench.next()
    assert isinstance(problem, Problem)
    assert "Section 6 of 6" in problem.found


def test_newer_wishes_replace_those_not_begun(start: Start) -> None:
    segmenter = SameGrey()
    segmenter.masking.close()
    bench = start(segmenter)
    bench.ask(wish(1, key="a"))
    segmenter.masking.wait_for_begin()
    bench.ask(wish(2, key="a"), wish(3, key="b"), wish(4, key="a"))
    assert bench.next() == Superseded(id=2)
    bench.sync()
    segmenter.masking.open()
    answers = [bench.next() for _ in range(3)]
    assert [answer.id for answer in answers if isinstance(answer, MaskFound)] == [1, 3, 4]


def test_a_wish_that_waits_for_its_embedding_is_replaced_too(start: Start) -> None:
    segmenter = SameGrey()
    segmenter.embedding.close()
    bench = start(segmenter)
    bench.ask(wish(1, 0))
    segmenter.embedding.wait_for_begin()
    bench.ask(wish(2, 3))
    assert bench.next() == Superseded(id=1)
    segmenter.embedding.open()
    np.testing.assert_array_equal(mask_of(bench.next()), square(3))


def test_a_ready_section_does_not_wait_for_another_one(start: Start) -> None:
    segmenter = SameGrey()
    image = np.repeat(grey_volume()[:1], 30, 0)
    image[:, 0, 0] = np.arange(30)
    bench = start(segmenter, image=image)
    bench.ask(wish(1, box=(8, 10, 20, 24)))
    mask_of(bench.next())
    for _ in range(9):  # the section and eight beyond it
        segmenter.embedding.wait_for_begin()
    segmenter.embedding.close()
    bench.ask(MaskWish(id=2, z=20, key="far", box=(8, 10, 20, 24)))
    segmenter.embedding.wait_for_begin()
    bench.ask(MaskWish(id=3, z=1, key="near", box=(8, 10, 20, 24)))
    near = bench.next()
    segmenter.embedding.open()
    far = bench.next()
    assert [e.id for e in (near, far) if isinstance(e, MaskFound)] == [3, 2]


def test_clicks_are_answered_between_the_sections_of_a_detection(start: Start) -> None:
    detector = BrightBox()
    detector.gate.close()
    bench = start(detector=lambda: ScaledDetector(detector))
    bench.ask(wish(1, 5))
    mask_of(bench.next())
    bench.ask(Detect(id=2, sections=(5, 0), min_score=0.5))
    detector.gate.wait_for_begin()
    bench.ask(wish(3, 5))
    bench.sync()
    detector.gate.open()
    first, click, second, last = (bench.next() for _ in range(4))
    assert isinstance(first, BoxesFound)
    assert (first.z, first.done, first.boxes) == (5, 1, ((13, 10, 25, 24),))
    assert first.scores == pytest.approx((0.9,))
    np.testing.assert_array_equal(mask_of(click), square(5))
    assert isinstance(second, BoxesFound)
    assert (second.z, second.done, second.boxes) == (0, 2, ((8, 10, 20, 24),))
    assert first.total == second.total == 2
    assert isinstance(last, Finished)


def test_clicks_are_answered_between_the_tiles_of_a_section(start: Start) -> None:
    detector = BrightBox()
    detector.tile_side = 32
    detector.gate.close()
    bench = start(detector=lambda: ScaledDetector(detector))
    bench.ask(wish(1, 2))
    mask_of(bench.next())
    bench.ask(Detect(id=2, sections=(2,)))
    detector.gate.wait_for_begin()
    bench.ask(wish(3, 2))
    bench.sync()
    detector.gate.open()
    kinds = [type(bench.next()) for _ in range(3)]
    assert kinds == [MaskFound, BoxesFound, Finished]


def test_detectors_see_their_own_pixels(start: Start) -> None:
    bench = start(detector=lambda: ScaledDetector(BrightBox(), 16.0))
    bench.ask(Detect(id=1, span=(0, 1)))
    found = bench.next()
    assert isinstance(found, BoxesFound)
    assert found.boxes == ((8, 10, 20, 24), (0, 0, 6, 6))


def test_a_running_detection_is_cancelled_and_the_next_one_runs(start: Start) -> None:
    detector = BrightBox()
    detector.gate.close()
    bench = start(detector=lambda: ScaledDetector(detector))
    bench.ask(Detect(id=1, span=(0, 6)), Detect(id=2, span=(0, 6)), Detect(id=3, span=(2, 3)))
    detector.gate.wait_for_begin()
    bench.ask(Cancel(id=2), Cancel(id=1), Cancel(id=99))
    assert bench.next() == Cancelled(id=2)
    bench.sync()
    detector.gate.open()
    begun, stopped, other, last = (bench.next() for _ in range(4))
    assert isinstance(begun, BoxesFound)
    assert stopped == Cancelled(id=1)
    assert isinstance(other, BoxesFound)
    assert (other.id, other.z) == (3, 2)
    assert isinstance(last, Finished)
    assert last.id == 3


def test_what_is_wrong_is_said_and_the_worker_goes_on(start: Start) -> None:
    segmenter = SameGrey()
    bench = start(segmenter)
    for bad, words in (
        (wish(1, box=(50, 10, 60, 20)), "outside the section"),
        (wish(1, box=(5, 5, 5, 9)), "empty or inside out"),
        (wish(1, z=6), "Section 6 of 6"),
        (wish(1, box=None), "An empty prompt"),
        (wish(1, box=None, points=((1, 1),)), "0 signs"),
        (wish(1, box=None, points=((1, 1),), positive=(False,)), "not"),
        (wish(1, mask=MaskBits(box=(39, 47, 41, 48), bits="wA==")), "A mask in the box"),
        (Detect(id=1, sections=(9,)), "Sections 9 to 9 of 6"),
        (Detect(id=1, sections=(0,)), "No ultralytics"),
    ):
        bench.ask(bad)
        problem = bench.next()
        assert isinstance(problem, Problem), problem
        assert problem.id == 1
        assert words in problem.found
    assert problem.cure == "pip install it."
    bench.ask(wish(2))
    mask_of(bench.next())


@pytest.mark.parametrize(
    ("line", "number"),
    [
        (b"nothing", None),
        (b"{}", None),
        (b"[" * 100_000, None),
        (b'{"request": "mask"}', None),
        (b'{"request": "mask", "id": 7, "z": "x"}', 7),
        (b'{"request": "mask", "id": 7, "z": 0, "box": [NaN, 0, 1, 1]}', 7),
        (b'{"request": "mask", "id": 7, "z": 0, "more": 1}', 7),
        (b'{"request": "mask", "id": true, "z": -1}', None),
        (b'{"request": "detect", "id": 7}', 7),
        (b'{"request": "propagate", "id": 7, "masks": []}', 7),
        (b'{"request": "no", "id": ' + b"9" * 5000 + b"}", None),
        (b"\xff\xfe\x00", None),
        (b'"quit"', None),
    ],
)
def test_hostile_lines_get_one_error_each(start: Start, line: bytes, number: int | None) -> None:
    bench = start()
    threading.Thread(target=bench.send, args=(line + b"\n\n  \n",)).start()
    problem = bench.next()
    assert isinstance(problem, Problem)
    assert problem.type == "SettingsError"
    assert "no request" in problem.found
    if len(str(number)) < 10:
        assert problem.id == number
    bench.ask(wish(1))
    assert isinstance(bench.next(), MaskFound)


def test_an_id_is_free_again_once_answered(start: Start) -> None:
    segmenter = SameGrey()
    segmenter.masking.close()
    bench = start(segmenter)
    bench.ask(wish(1))
    segmenter.masking.wait_for_begin()
    bench.ask(Detect(id=1, sections=(0,)))
    problem = bench.next()
    assert isinstance(problem, Problem)
    assert problem.id is None
    assert "twice" in problem.found
    segmenter.masking.open()
    assert isinstance(bench.next(), MaskFound)
    bench.ask(wish(1, 2))
    np.testing.assert_array_equal(mask_of(bench.next()), square(2))


def test_a_section_that_cannot_be_embedded_spares_the_others(start: Start) -> None:
    segmenter = SameGrey()
    segmenter.failing.add(3)
    bench = start(segmenter)
    bench.ask(wish(1, 3), wish(2, 2, key="b"))
    answers = {type(event): event for event in (bench.next(), bench.next())}
    assert answers[Problem].id == 1
    assert answers[Problem].found == "no room"
    assert "smaller segmenter" in answers[Problem].cure
    np.testing.assert_array_equal(mask_of(answers[MaskFound]), square(2))
    segmenter.failing.clear()  # asked for again, it is tried again
    bench.ask(wish(3, 3))
    np.testing.assert_array_equal(mask_of(bench.next()), square(3))


def test_the_end_of_the_input_ends_the_worker_after_its_work(start: Start) -> None:
    segmenter = SameGrey()
    segmenter.embedding.close()
    bench = start(segmenter, lambda: ScaledDetector(BrightBox()))
    bench.ask(wish(1, 0), Detect(id=2, span=(0, 2)))
    bench.end_input()
    segmenter.embedding.open()
    kinds = sorted(type(event).__name__ for event in bench.rest())
    assert kinds == ["BoxesFound", "BoxesFound", "Finished", "MaskFound"]


def test_quit_drops_what_waits(start: Start) -> None:
    detector = BrightBox()
    detector.gate.close()
    bench = start(detector=lambda: ScaledDetector(detector))
    bench.ask(Detect(id=1, span=(0, 6)), Detect(id=2, span=(0, 6)))
    detector.gate.wait_for_begin()
    bench.ask(wish(3), Quit())
    for thread in threading.enumerate():
        if thread.name == "prompt requests":
            thread.join(WAIT)
    detector.gate.open()
    rest = bench.rest()
    assert isinstance(rest[0], BoxesFound)
    assert rest[1:] in ([], [Cancelled(id=1)])


def test_a_reader_that_has_gone_ends_the_worker(start: Start) -> None:
    bench = start()
    bench.broken = True
    bench.ask(wish(1))
    assert bench.rest() == []


def test_a_full_disk_is_noticed_once_and_work_goes_on(start: Start, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    bench = start(cache_dir=tmp_path / "file" / "cache")
    bench.ask(wish(1), wish(2, 1, key="b"))
    kinds = [type(bench.next()) for _ in range(3)]
    assert sorted(kind.__name__ for kind in kinds) == ["MaskFound", "MaskFound", "Notice"]
    assert Notice in kinds


def test_embeddings_outlive_the_worker(start: Start, tmp_path: Path) -> None:
    for first in (True, False):
        segmenter = SameGrey()
        bench = start(segmenter, cache_dir=tmp_path)
        bench.ask(wish(1))
        np.testing.assert_array_equal(mask_of(bench.next()), square(0))
        bench.ask(Quit())
        bench.rest()
        assert (0 in segmenter.embedded) == first


def bits(mask: NDArray[np.bool_]) -> MaskBits:
    packed = PackedMask.of(mask)
    assert packed is not None
    return MaskBits.of(packed)


def test_an_object_is_carried_on_to_the_ends_of_the_volume(start: Start) -> None:
    bench = start()
    bench.ask(Propagate(id=1, masks=(SectionBits(z=2, mask=bits(square(2))),)))
    found: dict[int, SectionFound] = {}
    while isinstance(event := bench.next(), SectionFound):
        found[event.z] = event
    assert sorted(found) == [0, 1, 3, 4, 5]
    for z, section in found.items():
        np.testing.assert_array_equal(mask_of(section), square(z))
        assert section.origin == 2
        assert section.direction == (1 if z > 2 else -1)
        assert section.overlap == pytest.approx(11 / 13)
        assert section.segments is None
    assert isinstance(event, Finished)
    assert sorted((stop.z, stop.reason, stop.doubtful) for stop in event.stops) == [
        (0, "volume", False),
        (5, "volume", False),
    ]


def test_where_it_stops_is_said_in_pixels_of_the_volume(start: Start) -> None:
    image = np.full((4, 40, 48), 50, np.uint8)
    image[:2, 8:20, 12:24] = 200
    image[2:, 8:20, 12:24] = 60
    image[2:, 8:10, 12:14] = 50
    bench = start(SameGrey(pixel_sizes_nm=(16.0,)), image=image)
    known = bits(image[1] == 200)
    masks = (SectionBits(z=1, mask=known), SectionBits(z=3, mask=None))
    bench.ask(Propagate(id=1, masks=masks, min_overlap=1.0, branches=False, edited=1))
    below, last = bench.next(), bench.next()
    np.testing.assert_array_equal(mask_of(below), image[0] == 200)
    assert isinstance(last, Finished)
    doubtful = [stop for stop in last.stops if stop.doubtful]
    assert [(stop.z, stop.direction, stop.reason) for stop in doubtful] == [(2, 1, "overlap")]
    y, x = doubtful[0].place
    assert image[1, y, x] == 200
    assert doubtful[0].area == 144
    assert doubtful[0].value == pytest.approx(35 / 36)


def test_a_propagation_is_cancelled_while_it_waits_for_an_embedding(start: Start) -> None:
    segmenter = SameGrey()
    segmenter.embedding.close()
    bench = start(segmenter)
    bench.ask(Propagate(id=1, masks=(SectionBits(z=0, mask=bits(square(0))),)))
    segmenter.embedding.wait_for_begin()
    bench.ask(Cancel())
    assert bench.next() == Cancelled(id=1)
    segmenter.embedding.open()
    bench.ask(wish(2))
    mask_of(bench.next())


def test_masks_outside_the_volume_are_not_carried_on(start: Start) -> None:
    bench = start()
    bench.ask(Propagate(id=1, masks=(SectionBits(z=6, mask=bits(square(0))),)))
    problem = bench.next()
    assert isinstance(problem, Problem)
    assert (problem.id, problem.found) == (1, "Section 6 of 6.")


def project_of(make_project: Callable[..., Path]) -> tuple[Path, Path]:
    """Return a project whose segment is the square up to section 3, and its image."""
    fragments = np.ones(SHAPE, np.uint64)
    for z in range(SHAPE[0]):
        fragments[z][square(z)] = 2 if z < 4 else 3
    path = make_project(fragments, np.array([0, 1, 2, 3]), grey=grey_volume())
    return path, path.with_suffix(".zarr")


def test_a_project_gives_the_part_and_speaks_for_masks(make_project: Callable[..., Path]) -> None:
    project, image = project_of(make_project)
    volume = open_prompt_volume(image, project=project)
    assert (volume.shape, volume.pixel_size) == (SHAPE, (6, 6))
    np.testing.assert_array_equal(volume.section(3), grey_volume()[3])
    bench = Bench(PromptTools(volume, SameGrey(), no_detector))
    assert isinstance(bench.next(), Ready)
    bench.ask(Propagate(id=1, masks=(SectionBits(z=1, mask=bits(square(1))),)))
    shares: dict[int, float | None] = {}
    while isinstance(event := bench.next(), SectionFound):
        shares[event.z] = event.segments
    # Where the two sections share no segment below the masks, nothing is known.
    assert shares == {0: 1.0, 2: 1.0, 3: 1.0, 4: None, 5: None}
    bench.ask(Quit())
    bench.rest()


@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize("use", [True, False])
def test_the_projects_segments_take_a_leak_off(
    make_project: Callable[..., Path], factor: int, use: bool
) -> None:
    # Square and neighbour have one grey value from section 1 on; the project knows them apart.
    image = np.full(SHAPE, 50, np.uint8)
    image[:, 8:20, 10:24] = 200
    image[1:, 8:20, 24:34] = 200
    fragments = np.ones(SHAPE, np.uint64)
    fragments[:, 8:20, 10:24], fragments[:, 8:20, 24:34] = 2, 3
    project = make_project(fragments, np.arange(4), grey=image)
    volume = open_prompt_volume(project.with_suffix(".zarr"), project=project)
    segmenter = SameGrey(pixel_sizes_nm=(6.0 * factor,))
    bench = Bench(PromptTools(volume, segmenter, no_detector))
    ready = bench.next()
    assert isinstance(ready, Ready)
    assert ready.pooling == (factor, factor)
    masks = (SectionBits(z=0, mask=bits(fragments[0] == 2)),)
    bench.ask(Propagate(id=1, masks=masks, use_segments=use))
    wanted = fragments[1] == 2 if use else fragments[1] > 1
    sections = 0
    while isinstance(event := bench.next(), SectionFound):
        np.testing.assert_array_equal(mask_of(event), wanted)
        sections += 1
    assert sections == SHAPE[0] - 1
    bench.ask(Quit())
    bench.rest()


def test_another_image_or_part_than_the_projects_is_refused(
    make_project: Callable[..., Path], tmp_path: Path
) -> None:
    project, image = project_of(make_project)
    with pytest.raises(SettingsError, match="with a project of"):
        open_prompt_volume(image, project=project, roi=":2,:,:")
    np.save(tmp_path / "other.npy", grey_volume()[:4])
    with pytest.raises(ProjectError, match="the image that the project was made from"):
        open_prompt_volume(tmp_path / "other.npy", project=project)
    with pytest.raises(SettingsError, match="does not state its voxel size"):
        open_prompt_volume(tmp_path / "other.npy")


def test_a_part_of_a_16_bit_image_becomes_8_bits(tmp_path: Path) -> None:
    image = np.zeros((3, 20, 20), np.uint16)
    image[1, 5:] = np.linspace(1000, 2000, 300).reshape(15, 20)
    np.save(tmp_path / "image.npy", image)
    volume = open_prompt_volume(
        tmp_path / "image.npy", voxel_size=VoxelSize(30, 8, 8), roi="1:2,5:,:"
    )
    assert volume.shape == (1, 15, 20)
    section = volume.section(0)
    assert section.dtype == np.uint8
    assert (section.min(), section.max()) == (0, 255)
    np.testing.assert_allclose(section.ravel(), np.linspace(0, 255, 300), atol=1.5)


def neuropil(*words: str) -> list[str]:
    return [sys.executable, "-m", "napari_neuropil.cli", "prompts", *words]


def test_the_command_answers_until_it_is_told_to_quit(small_image: Path, tmp_path: Path) -> None:
    words = [f"{small_image}", "--segmenter", "watershed", "--cache-dir", str(tmp_path / "c")]
    with subprocess.Popen(
        neuropil(*words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        ready = decode_event(process.stdout.readline())
        assert isinstance(ready, Ready)
        assert (ready.shape, ready.segmenter, ready.pooling) == ((10, 70, 54), "watershed", (1, 1))
        process.stdin.write(b"nonsense\n" + encode(MaskWish(id=5, z=4, box=(10, 10, 30, 30))))
        process.stdin.flush()
        events = []
        while not any(isinstance(event, MaskFound) for event in events):
            events.append(decode_event(process.stdout.readline()))
        process.stdin.write(encode(Quit()))  # the input stays open
        process.stdin.flush()
        assert process.wait(WAIT) == 0
        left = process.stdout.read().splitlines(keepends=True)
        events += [decode_event(line) for line in left]
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert sum(isinstance(event, Problem) for event in events) == 1
    (found,) = [event for event in events if isinstance(event, MaskFound)]
    assert found.mask is not None
    assert 0 < found.mask.packed().area <= 400


def test_the_command_says_on_stdout_why_it_cannot_begin(tmp_path: Path) -> None:
    done = subprocess.run(
        neuropil(str(tmp_path / "none.h5")), input=b"", capture_output=True, check=False
    )
    assert done.returncode == 2
    event = json.loads(done.stdout)
    assert (event["event"], event["id"]) == ("error", None)
    assert "none.h5" in event["found"]
    assert b"none.h5" in done.stderr


def test_masks_are_linked(start: Start) -> None:
    bench = start()
    packed = [PackedMask.of(square(z)) for z in (2, 0, 1)]
    masks = [MaskBits.of(mask) for mask in packed if mask is not None]
    placed = tuple(PlacedBits(z=z, mask=mask) for z, mask in zip((2, 0, 1), masks, strict=True))
    bench.ask(Link(id=4, masks=placed), Link(id=5, masks=(placed[0], placed[0])))
    answer = bench.next()
    assert isinstance(answer, Linked)
    assert (answer.id, answer.objects) == (4, (1, 1, 1))
    other = bench.next()
    assert isinstance(other, Linked)
    assert other.objects == (1, 2)
