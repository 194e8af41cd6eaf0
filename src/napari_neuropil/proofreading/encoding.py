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
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import ProjectError
from napari_neuropil.proofreading.effects import NO_LINKS, Effect, FragmentSplit
from napari_neuropil.segmentation.rag import Rag

COUNTS: Final = struct.Struct("<IIIBBI")
"""Fragments, joined, cut; whether segments before and after are constant; bytes of the rest."""

_COMPRESS_ABOVE: Final = 512
_LARGEST: Final = 1 << 31
"""Bytes an effect may unpack to: a foreign file must not exhaust memory."""

_LINK_FIELDS: Final = ("contacts", "affinity", "area", "boundary_length", "centroid", "score")


def pack_effect(effect: Effect) -> bytes:
    """Return an effect as bytes."""
    before, after = _constant(effect.before), _constant(effect.after)
    rest = _pack_rest(effect)
    body = b"".join(
        (
            COUNTS.pack(
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
        raise damaged_effect(data, error) from error


def plain_bytes(data: bytes) -> bytes:
    """Return an effect's bytes from its counts on, uncompressed.

    Raises
    ------
    ProjectError
        If they are damaged.
    """
    if data[:1] == b"\x00":
        return data[1:]
    inflate = zlib.decompressobj()
    try:
        body = inflate.decompress(data[1:], _LARGEST)
    except zlib.error as error:
        raise damaged_effect(data, error) from error
    if inflate.unconsumed_tail or not inflate.eof:
        raise damaged_effect(data, "the compressed part is cut or too large")
    return body


def _unpack(data: bytes) -> Effect:
    body = plain_bytes(data)
    count, joined, cut, same_before, same_after, rest = COUNTS.unpack_from(body)
    at = COUNTS.size
    parts: list[NDArray[np.uint64]] = []
    for length, constant in ((count, False), (count, same_before), (count, same_after)):
        stored = 1 if constant else length
        ids = np.frombuffer(body, "<u8", stored, at)
        parts.append(np.repeat(ids, length) if constant else ids)
        at += 8 * stored
    for length in (joined, cut):
        parts.append(np.frombuffer(body, "<u8", 2 * length, at).reshape(-1, 2))
        at += 16 * length
    if at + rest != len(body):
        raise ValueError("its length is wrong")
    splits, links = unpack_rest(body[at:]) if rest else ((), NO_LINKS)
    fragments, before, after, joined_pairs, cut_pairs = parts
    return Effect(fragments, before, after, joined_pairs, cut_pairs, splits, links)


def damaged_effect(data: bytes, error: object) -> ProjectError:
    """Return the error that says an effect cannot be read."""
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
        raise damaged_effect(data, error) from error


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
