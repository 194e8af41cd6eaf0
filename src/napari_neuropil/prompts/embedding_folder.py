"""A folder of image embeddings of bounded size, shared by several programs.

Nothing is locked: files appear whole by renaming, are never changed, and whoever finds one gone
makes it anew. The least recently used go first; reading a file sets its time.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from napari_neuropil.prompts.embedding_file import (
    DamagedEmbeddingError,
    read_embedding,
    write_embedding,
)
from napari_neuropil.prompts.segmenter import ImageEmbedding

_SUFFIX: Final = ".safetensors"
_LEFT_OVER: Final = 3600.0
"""Seconds after which a partial file is one of a program that was killed."""
_LOOK_EVERY: Final = 64
"""Writes after which the folder is measured again: others write there, too."""
_ROOM: Final = 0.9
"""Share of the bound that is kept when it is passed; measuring takes time for large folders."""


class EmbeddingFolder:
    """Embeddings on disk.

    Parameters
    ----------
    path : Path
        The folder; made when first written to. Other files in it are left alone.
    most_bytes : int
        The least recently used go when there are more.
    """

    def __init__(self, path: Path, most_bytes: int) -> None:
        self.path = path
        self.most_bytes = most_bytes
        self._bytes: int | None = None
        self._writes = 0

    def read(self, key: str) -> ImageEmbedding | None:
        """Return an embedding, or None if there is none. A damaged file is deleted."""
        path = self._path(key)
        try:
            embedding = read_embedding(path, key)
        except DamagedEmbeddingError:
            with suppress(OSError):
                path.unlink()
            return None
        except OSError:  # absent, or another user's
            return None
        with suppress(OSError):
            os.utime(path)
        return embedding

    def write(self, key: str, embedding: ImageEmbedding) -> None:
        """Keep an embedding; one that is there already only becomes recent.

        Raises
        ------
        OSError
            If the folder cannot be written, or the disk is full.
        """
        path = self._path(key)
        if path.exists():
            with suppress(OSError):
                os.utime(path)
            return
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            write_embedding(path, key, embedding)
        except PermissionError:
            # Windows: another program has written the same file just now and is reading it.
            if not path.exists():
                raise
        self._writes += 1
        with suppress(OSError):  # other programs delete, too; the embedding is written all the same
            if self._bytes is not None:
                self._bytes += path.stat().st_size
            looked = self._bytes is not None and self._writes % _LOOK_EVERY
            if not looked or (self._bytes or 0) > self.most_bytes:
                self._bytes = self._trim(spare=path)

    def _path(self, key: str) -> Path:
        return self.path / f"{key}{_SUFFIX}"

    def _trim(self, spare: Path) -> int:
        """Delete the oldest files if there is too much, and return the bytes that are left.

        The file just written stays in any case: somebody waits for it.
        """
        files: list[tuple[float, int, Path]] = []
        for entry in os.scandir(self.path):
            with suppress(OSError):  # another program deletes, too
                facts = entry.stat()
                if entry.name.endswith(".partial"):
                    if time.time() - facts.st_mtime > _LEFT_OVER:
                        Path(entry.path).unlink(missing_ok=True)
                elif entry.name.endswith(_SUFFIX):
                    files.append((facts.st_mtime, facts.st_size, Path(entry.path)))
        total = sum(size for _, size, _ in files)
        if total <= self.most_bytes:
            return total
        for _, size, path in sorted(files):
            if total <= _ROOM * self.most_bytes:
                break
            if path == spare:
                continue
            with suppress(OSError):  # Windows: in use
                path.unlink(missing_ok=True)
                total -= size
        return total
