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
    stages : bool
        Whether the labels before and between the stages are wanted too: the coarse masks. Each
        costs as much as the last labels.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        background: bool = True,
        smallest_volume: float = 40.0,
        stages: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.background = background
        self.smallest_volume = smallest_volume
        self.stages = stages

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
        runner_up : Tensor
            (1, 1, Z, Y, X), index of the second strongest divided by 255.
        runner_up_share : Tensor
            (1, 1, Z, Y, X), its probability.
        coarse : Tensor, twice
            (1, 1, Z, Y, X), labels before the first and before the second stage, where wanted.
        foreground : Tensor
            (1, 1, Z, Y, X) in [0, 1].
        """
        if len(image) != 1:
            raise ValueError(f"queries of one image at a time, not of {len(image)}")
        found = self.network(2 * image - 1, background=self.background, earlier=self.stages)
        z, y, x = (int(n) for n in image.shape[2:])
        named = label_queries(found.mask_logits[0], (z, y, x), smallest_volume=self.smallest_volume)
        affinities = functional.interpolate(
            torch.sigmoid(found.affinities.float()), size=(z, y, x), mode="trilinear",
            align_corners=False,
        )  # fmt: skip
        coarse = [
            label_queries(masks[0], (z, y, x), smallest_volume=self.smallest_volume).labels
            for masks in found.earlier_masks
        ]
        others = (
            named.confidence,
            named.labels / 255,
            named.runner_up / 255,
            named.runner_up_share,
            *(labels / 255 for labels in coarse),
            named.foreground,
        )
        return (affinities, *(values[None, None] for values in others))
