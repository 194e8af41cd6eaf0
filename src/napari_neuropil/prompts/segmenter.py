"""The protocol of promptable segmenters: a section once, then a mask per prompt at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.prompts.prompt import Prompt, SectionMask


@dataclass(frozen=True, eq=False, slots=True)
class ImageEmbedding:
    """What a segmenter keeps of a section: the slow part, done before anybody clicks.

    Parameters
    ----------
    arrays : mapping of str to NDArray
        The segmenter's own; what the cache stores.
    shape : tuple of int
        Of the section, (Y, X).
    """

    arrays: Mapping[str, NDArray[np.generic]]
    shape: tuple[int, int]


class Segmenter(Protocol):
    """Turns prompts into masks."""

    @property
    def name(self) -> str:
        """What users call it."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash of its weights: embeddings of another one are worthless."""
        ...

    @property
    def longest_side(self) -> int:
        """Pixels of the longest section it sees whole at full sharpness; longer ones are tiled."""
        ...

    def embed(self, section: NDArray[np.uint8]) -> ImageEmbedding:
        """Return the embedding of a section, (Y, X) uint8. Slow."""
        ...

    def masks(self, embedding: ImageEmbedding, prompts: Sequence[Prompt]) -> list[SectionMask]:
        """Return a mask for each prompt. Fast: a click waits for it."""
        ...
