"""Write the sample volume beside this file: ``python sample_data/make_sample.py``."""

from __future__ import annotations

from pathlib import Path

from napari_neuropil.geometry import VoxelSize
from napari_neuropil.synthetic import make_neuropil
from napari_neuropil.volumes import write_volume

SHAPE = (24, 192, 192)
VOXEL_SIZE = VoxelSize(30, 12, 12)
SEED = 5


def write_sample(path: Path, *, overwrite: bool = False) -> None:
    """Write the image and, inside it, ``labels/neurons``.

    Parameters
    ----------
    path : Path
        The OME-Zarr folder to make.
    overwrite : bool, optional
        Whether an existing one may go.

    Raises
    ------
    OutputError
        If `path` exists and may not go, or cannot be written.
    """
    neuropil = make_neuropil(SHAPE, SEED, voxel_size=VOXEL_SIZE)
    image, labels = neuropil.image, neuropil.labels
    write_volume(
        path,
        lambda roi: image[roi.slices],
        SHAPE,
        image.dtype,
        VOXEL_SIZE,
        kind="image",
        overwrite=overwrite,
    )
    write_volume(
        path / "labels" / "neurons",
        lambda roi: labels[roi.slices],
        SHAPE,
        labels.dtype,
        VOXEL_SIZE,
        kind="labels",
        overwrite=overwrite,
    )


if __name__ == "__main__":
    write_sample(Path(__file__).parent / "neuropil.ome.zarr", overwrite=True)
