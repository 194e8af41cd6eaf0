"""YOLO as a detector: one forward pass, then suppression of duplicates, all in this process.

The pass is ours, not ultralytics' predictor, which brings loggers, plotting and a letterbox of its
own. Newer networks have two heads: the one that gives an object many boxes is used, with
suppression after it, since it learns faster from few sections than the one without.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from napari_neuropil.errors import SettingsError, VolumeFormatError
from napari_neuropil.prompts.box_merging import no_detections, suppress_duplicates
from napari_neuropil.prompts.boxes import Boxes, box_areas, clip_boxes
from napari_neuropil.prompts.detector import Detections
from napari_neuropil.prompts.detector_weights import STRIDE, DetectorSpec, load_network

MOST_BOXES: Final = 1000
"""Boxes of one tile. Neuropil holds many: 180 neurites in a square of 6 µm, where detectors are
used to 300 at most."""

_CANDIDATES: Final = 4 * MOST_BOXES
_PADDING: Final = 114  # the grey that ultralytics trains with


class YoloDetector:
    """A YOLO network behind the protocol of detectors.

    Parameters
    ----------
    network : torch.nn.Module
        Of `spec`'s architecture, filled.
    spec : DetectorSpec
        Of its weights.
    name : str
        What users call it.
    device : str or torch.device
        Where it runs.
    confidence : float, optional
        Lowest score of a box, in (0, 1); None takes the spec's.
    kinds : collection of str, optional
        Which of the spec's classes count; None takes all.

    Raises
    ------
    SettingsError
        If the confidence is out of bounds or a kind unknown.
    """

    def __init__(
        self,
        network: Any,
        spec: DetectorSpec,
        *,
        name: str = "yolo",
        device: str | torch.device = "cpu",
        confidence: float | None = None,
        kinds: Collection[str] | None = None,
    ) -> None:
        self._confidence = spec.confidence if confidence is None else confidence
        if not 0 < self._confidence < 1:
            raise SettingsError(f"A confidence of {confidence}.", "a number between 0 and 1", "")
        wanted = set(spec.classes if kinds is None else kinds)
        if not wanted or wanted - set(spec.classes):
            raise SettingsError(
                f"Kinds {sorted(wanted)}.", f"some of {', '.join(spec.classes)}", ""
            )
        self._kinds = [n for n, kind in enumerate(spec.classes) if kind in wanted]
        self._device = torch.device(device)
        network.model[-1].end2end = False
        self._network = network.to(self._device).eval()
        self._spec, self._name = spec, name

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        device: str | torch.device = "cpu",
        confidence: float | None = None,
        kinds: Collection[str] | None = None,
    ) -> YoloDetector:
        """Read a detector's weights.

        Raises
        ------
        MissingExtraError
            If ultralytics is not installed.
        CheckpointError
            If the file is not a detector's, or damaged.
        """
        network, spec = load_network(path)
        network.fuse(verbose=False)  # folds the batch normalisation in
        return cls(network, spec, name=path.stem, device=device, confidence=confidence, kinds=kinds)

    @property
    def name(self) -> str:
        """What users call it."""
        return self._name

    @property
    def spec(self) -> DetectorSpec:
        """What is known of its weights."""
        return self._spec

    @property
    def fingerprint(self) -> str:
        """Hash of its weights."""
        return self._spec.sha256

    @property
    def tile_side(self) -> int:
        """Pixels of the square it looks at: the size it was trained with."""
        return self._spec.image_side

    def detect(self, section: NDArray[np.uint8]) -> Detections:
        """Return the boxes of one tile, highest score first.

        Parameters
        ----------
        section : NDArray of uint8, (Y, X)
            At the spec's pixel size.

        Returns
        -------
        Detections
            Within the tile, at most `MOST_BOXES`.

        Raises
        ------
        VolumeFormatError
            If it is not 2D or not uint8.
        """
        if section.ndim != 2 or section.dtype != np.uint8:
            raise VolumeFormatError(
                f"A section of shape {section.shape}, {section.dtype}.", "(Y, X), uint8", ""
            )
        if not section.size:
            return no_detections()
        with torch.inference_mode():
            answer, _ = self._network(_to_input(section, self._device))
        boxes, scores = _decode(answer[0].float().cpu().numpy(), self._kinds)
        boxes = clip_boxes(boxes, (section.shape[0], section.shape[1]))
        kept = np.flatnonzero((scores >= self._confidence) & (box_areas(boxes) > 0))
        kept = kept[np.argsort(-scores[kept], kind="stable")][:_CANDIDATES]
        found = suppress_duplicates(Detections(boxes[kept], scores[kept]))
        return Detections(found.boxes[:MOST_BOXES], found.scores[:MOST_BOXES])


def _to_input(section: NDArray[np.uint8], device: torch.device) -> torch.Tensor:
    """Return grey values in [0, 1] as three equal channels, padded below and to the right."""
    height, width = (-(-n // STRIDE) * STRIDE for n in section.shape)
    padded = np.full((height, width), _PADDING, np.uint8)
    padded[: section.shape[0], : section.shape[1]] = section
    image = torch.from_numpy(padded).to(device).float() / 255
    return image.expand(1, 3, height, width)


def _decode(answer: NDArray[np.float32], kinds: list[int]) -> tuple[Boxes, NDArray[np.float32]]:
    """Turn rows of (x centre, y centre, width, height, score of each class) into boxes, y first."""
    centre, size = answer[1::-1].T, answer[3:1:-1].T
    boxes = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
    scores = answer[4:][kinds].max(axis=0)
    return boxes.astype(np.float32), scores.astype(np.float32)
