"""Arrays over fragments: live tables, one reading of the disk, proposed pieces."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_neuropil.errors import VolumeFormatError
from napari_neuropil.plugin.fragment_view import FragmentCache, FragmentView
from napari_neuropil.plugin.layers import LayerArray
from napari_neuropil.proofreading.edits import FragmentSplit
from napari_neuropil.volumes import Volume


class Counted:
    """An array that counts how often it is read."""

    def __init__(self, array: Any) -> None:
        self.array, self.shape, self.dtype, self.readings = array, array.shape, array.dtype, 0

    def __getitem__(self, key: Any) -> Any:
        self.readings += 1
        return self.array[key]


@pytest.fixture
def counted() -> Counted:
    z, y, x = np.mgrid[:4, :6, :8]
    return Counted((1 + z + 4 * (y // 3) + 8 * (x // 4)).astype(np.uint64))


def cache_of(counted: Counted, limit: int = 10**6) -> FragmentCache:
    return FragmentCache(Volume(array=counted, voxel_size=None), limit)


def test_tables_are_live_and_share_one_reading(counted: Counted) -> None:
    cache = cache_of(counted)
    tables = {"a": np.arange(17, dtype=np.uint64), "b": np.zeros(17, np.uint8)}
    a = LayerArray(FragmentView(cache, lambda: tables["a"], "uint64"))
    b = LayerArray(FragmentView(cache, lambda: tables["b"], "uint8"))
    np.testing.assert_array_equal(a[2], counted.array[2])
    assert not b[2].any()
    tables["a"] = tables["a"] + np.uint64(2**40)
    tables["b"][3] = 5
    np.testing.assert_array_equal(a[2], counted.array[2] + np.uint64(2**40))
    np.testing.assert_array_equal(b[2], np.where(counted.array[2] == 3, 5, 0))
    assert counted.readings == 1
    cache.forget()
    assert int(a[2, 0, 0]) == 2**40 + 3
    assert counted.readings == 2


def test_the_cache_is_bounded(counted: Counted) -> None:
    section = counted.array[0].nbytes
    cache = cache_of(counted, 2 * section)
    view = LayerArray(FragmentView(cache, lambda: np.arange(17, dtype=np.uint64), "uint64"))
    for z in (0, 1, 2, 2, 1):
        view[z]
    assert counted.readings == 3
    view[0]
    assert counted.readings == 4
    np.testing.assert_array_equal(np.asarray(view), counted.array)
    view[0]
    assert counted.readings == 5, "a box larger than the limit is read and not kept"


def test_proposed_pieces_lie_over_their_fragment(counted: Counted) -> None:
    inside = counted.array == 2
    labels = np.zeros((2, 4, 5), np.uint8)
    box = inside[1:3, 0:4, 0:5]
    labels[box] = 1
    labels[..., 2:][box[..., 2:]] = 2
    piece = FragmentSplit(parent=2, start=(1, 0, 0), labels=labels, first=17)
    roles = np.zeros(19, np.uint8)
    roles[17], roles[18] = 1, 2
    view = FragmentView(cache_of(counted), lambda: roles, "uint8")
    view.lay_over([piece])
    shown = LayerArray(view)
    expected = np.where(inside, np.where(np.arange(8) < 2, 1, 2), 0)
    np.testing.assert_array_equal(np.asarray(shown), expected)
    np.testing.assert_array_equal(shown[1, 2:5, 1:4], expected[1, 2:5, 1:4])
    assert not shown[3].any()
    view.lay_over([])
    assert not np.asarray(shown).any()


def test_what_follows_from_edits_cannot_be_painted(counted: Counted) -> None:
    view = FragmentView(cache_of(counted), lambda: np.zeros(17, np.uint8), "uint8")
    with pytest.raises(VolumeFormatError, match="Proofread dock"):
        view[0:1, 0:1, 0:1] = 3
