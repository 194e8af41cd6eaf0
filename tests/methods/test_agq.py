"""AGQ: from stored labels to fragments, and pieces of blocks joined in both ways."""

from __future__ import annotations

import numpy as np
import pytest

from napari_neuropil.methods.agq import (
    AgqSettings,
    edge_affinities,
    fragments_of,
    segments_of,
)
from napari_neuropil.methods.cut import Cut
from napari_neuropil.segmentation.rag import Rag


def _stored(labels: np.ndarray) -> np.ndarray:
    stored = np.full((8, *labels.shape), 255, np.uint8)
    stored[4] = labels
    stored[-1] = 255 * (labels > 0)
    return stored


@pytest.fixture
def labels() -> np.ndarray:
    """Return label 7 in two parts, label 9 between them, a crumb of label 3."""
    labels = np.zeros((3, 12, 30), np.uint8)
    labels[:, :, :8] = labels[:, :, 20:] = 7
    labels[:, :, 10:18] = 9
    labels[1, 5, 9] = 3
    return labels


def test_connected_parts_become_fragments(labels: np.ndarray) -> None:
    found = fragments_of(_stored(labels), AgqSettings(smallest_fragment=5))
    assert len(np.unique(found)) == 3
    assert (found > 0).all(), "membranes are filled"
    for part in (np.s_[:, :, :8], np.s_[:, :, 10:18], np.s_[:, :, 20:]):
        assert len(np.unique(found[part])) == 1
    kept = fragments_of(_stored(labels), AgqSettings(smallest_fragment=1, fill_background=False))
    np.testing.assert_array_equal(kept > 0, labels > 0)
    assert len(np.unique(kept)) == 5


def test_only_background() -> None:
    assert not fragments_of(_stored(np.zeros((2, 4, 4), np.uint8)), AgqSettings()).any()


def test_foreground_limits_contacts(labels: np.ndarray) -> None:
    edges = edge_affinities(_stored(labels))
    assert edges.shape == (3, *labels.shape)
    assert edges[:, 0, :, 8].max() == 0
    assert edges[2, 0, 5, 5] == 1


def _rag(contacts: list[list[int]], affinity: list[float]) -> Rag:
    count = len(contacts)
    values = np.array(affinity, np.float32)
    return Rag(
        np.array(contacts, np.uint64),
        values,
        np.full(count, 5, np.int64),
        np.full(count, 5, np.float32),
        np.zeros((count, 3), np.float32),
        values,
    )


def test_blocks_are_joined_where_windows_and_affinities_agree() -> None:
    rag = _rag([[1, 2], [1, 3], [2, 4]], [1.0, 0.5, 0.3])
    cut = Cut(np.array([0, 0, 0, 1, 1]), np.array([np.nan, 0.6, 0.6], np.float32))
    # 0.25 * 0.6 + 0.75 * affinity: 0.525 and 0.375.
    assert segments_of(rag, 4, AgqSettings(), cut).tolist() == [0, 1, 2, 1, 4]
    looser = AgqSettings(join_threshold=0.35)
    stricter = AgqSettings(join_threshold=0.55)
    assert len(set(segments_of(rag, 4, looser, cut)[[1, 2, 3, 4]].tolist())) == 1
    assert segments_of(rag, 4, stricter, cut).tolist() == [0, 1, 2, 3, 4]


def test_two_of_a_block_hold_back_what_would_join_them() -> None:
    rag = _rag([[1, 2], [1, 3], [2, 3]], [0.0, 0.9, 0.7])
    cut = Cut(np.array([0, 0, 0, 1]), np.array([np.nan, 0.8, 0.5], np.float32))
    # The stronger contact is joined first; then 2 has 0 with one half of it, 0.65 with the other.
    assert segments_of(rag, 3, AgqSettings(), cut).tolist() == [0, 1, 2, 1]


def test_blocks_are_joined_as_published() -> None:
    # Inside a block even affinity 1 stays apart; across the cut 0.7 decides.
    rag = _rag([[1, 2], [1, 3], [2, 4]], [1.0, 0.75, 0.65])
    cut = Cut(np.array([0, 0, 0, 1, 1]))
    found = segments_of(rag, 4, AgqSettings(assembly="affinity"), cut)
    assert found.tolist() == [0, 1, 2, 1, 4]
