"""A process that answers prompts on one volume, so that the window never loads a network.

Requests come in on one pipe and events go out on another (`messages`). Three threads: one
reads requests, so that a cancel or a newer wish is heard while something is computed; one makes
image embeddings ahead (`EmbeddingService`); the main one answers. It does not let a click wait for
long work: whatever takes long is cut into sections and tiles, and between two of them wishes whose
embedding is ready are answered.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import CancelledError, NeuropilError
from napari_neuropil.prompts.embedding_cache import EmbeddingCache
from napari_neuropil.prompts.embedding_service import EmbeddingProgress, EmbeddingService
from napari_neuropil.prompts.segmenter import ImageEmbedding, Segmenter
from napari_neuropil.prompts.tiled_segmenter import TiledSegmenter
from napari_neuropil.workflows.prompting.grid import SectionGrid, best_factors
from napari_neuropil.workflows.prompting.inbox import LongRequest, PromptInbox
from napari_neuropil.workflows.prompting.linking import link_objects
from napari_neuropil.workflows.prompting.messages import (
    CLOSING,
    Cancelled,
    Detect,
    Embedded,
    Event,
    Link,
    Look,
    MaskWish,
    Notice,
    Problem,
    Ready,
)
from napari_neuropil.workflows.prompting.propagation import propagate_object
from napari_neuropil.workflows.prompting.streams import Outbox, Sink, read_requests
from napari_neuropil.workflows.prompting.tasks import (
    ScaledDetector,
    ServedSegmenter,
    detect_sections,
)
from napari_neuropil.workflows.prompting.volume import PromptVolume
from napari_neuropil.workflows.prompting.wishes import PreparedWishes

_POLL: Final = 0.02
"""Seconds that a click waits at most while the worker waits for an embedding."""


@dataclass(frozen=True)
class PromptTools:
    """What a worker works with.

    Parameters
    ----------
    volume : PromptVolume
        The image.
    segmenter : Segmenter
        Turns prompts into masks. `pixel_sizes_nm`, where it has them, are the pixels it was
        trained on: finer sections are averaged before it sees them.
    open_detector : callable
        Returns the detector; called when it is first asked for, so that all else works without.
    cache_dir : Path, optional
        Where embeddings outlive the worker; None keeps them in memory.
    """

    volume: PromptVolume
    segmenter: Segmenter
    open_detector: Callable[[], ScaledDetector]
    cache_dir: Path | None = None


def run_prompt_worker(tools: PromptTools, read: Callable[[int], bytes | None], sink: Sink) -> None:
    """Answer requests until the input says quit, or until it has ended and all is answered.

    It also ends when nobody reads the answers any more. The embedding being made is finished
    before it returns; killing the process instead loses nothing but that.

    Parameters
    ----------
    tools : PromptTools
        What to work with.
    read : callable
        Returns up to so many bytes of requests as soon as there are any, none at the end.
    sink : Sink
        Takes events, one a line.
    """

    def gone() -> None:
        inbox.quit()

    outbox = Outbox(sink, gone)
    inbox = PromptInbox(outbox.send)
    reader = threading.Thread(
        target=read_requests, args=(read, inbox, outbox.send), name="prompt requests", daemon=True
    )
    worker = PromptWorker(tools, inbox, outbox.send)
    reader.start()
    worker.run()


@dataclass(frozen=True)
class _Job:
    id: int
    steps: Iterator[Event]


class PromptWorker:
    """Takes requests out of an inbox and answers them, in the calling thread.

    Parameters
    ----------
    tools : PromptTools
        What to work with.
    inbox : PromptInbox
        Filled by another thread.
    send : callable
        Takes events, from several threads.
    """

    def __init__(
        self, tools: PromptTools, inbox: PromptInbox, send: Callable[[Event], None]
    ) -> None:
        volume, segmenter = tools.volume, tools.segmenter
        _, height, width = volume.shape
        trained = getattr(segmenter, "pixel_sizes_nm", ())
        self._volume = volume
        self._grid = SectionGrid(
            volume.shape, best_factors(volume.pixel_size, trained, (height, width))
        )
        self._tiled = TiledSegmenter(segmenter)
        self._cache = EmbeddingCache(
            tools.cache_dir, notice=lambda text: send(Notice(message=text))
        )
        self._open_detector = tools.open_detector
        self._detector: ScaledDetector | None = None
        self._inbox = inbox
        self._send = send
        self._job: _Job | None = None

    def run(self) -> None:
        """Work until the inbox says that it is over."""
        with EmbeddingService(
            self._tiled, self._cache, self._section, self._grid.coarse_shape, report=self._embedded
        ) as service:
            self._service = service
            self._wishes = PreparedWishes(self._tiled, self._grid, service)
            self._send(self._ready())
            inbox = self._inbox
            while not inbox.has_quit:
                seen = inbox.news
                if self._serve() or self._advance():
                    continue
                wishes = inbox.wishes()
                if wishes:
                    self._answer(wishes[0], _POLL)
                # What came in after `seen` was put there before the end.
                elif inbox.has_ended and inbox.news == seen:
                    return
                else:
                    inbox.wait(seen)

    def _ready(self) -> Ready:
        size = self._volume.voxel_size
        return Ready(
            shape=self._volume.shape,
            start=self._volume.roi.start,
            voxel_size=(size.z, size.y, size.x),
            segmenter=self._tiled.name,
            fingerprint=self._tiled.fingerprint,
            pooling=self._grid.factors,
            tiles=len(self._service.boxes),
        )

    def _section(self, z: int) -> NDArray[np.uint8]:
        return self._grid.pool(self._volume.section(z))

    def _embedded(self, progress: EmbeddingProgress) -> None:
        error = progress.error
        self._send(
            Embedded(
                z=progress.z,
                tile=progress.tile,
                done=progress.done,
                total=progress.total,
                seconds=progress.seconds,
                problem=None if error is None else str(error) or type(error).__name__,
            )
        )

    def _serve(self) -> bool:
        """Answer what is quick; return whether there was anything."""
        look = self._inbox.take_look()
        if look is not None:
            self._look_at(look)
        wishes = self._inbox.wishes()
        self._wishes.forget_all_but(wishes)
        return any(self._answer(wish, 0) for wish in wishes) or look is not None

    def _look_at(self, look: Look) -> None:
        place = None
        if look.y is not None and look.x is not None:
            fy, fx = self._grid.factors
            place = (look.y / fy, look.x / fx)
        try:
            self._grid.check_mask(look.z)
            self._service.request(look.z, place)
        except NeuropilError as error:
            self._send(Problem.of(error))

    def _answer(self, wish: MaskWish, patience: float) -> bool:
        """Answer a wish if its embedding is there in time; return whether it is dealt with."""
        begun = False
        event: Event | None = None
        try:
            prompt, tile = self._wishes.prepare(wish)
            embedding = self._service.get(wish.z, tile, patience)
            if embedding is None:
                return False
            begun = self._inbox.begin(wish)
            if begun:
                event = self._wishes.answer(wish, prompt, embedding)
        except Exception as error:  # noqa: BLE001 - one prompt must not end the others
            begun = begun or self._inbox.begin(wish)
            event = _problem(error, wish.id)
        if begun and event is not None:
            # Closed first: who hears the answer may use the id again at once.
            self._inbox.close(wish.id)
            self._send(event)
        return True

    def _advance(self) -> bool:
        """Do one section of what takes long; return whether there was anything."""
        if self._job is None:
            request = self._inbox.take_long()
            if request is None:
                return False
            self._job = _Job(request.id, self._steps(request))
        job = self._job
        try:
            self._give_way(job.id)
            event = next(job.steps)
        except CancelledError:
            event = Cancelled(id=job.id)
        except Exception as error:  # noqa: BLE001 - one request must not end the others
            event = _problem(error, job.id)
        if isinstance(event, CLOSING):
            self._job = None
            self._inbox.close(job.id)
        self._send(event)
        return True

    def _steps(self, request: LongRequest) -> Iterator[Event]:
        def give_way() -> None:
            self._give_way(request.id)

        if isinstance(request, Detect):
            request.wanted(self._volume.shape[0])  # before the detector is loaded, in seconds
            if self._detector is None:
                self._detector = self._open_detector()
            yield from detect_sections(request, self._volume, self._detector, give_way)
            return
        if isinstance(request, Link):
            yield link_objects(request, self._volume, self._grid, give_way)
            return

        def tile_of(z: int, tile: int) -> ImageEmbedding:
            while True:
                give_way()
                embedding = self._service.get(z, tile, _POLL)
                if embedding is not None:
                    return embedding

        segmenter = ServedSegmenter(self._tiled, self._grid.coarse_section, tile_of)
        yield from propagate_object(request, self._volume, self._grid, segmenter)

    def _give_way(self, request: int) -> None:
        """Answer what is quick in the midst of long work, and end the work if it is unwanted."""
        while not self._inbox.is_unwanted(request) and self._serve():
            pass
        if self._inbox.is_unwanted(request):
            raise CancelledError("Stopped.")


def _problem(error: Exception, request: int) -> Problem:
    """Return what is said of an error; a defect's traceback goes to standard error."""
    if not isinstance(error, NeuropilError):
        traceback.print_exception(error, file=sys.stderr)
    return Problem.of(error, request)
