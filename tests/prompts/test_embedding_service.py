"""The background service: its order, changes of mind, failures. Semaphores decide who goes on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_neuropil.errors import VolumeFormatError
from napari_neuropil.prompts.embedding_cache import EmbeddingCache
from napari_neuropil.prompts.embedding_order import embedding_order, sections_outward
from napari_neuropil.prompts.embedding_service import EmbeddingProgress, EmbeddingService
from napari_neuropil.prompts.prompt import Prompt
from napari_neuropil.prompts.tiled_segmenter import TiledSegmenter


class _Bench:
    """A service whose embeddings go on one by one, when the test says so."""

    def __init__(
        self,
        fake: Callable[..., Any],
        *,
        depth: int = 30,
        width: int = 16,
        side: int = 16,
        reach: int = 2,
        memory_bytes: int = 1 << 20,
        cache: EmbeddingCache | None = None,
        read: Callable[[int], NDArray[np.uint8]] | None = None,
    ) -> None:
        self.permits = threading.Semaphore(0)
        self.segmenter = fake(side=side, steps=self.permits)
        self.progress: queue.Queue[EmbeddingProgress] = queue.Queue()
        self.width = width
        self.cache = cache or EmbeddingCache(None, memory_bytes=memory_bytes)
        self.service = EmbeddingService(
            TiledSegmenter(self.segmenter, overlap=0),
            self.cache,
            read or self.section,
            (depth, 16, width),
            reach=reach,
            report=self.progress.put,
        )

    def section(self, z: int) -> NDArray[np.uint8]:
        return np.full((16, self.width), z, np.uint8)

    def let(self, count: int = 1) -> list[EmbeddingProgress]:
        """Let embeddings finish, and wait for them."""
        self.permits.release(count)
        return [self.progress.get(timeout=30) for _ in range(count)]

    def wait_for_begin(self) -> int:
        """Return the section that is being embedded."""
        assert self.segmenter.begun.acquire(timeout=30)
        return self.segmenter.embedded[-1][0]

    def close(self) -> None:
        self.permits.release(1000)
        self.service.close()


MakeBench = Callable[..., _Bench]


@pytest.fixture
def make_bench(fake_segmenter: Callable[..., Any]) -> Iterator[MakeBench]:
    made: list[_Bench] = []

    def make(**options: Any) -> _Bench:
        made.append(_Bench(fake_segmenter, **options))
        return made[-1]

    yield make
    for bench in made:
        bench.close()


@pytest.fixture
def bench(make_bench: MakeBench) -> _Bench:
    return make_bench()


def test_sections_go_outward() -> None:
    assert sections_outward(5, 30, 2) == [5, 6, 4, 7, 3]
    assert sections_outward(0, 3, 8) == [0, 1, 2]
    assert sections_outward(2, 3, 0) == [2]


def test_tiles_of_the_section_then_the_same_place_elsewhere() -> None:
    boxes = ((0, 0, 4, 4), (0, 4, 4, 8))
    order = embedding_order([3, 4, 2], boxes, (2, 7))
    assert order == [(3, 1), (3, 0), (4, 1), (2, 1), (4, 0), (2, 0)]


def test_the_current_section_comes_first(bench: _Bench) -> None:
    bench.service.request(5)
    assert [p.z for p in bench.let(5)] == [5, 6, 4, 7, 3]
    assert bench.service.is_ready(3)
    assert not bench.service.is_ready(8)
    found = bench.service.get(6, timeout=0)
    assert found is not None
    assert found.shape == (16, 16)
    (mask,) = bench.service.segmenter.masks(found, [Prompt(box=(1, 1, 5, 5))])
    assert mask.mask.all()


def test_progress_counts_what_is_wished(bench: _Bench) -> None:
    bench.service.request(0)  # sections 0, 1, 2
    assert [(p.done, p.total) for p in bench.let(3)] == [(1, 3), (2, 3), (3, 3)]
    assert not bench.service.is_ready(3)


def test_a_new_request_drops_the_old_one(bench: _Bench) -> None:
    bench.service.request(5)
    assert bench.wait_for_begin() == 5
    bench.service.request(20)  # while 5 is being embedded: that is finished and kept
    assert [p.z for p in bench.let(6)] == [5, 20, 21, 19, 22, 18]
    assert bench.service.is_ready(5)
    assert not bench.service.is_ready(6)


def test_what_is_ready_is_not_embedded_again(bench: _Bench) -> None:
    bench.service.request(5)
    bench.let(5)
    bench.service.request(6)  # 6, 7, 5, 8, 4: only 8 is new
    assert [p.z for p in bench.let(1)] == [8]
    assert len(bench.segmenter.embedded) == 6


def test_cancel_drops_all_but_the_running_one(bench: _Bench) -> None:
    bench.service.request(5)
    bench.wait_for_begin()
    bench.service.cancel()
    assert [p.z for p in bench.let(1)] == [5]
    bench.service.request(9)
    assert [p.z for p in bench.let(1)] == [9]


def test_who_waits_comes_first(bench: _Bench) -> None:
    bench.service.request(5)
    bench.wait_for_begin()
    answers: queue.Queue[object] = queue.Queue()
    asking = threading.Event()

    def ask() -> None:
        asking.set()
        answers.put(bench.service.get(15, timeout=30))

    thread = threading.Thread(target=ask)
    thread.start()
    asking.wait(30)
    # The asker holds or waits for the lock now; whoever asks later gets in behind it only by
    # chance, so let embeddings finish until it has its answer.
    seen = []
    while answers.empty():
        seen += [p.z for p in bench.let(1)]
        if 15 in seen:
            break
    assert answers.get(timeout=30) is not None
    assert seen[0] == 5
    thread.join()


def test_pause_stops_what_is_ahead_but_not_who_waits(bench: _Bench) -> None:
    bench.service.pause()
    bench.service.request(5)
    bench.permits.release(1)
    assert bench.service.get(20, timeout=30) is not None
    assert bench.progress.get(timeout=30).z == 20
    assert bench.segmenter.embedded == [(20, 16)]
    assert bench.service.get(5, timeout=0) is None
    bench.service.resume()
    assert [p.z for p in bench.let(1)] == [5]


def test_failures_belong_to_their_section(bench: _Bench) -> None:
    bench.service.request(12)  # 13 fails
    seen = bench.let(5)
    assert [p.z for p in seen] == [12, 13, 11, 14, 10]
    assert [p.z for p in seen if p.error is not None] == [13]
    assert isinstance(bench.service.failure(13), MemoryError)
    assert bench.service.failure(12) is None
    with pytest.raises(MemoryError, match="section 13"):
        bench.service.get(13)
    assert bench.service.get(14) is not None
    bench.service.request(13)  # tried again: now it is what is looked at
    assert [p.z for p in bench.let(1)] == [13]


def test_a_first_section_that_fails_does_not_hold_up_the_others(bench: _Bench) -> None:
    bench.service.request(13)
    assert [p.z for p in bench.let(3)] == [13, 14, 12]


def test_bad_sections_and_numbers(make_bench: MakeBench) -> None:
    bench = make_bench(read=lambda z: np.zeros((16, 16), np.uint16 if z else np.uint8))
    bench.permits.release(9)
    with pytest.raises(VolumeFormatError, match=r"Section 1 is .* uint16"):
        bench.service.get(1)
    assert bench.service.get(0) is not None
    for z, tile in ((-1, 0), (30, 0), (0, 1)):
        with pytest.raises(IndexError):
            bench.service.get(z, tile)
    with pytest.raises(IndexError):
        bench.service.request(30)


def test_nobody_waits_for_a_closed_service(make_bench: MakeBench) -> None:
    bench = make_bench()
    answers: queue.Queue[object] = queue.Queue()
    thread = threading.Thread(target=lambda: answers.put(bench.service.get(3)))
    thread.start()
    bench.wait_for_begin()
    closing = threading.Thread(target=bench.service.close)
    closing.start()
    bench.permits.release(1)
    closing.join(30)
    thread.join(30)
    assert not thread.is_alive()
    assert bench.service.get(4) is None


def test_a_report_that_raises_ends_the_service(fake_segmenter: Callable[..., Any]) -> None:
    def fail(_progress: EmbeddingProgress) -> None:
        raise RuntimeError("stop")

    heard: list[object] = []
    before, threading.excepthook = threading.excepthook, heard.append
    try:
        service = EmbeddingService(
            TiledSegmenter(fake_segmenter()),
            EmbeddingCache(None),
            lambda z: np.zeros((16, 16), np.uint8),
            (3, 16, 16),
            report=fail,
        )
        service.request(0)
        service._thread.join(30)
        assert service.get(2) is None
    finally:
        threading.excepthook = before
    assert len(heard) == 1


def test_tiles_are_embedded_one_by_one(make_bench: MakeBench) -> None:
    reads: list[int] = []

    def read(z: int) -> NDArray[np.uint8]:
        reads.append(z)
        return np.repeat(np.arange(3, dtype=np.uint8) + 10 * z, 16)[None].repeat(16, axis=0)

    bench = make_bench(width=48, reach=1, read=read)
    bench.service.request(1, place=(8, 40))
    seen = [(p.z, p.tile) for p in bench.let(9)]
    assert seen[:5] == [(1, 2), (1, 1), (1, 0), (2, 2), (0, 2)]
    assert reads[:3] == [1, 2, 0]  # a section is read once for all its tiles in a row
    found = bench.service.get(2, tile=1)
    assert found is not None
    assert found.shape == (16, 48)
    assert set(found.arrays) == {"1/", "1/grey", "1/id"}
    assert found.arrays["1/id"] == [21]


def test_no_more_than_the_cache_holds(make_bench: MakeBench) -> None:
    each = 16 * 16 * 4 + 8
    bench = make_bench(memory_bytes=3 * each)
    bench.service.request(5)
    seen = bench.let(3)
    assert [p.z for p in seen] == [5, 6, 4]
    assert (seen[-1].done, seen[-1].total) == (3, 3)
    bench.permits.release(1)
    assert bench.service.get(9, timeout=30) is not None  # pushes 5 out
    assert bench.progress.get(timeout=30).z == 9
    bench.permits.release(1)
    assert bench.service.get(5, timeout=30) is not None  # made anew
    assert [z for z, _ in bench.segmenter.embedded] == [5, 6, 4, 9, 5]


def test_the_cache_spares_the_work(make_bench: MakeBench) -> None:
    cache = EmbeddingCache(None)
    first, second = make_bench(cache=cache, reach=0), make_bench(cache=cache, reach=0)
    first.service.request(4)
    assert first.let(1)[0].seconds > 0
    second.service.request(4)
    progress = second.progress.get(timeout=30)
    assert (progress.z, progress.seconds, progress.error) == (4, 0, None)
    assert second.segmenter.embedded == []
