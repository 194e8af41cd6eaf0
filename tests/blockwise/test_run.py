"""Blocks: they tile the volume; a run resumes, cancels, and names the block that failed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_neuropil.blockwise import Block, Ledger, run_blocks, split_blocks
from napari_neuropil.errors import BlockFailedError, CancelledError, SettingsError
from napari_neuropil.geometry import Roi

_EDGE = st.integers(1, 17)


@given(st.tuples(_EDGE, _EDGE, _EDGE), st.tuples(_EDGE, _EDGE, _EDGE))
def test_blocks_cover_each_voxel_once(
    shape: tuple[int, int, int], block_shape: tuple[int, int, int]
) -> None:
    seen = np.zeros(shape, int)
    blocks = split_blocks(shape, block_shape)
    for position, block in enumerate(blocks):
        assert block.index == position
        seen[block.roi.slices] += 1
    assert (seen == 1).all()


def _run(folder: Path, work: Any, cancelled: Any = lambda: False) -> list[tuple[int, int]]:
    heard: list[tuple[int, int]] = []
    run_blocks(
        [*split_blocks((4, 4, 4), (2, 4, 4)), Block(2, Roi.of_shape((4, 4, 4)))],
        lambda block: block.index * 10,
        work,
        Ledger(folder),
        report=lambda done, total: heard.append((done, total)),
        cancelled=cancelled,
    )
    return heard


def test_finished_blocks_are_not_repeated(tmp_path: Path) -> None:
    worked: list[tuple[int, int]] = []

    def work(block: Block, item: int) -> dict[str, Any]:
        if block.index == 1 and len(worked) == 1:
            raise OSError("pulled the plug")
        worked.append((block.index, item))
        return {"n": block.index}

    with pytest.raises(BlockFailedError, match=r"Block 1 .*pulled the plug"):
        _run(tmp_path, work)
    worked.append((-1, -1))  # the second try may pass
    heard = _run(tmp_path, work)
    assert worked == [(0, 0), (-1, -1), (1, 10), (2, 20)]
    assert heard == [(1, 3), (2, 3), (3, 3)]
    assert Ledger(tmp_path).result_of(2) == {"n": 2}


def test_a_finished_stage_is_passed_over(tmp_path: Path) -> None:
    blocks = split_blocks((4, 4, 4), (2, 4, 4))
    for _ in range(2):
        worked: list[int] = []

        def work(block: Block, _item: int, worked: list[int] = worked) -> dict[str, int]:
            worked.append(block.index)
            return {}

        run_blocks(blocks, lambda block: block.index, work, Ledger(tmp_path))
    assert worked == []


def test_half_written_entry_counts_as_not_done(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.enter(0, {"a": 1})
    (tmp_path / "0.json").write_text('{"a"')
    assert ledger.result_of(0) is None


def test_cancel_keeps_what_is_done(tmp_path: Path) -> None:
    done: list[int] = []

    def work(block: Block, _item: int) -> dict[str, Any]:
        done.append(block.index)
        return {}

    with pytest.raises(CancelledError, match="after 2 of 3"):
        _run(tmp_path, work, cancelled=lambda: len(done) == 2)
    assert Ledger(tmp_path).count() == 2


def test_own_errors_pass_through(tmp_path: Path) -> None:
    def work(_block: Block, _item: int) -> dict[str, Any]:
        raise SettingsError("found this")

    with pytest.raises(SettingsError, match="found this"):
        _run(tmp_path, work)
