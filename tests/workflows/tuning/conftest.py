"""Slanted discs, which boxes fit badly, and a promptable network that learns them in seconds."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from napari_neuropil.geometry import VoxelSize
from napari_neuropil.volumes import write_volume
from napari_neuropil.workflows.tuning.requests import TuneRequest

SHAPE = (12, 64, 64)
ARGUMENTS: dict[str, Any] = {
    "width": 32, "encoder_widths": (16, 16, 32, 32, 32), "encoder_blocks": (1, 1, 1, 1)
}  # fmt: skip


@dataclass(frozen=True)
class DiscFiles:
    """Files of one volume, and what is in them."""

    image: Path
    labels: Path
    grey: NDArray[np.uint8]
    ids: NDArray[np.uint16]


@pytest.fixture(scope="session")
def discs(tmp_path_factory: pytest.TempPathFactory) -> DiscFiles:
    """Return 12 sections of four slanted discs, ids 1 to 4, each of its grey, 30 x 12 x 12 nm."""
    folder = tmp_path_factory.mktemp("discs")
    rng = np.random.default_rng(0)
    ys, xs = np.indices(SHAPE[1:])
    ids, grey = np.zeros(SHAPE, np.uint16), np.full(SHAPE, 60.0)
    for z in range(SHAPE[0]):
        for number, (y, x) in enumerate(((16, 16), (16, 48), (48, 16), (48, 48)), start=1):
            down, right = ys - y - rng.uniform(-3, 3), xs - x - rng.uniform(-3, 3)
            away = np.hypot(
                (down + right) / rng.uniform(15, 19), (down - right) / rng.uniform(5, 8)
            )
            ids[z][away < 1], grey[z][away < 1] = number, 100 + 30 * number
    image = (grey + rng.normal(0, 6, SHAPE)).clip(0, 255).astype(np.uint8)
    size = VoxelSize(30, 12, 12)
    write_volume(
        folder / "i.zarr", lambda roi: image[roi.slices], SHAPE, "uint8", size, kind="image"
    )
    np.save(folder / "l.npy", ids)
    return DiscFiles(folder / "i.zarr", folder / "l.npy", image, ids)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a compact network as it is before training; it fills boxes."""
    if importlib.util.find_spec("segment_anything") is None:
        pytest.skip("segment_anything is not installed")
    from napari_neuropil.networks.compact_sam import CompactSam
    from napari_neuropil.networks.sam_spec import SamSpec, save_sam

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("base") / "tiny.safetensors"
    spec = SamSpec(network="compact-sam", arguments=ARGUMENTS)
    save_sam(path, CompactSam(input_side=64, **ARGUMENTS), spec, half=False)
    return path


@pytest.fixture
def request_for(discs: DiscFiles, base: Path, tmp_path: Path) -> Callable[..., TuneRequest]:
    """Return a function that makes a request on the discs; a few steps unless told otherwise."""

    def make(**fields: Any) -> TuneRequest:
        known: dict[str, Any] = {
            "image": str(discs.image), "labels": str(discs.labels), "base": str(base),
            "out": str(tmp_path / "tuned.safetensors"), "smallest": 20, "steps": 4,
            "device": "cpu",
        }  # fmt: skip
        return TuneRequest(**{**known, **fields})

    return make
