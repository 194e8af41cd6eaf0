"""The decoder of AGQ: queries from components and learned ones, masks in three versions.

Source: methods of AGQ (Chen et al.): initial queries, stages. The names of the tensors are those of
the published checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_neuropil.networks.agq.branches import InstanceFeatures
from napari_neuropil.networks.agq.components import component_means
from napari_neuropil.networks.agq.layers import Convolution, PlainConvolution
from napari_neuropil.networks.agq.masks import MaskHead, gathered_under, masks_of
from napari_neuropil.networks.agq.output import AgqOutput
from napari_neuropil.networks.agq.places import Places
from napari_neuropil.networks.agq.queries import Interactor, Updater
from napari_neuropil.networks.agq.slabs import as_rows, as_volume

STAGES: Final = 2
_NORM_EPS: Final = 1e-3
_NORM_MOMENTUM: Final = 0.01
_BACKGROUND_OF: Final = (2, 0, 1)
"""The masks before the first stage are the third to have been given a background."""


class _Head(nn.Module):
    """Norms of kernels and logits."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_logits = nn.BatchNorm2d(1, eps=_NORM_EPS, momentum=_NORM_MOMENTUM)
        self.norm_kernel = nn.BatchNorm1d(width, eps=_NORM_EPS, momentum=_NORM_MOMENTUM)

    def head_of(self, kernels: Tensor, places: Tensor | None) -> MaskHead:
        return MaskHead(self.norm_kernel(kernels), self.norm_logits, places)


class _Proposals(_Head):
    """The first queries and their masks."""

    def __init__(self, width: int, learned: int) -> None:
        super().__init__(width)
        self.inst_convs = InstanceFeatures(width)
        self.learned_masks_embed = nn.Embedding(learned, width)
        self.mask_kernel = nn.Linear(width, width)

    def forward(self, queries: Tensor, places: Tensor | None) -> MaskHead:
        return self.head_of(self.mask_kernel(queries), places)


class _Predictor(_Head):
    """The masks of a stage."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.fc_kernel = nn.Linear(width, width)

    def forward(self, queries: Tensor, places: Tensor | None) -> MaskHead:
        return self.head_of(self.fc_kernel(queries), places)


class Decoder(nn.Module):
    """Queries and their masks.

    Parameters
    ----------
    width : int
        Channels of features and queries.
    learned : int
        Learned queries.
    placed : bool
        Whether a query's logits begin from the place of its component (`places`). Ours; features
        alone have to learn first where a voxel lies.
    """

    def __init__(self, width: int, learned: int, *, placed: bool = False) -> None:
        super().__init__()
        self.places = Places(1 + STAGES) if placed else None
        self.rpn = _Proposals(width, learned)
        self.predictors = nn.ModuleList(_Predictor(width) for _ in range(STAGES))
        self.kernel_interactors = nn.ModuleList(Interactor(width) for _ in range(STAGES))
        self.kernel_updators = nn.ModuleList(Updater(width) for _ in range(STAGES))
        self.bg_convs = nn.ModuleList(
            PlainConvolution(Convolution(width, 1), nn.BatchNorm2d(1), nn.ReLU(inplace=True))
            for _ in range(1 + STAGES)
        )

    def forward(
        self,
        features: Tensor,
        instances: Tensor,
        components: tuple[Tensor, Tensor],
        *,
        background: bool,
        earlier: bool,
    ) -> tuple[Tensor, list[Tensor]]:
        """Find queries and masks.

        Parameters
        ----------
        features, instances : Tensor
            Sections (Z, C, Y, X): what kernels are multiplied with, and what queries gather.
        components : tuple of Tensor
            Labels and sizes, from `label_components`.
        background : bool
            Whether the last masks have a background of their own; else its logit is 0.
        earlier : bool
            Whether the masks before the last are wanted.

        Returns
        -------
        queries : Tensor
            (N, C), after the last stage.
        masks : list of Tensor
            (Z * Y * X, 1 + N), logits; the last is that of the last stage.
        """
        sections = functional.normalize(features, dim=1)
        rows, gathered = as_rows(sections), as_rows(instances)
        means = component_means(gathered, *components)
        learned = self.rpn.learned_masks_embed.weight
        queries = torch.cat([means, learned])
        places: Sequence[Tensor | None] = [None] * (1 + STAGES)
        if self.places is not None:
            places = self.places(components[0], len(means), len(learned))
        heads = [self.rpn(queries, places[0])]
        for update, interact, predict, place in zip(
            self.kernel_updators, self.kernel_interactors, self.predictors, places[1:], strict=True
        ):
            queries = interact(update(gathered_under(heads[-1], rows, gathered), queries))
            heads.append(predict(queries, place))
        masks = []
        for stage in range(0 if earlier else STAGES, 1 + STAGES):
            if stage == STAGES and not background:
                behind = rows.new_zeros(len(rows), 1)
            else:
                behind = as_rows(self.bg_convs[_BACKGROUND_OF[stage]](sections))
            masks.append(masks_of(heads[stage], rows, behind))
        return queries, masks

    def output(
        self,
        affinities: Tensor,
        features: Tensor,
        instances: Tensor,
        components: tuple[Tensor, Tensor],
        *,
        background: bool,
        earlier: bool,
    ) -> AgqOutput:
        """Return what `forward` finds, as volumes, beside the affinities (1, 3, ...)."""
        # Shares are summed over all voxels, which half precision does not hold.
        with torch.autocast(features.device.type, enabled=False):
            queries, masks = self(
                _full_precision(features),
                _full_precision(instances),
                components,
                background=background,
                earlier=earlier,
            )
        depth, _, height, width = features.shape
        volumes = [m.view(1, depth, height, width, -1).permute(0, 4, 1, 2, 3) for m in masks]
        return AgqOutput(
            affinities=affinities,
            mask_logits=volumes[-1],
            earlier_masks=tuple(volumes[:-1]),
            queries=queries.unsqueeze(0),
            features=as_volume(features),
            component_count=len(components[1]),
        )


def _full_precision(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
