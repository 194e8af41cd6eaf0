"""Connected pieces found in blocks: those of the whole volume, whatever the blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.measure import label

from napari_neuropil.blockwise import split_blocks
from napari_neuropil.segmentation.connected_pieces import PieceJoiner, label_pieces


def same_partition(a: NDArray[Any], b: NDArray[Any]) -> bool:
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1)
    return len(pairs[0]) == len(np.unique(a)) == len(np.unique(b))


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"]
)
def test_pieces_of_one_block(dtype: str) -> None:
    labels = np.array([[[1, 1, 0, 1], [0, 0, 1, 0]]]).astype(dtype)
    pieces, ids = label_pieces(labels)
    # (1, 2) touches (0, 3) at a corner only.
    np.testing.assert_array_equal(pieces, [[[1, 1, 0, 2], [0, 0, 3, 0]]])
    np.testing.assert_array_equal(ids, [1, 1, 1])
    assert pieces.dtype == ids.dtype == np.uint64


def test_ids_above_32_bits_stay_apart() -> None:
    big = 2**63 + 5
    pieces, ids = label_pieces(np.array([[[big, big + 1, big]]], np.uint64))
    np.testing.assert_array_equal(pieces, [[[1, 2, 3]]])
    assert [int(i) for i in ids] == [big, big + 1, big]


def test_background_alone_has_no_pieces() -> None:
    pieces, ids = label_pieces(np.zeros((2, 2, 2), np.uint16))
    assert not pieces.any()
    assert len(ids) == 0
    joiner = PieceJoiner()
    assert joiner.add(ids) == 0
    final, labels = joiner.number()
    assert final.tolist() == labels.tolist() == [0]


@settings(deadline=None, max_examples=60)
@given(
    shape=st.tuples(*[st.integers(1, 8)] * 3),
    block=st.tuples(*[st.integers(1, 5)] * 3),
    ids=st.integers(1, 4),
    seed=st.integers(0, 1000),
)
def test_blocks_joined_equal_the_whole(
    shape: tuple[int, int, int], block: tuple[int, int, int], ids: int, seed: int
) -> None:
    volume = np.random.default_rng(seed).integers(0, ids + 1, shape).astype(np.uint32)
    joiner = PieceJoiner()
    unique = np.zeros(shape, np.uint64)
    for part in split_blocks(shape, block):
        pieces, labels = label_pieces(volume[part.roi.slices])
        first = joiner.add(labels)
        unique[part.roi.slices] = np.where(pieces > 0, pieces + np.uint64(first), 0)
        for axis, start in enumerate(part.roi.start):
            if start:
                lower, upper = list(part.roi.slices), list(part.roi.slices)
                lower[axis], upper[axis] = slice(start - 1, start), slice(start, start + 1)
                joiner.join(unique[tuple(lower)], unique[tuple(upper)])
    final, labels_of = joiner.number()
    found = final[unique.astype(np.int64)]
    expected = label(volume, connectivity=1)
    assert same_partition(found, expected)
    np.testing.assert_array_equal(np.unique(found[found > 0]), np.arange(1, expected.max() + 1))
    np.testing.assert_array_equal(labels_of[found.astype(np.int64)], volume)


def test_real_labels(real_data: Path) -> None:
    import h5py

    with h5py.File(real_data / "fib25_sample2.h5") as file:
        labels = file["labels"][:20, :80, :80]
    pieces, ids = label_pieces(labels)
    assert same_partition(pieces, label(labels, connectivity=1))
    np.testing.assert_array_equal(np.concatenate(([0], ids))[pieces.astype(np.int64)], labels)
