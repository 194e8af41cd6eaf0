"""Voxel embeddings: from stored affinities to fragments, and pieces of blocks joined."""

from __future__ import annotations

import numpy as np
import pytest

from napari_neuropil.methods.cut import Cut
from napari_neuropil.methods.voxel_embeddings import (
    VoxelEmbeddingsSettings,
    edge_affinities,
    fragments_of,
    segments_of,
)
from napari_neuropil.segmentation.metric_offsets import OFFSETS
from napari_neuropil.segmentation.rag import Rag


def stored_of(labels: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    """Return perfect affinities of labels, as a project stores them."""
    stored = np.zeros((len(OFFSETS) + 1, *labels.shape), np.uint8)
    for channel, offset in enumerate(OFFSETS):
        partner = np.full_like(labels, -1)
        here = tuple(
            slice(max(0, -o), n - max(0, o)) for o, n in zip(offset, labels.shape, strict=True)
        )
        there = tuple(
            slice(max(0, o), n - max(0, -o)) for o, n in zip(offset, labels.shape, strict=True)
        )
        partner[here] = labels[there]
        stored[channel] = 255 * (partner == labels)
    stored[-1] = 255 * foreground
    return stored


@pytest.fixture
def two_cells() -> tuple[np.ndarray, np.ndarray]:
    labels = np.ones((4, 24, 24), np.int64)
    labels[:, :, 12:] = 2
    foreground = np.ones(labels.shape, bool)
    foreground[:, :, 11:13] = False
    return labels, foreground


def test_two_cells_become_two_fragments(two_cells: tuple[np.ndarray, np.ndarray]) -> None:
    labels, foreground = two_cells
    fragments = fragments_of(stored_of(labels, foreground), VoxelEmbeddingsSettings())
    assert len(np.unique(fragments)) == 2
    for label in (1, 2):
        assert len(np.unique(fragments[labels == label])) == 1, "membranes are filled"


def test_background_stays_where_nothing_is_filled(
    two_cells: tuple[np.ndarray, np.ndarray],
) -> None:
    labels, foreground = two_cells
    wish = VoxelEmbeddingsSettings(fill_background=False)
    fragments = fragments_of(stored_of(labels, foreground), wish)
    np.testing.assert_array_equal(fragments == 0, ~foreground)


def test_nothing_but_background(two_cells: tuple[np.ndarray, np.ndarray]) -> None:
    labels, foreground = two_cells
    stored = stored_of(labels, np.zeros_like(foreground))
    assert not fragments_of(stored, VoxelEmbeddingsSettings()).any()


def test_foreground_limits_contacts(two_cells: tuple[np.ndarray, np.ndarray]) -> None:
    labels, foreground = two_cells
    edges = edge_affinities(stored_of(labels, foreground))
    assert edges.shape == (3, *labels.shape)
    assert edges[:, :, :, 11:13].max() == 0
    assert edges[1, 1, 5, 5] == 1


def test_pieces_are_joined_across_blocks_only() -> None:
    rag = Rag(
        np.array([[1, 2], [1, 3], [2, 4]], np.uint64),
        *(np.array([0.9, 0.9, 0.4], np.float32) for _ in range(1)),
        np.array([5, 5, 5], np.int64),
        np.array([5, 5, 5], np.float32),
        np.zeros((3, 3), np.float32),
        np.array([0.9, 0.9, 0.4], np.float32),
    )
    block_of = np.array([0, 0, 0, 1, 1])
    lookup = segments_of(rag, 4, VoxelEmbeddingsSettings(), Cut(block_of))
    # 1 and 2 lie in one block: the mutex watershed kept them apart. 2 and 4 attract too little.
    assert lookup.tolist() == [0, 1, 2, 1, 4]
