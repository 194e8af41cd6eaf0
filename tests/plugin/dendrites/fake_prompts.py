"""Stands in for `neuropil prompts`: same lines in and out, no network, no image.

A mask is the box (of points alone: 7 x 7 pixels around each positive one), with the mask so far,
without 3 x 3 pixels around each negative point. It is carried on unchanged to the ends of the
volume. FAKE_PROMPTS chooses: work, crash (with the first mask), yolo (no detector), refuse (at
once), slow (propagates until it is cancelled). FAKE_SHAPE is the volume's shape.
"""
# ruff: noqa: T201 - what it prints is the protocol

from __future__ import annotations

import json
import os
import select
import sys
from typing import Any

import numpy as np

from napari_neuropil.prompts.packed_mask import PackedMask
from napari_neuropil.workflows.prompting.mask_bits import MaskBits

BEHAVIOUR = os.environ.get("FAKE_PROMPTS", "work")
SHAPE = tuple(int(n) for n in os.environ["FAKE_SHAPE"].split(","))


def say(event: str, **facts: Any) -> None:
    print(json.dumps({"event": event, **facts}), flush=True)


def around(mask: np.ndarray, point: list[float], reach: int, value: bool) -> None:
    y, x = round(point[0]), round(point[1])
    mask[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1] = value


def answer(wish: dict[str, Any]) -> None:
    if BEHAVIOUR == "crash":
        print("Fatal Python error: out of luck", file=sys.stderr, flush=True)
        os._exit(3)
    mask = np.zeros(SHAPE[1:], bool)
    if wish.get("box"):
        y0, x0, y1, x1 = (round(v) for v in wish["box"])
        mask[y0:y1, x0:x1] = True
    if wish.get("mask"):
        mask |= MaskBits.model_validate(wish["mask"]).packed().onto(SHAPE[1:])
    signs = list(zip(wish["points"], wish["positive"], strict=True))
    for point, positive in signs:
        if positive and not wish.get("box"):
            around(mask, point, 3, True)
    for point, positive in signs:
        if not positive:
            around(mask, point, 1, False)
    packed = PackedMask.of(mask)
    say(
        "mask",
        id=wish["id"],
        z=wish["z"],
        score=0.9,
        stability=1.0,
        box=None if packed is None else packed.box,
        mask=None if packed is None else MaskBits.of(packed).model_dump(),
        seconds=0.01,
    )


def cancelled() -> bool:
    """Wait a little for a line; whether it is a cancel."""
    ready, _, _ = select.select([sys.stdin], [], [], 0.05)
    return bool(ready) and json.loads(sys.stdin.readline())["request"] == "cancel"


def propagate(wish: dict[str, Any]) -> None:
    given = {m["z"]: m["mask"] for m in wish["masks"] if m["mask"]}
    absent = {m["z"] for m in wish["masks"] if not m["mask"]}
    low, high = -1, SHAPE[0]
    if wish["edited"] is not None:
        low = max((z for z in given if z < wish["edited"]), default=low)
        high = min((z for z in given if z > wish["edited"]), default=high)
    stops = []
    for step, order in ((1, range(SHAPE[0])), (-1, range(SHAPE[0] - 1, -1, -1))):
        origin = None
        for z in order:
            if z in given:
                origin = z
            elif z in absent and origin is not None:
                stops.append((z, step, "empty", 0.0, given[origin]))
                origin = None
            elif origin is not None and low < z < high:
                say(
                    "section",
                    id=wish["id"],
                    z=z,
                    mask=given[origin],
                    origin=origin,
                    direction=step,
                    overlap=1.0,
                    area_ratio=1.0,
                    score=0.8,
                    pieces=1,
                )
                if BEHAVIOUR == "slow" and cancelled():
                    say("cancelled", id=wish["id"])
                    return
        if origin is not None:
            end = SHAPE[0] - 1 if step > 0 else 0
            stops.append((end, step, "volume", 0.0, given[origin]))
    say(
        "finished",
        id=wish["id"],
        seconds=0.1,
        stops=[
            {
                "z": z,
                "direction": step,
                "reason": reason,
                "value": value,
                "place": mask["box"][:2],
                "area": 1,
                "doubtful": reason != "volume",
            }
            for z, step, reason, value, mask in stops
        ],
    )


def detect(wish: dict[str, Any]) -> None:
    if BEHAVIOUR == "yolo":
        say(
            "error",
            id=wish["id"],
            type="MissingExtraError",
            found="The package 'ultralytics' is not installed.",
            expected="napari-neuropil with its extra 'yolo'",
            cure='pip install "napari-neuropil[yolo]"',
        )
        return
    sections = wish["sections"] or range(*wish["span"])
    for done, z in enumerate(sections, 1):
        boxes, scores = [[2, 2, 12, 14], [20, 30, 34, 50]], [0.9, 0.3]
        kept = [n for n in (0, 1) if scores[n] >= wish["min_score"]]
        say(
            "boxes",
            id=wish["id"],
            z=z,
            boxes=[boxes[n] for n in kept],
            scores=[scores[n] for n in kept],
            done=done,
            total=len(sections),
        )
    say("finished", id=wish["id"], seconds=0.1, stops=[])


def main() -> int:
    if BEHAVIOUR == "refuse":
        say("error", id=None, type="CheckpointError", found="no such", expected="one", cure="look")
        return 2
    say(
        "ready",
        shape=SHAPE,
        start=(0, 0, 0),
        voxel_size=(30.0, 8.0, 8.0),
        segmenter="fake",
        fingerprint="fake-1",
        pooling=(1, 1),
        tiles=1,
    )
    for line in iter(sys.stdin.readline, ""):
        wish = json.loads(line)
        kind = wish["request"]
        if kind == "quit":
            break
        if kind == "look":
            say("embedded", z=wish["z"], tile=0, done=1, total=1, seconds=0.0, problem=None)
        elif kind == "mask":
            answer(wish)
        elif kind == "detect":
            detect(wish)
        elif kind == "propagate":
            propagate(wish)
    return 0


if __name__ == "__main__":
    sys.exit(main())
