"""What queries say of the fragments they became: how sure they were, and who else claimed them.

Two queries that share a neuron give each other large shares of its voxels, so the query that comes
second on a fragment, and how much it gets there, tell where a neuron may be in two pieces.
Sums over voxels, O(voxels); each fragment lies in one block.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.segmentation.rag import Rag

_LABELS: Final = 256


@dataclass(frozen=True, eq=False)
class QueryValues:
    """What is stored of the queries in a block, each ndarray of uint8, (Z, Y, X).

    Parameters
    ----------
    confidence : ndarray
        Share of the strongest query, 255 = 1.
    label : ndarray
        That query; 0 is background.
    runner_up : ndarray
        The second strongest; 0 is background.
    share : ndarray
        Its share, 255 = 1.
    """

    confidence: NDArray[np.uint8]
    label: NDArray[np.uint8]
    runner_up: NDArray[np.uint8]
    share: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class QueryFacts:
    """Means over each fragment's voxels; row 0 is background.

    Parameters
    ----------
    label : ndarray of uint8, (F + 1,)
        The query it was made of, with a meaning in its block's window only; 0 has none.
    confidence : ndarray of float32, (F + 1,)
        Its share, in [0, 1]; NaN where there is no labelled voxel.
    rival : ndarray of uint8, (F + 1,)
        The query that comes second; 0 = none but background.
    share : ndarray of float32, (F + 1,)
        The rival's share, in [0, 0.5].
    """

    label: NDArray[np.uint8]
    confidence: NDArray[np.float32]
    rival: NDArray[np.uint8]
    share: NDArray[np.float32]


def measure_queries(
    blocks: Iterable[tuple[NDArray[np.uint64], QueryValues]], count: int
) -> QueryFacts:
    """Average over fragments what the queries say of their voxels.

    Parameters
    ----------
    blocks : iterable
        Fragments (Z, Y, X) and stored values of each block; a fragment lies in one.
    count : int
        Number of fragments.
    """
    facts = QueryFacts(
        np.zeros(count + 1, np.uint8),
        np.full(count + 1, np.nan, np.float32),
        np.zeros(count + 1, np.uint8),
        np.zeros(count + 1, np.float32),
    )
    for fragments, values in blocks:
        # Voxels that were filled have no label; all others of a fragment have the same.
        kept = (values.label > 0) & (fragments > 0)
        ids, row = np.unique(fragments[kept], return_inverse=True)
        facts.label[fragments[kept]] = values.label[kept]
        voxels = 255.0 * np.bincount(row, minlength=len(ids))
        facts.confidence[ids] = np.bincount(row, values.confidence[kept], len(ids)) / voxels
        claims = np.bincount(
            row * _LABELS + values.runner_up[kept], values.share[kept], len(ids) * _LABELS
        ).reshape(-1, _LABELS)
        claims[:, 0] = 0
        facts.rival[ids] = claims.argmax(axis=1)
        facts.share[ids] = claims.max(axis=1, initial=0) / voxels
    return facts


def rival_fragments(facts: QueryFacts, rag: Rag, block_of: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return for each fragment the one that it shares most with its rival's query.

    Parameters
    ----------
    facts : QueryFacts
        Of all fragments.
    rag : Rag
        Their contacts.
    block_of : ndarray of int64, (F + 1,)
        The block each fragment lies in: elsewhere the rival's label means another query.

    Returns
    -------
    ndarray of uint64, (F + 1,)
        Of the rival's fragments that touch it the one with the largest contact; 0 if none does.
    """
    ends = np.concatenate([rag.contacts, rag.contacts[:, ::-1]]).astype(np.intp)
    area = np.concatenate([rag.area, rag.area])
    one, other = ends[:, 0], ends[:, 1]
    meant = (facts.rival[one] > 0) & (facts.rival[one] == facts.label[other])
    meant &= block_of[one] == block_of[other]
    rows = np.flatnonzero(meant)
    rows = rows[np.lexsort((-other[rows], area[rows]))]  # the last one written is the largest
    rivals = np.zeros(len(facts.label), np.uint64)
    rivals[one[rows]] = other[rows]
    return rivals
