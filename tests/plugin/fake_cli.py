"""Stands in for `python -m napari_neuropil.cli`: same words in, same JSON lines out, no network.

FAKE_CLI chooses: work, crash, garbage, stubborn (ignores SIGINT), slow, refuse.
"""
# ruff: noqa: T201 - what it prints is the protocol

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any


def say(event: str, **facts: Any) -> None:
    print(json.dumps({"event": event, **facts}), flush=True)


def option(words: list[str], name: str) -> str | None:
    return words[words.index(name) + 1] if name in words else None


def make_project(words: list[str]) -> None:
    """Write a project whose fragments are two slabs, both one segment but for the first row."""
    import numpy as np

    from napari_neuropil.geometry import Roi, VoxelSize
    from napari_neuropil.project import ProjectInfo, write_graph, write_info
    from napari_neuropil.segmentation.rag import build_rag
    from napari_neuropil.volumes import create_volume, open_volume

    image = open_volume(words[1])
    path = Path(words[2])
    size = VoxelSize.parse(option(words, "--voxel-size") or "")
    text = option(words, "--roi")
    roi = Roi.of_shape(image.shape) if text is None else Roi.parse(text, image.shape)
    fragments = np.ones(roi.shape, np.uint64)
    fragments[:, roi.shape[1] // 2 :] = 2
    path.mkdir(parents=True)
    place = tuple(n * s for n, s in zip(roi.start, size, strict=True))
    volume = create_volume(
        path / "fragments.zarr", roi.shape, "uint64", size, translation=place, kind="labels"
    )
    volume.array[...] = fragments  # type: ignore[index]
    rag = build_rag(fragments, np.full((3, *roi.shape), 0.5, np.float32))
    write_graph(path, rag, np.array([0, 1, 1], np.uint64))
    write_info(
        path,
        ProjectInfo(
            state="finished",
            image_source=words[1],
            voxel_size=tuple(size),
            translation=place,
            roi=str(roi),
            fragment_count=2,
        ),
    )
    say("done", project=str(path), fragments=2, segments=1, seconds=0.1)


def segment(words: list[str], behaviour: str) -> int:
    if behaviour == "refuse":
        say("error", type="VolumeFormatError", found="constant volume", expected="EM", cure="look")
        return 2
    if behaviour == "crash":
        print("Fatal Python error: out of luck", file=sys.stderr, flush=True)
        os.abort()
    if behaviour == "stubborn":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    say(
        "plan",
        blocks=3,
        seconds=125.0,
        memory_bytes=3.1e9,
        disk_bytes=1e6,
        device="cpu",
        words=words,
        notices=["tiles halved"],
    )
    if "--dry-run" in words:
        return 0
    if behaviour == "garbage":
        print("not json\n[1, 2]\n\x00{", flush=True)
        sys.stdout.buffer.write(b"\xff\xfe\n")
        sys.stdout.buffer.flush()
    for done in range(4):
        say("progress", stage="network", done=done, total=3, message="")
    if behaviour in ("slow", "stubborn"):
        time.sleep(60)
    make_project(words)
    return 0


def import_labels(words: list[str]) -> int:
    """Make the two-slab project; the labels' own ids are not looked at."""
    say("progress", stage="contacts", done=1, total=2, message="")
    make_project(words)
    return 0


def info() -> int:
    devices = [
        {"device": "cpu", "why_unavailable": None, "name": ""},
        {"device": "cuda", "why_unavailable": "this torch has no CUDA", "name": ""},
        {"device": "mps", "why_unavailable": "this is no Mac", "name": ""},
    ]
    print(json.dumps({"devices": devices, "checkpoints": []}), flush=True)
    return 0


if __name__ == "__main__":
    words = sys.argv[1:]
    try:
        if words[0] == "info":
            code = info()
        elif words[0] == "import":
            code = import_labels(words)
        else:
            code = segment(words, os.environ["FAKE_CLI"])
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)
