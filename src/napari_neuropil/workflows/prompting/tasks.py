"""What a prompt worker does that takes long, cut into steps between which it can answer clicks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.prompts.detector import Detections, Detector
from napari_neuropil.prompts.detector_scale import detect_pooled, pooling_factors
from napari_neuropil.prompts.prompt import Prompt, SectionMask
from napari_neuropil.prompts.prompt_check import check_prompts
from napari_neuropil.prompts.segmenter import ImageEmbedding
from napari_neuropil.prompts.tiled_segmenter import TiledSegmenter
from napari_neuropil.workflows.prompting.messages import (
    BoxesFound,
    Detect,
    Event,
    Finished,
)
from napari_neuropil.workflows.prompting.volume import PromptVolume


@dataclass(frozen=True, slots=True)
class ScaledDetector:
    """A detector, and the edge of the pixels it was trained on in nm; None: any will do."""

    detector: Detector
    pixel_nm: float | None = None


def detect_sections(
    request: Detect, volume: PromptVolume, detector: ScaledDetector, give_way: Callable[[], None]
) -> Iterator[Event]:
    """Find objects, section by section.

    Parameters
    ----------
    request : Detect
        Where.
    volume : PromptVolume
        The image.
    detector : ScaledDetector
        Sees the image averaged to its pixels.
    give_way : callable
        Called before each tile; may raise to stop.

    Yields
    ------
    BoxesFound
        For each section, highest score first; in the end `Finished`.

    Raises
    ------
    SettingsError
        If a section lies outside the volume.
    """
    since = time.perf_counter()
    wanted = request.wanted(volume.shape[0])
    wanted_nm = detector.pixel_nm
    fy, fx = (1, 1) if wanted_nm is None else pooling_factors(volume.pixel_size, wanted_nm)
    factors = min(fy, volume.shape[1]), min(fx, volume.shape[2])
    polite = _PoliteDetector(detector.detector, give_way)
    for done, z in enumerate(wanted, 1):
        found = detect_pooled(polite, volume.section(z), factors)
        kept = found.scores >= request.min_score
        yield BoxesFound(
            id=request.id,
            z=z,
            boxes=tuple((y0, x0, y1, x1) for y0, x0, y1, x1 in found.boxes[kept].tolist()),
            scores=tuple(found.scores[kept].tolist()),
            done=done,
            total=len(wanted),
        )
    yield Finished(id=request.id, seconds=time.perf_counter() - since)


class _PoliteDetector:
    """A detector that lets others go first before each tile."""

    def __init__(self, inner: Detector, give_way: Callable[[], None]) -> None:
        self._inner = inner
        self._give_way = give_way
        self.name, self.fingerprint = inner.name, inner.fingerprint
        self.tile_side = inner.tile_side

    def detect(self, section: NDArray[np.uint8]) -> Detections:
        """Return the boxes of one tile."""
        self._give_way()
        return self._inner.detect(section)


class ServedSegmenter:
    """A segmenter that fetches the embeddings of tiles when a prompt needs them.

    A propagation knows sections only; embedding whole ones would cost minutes where sections are
    large and objects small.

    Parameters
    ----------
    tiled : TiledSegmenter
        Answers.
    section : tuple of int
        Shape of a section in its pixels.
    tile_of : callable
        Returns the embedding of a section that holds one tile, given both numbers; may take long.
    """

    def __init__(
        self,
        tiled: TiledSegmenter,
        section: tuple[int, int],
        tile_of: Callable[[int, int], ImageEmbedding],
    ) -> None:
        self._tiled = tiled
        self._section = section
        self._tile_of = tile_of
        self.name, self.fingerprint = tiled.name, tiled.fingerprint
        self.longest_side = tiled.longest_side

    def embedding_of(self, z: int) -> ImageEmbedding:
        """Return what stands for the embedding of a section."""
        return ImageEmbedding({"z": np.array(z)}, self._section)

    def embed(self, section: NDArray[np.uint8]) -> ImageEmbedding:
        """Not offered: sections are known by number.

        Raises
        ------
        NotImplementedError
            Always.
        """
        raise NotImplementedError("embeddings come from `embedding_of`")

    def masks(self, embedding: ImageEmbedding, prompts: Sequence[Prompt]) -> list[SectionMask]:
        """Return a mask for each prompt, from the section that an embedding stands for."""
        z = int(embedding.arrays["z"])
        # Checked before the tile is chosen: a box that is clipped later has another middle.
        checked = check_prompts(prompts, embedding.shape)
        arrays: dict[str, NDArray[np.generic]] = {}
        for tile in sorted({self._tiled.tile_for(p, embedding.shape) for p in checked}):
            arrays |= self._tile_of(z, tile).arrays
        return self._tiled.masks(ImageEmbedding(arrays, embedding.shape), checked)
