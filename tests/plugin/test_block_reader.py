"""Reading block by block: the right voxels, and each chunk of a lazy array as seldom as can be."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from napari_neuropil.geometry import Roi
from napari_neuropil.plugin.block_reader import BlockReader

SHAPE = (5, 20, 30)
DATA = np.arange(np.prod(SHAPE), dtype=np.uint16).reshape(SHAPE)
STARTS = list(product((0, 4), (0, 8, 16), (0, 8, 16, 24)))


def blocks() -> list[Roi]:
    """Return blocks of at most 4 x 8 x 8 in storage order."""
    made = []
    for start in STARTS:
        stop = [min(a + b, n) for a, b, n in zip(start, (4, 8, 8), SHAPE, strict=True)]
        made.append(Roi(start, (stop[0], stop[1], stop[2])))
    return made


def lazy(chunks: tuple[int, int, int], seen: list[tuple[int, ...]]) -> Any:
    dask = pytest.importorskip("dask.array", reason="dask comes with napari")

    def note(block: np.ndarray) -> np.ndarray:
        if block.size:
            seen.append(block.shape)
        return block

    meta = np.zeros((0, 0, 0), DATA.dtype)
    return dask.from_array(DATA, chunks=chunks).map_blocks(note, dtype=DATA.dtype, meta=meta)


@pytest.mark.parametrize("held", [0, 400, 2**20])
@pytest.mark.parametrize("chunks", [(1, 20, 30), (2, 7, 11), (5, 8, 8), (1, 1, 30)])
def test_voxels_are_those_of_the_array(chunks: tuple[int, int, int], held: int) -> None:
    for array in (DATA, lazy(chunks, [])):
        reader = BlockReader(array, held)
        for block in blocks():
            np.testing.assert_array_equal(reader.read(block), DATA[block.slices])


def test_a_section_is_worked_out_once() -> None:
    seen: list[tuple[int, ...]] = []
    reader = BlockReader(lazy((1, 20, 30), seen))
    for block in blocks():
        reader.read(block)
    assert seen == [(1, 20, 30)] * 5


def test_what_is_kept_is_bounded() -> None:
    seen: list[tuple[int, ...]] = []
    # Two bytes a voxel: 4 x 16 x 30 of them may be kept, so a section is read for rows 0 and 16.
    reader = BlockReader(lazy((1, 20, 30), seen), 2 * 4 * 16 * 30)
    for block in blocks():
        reader.read(block)
        assert reader._voxels.size <= 4 * 16 * 30
    assert len(seen) == 4 * 2 + 1, "the last section fits whole"


def test_chunks_of_the_blocks_size_are_read_one_by_one() -> None:
    seen: list[tuple[int, ...]] = []
    reader = BlockReader(lazy((4, 8, 8), seen))
    for count, block in enumerate(blocks(), 1):
        reader.read(block)
        assert len(seen) == count, "so that progress and Cancel stay fine"


def test_what_is_no_dask_array_is_read_as_asked() -> None:
    class Seen:
        shape, dtype, chunks = SHAPE, DATA.dtype, (1, 20, 30)

        def __getitem__(self, key: Any) -> Any:
            asked.append(key)
            return DATA[key]

    asked: list[Any] = []
    reader = BlockReader(Seen())
    for block in blocks():
        reader.read(block)
    assert asked == [block.slices for block in blocks()]
