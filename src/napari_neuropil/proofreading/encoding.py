"""Effects as bytes, for the log.

A merge is a few dozen bytes and is decoded in microseconds, since opening a session reads all of
them. Layout, little-endian: one byte for compression, then counts, then the ids; constant segments
are stored once. Pieces and links, which are rare, follow as arrays described by a JSON header.
Nothing here is pickled: bytes from a foreign file can at worst be refused.
"""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import ProjectError
from napari_neuropil.proofreading.effects import NO_LINKS, Effect, FragmentSplit
from napari_neuropil.segmentation.rag import Rag

_COUNTS: Final = struct.Struct("<IIIBBI")
_COMPRESS_ABOVE: Final = 512
_LARGEST: Final = 1 << 31
"""Bytes an effect may unpack to: a foreign file must not exhaust memory."""

_LINK_FIELDS: Final = ("contacts", "affinity", "area", "boundary_length", "centroid", "score")


class Skimmed(NamedTuple):
    """The ids of an effect, each 8 bytes little-endian; `rest` holds pieces and links."""

    fragments: bytes
    before: bytes
    after: bytes
    joined: bytes
    cut: bytes
    rest: bytes


def pack_effect(effect: Effect) -> bytes:
    """Return an effect as bytes."""
    before, after = _constant(effect.before), _constant(effect.after)
    rest = _pack_rest(effect)
    body = b"".join(
        (
            _COUNTS.pack(
                len(effect.fragments),
                len(effect.joined),
                len(effect.cut),
                len(before) != len(effect.before),
                len(after) != len(effect.after),
                len(rest),
            ),
            *(
                np.ascontiguousarray(ids, "<u8").tobytes()
                for ids in (effect.fragments, before, after, effect.joined, effect.cut)
            ),
            rest,
        )
    )
    if len(body) > _COMPRESS_ABOVE:
        return b"\x01" + zlib.compress(body, 1)
    return b"\x00" + body


def unpack_effect(data: bytes) -> Effect:
    """Return the effect that `pack_effect` made bytes of.

    Raises
    ------
    ProjectError
        If the bytes are damaged.
    """
    try:
        return _unpack(data)
    except (ValueError, struct.error, zlib.error, KeyError, TypeError, IndexError) as error:
        raise _damaged(data, error) from error


def skim_effect(data: bytes) -> Skimmed:
    """Read the ids of an effect, without making arrays of them.

    Raises
    ------
    ProjectError
        If the bytes are damaged.
    """
    try:
        return _skim(data)
    except (ValueError, struct.error, zlib.error, IndexError) as error:
        raise _damaged(data, error) from error


def _skim(data: bytes) -> Skimmed:
    body = data[1:]
    if data[0] == 1:
        inflate = zlib.decompressobj()
        body = inflate.decompress(body, _LARGEST)
        if inflate.unconsumed_tail or not inflate.eof:
            raise ValueError("the compressed part is cut or too large")
    count, joined, cut, same_before, same_after, rest = _COUNTS.unpack_from(body)
    size = 8 * count
    at = _COUNTS.size
    if size > len(body):
        raise ValueError("its length is wrong")
    fragments = body[at : at + size]
    at += size
    if same_before:
        before, at = body[at : at + 8] * count, at + 8
    else:
        before, at = body[at : at + size], at + size
    if same_after:
        after, at = body[at : at + 8] * count, at + 8
    else:
        after, at = body[at : at + size], at + size
    middle, end = at + 16 * joined, at + 16 * (joined + cut)
    if end + rest != len(body):
        raise ValueError("its length is wrong")
    return Skimmed(fragments, before, after, body[at:middle], body[middle:end], body[end:])


def _unpack(data: bytes) -> Effect:
    raw = _skim(data)
    splits, links = unpack_rest(raw.rest) if raw.rest else ((), NO_LINKS)
    return Effect(
        np.frombuffer(raw.fragments, "<u8"),
        np.frombuffer(raw.before, "<u8"),
        np.frombuffer(raw.after, "<u8"),
        np.frombuffer(raw.joined, "<u8").reshape(-1, 2),
        np.frombuffer(raw.cut, "<u8").reshape(-1, 2),
        splits,
        links,
    )


def _damaged(data: bytes, error: Exception) -> ProjectError:
    return ProjectError(
        f"An edit of {len(data)} bytes cannot be read: {error}",
        "bytes as they were written",
        "restore the session from a copy, or keep what is readable: neuropil repair PROJECT.",
    )


def _constant(ids: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return ids[:1] if len(ids) > 1 and bool((ids == ids[0]).all()) else ids


def _pack_rest(effect: Effect) -> bytes:
    if not effect.splits and not len(effect.links):
        return b""
    arrays = [np.ascontiguousarray(split.labels) for split in effect.splits]
    arrays += [np.ascontiguousarray(getattr(effect.links, name)) for name in _LINK_FIELDS]
    header = json.dumps(
        {
            "splits": [
                {"parent": s.parent, "start": list(s.start), "first": s.first}
                for s in effect.splits
            ],
            "arrays": [[a.dtype.str, list(a.shape)] for a in arrays],
        }
    ).encode()
    return b"".join((struct.pack("<I", len(header)), header, *(a.tobytes() for a in arrays)))


def unpack_rest(data: bytes) -> tuple[tuple[FragmentSplit, ...], Rag]:
    """Return the pieces and links of a skimmed effect.

    Raises
    ------
    ProjectError
        If the bytes are damaged.
    """
    try:
        return _arrays_of(data)
    except (ValueError, struct.error, KeyError, TypeError, IndexError) as error:
        raise _damaged(data, error) from error


def _arrays_of(data: bytes) -> tuple[tuple[FragmentSplit, ...], Rag]:
    (length,) = struct.unpack_from("<I", data)
    header = json.loads(data[4 : 4 + length])
    at = 4 + length
    arrays: list[NDArray[Any]] = []
    for code, shape in header["arrays"]:
        dtype = np.dtype(code)
        if dtype.kind not in "uif":
            raise ValueError(f"it holds values of type {dtype}")
        size = int(np.prod(shape, dtype=np.int64))
        arrays.append(np.frombuffer(data, dtype, size, at).reshape(shape))
        at += size * dtype.itemsize
    count = len(header["splits"])
    splits = []
    for facts, labels in zip(header["splits"], arrays[:count], strict=True):
        z, y, x = (int(v) for v in facts["start"])
        splits.append(FragmentSplit(int(facts["parent"]), (z, y, x), labels, int(facts["first"])))
    return tuple(splits), Rag(*arrays[count:])
