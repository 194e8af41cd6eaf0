"""A tiny volume, its labels and an untrained network, shared by the tests of the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_neuropil.geometry import Roi, VoxelSize
from napari_neuropil.synthetic import make_neuropil
from napari_neuropil.volumes import write_volume

SHAPE = (6, 64, 64)


@pytest.fixture(scope="session")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with image.zarr, labels.h5 and, without a voxel size, image.npy."""
    folder = tmp_path_factory.mktemp("volumes")
    neuropil = make_neuropil(SHAPE, seed=1)
    size = neuropil.voxel_size
    for name, array, kind in (
        ("image.zarr", neuropil.image, "image"),
        ("labels.h5", neuropil.labels, "labels"),
    ):

        def read(roi: Roi, array: np.ndarray = array) -> np.ndarray:
            return array[roi.slices]

        write_volume(folder / name, read, SHAPE, array.dtype, size, kind=kind)
    np.save(folder / "image.npy", neuropil.image)
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an untrained checkpoint of the smallest network."""
    import torch

    from napari_neuropil.networks.checkpoint import CheckpointSpec, save_checkpoint
    from napari_neuropil.networks.mnet import MNet

    torch.manual_seed(0)
    widths = [4] * 5
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    spec = CheckpointSpec(
        network="segneuron",
        arguments={"widths": widths, "affinity_channels": 3},
        offsets=((-1, 0, 0), (0, -1, 0), (0, 0, -1)),
        voxel_sizes=(tuple(VoxelSize(30, 8, 8)),),
        tile_shape=(6, 64, 64),
    )
    save_checkpoint(path, MNet(widths, 3).state_dict(), spec)
    return path


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory, volumes: Path, checkpoint: Path) -> Path:
    """Return a finished project of the tiny volume."""
    from napari_neuropil.cli.app import run

    path = tmp_path_factory.mktemp("projects") / "brain.neuropil"
    words = ["segment", str(volumes / "image.zarr"), str(path)]
    assert run([*words, "--checkpoint", str(checkpoint), "--device", "cpu"]) == 0
    return path
