"""Stands in for `python -m napari_neuropil.cli distances`: writes distances, needs no network.

FAKE_CLI chooses: work, slow (measures one contact and waits), refuse.
"""
# ruff: noqa: T201 - what it prints is the protocol

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.geometry import Roi
from napari_neuropil.project import Project
from napari_neuropil.project.contact_distances import ContactDistances, write_distances


def say(event: str, **facts: Any) -> None:
    print(json.dumps({"event": event, **facts}), flush=True)


def measure(words: list[str], behaviour: str) -> int:
    """Give contact r the distance r / 2, if its centroid lies in the box."""
    if behaviour == "refuse":
        say("error", type="CheckpointError", found="no weights", expected="a file", cure="wait")
        return 2
    rag = Project.open(Path(words[1])).rag
    wanted: NDArray[np.bool_] = np.ones(len(rag), bool)
    if "--near" in words:
        roi = Roi.parse(words[words.index("--near") + 1], (1 << 30,) * 3)
        wanted &= ((rag.centroid >= roi.start) & (rag.centroid < roi.stop)).all(axis=1)
    if behaviour == "slow":
        wanted &= np.cumsum(wanted) == 1
    distance = np.where(wanted, np.arange(len(rag)) / 2, np.nan).astype(np.float32)
    for done in range(3):
        say("progress", stage="distances", done=done, total=len(rag), message="")
    write_distances(Path(words[1]), ContactDistances(distance, wanted, "0" * 64))
    if behaviour == "slow":
        say("progress", stage="distances", done=3, total=len(rag), message="")
        time.sleep(60)
    below = int((distance < 1.5).sum())
    say("done", contacts=len(rag), measured=int(wanted.sum()), below_threshold=below)
    return 0


if __name__ == "__main__":
    try:
        code = measure(sys.argv[1:], os.environ["FAKE_CLI"])
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)
