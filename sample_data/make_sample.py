"""Write the samples beside this file: ``python sample_data/make_sample.py``."""

from __future__ import annotations

from pathlib import Path

from napari_neuropil.geometry import VoxelSize
from napari_neuropil.project import write_info
from napari_neuropil.synthetic import make_neuropil
from napari_neuropil.volumes import write_volume
from napari_neuropil.workflows.requests import SegmentRequest
from napari_neuropil.workflows.segment import segment

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


def write_project(path: Path, image: Path) -> None:
    """Segment the sample with the shipped weights, and forget where that was done.

    Parameters
    ----------
    path : Path
        The project folder to make; an existing one is replaced.
    image : Path
        The sample volume, in the same folder.
    """
    request = SegmentRequest(image=str(image), project=str(path), device="cpu", overwrite=True)
    project = segment(request)
    source, weights = f"../{image.name}", Path(project.info.plan["checkpoint"]).name
    wish = {**project.info.plan["request"], "image": source, "project": path.name}
    plan = {**project.info.plan, "request": wish, "checkpoint": weights}
    write_info(path, project.info.model_copy(update={"image_source": source, "plan": plan}))


if __name__ == "__main__":
    folder = Path(__file__).parent
    write_sample(folder / "neuropil.ome.zarr", overwrite=True)
    write_project(folder / "neuropil.neuropil", folder / "neuropil.ome.zarr")
