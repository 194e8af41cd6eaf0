"""How sure the queries were of each fragment, and which fragment they share with it: a cache.

``queries.npz`` is written where fragments were made by queries. Deleting it takes the evidence
from the queue of candidates, nothing else.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from napari_neuropil.errors import OutputError

QUERIES: Final = "queries.npz"


@dataclass(frozen=True, eq=False)
class QueryEvidence:
    """One row a fragment; row 0 is background.

    Parameters
    ----------
    confidence : ndarray of float32, (F + 1,)
        Mean share of its query, in [0, 1]; NaN where unknown.
    rival : ndarray of uint64, (F + 1,)
        The fragment whose query comes second; 0 = none.
    share : ndarray of float32, (F + 1,)
        Mean share of that query, in [0, 0.5].
    """

    confidence: NDArray[np.float32]
    rival: NDArray[np.uint64]
    share: NDArray[np.float32]


def read_query_evidence(project: Path, count: int) -> QueryEvidence | None:
    """Read the cache; None where there is none that fits `count` fragments."""
    try:
        with np.load(project / QUERIES, allow_pickle=False) as content:
            found = QueryEvidence(content["confidence"], content["rival"], content["share"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    columns = (found.confidence, np.float32), (found.rival, np.uint64), (found.share, np.float32)
    fits = all(c.shape == (count + 1,) and c.dtype == kind for c, kind in columns)
    return found if fits and int(found.rival.max(initial=0)) <= count else None


def write_query_evidence(project: Path, evidence: QueryEvidence) -> None:
    """Write the cache, whole or not at all.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    file, partial = project / QUERIES, project / f"{QUERIES}.partial"
    try:
        with partial.open("wb") as opened:
            np.savez(
                opened,
                confidence=evidence.confidence,
                rival=evidence.rival,
                share=evidence.share,
            )
        partial.replace(file)
    except OSError as error:
        raise OutputError(
            f"{file} cannot be written: {error}", "", "free disk space, then go on with --resume."
        ) from error
