"""A small network and a small volume for whole walks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_neuropil.geometry import VoxelSize
from napari_neuropil.networks.checkpoint import CheckpointSpec, save_checkpoint
from napari_neuropil.networks.mnet import MNet


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a seeded random network that runs in milliseconds."""
    torch.manual_seed(5)
    network = MNet((8, 8, 8, 8, 8))
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    spec = CheckpointSpec(
        network="segneuron",
        arguments={"widths": [8, 8, 8, 8, 8], "affinity_channels": 3},
        offsets=((-1, 0, 0), (0, -1, 0), (0, 0, -1)),
        voxel_sizes=((30.0, 12.0, 12.0), (8.0, 8.0, 8.0)),
        tile_shape=(8, 32, 32),
    )
    save_checkpoint(path, network.state_dict(), spec)
    return path


@pytest.fixture(scope="session")
def small_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a 10 x 70 x 54 image of noise with blobs, 30 x 12 x 12 nm, as HDF5."""
    import h5py
    from scipy import ndimage

    rng = np.random.default_rng(2)
    smooth = ndimage.gaussian_filter(rng.normal(size=(10, 70, 54)), (0.7, 4, 4))
    image = np.clip(128 + 400 * smooth + rng.normal(0, 15, smooth.shape), 0, 255)
    path = tmp_path_factory.mktemp("image") / "small.h5"
    with h5py.File(path, "w") as file:
        file["image"] = image.astype(np.uint8)
        file["image"].attrs["voxel_size_nm"] = tuple(VoxelSize(30, 12, 12))
    return path
