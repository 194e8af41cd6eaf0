"""AGQ as a predictor of images: affinities, foreground, confidence and the label of each voxel.

Source: the published inference of AGQ (Chen et al.); methods and figures in `methods/agq.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_neuropil.networks.agq.labels import label_queries


class QueryMap(nn.Module):
    """A network of queries, made one of stored values.

    Parameters
    ----------
    network : Module
        `AGQ`: of an image in [-1, 1] gives an object with `affinities` and `mask_logits`.
    background : bool
        Whether the background has its own logit; without, it is 0, an option of the published
        script: a voxel that any query claims at all is no background then.
    smallest_volume : float
        As in `label_queries`.
    """

    def __init__(
        self, network: nn.Module, *, background: bool = True, smallest_volume: float = 40.0
    ) -> None:
        super().__init__()
        self.network = network
        self.background = background
        self.smallest_volume = smallest_volume

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Predict what a project stores.

        Parameters
        ----------
        image : Tensor
            (1, 1, Z, Y, X) in [0, 1].

        Returns
        -------
        affinities : Tensor
            (1, 3, Z, Y, X) in [0, 1], nearest neighbours along z, y, x.
        confidence : Tensor
            (1, 1, Z, Y, X) in [0, 1], probability of the strongest query.
        labels : Tensor
            (1, 1, Z, Y, X), index of the strongest query divided by 255; 0 is background.
        foreground : Tensor
            (1, 1, Z, Y, X) in [0, 1].
        """
        if len(image) != 1:
            raise ValueError(f"queries of one image at a time, not of {len(image)}")
        found = self.network(2 * image - 1, background=self.background, earlier=False)
        z, y, x = (int(n) for n in image.shape[2:])
        named = label_queries(found.mask_logits[0], (z, y, x), smallest_volume=self.smallest_volume)
        affinities = functional.interpolate(
            torch.sigmoid(found.affinities.float()), size=(z, y, x), mode="trilinear",
            align_corners=False,
        )  # fmt: skip
        labels = named.labels.float() / 255
        others = (v[None, None] for v in (named.confidence, labels, named.foreground))
        return (affinities, *others)
