"""AGQ: a network that gives segments directly, by queries that affinities guide.

A residual U-Net gives features at half the resolution in y and x. Affinities read off them show a
foreground; the mean feature of each of its components becomes a query, beside a hundred learned
ones. In two stages queries gather the features under their masks, look at each other and give new
masks. A voxel belongs to the query with the largest share.

Source: AGQ (Chen et al.), methods; published network: 4.7 million parameters, 419 GMAC for a block
of 17 x 257 x 257. The names of the tensors are those of the published checkpoint, so that it loads
strictly. What differs: components come in the order of their first voxels, not at random.

Memory, for inference on a CPU with such a block at the published width: designed for 0.6 GB beside
the weights (measured: 0.62 GB with 200 queries, of which 0.3 GB are the result; 2.0 GB written
plainly). The peak is the finest level of the decoder: two volumes of 144 MB (32 channels), and the
coarser levels that wait for the fusion, 110 MB. Slabs add some tens of MB. Training keeps all
activations: 2.5 GB for 17 x 129 x 129 at half the width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from napari_neuropil.networks.agq.backbone import LEVELS, Backbone
from napari_neuropil.networks.agq.branches import FIRST_FEATURES, Branch, with_coordinates
from napari_neuropil.networks.agq.components import label_components
from napari_neuropil.networks.agq.decoder import Decoder
from napari_neuropil.networks.agq.norm import GROUPS
from napari_neuropil.networks.agq.output import AgqOutput
from napari_neuropil.networks.agq.slabs import as_volume

PUBLISHED_CHANNELS: Final = (32, 64, 96, 128, 160)


class AGQ(Backbone):
    """Affinities, queries and masks of a block.

    Parameters
    ----------
    channels : sequence of int
        Channels of the five levels, multiples of 8.
    fused : int
        Channels of features and queries, a multiple of 8.
    learned_queries : int
        Queries that do not come from the affinities.
    most_components : int
        Queries that come from the affinities, at most; 0 = none.
    smallest_component : int
        A query comes from components of more voxels than this, on the decoder's grid.
    persistence : float, optional
        Of the components that become queries (`persistence.persistent_components`); None: those of
        the published threshold.

    Notes
    -----
    Any size of block works. Norms, foreground and what queries gather depend on it, so that one of
    another size than was trained is another task; sizes of 2^k n + 1 keep the corners of all
    levels in one place.
    """

    def __init__(
        self,
        channels: Sequence[int] = PUBLISHED_CHANNELS,
        fused: int = 64,
        learned_queries: int = 100,
        most_components: int = 100,
        smallest_component: int = 100,
        persistence: float | None = None,
    ) -> None:
        widths = (*channels, fused)
        if len(channels) != LEVELS or any(w < GROUPS or w % GROUPS for w in widths):
            raise ValueError(
                f"no AGQ of channels {tuple(channels)} and {fused} fused: "
                f"{LEVELS} levels, all multiples of {GROUPS}"
            )
        if min(learned_queries, most_components, smallest_component) < 0:
            raise ValueError("queries and sizes of components are not negative")
        super().__init__(channels, fused)
        self.most_components = most_components
        self.smallest_component = smallest_component
        self.persistence = persistence
        self.inst_decoder = Decoder(fused, learned_queries)
        self.mask_branch = Branch(fused, fused, deep=False, scale=FIRST_FEATURES)
        self.affinity_branch = Branch(fused, 3, deep=True)

    def forward(self, image: Tensor, *, background: bool = True, earlier: bool = True) -> AgqOutput:
        """Predict affinities and masks.

        Parameters
        ----------
        image : Tensor
            (1, 1, Z, Y, X) in [-1, 1].
        background : bool
            False sets the background's logit to 0 in the last masks, as the published inference
            does; a voxel is then background where all queries are negative.
        earlier : bool
            Whether the masks before the last are wanted: those training learns from. Inference
            saves two volumes of all queries without them.

        Raises
        ------
        ValueError
            If the image is of another shape, or empty.
        """
        if image.dim() != 5 or image.shape[:2] != (1, 1) or not image.numel():
            raise ValueError(f"one image (1, 1, Z, Y, X) is wanted, not {tuple(image.shape)}")
        x = with_coordinates(self.fuse(image))
        affinities = self.affinity_branch(x)
        features = self.mask_branch(x)
        instances = self.inst_decoder.rpn.inst_convs(x)
        del x
        components = label_components(
            torch.sigmoid(affinities.detach().float()).mean(dim=1),
            self.most_components,
            self.smallest_component,
            persistence=self.persistence,
        )
        return self.inst_decoder.output(
            as_volume(affinities),
            features,
            instances,
            components,
            background=background,
            earlier=earlier,
        )
