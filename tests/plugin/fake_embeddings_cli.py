"""Stands in for `neuropil embeddings` and `neuropil suggest-split`: their words, no network.

FAKE_CLI chooses: work, refuse, slow. FAKE_SPLIT holds the facts that suggest-split ends with.
"""
# ruff: noqa: T201 - what it prints is the protocol

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def say(event: str, **facts: Any) -> None:
    print(json.dumps({"event": event, **facts}), flush=True)


def embeddings(words: list[str]) -> None:
    """Write colours of the box that was asked for: red by column, green by row, blue by section."""
    import numpy as np

    from napari_neuropil.geometry import Roi, VoxelSize
    from napari_neuropil.workflows.colour_box import ColourBox, write_colour_box

    project, out, near = words[1], Path(words[2]), words[words.index("--near") + 1]
    roi = Roi.parse(near, (10**6,) * 3)
    z, y, x = (i + a for i, a in zip(np.indices(roi.shape), roi.start, strict=True))
    colours = np.stack([x, y, z], axis=-1).astype(np.uint8)
    write_colour_box(out, ColourBox(colours, roi.start, VoxelSize(30, 8, 8), (0, 0, 0)))
    say("done", project=project, colours=str(out), box=near)


if __name__ == "__main__":
    words = sys.argv[1:]
    behaviour = os.environ["FAKE_CLI"]
    if behaviour == "refuse":
        say("error", type="CheckpointError", found="no weights", expected="some", cure="get them")
        sys.exit(2)
    try:
        say("progress", stage="patches", done=1, total=4, message="")
        if behaviour == "slow":
            time.sleep(60)
        if words[0] == "embeddings":
            embeddings(words)
        elif words[0] == "suggest-split":
            facts = json.loads(os.environ["FAKE_SPLIT"])
            say("done", project=words[1], segment=int(words[2]), **facts)
    except KeyboardInterrupt:
        sys.exit(130)
