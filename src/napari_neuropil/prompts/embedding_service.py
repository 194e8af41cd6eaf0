"""Embeds sections in the background, so that a click finds its embedding ready.

One thread, because torch uses all cores for one section already and lets go of the interpreter
while it does. What runs cannot be broken off; everything else follows a change of mind at once.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import VolumeFormatError
from napari_neuropil.prompts.embedding_cache import EmbeddingCache, embedding_bytes
from napari_neuropil.prompts.embedding_file import embedding_key
from napari_neuropil.prompts.embedding_order import (
    SectionTile,
    embedding_order,
    sections_outward,
)
from napari_neuropil.prompts.segmenter import ImageEmbedding
from napari_neuropil.prompts.tiled_segmenter import TiledSegmenter

_NO_SECONDS = 0.0


@dataclass(frozen=True, slots=True)
class EmbeddingProgress:
    """One more section, or tile of a section, has been dealt with.

    Parameters
    ----------
    z, tile : int
        Which.
    done, total : int
        Of what the last request asked for.
    seconds : float
        What embedding took; 0 if it was in the cache or failed.
    error : Exception, optional
        Why it failed.
    """

    z: int
    tile: int
    done: int
    total: int
    seconds: float
    error: Exception | None = None


class EmbeddingService:
    """Computes embeddings of a volume's sections in the background.

    Parameters
    ----------
    segmenter : TiledSegmenter
        Embeds.
    cache : EmbeddingCache
        Keeps what was embedded.
    read_section : callable
        Returns section z, (Y, X) uint8; called in the service's thread.
    shape : tuple of int
        Of the volume, (Z, Y, X).
    reach : int
        Sections to each side of the requested one that are embedded too.
    report : callable
        Hears of each `EmbeddingProgress`, in the service's thread. Must not raise.
    """

    def __init__(
        self,
        segmenter: TiledSegmenter,
        cache: EmbeddingCache,
        read_section: Callable[[int], NDArray[np.uint8]],
        shape: tuple[int, int, int],
        *,
        reach: int = 8,
        report: Callable[[EmbeddingProgress], None] = lambda _progress: None,
    ) -> None:
        self.segmenter = segmenter
        self.cache = cache
        self.shape = shape
        self.reach = reach
        self.boxes = segmenter.tiles(shape[1:])
        self._read_section = read_section
        self._report = report
        self._wished: list[SectionTile] = []
        self._awaited: Counter[SectionTile] = Counter()
        self._handed: dict[SectionTile, ImageEmbedding] = {}
        self._keys: dict[SectionTile, str] = {}
        self._failed: dict[SectionTile, Exception] = {}
        self._each_bytes = 0
        self._paused = False
        self._closed = False
        self._section: tuple[int, NDArray[np.uint8]] | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="image embeddings", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def request(self, z: int, place: tuple[float, float] | None = None) -> None:
        """Ask for a section and its neighbours, and drop what was asked for before.

        Parameters
        ----------
        z : int
            The section that is looked at. If it has failed, it is tried again.
        place : tuple of float, optional
            (y, x), pixels: the tile nearest to it comes first; None is the middle.

        Raises
        ------
        IndexError
            If there is no such section.
        """
        self._check(z, 0)
        middle = (self.shape[1] / 2, self.shape[2] / 2)
        sections = sections_outward(z, self.shape[0], self.reach)
        with self._changed:
            for tile in range(len(self.boxes)):
                self._failed.pop(SectionTile(z, tile), None)
            self._wished = embedding_order(sections, self.boxes, place or middle)
            self._changed.notify_all()

    def cancel(self) -> None:
        """Drop what was asked for; what is being embedded is finished and kept."""
        with self._changed:
            self._wished = []

    def pause(self) -> None:
        """Embed nothing ahead until `resume`; what `get` waits for is embedded all the same."""
        with self._changed:
            self._paused = True

    def resume(self) -> None:
        """Go on after `pause`."""
        with self._changed:
            self._paused = False
            self._changed.notify_all()

    def close(self) -> None:
        """End the thread, at the latest when the section it works on is finished."""
        with self._changed:
            self._closed = True
            self._wished = []
            self._changed.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def get(self, z: int, tile: int = 0, timeout: float | None = None) -> ImageEmbedding | None:
        """Return the embedding of a tile, which comes before everything else if it is not ready.

        Parameters
        ----------
        z, tile : int
            Which; `TiledSegmenter.tile_for` tells the tile of a prompt.
        timeout : float, optional
            Seconds to wait; 0 looks only, None waits.

        Returns
        -------
        ImageEmbedding or None
            Of the whole section, holding this tile alone; None if it is not ready in time, or the
            service was closed.

        Raises
        ------
        IndexError
            If there is no such section or tile.
        Exception
            What reading or embedding raised; `request` lets it be tried again.
        """
        self._check(z, tile)
        job = SectionTile(z, tile)
        until = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            self._awaited[job] += 1
            self._changed.notify_all()
            try:
                while True:
                    if job in self._failed:
                        raise self._failed[job]
                    found = self._handed.get(job) or self._kept(job)
                    if found is not None:
                        return self.segmenter.join(self.shape[1:], {tile: found})
                    left = None if until is None else until - time.monotonic()
                    if self._closed or (left is not None and left <= 0):
                        return None
                    self._changed.wait(left)
            finally:
                self._awaited[job] -= 1
                if not self._awaited[job]:
                    del self._awaited[job]
                    self._handed.pop(job, None)

    def is_ready(self, z: int, tile: int = 0) -> bool:
        """Tell whether a tile has been embedded."""
        with self._changed:
            return SectionTile(z, tile) in self._keys

    def failure(self, z: int) -> Exception | None:
        """Return what was raised for a section, or None."""
        with self._changed:
            return next((error for job, error in self._failed.items() if job.z == z), None)

    def _check(self, z: int, tile: int) -> None:
        if not (0 <= z < self.shape[0] and 0 <= tile < len(self.boxes)):
            raise IndexError(f"no tile {tile} in section {z}")

    def _kept(self, job: SectionTile) -> ImageEmbedding | None:
        key = self._keys.get(job)
        found = None if key is None else self.cache.get(key)
        if key is not None and found is None:  # pushed out of the cache: it is made anew
            del self._keys[job]
            self._changed.notify_all()
        return found

    def _work(self) -> None:
        try:
            while True:
                with self._changed:
                    job = self._next()
                    while job is None and not self._closed:
                        self._changed.wait()
                        job = self._next()
                    if job is None or self._closed:
                        return
                self._report(self._finish(job))
        finally:  # whatever ends the thread, nobody waits for it
            with self._changed:
                self._closed = True
                self._changed.notify_all()

    def _next(self) -> SectionTile | None:
        for job in self._awaited:
            if job not in self._failed and job not in self._handed and job not in self._keys:
                return job
        if self._paused:
            return None
        open_jobs = (j for j in self._within_capacity() if j not in self._keys)
        return next((j for j in open_jobs if j not in self._failed), None)

    def _within_capacity(self) -> list[SectionTile]:
        # More than the cache holds would push out what comes first.
        if not self._each_bytes:
            return self._wished
        return self._wished[: self.cache.capacity(self._each_bytes)]

    def _finish(self, job: SectionTile) -> EmbeddingProgress:
        error: Exception | None = None
        key, embedding, seconds = "", None, _NO_SECONDS
        try:
            key, embedding, seconds = self._embed(job)
        except Exception as raised:  # noqa: BLE001 - kept for whoever asks for this section
            error = raised
        with self._changed:
            if embedding is not None:
                self._keys[job] = key
                self._each_bytes = max(self._each_bytes, embedding_bytes(embedding))
                if job in self._awaited:
                    self._handed[job] = embedding
            elif error is not None:
                self._failed[job] = error
            self._changed.notify_all()
            wished = self._within_capacity()
            done = sum(j in self._keys or j in self._failed for j in wished)
            return EmbeddingProgress(*job, done, len(wished), seconds, error)

    def _embed(self, job: SectionTile) -> tuple[str, ImageEmbedding, float]:
        section = self._read(job.z)
        y0, x0, y1, x1 = box = self.boxes[job.tile]
        key = embedding_key(section[y0:y1, x0:x1], self.segmenter.inner.fingerprint, box)
        kept = self.cache.get(key)
        if kept is not None:
            return key, kept, _NO_SECONDS
        began = time.perf_counter()
        embedding = self.segmenter.embed_tile(section, job.tile)
        seconds = time.perf_counter() - began
        return key, self.cache.put(key, embedding), seconds

    def _read(self, z: int) -> NDArray[np.uint8]:
        if self._section is None or self._section[0] != z:
            section = self._read_section(z)
            if section.shape != self.shape[1:] or section.dtype != np.uint8:
                raise VolumeFormatError(
                    f"Section {z} is {section.shape} {section.dtype}.",
                    f"{self.shape[1:]} uint8",
                    "choose an 8-bit image, or convert it.",
                )
            self._section = (z, section)
        return self._section[1]
