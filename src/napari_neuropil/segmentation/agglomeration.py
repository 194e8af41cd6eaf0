"""Agglomeration: from contacts with affinities to segments. One interface, two methods.

Both take a `Rag` and return a dense lookup fragment -> segment; a segment carries the smallest id
of its fragments and is connected through its contacts.

*Multicut* (SegNeuron, section 2.4): each contact gets a cost, positive where it attracts,
and the partition of largest uncut sum is sought by greedy additive contraction, improved by
Kernighan-Lin moves. A long repulsive border can outvote a short leak.

*Mean affinity* (Funke et al. 2018, the "hierarchical agglomeration" of waterz): the two segments
with the highest mean affinity over their whole common border merge, until none exceeds a
threshold. It is GASP's average linkage (Bailoni et al., CVPR 2022) on affinity - threshold: signed
weights merge from the highest downwards and stop at zero.

Both O(C log C) for C contacts; Kernighan-Lin adds some passes over the borders of segments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import bioimage_cpp
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from napari_neuropil.errors import SettingsError, VolumeFormatError
from napari_neuropil.segmentation.rag import Rag

_SQUEEZE: Final = 0.001


class MulticutSettings(BaseModel):
    """Multicut by greedy additive contraction and Kernighan-Lin; SegNeuron's defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["multicut"] = Field(
        default="multicut",
        title="Agglomeration",
        description="Multicut.",
        json_schema_extra={"unit": "", "advanced": True},
    )
    beta: float = Field(
        default=0.25,
        gt=0.0,
        lt=1.0,
        title="Boundary bias",
        description="A contact pulls apart where its mean boundary exceeds 1 - beta. Higher: more"
        " splits, fewer mergers.",
        json_schema_extra={"unit": "", "advanced": False},
    )
    iterations: int = Field(
        default=100,
        ge=0,
        le=100_000,
        title="Improvement rounds",
        description="Most Kernighan-Lin rounds after the greedy start; it stops by itself when"
        " nothing improves. 0: greedy only.",
        json_schema_extra={"unit": "", "advanced": True},
    )


