"""Image embeddings by content: the recent ones in memory, all of them in a folder.

A section is embedded once in seconds and clicked many times in milliseconds, so what was computed
is kept between programs. Keys come of the pixels and the segmenter's weights
(`embedding_file.embedding_key`), hence nothing is ever out of date.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from napari_neuropil.prompts.embedding_file import rounded
from napari_neuropil.prompts.embedding_folder import EmbeddingFolder
from napari_neuropil.prompts.segmenter import ImageEmbedding


def embedding_bytes(embedding: ImageEmbedding) -> int:
    """Return what an embedding takes in memory."""
    return sum(array.nbytes for array in embedding.arrays.values())


class EmbeddingCache:
    """Keeps embeddings. Several threads and several programs may use it at once.

    Parameters
    ----------
    folder : Path, optional
        Where embeddings outlive the program; None keeps them in memory only.
    disk_bytes : int
        Bound of the folder.
    memory_bytes : int
        Bound of what is held in memory; the last one stays in any case.
    notice : callable
        Hears once why the folder is not written any more (a full disk, say); work goes on without.
    """

    def __init__(
        self,
        folder: Path | None,
        *,
        disk_bytes: int = 8 << 30,
        memory_bytes: int = 512 << 20,
        notice: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self.memory_bytes = memory_bytes
        self._folder = None if folder is None else EmbeddingFolder(folder, disk_bytes)
        self._writable = folder is not None
        self._notice = notice
        self._recent: OrderedDict[str, ImageEmbedding] = OrderedDict()
        self._held = 0
        self._lock = threading.Lock()

    def get(self, key: str) -> ImageEmbedding | None:
        """Return an embedding, or None if it must be made. Its arrays are read-only."""
        with self._lock:
            if key in self._recent:
                self._recent.move_to_end(key)
                return self._recent[key]
        if self._folder is None:
            return None
        embedding = self._folder.read(key)
        if embedding is not None:
            self._remember(key, embedding)
        return embedding

    def put(self, key: str, embedding: ImageEmbedding) -> ImageEmbedding:
        """Keep an embedding, and return it as `get` will: rounded as on disk, read-only."""
        kept = rounded(embedding)
        self._remember(key, kept)
        if self._folder is not None and self._writable:
            try:
                self._folder.write(key, kept)
            except OSError as error:
                with self._lock:
                    first, self._writable = self._writable, False
                if first:
                    self._notice(f"Image embeddings are kept in memory only: {error}")
        return kept

    def capacity(self, each_bytes: int) -> int:
        """Return how many embeddings of a size (as in memory) can be kept, at least 1."""
        bound = self.memory_bytes
        if self._folder is not None and self._writable:
            bound = max(bound, self._folder.most_bytes)
        return max(1, bound // max(1, each_bytes))

    def _remember(self, key: str, embedding: ImageEmbedding) -> None:
        with self._lock:
            before = self._recent.pop(key, None)
            if before is not None:
                self._held -= embedding_bytes(before)
            self._recent[key] = embedding
            self._held += embedding_bytes(embedding)
            while self._held > self.memory_bytes and len(self._recent) > 1:
                _, oldest = self._recent.popitem(last=False)
                self._held -= embedding_bytes(oldest)
