"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Device(StrEnum):
    """Where a network runs; `neuropil info` says which are at hand."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


EventsAsJson = Annotated[bool, typer.Option("--json", help="Write events as JSON lines on stdout.")]
VoxelSizeWish = Annotated[
    str | None, typer.Option(metavar="Z,Y,X", help="Voxel size in nm; wins over the file's.")
]
PartOfImage = Annotated[
    str | None, typer.Option(metavar="Z0:Z1,Y0:Y1,X0:X1", help="Part of the image, voxels.")
]
Seed = Annotated[int, typer.Option(min=0, help="Of everything random.")]