class MeanAffinitySettings(BaseModel):
    """Hierarchical agglomeration by mean affinity."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["mean_affinity"] = Field(
        default="mean_affinity",
        title="Agglomeration",
        description="Mean affinity.",
        json_schema_extra={"unit": "", "advanced": True},
    )
    threshold: float = Field(
        default=0.5,
        ge=0.0,
        le=1.0,
        title="Merge threshold",
        description="Segments merge while the mean affinity of their common border exceeds this."
        " Higher: more splits, fewer mergers.",
        json_schema_extra={"unit": "", "advanced": False},
    )


AgglomerationSettings = MulticutSettings | MeanAffinitySettings


@dataclass(frozen=True)
class Agglomeration:
    """One method: its title, its settings and `function(rag, nodes, settings) -> cluster labels`.

    The function gets a checked graph with at least one contact and `nodes` = fragments + 1 (node
    0 has no contact) and returns any label per node.
    """

    title: str
    settings: type[BaseModel]
    function: Callable[[Rag, int, Any], NDArray[np.uint64]]


def agglomerate(
    rag: Rag, fragment_count: int, settings: AgglomerationSettings
) -> NDArray[np.uint64]:
    """Join fragments to segments.

    Parameters
    ----------
    rag : Rag
        Contacts of fragments 1..fragment_count; may have none, or fall into several parts.
    fragment_count : int
        The number of fragments.
    settings : MulticutSettings or MeanAffinitySettings
        Chooses the method.

    Returns
    -------
    NDArray[np.uint64]
        (fragment_count + 1,) lookup: segment id of each fragment id, `lookup[0]` = 0. A segment's
        id is the smallest fragment id in it. The same input gives the same lookup.

    Raises
    ------
    VolumeFormatError
        If the graph is malformed, names ids above `fragment_count` or holds NaN.
    SettingsError
        If the count is negative or the settings belong to no method.
    """
    if fragment_count < 0:
        raise SettingsError(f"{fragment_count} fragments", "a count of 0 or above")
    method = _find_method(settings)
    rag.validate(fragment_count)
    nodes = fragment_count + 1
    if len(rag) == 0:
        return np.arange(nodes, dtype=np.uint64)
    clusters = method.function(rag, nodes, settings)
    return _segment_lookup(rag.contacts, clusters, nodes)


def multicut_costs(rag: Rag, beta: float) -> NDArray[np.float64]:
    """Return each contact's cost; positive attracts (A.7 steps 4 to 6).

    Parameters
    ----------
    rag : Rag
        With the score as p' = 1 - boundary.
    beta : float
        Boundary bias in (0, 1).

    Returns
    -------
    NDArray[np.float64]
        (C,) ln((1 - p') / p') + ln((1 - beta) / beta), p' the boundary squeezed linearly into
        [0.001, 0.999], weighted by the share of the contact's voxel pairs in the largest contact's.
    """
    boundary = 1.0 - rag.score.astype(np.float64)
    squeezed = (1.0 - 2.0 * _SQUEEZE) * boundary + _SQUEEZE
    costs = np.log((1.0 - squeezed) / squeezed) + np.log((1.0 - beta) / beta)
    weighted: NDArray[np.float64] = costs * (rag.area / rag.area.max())
    return weighted


def _find_method(settings: AgglomerationSettings) -> Agglomeration:
    for method in AGGLOMERATIONS.values():
        if isinstance(settings, method.settings):
            return method
    raise SettingsError(
        f"agglomeration settings of type {type(settings).__name__}",
        ", ".join(method.settings.__name__ for method in AGGLOMERATIONS.values()),
    )


def _graph(rag: Rag, nodes: int) -> Any:
    graph = bioimage_cpp.graph.UndirectedGraph(nodes)
    graph.insert_edges(rag.contacts)
    return graph


def _solve_multicut(rag: Rag, nodes: int, settings: MulticutSettings) -> NDArray[np.uint64]:
    multicut = bioimage_cpp.graph.multicut
    objective = multicut.MulticutObjective(_graph(rag, nodes), multicut_costs(rag, settings.beta))
    labels = multicut.GreedyAdditiveMulticut().optimize(objective)
    if settings.iterations:
        solver = multicut.KernighanLinMulticut(number_of_outer_iterations=settings.iterations)
        labels = solver.optimize(objective)
    return np.asarray(labels, np.uint64)


def _merge_by_mean_affinity(
    rag: Rag, nodes: int, settings: MeanAffinitySettings
) -> NDArray[np.uint64]:
    weights = rag.score.astype(np.float64) - settings.threshold
    policy = bioimage_cpp.graph.agglomeration.GaspClusterPolicy(linkage="mean")
    labels = policy.optimize(_graph(rag, nodes), weights, edge_sizes=rag.area.astype(np.float64))
    return np.asarray(labels, np.uint64)


def _segment_lookup(
    contacts: NDArray[np.uint64], clusters: NDArray[np.uint64], nodes: int
) -> NDArray[np.uint64]:
    """Name each cluster by its smallest fragment; a cluster in several pieces becomes several."""
    # Here, not above: forms and commands import the settings only.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = contacts.astype(np.int64)
    within = ends[clusters[ends[:, 0]] == clusters[ends[:, 1]]]
    joined = coo_array((np.ones(len(within), np.uint8), (within[:, 0], within[:, 1])), (nodes,) * 2)
    count, pieces = connected_components(joined, directed=False)
    if len(clusters) != nodes or count < 1:
        raise VolumeFormatError(f"{len(clusters)} cluster labels", f"{nodes}, one per fragment")
    smallest = np.zeros(count, np.uint64)
    # Assigning backwards leaves the smallest id: later writes win.
    smallest[pieces[::-1]] = np.arange(nodes - 1, -1, -1, dtype=np.uint64)
    lookup: NDArray[np.uint64] = smallest[pieces]
    return lookup


AGGLOMERATIONS: Final[dict[str, Agglomeration]] = {
    "multicut": Agglomeration("Multicut", MulticutSettings, _solve_multicut),
    "mean_affinity": Agglomeration("Mean affinity", MeanAffinitySettings, _merge_by_mean_affinity),
}
