"""AGQ's queries on the features and affinities of a SegNeuron network.

Ours. The published network learns affinities, features and queries together, which takes it days
on eight GPUs. Here the first two are those of an MNet that has been trained before and stays as it
is; learned are the fusion of its three finest levels, the branches and the decoder, a twentieth of
the tensors. One pass gives what SegNeuron gives, affinities at the image's grid and foreground, and
segments beside it: the comparison of queries with a watershed is then one of these alone.

The rest is AGQ's (Chen et al., methods): coordinates, branches, queries from components of the
affinities and learned ones, two stages, masks at half the resolution in y and x.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_neuropil.networks.agq.branches import FIRST_FEATURES, Branch, with_coordinates
from napari_neuropil.networks.agq.components import label_components
from napari_neuropil.networks.agq.decoder import Decoder
from napari_neuropil.networks.agq.layers import NormedConvolution, Residual
from napari_neuropil.networks.agq.output import AgqOutput
from napari_neuropil.networks.mnet import MNet

_NEAREST = 3
"""Affinities that say what is connected."""
_LEVELS = 3
"""Levels of the trunk that are looked at."""


@dataclass(frozen=True, slots=True)
class TrunkView:
    """What the trunk sees in an image; the same for the same image.

    Parameters
    ----------
    features : Tensor
        Sections (Z, C, y, x) on the decoder's grid.
    affinities : Tensor
        (1, 3, Z, Y, X) on the image's grid, logits.
    components : tuple of Tensor
        Labels and sizes, from `label_components`.
    """

    features: Tensor
    affinities: Tensor
    components: tuple[Tensor, Tensor]


class AGQOnMNet(nn.Module):
    """Affinities, queries and masks of a block, on a trunk that is not trained.

    Parameters
    ----------
    trunk : mapping
        What the `MNet` is built with.
    fused : int
        Channels of features and queries, a multiple of 8.
    learned_queries : int
        Queries that do not come from the affinities.
    most_components : int
        Queries that come from the affinities, at most; 0 = none.
    smallest_component : int
        A query comes from components of more voxels than this, on the decoder's grid.
    persistence : float, optional
        How deep a component must be to stay apart from others; None: those of AGQ's threshold.
    placed : bool
        Whether a query's logits begin from the place of its component.
    """

    def __init__(
        self,
        trunk: Mapping[str, Any],
        fused: int = 32,
        learned_queries: int = 8,
        most_components: int = 200,
        smallest_component: int = 15,
        persistence: float | None = 0.07,
        *,
        placed: bool = True,
    ) -> None:
        super().__init__()
        if min(learned_queries, most_components, smallest_component) < 0:
            raise ValueError("queries and sizes of components are not negative")
        self.most_components = most_components
        self.smallest_component = smallest_component
        self.persistence = persistence
        self.trunk = MNet(**trunk).requires_grad_(requires_grad=False)
        first, second, third, *_ = self.trunk.widths
        seen = 2 * (first + second + third) + self.trunk.affinity_channels + 1
        self.mix = nn.ModuleList([NormedConvolution(seen, fused), Residual(fused)])
        self.inst_decoder = Decoder(fused, learned_queries, placed=placed)
        self.mask_branch = Branch(fused, fused, deep=False, scale=FIRST_FEATURES)

    def forward(self, image: Tensor, *, background: bool = True, earlier: bool = True) -> AgqOutput:
        """Predict affinities and masks; parameters and errors as of `AGQ`."""
        return self.decode(self.look(image), background=background, earlier=earlier)

    @torch.no_grad()
    def look(self, image: Tensor) -> TrunkView:
        """Return what the trunk sees.

        Parameters
        ----------
        image : Tensor
            (1, 1, Z, Y, X) in [-1, 1]; Y and X at least 16.

        Raises
        ------
        ValueError
            If the image is of another shape, or empty.
        """
        if image.dim() != 5 or image.shape[:2] != (1, 1) or not image.numel():
            raise ValueError(f"one image (1, 1, Z, Y, X) is wanted, not {tuple(image.shape)}")
        logits, foreground, levels = self.trunk.logits_and_features((image + 1) / 2)
        # As in SegNeuron, an affinity never exceeds its voxel's foreground.
        restricted = torch.minimum(logits, foreground)
        z, y, x = image.shape[2:]
        size = (z, (y + 1) // 2, (x + 1) // 2)
        shares = torch.sigmoid(torch.cat([restricted, foreground], dim=1).float())
        sections = [_sections(part, size) for part in (*levels[:_LEVELS], shares)]
        mean = sections[-1][:, :_NEAREST].mean(dim=1)
        components = label_components(
            mean, self.most_components, self.smallest_component, persistence=self.persistence
        )
        return TrunkView(torch.cat(sections, dim=1), restricted[:, :_NEAREST], components)

    def decode(
        self, view: TrunkView, *, background: bool = True, earlier: bool = True
    ) -> AgqOutput:
        """Return the masks of what the trunk has seen."""
        x = view.features.contiguous(memory_format=torch.channels_last)
        for layer in self.mix:
            x = layer(x)
        x = with_coordinates(x)
        features = self.mask_branch(x)
        instances = self.inst_decoder.rpn.inst_convs(x)
        return self.inst_decoder.output(
            view.affinities,
            features,
            instances,
            view.components,
            background=background,
            earlier=earlier,
        )


def _sections(x: Tensor, size: Sequence[int]) -> Tensor:
    """Return (1, C, Z, Y, X) as sections (Z, C, y, x) of another size; z stays as it is."""
    sections = x[0].transpose(0, 1)
    if sections.shape[2] >= 2 * size[1] - 1 and sections.shape[2] > 1:
        sections = functional.avg_pool2d(sections, 2, ceil_mode=True)
    if sections.shape[2:] != tuple(size[1:]):
        sections = functional.interpolate(
            sections, size=tuple(size[1:]), mode="bilinear", align_corners=False
        )
    return sections
