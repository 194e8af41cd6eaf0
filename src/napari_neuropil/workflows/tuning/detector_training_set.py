"""What a detector's fine-tuning learns from, on disk, and its recipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.geometry import Roi, VoxelSize
from napari_neuropil.volumes import write_volume
from napari_neuropil.workflows.prompting.volume import PromptVolume
from napari_neuropil.workflows.requests import Progress, Report
from napari_neuropil.workflows.tuning.corrections import LabelledSections
from napari_neuropil.workflows.tuning.detector_requests import DetectorTunePlan

if TYPE_CHECKING:
    from napari_neuropil.prompts.detector_weights import DetectorSpec
    from napari_neuropil.training.detector_recipe import DetectorRecipe

_LEARNING_RATE: Final = 2e-4
"""A tenth of that from nothing, or a detector forgets what it knew."""
_IMAGE, _LABELS = "image.zarr", "labels.zarr"


def write_training_set(
    folder: Path,
    volume: PromptVolume,
    source: LabelledSections,
    plan: DetectorTunePlan,
    report: Report,
) -> None:
    """Write image and chosen labels of the plan's sections, for a process of its own.

    Parameters
    ----------
    folder : Path
        Exists; volumes in it are replaced.
    volume : PromptVolume
        The image; written as 8 bits.
    source : LabelledSections
        What is to be found.
    plan : DetectorTunePlan
        Which sections.
    report : callable
        Hears of the blocks.

    Raises
    ------
    OutputError
        If they cannot be written.
    """
    _, height, width = volume.shape
    first, last = plan.training_sections[0], plan.held_out_sections[1]
    chosen = None if source.chosen is None else np.array(sorted(source.chosen))

    def labels(z: int) -> NDArray[Any]:
        section = source.read(z)
        kept = section if chosen is None else np.where(np.isin(section, chosen), section, 0)
        return kept.astype(np.uint64)

    def told(done: int, total: int) -> None:
        report(Progress(stage="write", done=done, total=total))

    def write(
        name: str,
        kind: Literal["image", "labels"],
        dtype: str,
        section: Callable[[int], NDArray[Any]],
    ) -> None:
        def read(roi: Roi) -> NDArray[Any]:
            planes = range(first + roi.start[0], first + roi.stop[0])
            return np.stack([section(z)[roi.slices[1:]] for z in planes])

        write_volume(
            folder / name, read, (last - first, height, width), dtype, volume.voxel_size,
            kind=kind, overwrite=True, report=told,
        )  # fmt: skip

    write(_IMAGE, "image", "uint8", volume.section)
    write(_LABELS, "labels", "uint64", labels)


def tuning_recipe(plan: DetectorTunePlan, spec: DetectorSpec, size: VoxelSize) -> DetectorRecipe:
    """Return the recipe of a fine-tuning; its paths start from the folder of the run."""
    from napari_neuropil.training.detector_recipe import DetectorRecipe

    first = plan.training_sections[0]
    training, held_out = (
        (low - first, high - first)
        for low, high in (plan.training_sections, plan.held_out_sections)
    )
    epochs = plan.epochs
    return DetectorRecipe.model_validate(
        {
            "seed": plan.request.seed,
            "start": plan.base,
            "object_name": plan.object_name,
            "pixel_size": spec.pixel_size,
            "image_side": spec.image_side,
            "overlap": spec.image_side // 4,
            "smallest_area": plan.request.smallest_area,
            "volumes": [
                {
                    "name": Path(plan.request.image).name,
                    "image": _IMAGE,
                    "labels": _LABELS,
                    "voxel_size": tuple(size),
                    "ids": "all",
                    "train_sections": training,
                    "validation_sections": held_out,
                }
            ],
            "training": {
                "epochs": epochs,
                "learning_rate": _LEARNING_RATE,
                "warm_up": min(1.0, epochs / 4),
                "plain_epochs": epochs // 2,
            },
            "licence": spec.licence,
        }
    )
