"""Components of the foreground that affinities show: the seeds of AGQ's queries.

Source: methods of AGQ (Chen et al.): affinity-guided queries. The authors take the components in a
random order; here it is that of their first voxels, so that a result can be had again. Components
that last are ours (`persistence`).
"""

from __future__ import annotations

from typing import Final

import bioimage_cpp
import numpy as np
import torch
from torch import Tensor

_LOWEST: Final = 0.3
"""Mean affinity that a voxel of a lasting component exceeds."""


def label_components(
    shares: Tensor, most: int, smallest: int, *, persistence: float | None = None
) -> tuple[Tensor, Tensor]:
    """Find the components of the foreground.

    As published, foreground is where the mean of a voxel's affinities exceeds the mean of the
    volume; two voxels that touch, be it at a corner, belong together (26 neighbours). Where
    a membrane leaks, that is one component of several neurons; `persistent_components` looks at all
    thresholds instead.

    Parameters
    ----------
    shares : Tensor
        (Z, Y, X), mean of each voxel's affinities, in [0, 1].
    most : int
        The first so many components are kept.
    smallest : int
        Components of this many voxels or fewer are left out, voxels of the decoder's grid.
    persistence : float, optional
        How deep a component must be to stay apart from others; None: as published.

    Returns
    -------
    labels : Tensor of int64
        (Z, Y, X): 1 to N in the order of the components' first voxels, 0 elsewhere.
    sizes : Tensor of int64
        (N,), voxels of each.
    """
    values = shares.detach().float().cpu().numpy()
    if persistence is not None:
        # Here, not above: numba takes a second to load.
        from napari_neuropil.networks.agq.persistence import persistent_components

        found = persistent_components(values, smallest, persistence, _LOWEST)
        sizes = np.bincount(found.reshape(-1))
        kept = np.arange(1, min(most + 1, len(sizes)))
    else:
        foreground = (shares > shares.mean()).cpu().numpy()
        found = bioimage_cpp.segmentation.label(foreground, connectivity=3).view(np.int64)
        sizes = np.bincount(found.reshape(-1))
        sizes[0] = 0
        kept = np.flatnonzero(sizes > smallest)[:most]
    names = np.zeros(len(sizes), np.int64)
    names[kept] = np.arange(1, len(kept) + 1)
    labels = torch.from_numpy(names[found])
    return labels.to(shares.device), torch.from_numpy(sizes[kept]).to(shares.device)


def component_means(rows: Tensor, labels: Tensor, sizes: Tensor) -> Tensor:
    """Return the mean of each component's features.

    One pass over the voxels whatever the number of components. Sums are gathered section by
    section first, which keeps them short and so exact.

    Parameters
    ----------
    rows : Tensor
        (Z * Y * X, C), features.
    labels : Tensor of int64
        (Z, Y, X), from `label_components`.
    sizes : Tensor of int64
        (N,).

    Returns
    -------
    Tensor
        (N, C).
    """
    depth, width = len(labels), len(sizes) + 1
    section = torch.arange(depth, device=labels.device).view(-1, 1, 1)
    places = (section * width + labels).view(-1)
    sums = rows.new_zeros(depth * width, rows.shape[1]).index_add(0, places, rows)
    return sums.view(depth, width, -1).sum(dim=0)[1:] / sizes.unsqueeze(1)
