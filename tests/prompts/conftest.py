"""A segmenter without a network, for tests of what stands around one."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_neuropil.prompts.prompt import Prompt, SectionMask
from napari_neuropil.prompts.segmenter import ImageEmbedding


class FakeSegmenter:
    """The embedding is the section; a mask is what equals the pixel under the prompt's middle.

    Parameters
    ----------
    side : int
        Longest side.
    steps : Semaphore, optional
        Each embedding takes one permit, so that a test decides when it goes on.
    """

    name = "fake"

    def __init__(
        self, side: int = 64, fingerprint: str = "f", steps: threading.Semaphore | None = None
    ) -> None:
        self.longest_side = side
        self.fingerprint = fingerprint
        self.steps = steps
        self.embedded: list[tuple[int, int]] = []
        self.begun = threading.Semaphore(0)
        self.asked: list[tuple[tuple[int, int], list[Prompt]]] = []

    def embed(self, section: NDArray[np.uint8]) -> ImageEmbedding:
        assert max(section.shape) <= self.longest_side
        self.embedded.append((int(section[0, 0]), section.shape[1]))
        self.begun.release()
        if self.steps is not None:
            assert self.steps.acquire(timeout=30)
        if section[0, 0] == 13:
            raise MemoryError("no room for section 13")
        arrays = {"grey": section.astype(np.float32), "id": np.array([section[0, 0]], np.int64)}
        return ImageEmbedding(arrays, (section.shape[0], section.shape[1]))

    def masks(self, embedding: ImageEmbedding, prompts: Sequence[Prompt]) -> list[SectionMask]:
        self.asked.append((embedding.shape, list(prompts)))
        grey = embedding.arrays["grey"]
        assert grey.shape == embedding.shape
        found = []
        for prompt in prompts:
            if prompt.box is not None:
                y, x = (prompt.box[0] + prompt.box[2]) / 2, (prompt.box[1] + prompt.box[3]) / 2
            elif len(prompt.points):
                y, x = prompt.points[0]
            else:
                assert prompt.mask is not None
                y, x = np.argwhere(prompt.mask).mean(axis=0)
            found.append(SectionMask(grey == grey[int(y), int(x)], 0.5))
        return found


@pytest.fixture(scope="session")
def fake_segmenter() -> type[FakeSegmenter]:
    """Return the class: test files cannot import each other."""
    return FakeSegmenter
