"""From a wish for a mask to the segmenter's prompt, and from its mask to the answer."""

from __future__ import annotations

import time
from collections.abc import Iterable

import numpy as np

from napari_neuropil.prompts.embedding_service import EmbeddingService
from napari_neuropil.prompts.packed_mask import PackedMask
from napari_neuropil.prompts.prompt import Prompt
from napari_neuropil.prompts.prompt_check import check_prompt
from napari_neuropil.prompts.segmenter import ImageEmbedding
from napari_neuropil.prompts.tiled_segmenter import TiledSegmenter
from napari_neuropil.workflows.prompting.grid import SectionGrid
from napari_neuropil.workflows.prompting.mask_bits import MaskBits
from napari_neuropil.workflows.prompting.messages import MaskFound, MaskWish


class PreparedWishes:
    """Wishes in the segmenter's pixels; each is prepared once, however often it is tried.

    Parameters
    ----------
    tiled : TiledSegmenter
        Answers.
    grid : SectionGrid
        Between the volume's pixels and the segmenter's.
    service : EmbeddingService
        Is asked for what a wish needs.
    """

    def __init__(self, tiled: TiledSegmenter, grid: SectionGrid, service: EmbeddingService) -> None:
        self._tiled = tiled
        self._grid = grid
        self._service = service
        self._prepared: dict[MaskWish, tuple[Prompt, int]] = {}

    def forget_all_but(self, wishes: Iterable[MaskWish]) -> None:
        """Forget wishes that are answered or dropped."""
        pending = set(wishes)
        self._prepared = {w: known for w, known in self._prepared.items() if w in pending}

    def prepare(self, wish: MaskWish) -> tuple[Prompt, int]:
        """Return the prompt of a wish and its tile; its section comes first from now on.

        Raises
        ------
        SettingsError
            If it points at nothing, or outside the volume.
        """
        if wish not in self._prepared:
            grid = self._grid
            known = None if wish.mask is None else wish.mask.packed()
            grid.check_mask(wish.z, known)
            given = Prompt(
                box=wish.box,
                points=np.array(wish.points, np.float32).reshape(-1, 2),
                positive=np.array(wish.positive, np.bool_),
                mask=None if known is None else known.onto(grid.section),
            )
            # Checked in the user's pixels, so that the message speaks of these.
            prompt = grid.coarse_prompt(check_prompt(given, grid.section), known)
            tile = self._tiled.tile_for(prompt, grid.coarse_section)
            if not self._service.is_ready(wish.z, tile):
                y0, x0, y1, x1 = self._service.boxes[tile]
                self._service.request(wish.z, ((y0 + y1) / 2, (x0 + x1) / 2))
            self._prepared[wish] = prompt, tile
        return self._prepared[wish]

    def answer(self, wish: MaskWish, prompt: Prompt, embedding: ImageEmbedding) -> MaskFound:
        """Return the answer to a wish, in the volume's pixels."""
        since = time.perf_counter()
        (found,) = self._tiled.masks(embedding, [prompt])
        coarse = PackedMask.of(found.mask)
        mask = None if coarse is None else MaskBits.of(self._grid.fine_mask(coarse))
        return MaskFound(
            id=wish.id,
            z=wish.z,
            score=found.score,
            stability=found.stability,
            box=None if mask is None else mask.box,
            mask=mask,
            seconds=time.perf_counter() - since,
        )
