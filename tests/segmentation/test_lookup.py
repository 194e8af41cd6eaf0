from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_neuropil.errors import VolumeFormatError
from napari_neuropil.segmentation.lookup import apply_lookup, relabel_compact, sorted_ids


@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
def test_each_fragment_gets_its_segment(dtype: Any) -> None:
    lookup = np.array([0, 7, 7, 1 << 40], np.uint64)
    fragments = np.array([[[0, 1], [2, 3]]], dtype)
    result = apply_lookup(lookup, fragments)
    assert result.dtype == np.uint64
    assert result.tolist() == [[[0, 7], [7, 1 << 40]]]


def test_views_and_empty_arrays() -> None:
    lookup = np.arange(10, dtype=np.uint64)[::-1].copy()
    fragments = np.arange(8, dtype=np.uint64).reshape(2, 2, 2)[:, ::-1]
    np.testing.assert_array_equal(apply_lookup(lookup, fragments), lookup[fragments])
    assert apply_lookup(lookup, np.zeros((0, 3), np.uint64)).shape == (0, 3)


@pytest.mark.parametrize("highest", [4, 1 << 33, (1 << 64) - 1])
def test_ids_without_entry_are_refused(highest: int) -> None:
    with pytest.raises(VolumeFormatError, match=str(highest)):
        apply_lookup(np.arange(4, dtype=np.uint64), np.array([1, highest], np.uint64))


@pytest.mark.parametrize(
    ("lookup", "fragments"),
    [
        (np.arange(4.0), np.ones(3, np.uint64)),
        (np.zeros(0, np.uint64), np.zeros(3, np.uint64)),
        (np.zeros((2, 2), np.uint64), np.ones(3, np.uint64)),
        (np.arange(4, dtype=np.uint64), np.ones(3, np.float32)),
        (np.arange(4, dtype=np.uint64), np.array([-1, 2])),
    ],
)
def test_bad_types_are_refused(lookup: Any, fragments: Any) -> None:
    with pytest.raises(VolumeFormatError):
        apply_lookup(lookup, fragments)


@pytest.mark.parametrize("gap", [1, 1 << 36])
def test_compact_ids_keep_their_order(gap: int) -> None:
    ids = np.array([[5, 0, 9], [9, 5, 12]], np.uint64) * np.uint64(gap)
    new, old = relabel_compact(ids, first=3)
    assert new.tolist() == [[3, 0, 4], [4, 3, 5]]
    assert old.tolist() == [5 * gap, 9 * gap, 12 * gap]
    assert sorted_ids(ids).tolist() == [0, 5 * gap, 9 * gap, 12 * gap]


def test_compact_ids_of_nothing() -> None:
    for ids in (np.zeros((2, 2), np.uint64), np.zeros((0,), np.uint64)):
        new, old = relabel_compact(ids)
        assert new.shape == ids.shape
        assert not new.any()
        assert len(old) == 0
