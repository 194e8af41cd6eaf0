"""From what a user names to what a prompt worker works with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from napari_neuropil.geometry import VoxelSize
from napari_neuropil.networks.pretrained import pretrained_path
from napari_neuropil.prompts.segmenter import Segmenter
from napari_neuropil.prompts.segmenters import DEFAULT_SEGMENTER, open_segmenter
from napari_neuropil.workflows.prompting.tasks import ScaledDetector
from napari_neuropil.workflows.prompting.volume import open_prompt_volume
from napari_neuropil.workflows.prompting.worker import PromptTools

_DETECTOR = "dendrite-detector"


def open_prompt_tools(
    image: str | Path,
    *,
    segmenter: str | None = None,
    detector: Path | None = None,
    project: Path | None = None,
    voxel_size: VoxelSize | None = None,
    roi: str | None = None,
    cache_dir: Path | None = None,
    device: str = "auto",
) -> PromptTools:
    """Open image and segmenter; the detector waits until it is asked for.

    Parameters
    ----------
    image : path-like
        Any volume.
    segmenter : str, optional
        As `open_segmenter` takes it; None is the built-in one.
    detector : Path, optional
        Its weights; None takes the built-in ones.
    project, voxel_size, roi
        As `open_prompt_volume`.
    cache_dir : Path, optional
        Where embeddings outlive the program.
    device : str
        auto, cpu, cuda or mps.

    Raises
    ------
    NeuropilError
        If image, project or segmenter cannot be opened, or there is no such device.
    """
    volume = open_prompt_volume(image, voxel_size=voxel_size, roi=roi, project=project)
    return PromptTools(
        volume=volume,
        segmenter=_open_segmenter(segmenter or DEFAULT_SEGMENTER, device),
        open_detector=_detector_opener(detector, device),
        cache_dir=cache_dir,
    )


def _open_segmenter(name: str, device: str) -> Segmenter:
    from napari_neuropil.prompts.classical_segmenter import CLASSICAL

    # These know no device, and asking for one loads torch, which takes seconds.
    return open_segmenter(name, "cpu" if name in CLASSICAL else _settled(device))


def _detector_opener(path: Path | None, device: str) -> Callable[[], ScaledDetector]:
    def open_detector() -> ScaledDetector:
        from napari_neuropil.prompts.yolo_detector import YoloDetector

        found = YoloDetector.load(path or pretrained_path(_DETECTOR), device=_settled(device))
        return ScaledDetector(found, found.spec.pixel_size)

    return open_detector


def _settled(device: str) -> str:
    from napari_neuropil.inference.devices import choose_device

    return str(choose_device(device))
