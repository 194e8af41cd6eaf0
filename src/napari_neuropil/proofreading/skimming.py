"""All effects of a log at once: their ids as arrays, read out of the bytes without a loop.

Opening a session meets every edit of its life. Decoding 10^5 effects one by one takes seconds;
here their bytes are put behind each other and the counts and ids of all are gathered together.
The layout is that of `encoding`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.proofreading.encoding import COUNTS, damaged_effect, plain_bytes

_HEAD: Final = np.dtype(
    {
        "names": ["fragments", "joined", "cut", "same_before", "same_after", "rest"],
        "formats": ["<u4", "<u4", "<u4", "u1", "u1", "<u4"],
        "offsets": [0, 4, 8, 12, 13, 14],
        "itemsize": COUNTS.size,
    }
)
_WORD: Final = 8
_PAIR: Final = 16


@dataclass(frozen=True, eq=False)
class Ragged:
    """Rows of several effects behind each other.

    Parameters
    ----------
    values : NDArray[np.uint64]
        (N,) ids, or (N, 2) pairs.
    effect : NDArray[np.intp]
        (N,) which effect each belongs to, ascending.
    """

    values: NDArray[np.uint64]
    effect: NDArray[np.intp]

    def of(self, wanted: NDArray[np.bool_]) -> Ragged:
        """Return the rows of the effects that are wanted, (E,)."""
        keep = wanted[self.effect]
        return Ragged(self.values[keep], self.effect[keep])


@dataclass(frozen=True, eq=False)
class SkimmedLog:
    """The ids of E effects.

    Parameters
    ----------
    fragments, after : Ragged
        Fragments that move, and their segments afterwards.
    joined, cut : Ragged
        Contacts decided, (N, 2).
    rest : dict of int to bytes
        Pieces and links of the few effects that have any; see `encoding.unpack_rest`.
    """

    fragments: Ragged
    after: Ragged
    joined: Ragged
    cut: Ragged
    rest: dict[int, bytes]

    def of(self, wanted: NDArray[np.bool_]) -> SkimmedLog:
        """Return only the effects that are wanted, (E,)."""
        return SkimmedLog(
            self.fragments.of(wanted),
            self.after.of(wanted),
            self.joined.of(wanted),
            self.cut.of(wanted),
            {index: data for index, data in self.rest.items() if wanted[index]},
        )


def skim_effects(packed: Sequence[bytes]) -> SkimmedLog:
    """Read the ids of many effects.

    Parameters
    ----------
    packed : sequence of bytes
        As `encoding.pack_effect` makes them.

    Raises
    ------
    ProjectError
        If one is damaged.
    """
    plain = [plain_bytes(data) for data in packed]
    length = np.fromiter(map(len, plain), np.int64, len(plain))
    if len(plain) and int(length.min()) < COUNTS.size:
        short = int(length.argmin())
        raise damaged_effect(packed[short], "it is too short")
    buffer = np.frombuffer(b"".join(plain), np.uint8)
    start = np.cumsum(length) - length
    head = buffer[start[:, None] + np.arange(COUNTS.size)].view(_HEAD).reshape(-1)
    count = head["fragments"].astype(np.int64)
    same_before, same_after = (head[name].astype(bool) for name in ("same_before", "same_after"))
    joined, cut = (head[name].astype(np.int64) for name in ("joined", "cut"))

    at_after = start + COUNTS.size + _WORD * (count + np.where(same_before, 1, count))
    at_joined = at_after + _WORD * np.where(same_after, 1, count)
    at_cut = at_joined + _PAIR * joined
    at_rest = at_cut + _PAIR * cut
    stop = at_rest + head["rest"]
    wrong = np.flatnonzero(stop != start + length)
    if len(wrong):
        raise damaged_effect(packed[int(wrong[0])], "its length is wrong")
    return SkimmedLog(
        _gather(buffer, start + COUNTS.size, count),
        _gather(buffer, at_after, count, same_after),
        _pairs(_gather(buffer, at_joined, 2 * joined)),
        _pairs(_gather(buffer, at_cut, 2 * cut)),
        {
            int(i): buffer[at_rest[i] : stop[i]].tobytes()
            for i in np.flatnonzero(head["rest"]).tolist()
        },
    )


def _gather(
    buffer: NDArray[np.uint8],
    start: NDArray[np.int64],
    count: NDArray[np.int64],
    constant: NDArray[np.bool_] | None = None,
) -> Ragged:
    """Return `count` words from each `start`; where constant, the first again and again."""
    effect = np.repeat(np.arange(len(count)), count)
    within = np.arange(len(effect)) - np.repeat(np.cumsum(count) - count, count)
    if constant is not None:
        within[constant[effect]] = 0
    # Words lie at any byte, so they are gathered byte by byte.
    at = start[effect] + _WORD * within
    words = buffer[at[:, None] + np.arange(_WORD)]
    return Ragged(words.view("<u8").reshape(-1).astype(np.uint64, copy=False), effect)


def _pairs(words: Ragged) -> Ragged:
    return Ragged(words.values.reshape(-1, 2), words.effect[::2])
