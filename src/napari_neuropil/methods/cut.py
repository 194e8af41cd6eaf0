"""What the cutting of a volume into blocks left behind, for the partition."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Cut:
    """Where fragments were cut, and what the blocks say of each other.

    Parameters
    ----------
    block_of : ndarray of int64, (fragment_count + 1,)
        The block each fragment was cut in.
    agreement : ndarray of float32, (C,), or None
        For each contact how well the windows of its two blocks agree that it is one object, in
        [0, 1]; NaN inside a block. None where a method has no windows.
    """

    block_of: NDArray[np.int64]
    agreement: NDArray[np.float32] | None = None

    def across(self, contacts: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return which contacts (C, 2) lie between two blocks."""
        ends = contacts.astype(np.intp)
        result: NDArray[np.bool_] = self.block_of[ends[:, 0]] != self.block_of[ends[:, 1]]
        return result
