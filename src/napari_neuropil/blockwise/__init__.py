"""Run a function over blocks of a volume, resumable and cancellable."""

from napari_neuropil.blockwise.grid import Block, split_blocks, with_plane_before
from napari_neuropil.blockwise.ledger import Ledger
from napari_neuropil.blockwise.run import run_blocks

__all__ = ["Block", "Ledger", "run_blocks", "split_blocks", "with_plane_before"]
