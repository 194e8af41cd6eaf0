"""One image embedding in one file: raw halves in safetensors, which cannot run code when opened.

Floats are stored as float16: a section of 1024 pixels takes 4 MiB instead of 8, and masks do not
change visibly. They come back in the type they had. A checksum of the values tells a damaged file
from a whole one; over 4 MiB it costs 2 ms.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from napari_neuropil.prompts.segmenter import ImageEmbedding

FORMAT: Final = 1
"""Version of the layout; part of every key, so that files of other versions are never met."""


class DamagedEmbeddingError(Exception):
    """A file that is no whole embedding of its key."""


def embedding_key(
    pixels: NDArray[np.uint8],
    fingerprint: str,
    box: tuple[int, int, int, int] | None = None,
) -> str:
    """Return the name under which an embedding is kept.

    Parameters
    ----------
    pixels : ndarray of uint8, (Y, X)
        What was embedded.
    fingerprint : str
        Of the segmenter.
    box : tuple of int, optional
        Where the pixels lie in their section, (y0, x0, y1, x1); None for whole sections.

    Returns
    -------
    str
        40 hexadecimal digits, safe as a file name.
    """
    digest = hashlib.blake2b(digest_size=20)
    facts = (FORMAT, fingerprint, str(pixels.dtype), pixels.shape, box)
    # The facts end before the pixels begin: their length comes first.
    header = repr(facts).encode()
    digest.update(len(header).to_bytes(8, "little"))
    digest.update(header)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def rounded(embedding: ImageEmbedding) -> ImageEmbedding:
    """Return the embedding as it will come back from a file, so that all clicks see the same."""
    arrays = {name: _packed(array).astype(array.dtype) for name, array in embedding.arrays.items()}
    for array in arrays.values():
        array.flags.writeable = False
    return ImageEmbedding(arrays, embedding.shape)


def write_embedding(path: Path, key: str, embedding: ImageEmbedding) -> None:
    """Write a file; it appears whole or not at all.

    Raises
    ------
    OSError
        If the folder cannot be written, or the disk is full.
    """
    packed = {name: _packed(array) for name, array in embedding.arrays.items()}
    facts = {
        "format": FORMAT,
        "key": key,
        "shape": list(embedding.shape),
        "dtypes": {name: array.dtype.str for name, array in embedding.arrays.items()},
        "crc32": _checksum(packed),
    }
    content = save(packed, metadata={"embedding": json.dumps(facts)})
    # Two processes or threads may write the same embedding at once: each under its own name.
    partial = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def read_embedding(path: Path, key: str) -> ImageEmbedding:
    """Read a file.

    Raises
    ------
    FileNotFoundError
        If there is none.
    DamagedEmbeddingError
        If it is not a whole embedding of this key.
    OSError
        If it cannot be read.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            facts = json.loads((file.metadata() or {})["embedding"])
            packed = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        whole = (
            facts["format"] == FORMAT
            and facts["key"] == key
            and facts["crc32"] == _checksum(packed)
        )
        height, width = facts["shape"]
        arrays = {
            name: array.astype(np.dtype(facts["dtypes"][name]), copy=False)
            for name, array in packed.items()
        }
    except (SafetensorError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise DamagedEmbeddingError(str(error)) from error
    if not whole:
        raise DamagedEmbeddingError(f"{path} is another embedding, or was changed")
    for array in arrays.values():
        array.flags.writeable = False
    return ImageEmbedding(arrays, (int(height), int(width)))


def _packed(array: NDArray[Any]) -> NDArray[Any]:
    """Return floats as halves unless that would overflow; contiguous, as safetensors needs."""
    if array.dtype.kind == "f" and array.dtype.itemsize > 2:
        with np.errstate(over="ignore"):
            halves = np.ascontiguousarray(array, np.float16)
        if np.isfinite(halves).all() or not np.isfinite(array).all():
            return halves
    return np.ascontiguousarray(array)


def _checksum(arrays: Mapping[str, NDArray[Any]]) -> int:
    value = 0
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        value = zlib.crc32(f"{name}{array.dtype.str}{array.shape}".encode(), value)
        value = zlib.crc32(array.data.cast("B") if array.size else b"", value)
    return value
