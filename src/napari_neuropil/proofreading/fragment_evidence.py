"""What is known of single fragments, for scorers that need more than contacts."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from napari_neuropil.project.query_evidence import read_query_evidence
from napari_neuropil.proofreading.live_project import LiveProject


def query_measurements(project: LiveProject) -> dict[str, NDArray[Any]]:
    """Return how sure the queries were of each fragment and who shares it; empty without queries.

    Parameters
    ----------
    project : LiveProject
        Opened; pieces that were cut since have no row.

    Returns
    -------
    dict of str to NDArray, (F + 1,)
        ``confidence``, ``rival``, ``rival_share``, as `QueryEvidence` has them.
    """
    found = read_query_evidence(project.path, project.info.fragment_count)
    if found is None:
        return {}
    return {"confidence": found.confidence, "rival": found.rival, "rival_share": found.share}
