"""Means over fragments of what queries say, by hand, and who their rivals are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.segmentation.query_facts import (
    QueryFacts,
    QueryValues,
    measure_queries,
    rival_fragments,
)
from napari_neuropil.segmentation.rag import Rag


def _row(*values: int) -> NDArray[np.uint8]:
    return np.array(values, np.uint8).reshape(1, 1, -1)


def _block(*fragments: int, **rows: NDArray[np.uint8]) -> tuple[NDArray[np.uint64], QueryValues]:
    return np.array(fragments, np.uint64).reshape(1, 1, -1), QueryValues(**rows)


def test_means_over_two_blocks() -> None:
    first = _block(
        1, 1, 1, 2, 0,
        label=_row(7, 7, 0, 9, 3), confidence=_row(255, 51, 9, 102, 9),
        runner_up=_row(9, 4, 9, 0, 9), share=_row(51, 102, 99, 80, 9),
    )  # fmt: skip
    second = _block(
        3, 4, 4,
        label=_row(0, 7, 7), confidence=_row(255, 51, 51),
        runner_up=_row(7, 5, 5), share=_row(50, 51, 0),
    )  # fmt: skip
    facts = measure_queries([first, second], 5)
    assert facts.label.tolist() == [0, 7, 9, 0, 7, 0]
    np.testing.assert_allclose(facts.confidence, [np.nan, 0.6, 0.4, np.nan, 0.2, np.nan], rtol=1e-6)
    # Fragment 1: query 4 has 102 of two voxels, query 9 has 51. Fragment 2: only background.
    assert facts.rival.tolist() == [0, 4, 0, 0, 5, 0]
    np.testing.assert_allclose(facts.share, [0, 0.2, 0, 0, 0.1, 0], rtol=1e-6)


def _rag(contacts: list[list[int]], area: list[int]) -> Rag:
    count = len(contacts)
    zeros = np.zeros(count, np.float32)
    return Rag(
        np.array(contacts, np.uint64).reshape(-1, 2),
        zeros,
        np.array(area, np.int64),
        zeros,
        np.zeros((count, 3), np.float32),
        zeros,
    )


def test_rivals_touch_and_are_of_the_same_block() -> None:
    facts = QueryFacts(
        label=np.array([0, 1, 2, 2, 2, 1], np.uint8),
        confidence=np.full(6, 0.5, np.float32),
        rival=np.array([0, 2, 1, 1, 0, 2], np.uint8),
        share=np.full(6, 0.1, np.float32),
    )
    block_of = np.array([0, 0, 0, 0, 1, 1])
    rag = _rag([[1, 2], [1, 3], [1, 4], [2, 3]], [5, 8, 50, 3])
    # 1 means query 2: 3 has the larger contact than 2; 4 is of another block. 5 touches nobody.
    assert rival_fragments(facts, rag, block_of).tolist() == [0, 3, 1, 1, 0, 0]
    swapped = _rag([[1, 3], [1, 2]], [8, 9])
    assert rival_fragments(facts, swapped, block_of).tolist() == [0, 2, 1, 1, 0, 0]


def test_nothing_at_all() -> None:
    facts = measure_queries([], 0)
    assert facts.label.tolist() == [0]
    assert rival_fragments(facts, _rag([], []), np.zeros(1, np.int64)).tolist() == [0]
    empty = measure_queries(
        [_block(0, label=_row(3), confidence=_row(3), runner_up=_row(1), share=_row(1))], 2
    )
    assert np.isnan(empty.confidence).all()
    assert not empty.rival.any()
