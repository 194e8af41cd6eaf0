"""Embeddings of single patches.

Embeddings of different patches cannot be compared, so none are stored for a volume: what is
compared lies in one patch. (Affinities made of them can be blended: `networks.metric_graph`.)
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from napari_neuropil.geometry import Shape

PATCH_SHAPE: Final[Shape] = (20, 128, 128)
"""The paper's patch around a candidate, on the network's grid."""

WINDOW_SHAPE: Final[Shape] = (5, 32, 32)
"""The paper's focal window, in which embeddings are averaged."""

PATCH_STRIDE: Final[Shape] = (10, 64, 64)
"""Step between shared patches: a window is at least 16 pixels and one section from their edge."""

_MULTIPLE: Final = 16


class PatchEmbedder:
    """Embeds patches with one network.

    Parameters
    ----------
    network : Module
        Maps (B, 1, Z, Y, X) in [0, 1] to (embeddings (B, D, ...), background (B, 1, ...)).
    device : torch.device
        Where to compute.
    scale : float
        What embeddings are multiplied by, `CheckpointSpec.distance_scale`.
    """

    def __init__(self, network: nn.Module, device: torch.device, scale: float = 1.0) -> None:
        self.device = device
        self.scale = scale
        self.network = network.eval().to(device)

    def embed(self, grey: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the embeddings of a patch.

        Parameters
        ----------
        grey : ndarray of float32, (Z, Y, X)
            Grey values in [0, 1]. Mirrored to what the network can pool.

        Returns
        -------
        ndarray of float32, (D, Z, Y, X)
        """
        padding = [(0, 0), *((0, max(32 - n, -n % _MULTIPLE)) for n in grey.shape[1:])]
        padded = np.pad(grey, padding, mode="symmetric") if np.any(padding) else grey
        image = torch.from_numpy(np.ascontiguousarray(padded))[None, None].to(self.device)
        with torch.inference_mode():
            embeddings, _ = self.network(image)
        _, y, x = grey.shape
        own: NDArray[np.float32] = embeddings[0, ..., :y, :x].float().cpu().numpy()
        return own * np.float32(self.scale)
