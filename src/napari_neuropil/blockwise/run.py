"""Run a function over blocks: read ahead, resume, report, cancel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from napari_neuropil.blockwise.grid import Block
from napari_neuropil.blockwise.ledger import Ledger
from napari_neuropil.errors import BlockFailedError, CancelledError, NeuropilError

T = TypeVar("T")


def run_blocks(
    blocks: Sequence[Block],
    read: Callable[[Block], T],
    work: Callable[[Block, T], dict[str, Any]],
    ledger: Ledger,
    *,
    report: Callable[[int, int], None] = lambda _done, _total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Work through the blocks that the ledger does not hold yet, in order.

    While one block is worked on, the next is read in a thread.

    Parameters
    ----------
    blocks : sequence of Block
        All blocks of the stage.
    read : callable
        Brings a block's input into memory.
    work : callable
        Does the work, writes its data, returns what the ledger keeps.
    ledger : Ledger
        Finished blocks.
    report : callable
        Called with (done, total) after each block.
    cancelled : callable
        Asked before each block.

    Raises
    ------
    CancelledError
        If `cancelled` said so; finished blocks stay.
    BlockFailedError
        If reading or working raised anything but a NeuropilError (that passes through).
    """
    todo = [block for block in blocks if ledger.result_of(block.index) is None]
    done = len(blocks) - len(todo)
    report(done, len(blocks))
    for block, item in _read_ahead(todo, read):
        if cancelled():
            raise CancelledError(
                f"Stopped after {done} of {len(blocks)} blocks.", "", "go on with --resume."
            )
        with _naming(block):
            result = work(block, item)
        ledger.enter(block.index, result)
        done += 1
        report(done, len(blocks))


def _read_ahead(todo: Sequence[Block], read: Callable[[Block], T]) -> Iterator[tuple[Block, T]]:
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as pool:
        upcoming = pool.submit(read, todo[0]) if todo else None
        for number, block in enumerate(todo, start=1):
            assert upcoming is not None  # noqa: S101 - set while blocks are left
            with _naming(block):
                item = upcoming.result()
            upcoming = pool.submit(read, todo[number]) if number < len(todo) else None
            yield block, item


class _naming:  # noqa: N801 - reads as a statement
    """Wrap foreign exceptions, so that they name the block they happened in."""

    def __init__(self, block: Block) -> None:
        self.block = block

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Raise BlockFailedError from anything that is an Exception and not ours."""
        if isinstance(error, Exception) and not isinstance(error, NeuropilError):
            raise BlockFailedError(
                f"Block {self.block.index} ({self.block.roi}) failed: "
                f"{type(error).__name__}: {error}",
                "",
                "finished blocks are kept; mend the cause and go on with --resume.",
            ) from error
