"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum


class Device(StrEnum):
    """Where a network runs; `neuropil info` says which are at hand."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"
