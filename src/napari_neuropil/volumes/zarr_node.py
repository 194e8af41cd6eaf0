"""Zarr nodes of format 2 and 3, checked before the zarr package sees them.

Codecs may run code of an attacker's choice (numcodecs has a pickle codec), and zarr makes them by
the name that the file gives. So the metadata is read as JSON here first, and only codecs that
decode bytes and nothing else are let through.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import zarr
from zarr.storage import LocalStore

from napari_neuropil.errors import VolumeFormatError, VolumeNotFoundError
from napari_neuropil.volumes.volume import READ_ERRORS

_SAFE_CODECS: Final = frozenset(
    {
        "bytes", "transpose", "sharding_indexed", "crc32c", "crc32", "adler32", "fletcher32",
        "jenkins_lookup3", "blosc", "zstd", "gzip", "zlib", "bz2", "lzma", "lz4", "shuffle",
        "delta", "fixedscaleoffset", "quantize", "bitround", "packbits", "astype", "zfpy", "pcodec",
    }
)  # fmt: skip
_MAX_DEPTH: Final = 4
_MAX_LISTED: Final = 12


@dataclass(frozen=True)
class ZarrNode:
    """A zarr array or group.

    Parameters
    ----------
    path : Path
        Its folder.
    is_array : bool
        Array or group.
    zarr_format : {2, 3}
        Of its metadata.
    attributes : mapping
        The user's attributes.
    metadata : mapping
        The array's description, empty for a group.
    """

    path: Path
    is_array: bool
    zarr_format: Literal[2, 3]
    attributes: Mapping[str, Any]
    metadata: Mapping[str, Any]


def read_node(path: Path) -> ZarrNode | None:
    """Return the node at a folder, None where there is none.

    Raises
    ------
    VolumeFormatError
        If its metadata is damaged.
    """
    if (path / "zarr.json").is_file():
        metadata = _read_json(path / "zarr.json")
        is_array = metadata.get("node_type") == "array"
        attributes = metadata.get("attributes") or {}
        return ZarrNode(path, is_array, 3, _mapping(attributes, path), metadata)
    for marker, is_array in ((".zarray", True), (".zgroup", False)):
        if (path / marker).is_file():
            attributes = _read_json(path / ".zattrs") if (path / ".zattrs").is_file() else {}
            return ZarrNode(path, is_array, 2, attributes, _read_json(path / marker))
    return None


def find_node(path: Path) -> ZarrNode:
    """Return the node at a folder.

    Raises
    ------
    VolumeNotFoundError
        If there is none; similar names beside it are listed.
    VolumeFormatError
        If its metadata is damaged.
    """
    node = read_node(path)
    if node is not None:
        return node
    siblings = [entry.name for entry in sub_folders(path.parent) if read_node(entry)]
    similar = difflib.get_close_matches(path.name, siblings, n=3)
    raise VolumeNotFoundError(
        f"{path} holds no zarr array or group.",
        "a folder with zarr.json, .zarray or .zgroup",
        f"did you mean {', '.join(similar)}?"
        if similar
        else "copy the whole folder again, hidden files included.",
    )


def open_array(node: ZarrNode) -> zarr.Array[Any]:
    """Open an array for reading.

    Raises
    ------
    VolumeFormatError
        If its metadata is damaged or names a codec that is not let through.
    """
    unsafe = sorted(set(_codec_names(node.metadata)) - _SAFE_CODECS)
    if unsafe:
        raise VolumeFormatError(
            f"{node.path} is encoded with {', '.join(unsafe)}.",
            "codecs that only decode bytes: " + ", ".join(sorted(_SAFE_CODECS)),
            "save the array anew with a common compressor, for example zstd or gzip.",
        )
    if not node.is_array:
        raise VolumeFormatError(f"{node.path} is a group.", "a zarr array", "name an array in it.")
    try:
        store = LocalStore(node.path, read_only=True)
        return zarr.open_array(store=store, mode="r", zarr_format=node.zarr_format)
    except READ_ERRORS as error:
        raise VolumeFormatError(
            f"{node.path} has metadata that cannot be used: {error}",
            f"a zarr array of format {node.zarr_format}",
            "copy the volume again from where it came, or save it anew.",
        ) from error


def list_arrays(node: ZarrNode) -> list[ZarrNode]:
    """Return the arrays in a group, at most four folders deep; chunks are not walked."""
    return list(_walk(node.path, _MAX_DEPTH))


def sub_folders(path: Path) -> list[Path]:
    """Return the folders in a folder, sorted; none where it does not exist."""
    return sorted(entry for entry in path.iterdir() if entry.is_dir()) if path.is_dir() else []


def listed(nodes: list[ZarrNode], base: Path) -> str:
    """Return the nodes' paths below `base` for a message."""
    names = [str(node.path.relative_to(base)) for node in nodes[:_MAX_LISTED]]
    more = len(nodes) - _MAX_LISTED
    return (", ".join(names) or "none") + (f" and {more} more" if more > 0 else "")


def _walk(path: Path, depth: int) -> Iterator[ZarrNode]:
    for folder in sub_folders(path):
        node = read_node(folder)
        if node is not None and node.is_array:
            yield node
        elif node is not None and depth > 1:
            yield from _walk(folder, depth - 1)


def _codec_names(metadata: Mapping[str, Any]) -> Iterator[str]:
    listed_codecs: list[Any] = []
    for key in ("codecs", "index_codecs", "filters"):
        value = metadata.get(key)
        listed_codecs.extend(value if isinstance(value, list) else [value] if value else [])
    if metadata.get("compressor"):
        listed_codecs.append(metadata["compressor"])
    for codec in listed_codecs:
        name = (codec.get("name") or codec.get("id")) if isinstance(codec, dict) else codec
        yield str(name).removeprefix("numcodecs.")
        inner = codec.get("configuration") if isinstance(codec, dict) else None
        if isinstance(inner, dict):
            yield from _codec_names(inner)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise VolumeFormatError(
            f"{path} is damaged: {error}",
            "zarr metadata in JSON",
            "copy the volume again from where it came.",
        ) from error
    return dict(_mapping(content, path))


def _mapping(value: object, path: Path) -> Mapping[str, Any]:
    if isinstance(value, dict):
        return value
    raise VolumeFormatError(
        f"{path} holds {type(value).__name__} where zarr metadata belongs.",
        "a JSON object",
        "copy the volume again from where it came.",
    )
