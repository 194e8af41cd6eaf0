"""A small network and a small volume for whole walks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from napari_neuropil.geometry import Roi, VoxelSize
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


@pytest.fixture(scope="session")
def embedding_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an untrained embedding network for 30 x 12 x 12 nm, large enough to tell apart."""
    from napari_neuropil.networks.registry import METRIC_OFFSETS
    from napari_neuropil.networks.residual_unet import ResidualUNet

    torch.manual_seed(7)
    network = ResidualUNet((4, 4), 6)
    state = network.state_dict()
    state["out.embedding.1.scale"] += 3
    path = tmp_path_factory.mktemp("weights") / "embeddings.safetensors"
    spec = CheckpointSpec(
        network="voxel-embeddings",
        arguments={"widths": [4, 4], "dimensions": 6},
        offsets=METRIC_OFFSETS,
        voxel_sizes=((30.0, 12.0, 12.0),),
        tile_shape=(20, 128, 128),
    )
    save_checkpoint(path, state, spec)
    return path


@pytest.fixture
def make_project(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a project of 30 x 6 x 6 nm, and a noisy image beside it."""
    from napari_neuropil.project import ProjectInfo, write_graph, write_info
    from napari_neuropil.segmentation.rag import build_rag
    from napari_neuropil.volumes import create_volume, write_volume

    def make(
        fragments: NDArray[np.uint64],
        lookup: Any = None,
        affinity: NDArray[np.float32] | None = None,
        *,
        grey: NDArray[np.uint8] | None = None,
        image: bool = True,
    ) -> Path:
        number = len(list(tmp_path.glob("*.neuropil")))
        size, shape, count = VoxelSize(30, 6, 6), fragments.shape, int(fragments.max())
        path = tmp_path / f"{number}.neuropil"
        path.mkdir()
        noise = np.random.default_rng(1).integers(0, 255, shape).astype(np.uint8)
        voxels = noise if grey is None else grey
        place = tmp_path / f"{number}.zarr"
        write_volume(place, lambda roi: voxels[roi.slices], shape, "uint8", size, kind="image")
        volume = create_volume(path / "fragments.zarr", shape, "uint64", size, kind="labels")
        volume.write(Roi.of_shape(shape), fragments)
        if affinity is None:
            affinity = np.full((3, *shape), 0.8, np.float32)
        own = np.arange(count + 1) if lookup is None else np.asarray(lookup)
        write_graph(path, build_rag(fragments, affinity), own.astype(np.uint64))
        write_info(
            path,
            ProjectInfo(
                state="finished",
                image_source=f"../{place.name}" if image else "",
                image_shape=shape,
                voxel_size=tuple(size),
                translation=(100.0, 0.0, 0.0),
                roi=str(Roi.of_shape(shape)),
                fragment_count=count,
            ),
        )
        return path

    return make
