"""A segmenter for sections of any length, made of one that sees a tile at a time.

An object is segmented in one tile, the one that sees most of its prompt; what reaches beyond that
tile is cut off. With an overlap of a quarter of the tile, objects of up to that size are whole.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import SettingsError
from napari_neuropil.prompts.prompt import Prompt, SectionMask
from napari_neuropil.prompts.prompt_check import check_prompts
from napari_neuropil.prompts.section_tiles import (
    TileBox,
    mask_in_section,
    prompt_in_tile,
    tile_boxes,
    tile_of_prompt,
)
from napari_neuropil.prompts.segmenter import ImageEmbedding, Segmenter


class TiledSegmenter:
    """A `Segmenter` over a `Segmenter`.

    Parameters
    ----------
    inner : Segmenter
        Sees single tiles of its `longest_side`.
    overlap : int, optional
        Pixels that neighbouring tiles share at least; None takes a quarter of a tile.

    Raises
    ------
    SettingsError
        If the overlap does not fit into a tile.
    """

    def __init__(self, inner: Segmenter, overlap: int | None = None) -> None:
        self.inner = inner
        self.overlap = inner.longest_side // 4 if overlap is None else overlap
        if not 0 <= self.overlap < inner.longest_side:
            raise SettingsError(
                f"Tiles of {inner.longest_side} pixels cannot overlap by {self.overlap}.",
                f"0 to {inner.longest_side - 1} pixels",
                "",
            )

    @property
    def name(self) -> str:
        """What users call it."""
        return self.inner.name

    @property
    def fingerprint(self) -> str:
        """Hash of the weights, and the tiles."""
        return f"{self.inner.fingerprint}/{self.inner.longest_side}-{self.overlap}"

    @property
    def longest_side(self) -> int:
        """There is no longest section."""
        return sys.maxsize

    def tiles(self, shape: tuple[int, int]) -> tuple[TileBox, ...]:
        """Return the tiles of a section, (Y, X)."""
        return tile_boxes(shape, self.inner.longest_side, self.overlap)

    def tile_for(self, prompt: Prompt, shape: tuple[int, int]) -> int:
        """Return the number of the tile that a prompt is answered in."""
        return tile_of_prompt(self.tiles(shape), prompt)

    def embed(self, section: NDArray[np.uint8]) -> ImageEmbedding:
        """Return the embeddings of all tiles of a section, (Y, X). Slow."""
        shape = (section.shape[0], section.shape[1])
        return self.join(
            shape, {n: self.embed_tile(section, n) for n in range(len(self.tiles(shape)))}
        )

    def embed_tile(self, section: NDArray[np.uint8], tile: int) -> ImageEmbedding:
        """Return the inner segmenter's embedding of one tile of a section, (Y, X)."""
        y0, x0, y1, x1 = self.tiles((section.shape[0], section.shape[1]))[tile]
        return self.inner.embed(section[y0:y1, x0:x1])

    def join(
        self, shape: tuple[int, int], embeddings: Mapping[int, ImageEmbedding]
    ) -> ImageEmbedding:
        """Return one embedding of a section made of those of some or all of its tiles."""
        # An empty array marks a tile as embedded: segmenters that need no embedding keep nothing.
        arrays: dict[str, NDArray[np.generic]] = {
            f"{tile}/": np.zeros(0, np.uint8) for tile in embeddings
        }
        for tile, embedding in embeddings.items():
            arrays |= {f"{tile}/{name}": array for name, array in embedding.arrays.items()}
        return ImageEmbedding(arrays, shape)

    def masks(self, embedding: ImageEmbedding, prompts: Sequence[Prompt]) -> list[SectionMask]:
        """Return a mask of the whole section for each prompt.

        Raises
        ------
        SettingsError
            If a prompt points at nothing.
        LookupError
            If the embedding was joined without the tile that a prompt belongs to.
        """
        # Before they are cut: the message should speak of the section, not of a tile.
        prompts = check_prompts(prompts, embedding.shape)
        boxes = self.tiles(embedding.shape)
        places = [tile_of_prompt(boxes, prompt) for prompt in prompts]
        found: list[SectionMask | None] = [None] * len(prompts)
        for tile in sorted(set(places)):
            members = [n for n, place in enumerate(places) if place == tile]
            inside = [prompt_in_tile(prompts[n], boxes[tile]) for n in members]
            answers = self.inner.masks(self._tile_of(embedding, tile, boxes[tile]), inside)
            for n, answer in zip(members, answers, strict=True):
                found[n] = mask_in_section(answer, boxes[tile], embedding.shape)
        return [mask for mask in found if mask is not None]

    def _tile_of(self, embedding: ImageEmbedding, tile: int, box: TileBox) -> ImageEmbedding:
        prefix = f"{tile}/"
        if prefix not in embedding.arrays:
            raise LookupError(f"tile {tile} has not been embedded")
        arrays = {
            name.removeprefix(prefix): array
            for name, array in embedding.arrays.items()
            if name.startswith(prefix) and name != prefix
        }
        return ImageEmbedding(arrays, (box[2] - box[0], box[3] - box[1]))
