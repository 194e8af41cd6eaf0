"""Image embeddings of the tiles that a fine-tuning needs, made once and kept by content."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.prompts.embedding_cache import EmbeddingCache
from napari_neuropil.prompts.embedding_file import embedding_key
from napari_neuropil.prompts.section_tiles import TileBox
from napari_neuropil.prompts.segmenter import ImageEmbedding, Segmenter
from napari_neuropil.prompts.tiled_segmenter import TiledSegmenter
from napari_neuropil.workflows.requests import Progress, Report

if TYPE_CHECKING:
    from napari_neuropil.prompts.prompt import Prompt
    from napari_neuropil.training.section_objects import SectionObject
    from napari_neuropil.training.tuning_tiles import TuningTile


class TileEmbeddings:
    """Embeds tiles of sections.

    Parameters
    ----------
    segmenter : Segmenter
        Sees tiles of its `longest_side`.
    read_section : callable
        Returns section z, (Y, X) uint8.
    cache_dir : Path, optional
        Where embeddings outlive the program; a prompt worker's folder has those it made.
    before : TileEmbeddings, optional
        Whose memory is shared.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        read_section: Callable[[int], NDArray[np.uint8]],
        cache_dir: Path | None = None,
        before: TileEmbeddings | None = None,
    ) -> None:
        self.tiled = TiledSegmenter(segmenter)
        self._read = read_section
        self._cache: EmbeddingCache = EmbeddingCache(cache_dir) if before is None else before._cache

    def of_tile(self, pixels: NDArray[np.uint8], box: TileBox) -> ImageEmbedding:
        """Return the embedding of a tile, (Y, X) uint8, that lies at `box` in its section."""
        key = embedding_key(pixels, self.tiled.inner.fingerprint, box)
        kept = self._cache.get(key)
        return kept or self._cache.put(key, self.tiled.inner.embed(pixels))

    def for_objects(self, z: int, objects: Sequence[SectionObject]) -> ImageEmbedding:
        """Return an embedding of section z that answers the first prompts of objects in it."""
        from napari_neuropil.training.held_out_scores import box_prompt, point_prompt

        section = self._read(z)
        shape = (section.shape[0], section.shape[1])
        boxes = self.tiled.tiles(shape)
        prompts: list[Prompt] = [make(o) for o in objects for make in (box_prompt, point_prompt)]
        tiles = sorted({self.tiled.tile_for(prompt, shape) for prompt in prompts})
        found = {}
        for tile in tiles:
            y0, x0, y1, x1 = box = boxes[tile]
            found[tile] = self.of_tile(section[y0:y1, x0:x1], box)
        return self.tiled.join(shape, found)

    def encoded(
        self, tiles: Sequence[TuningTile], report: Report = lambda _progress: None
    ) -> list[TuningTile]:
        """Return tiles with their features; those without tissue are left out."""
        kept = []
        for done, tile in enumerate(tiles):
            report(Progress(stage="embed", done=done, total=len(tiles)))
            if tile.image.min() == tile.image.max():
                continue
            arrays = self.of_tile(tile.image, tile.box).arrays
            features = {name: np.array(array, np.float16) for name, array in arrays.items()}
            kept.append(replace(tile, features=features))
        report(Progress(stage="embed", done=len(tiles), total=len(tiles)))
        return kept
