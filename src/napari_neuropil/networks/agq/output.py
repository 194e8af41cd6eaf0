"""What AGQ gives for one block."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class AgqOutput:
    """Affinities, masks and what the masks came from.

    All volumes have the grid of the decoder: z as the image, y and x (n + 1) // 2 of it. Their
    channels lie side by side in memory, so ``mask_logits[0].permute(1, 2, 3, 0)`` is contiguous
    and no copy.

    Parameters
    ----------
    affinities : Tensor
        (1, 3, z, y, x), logits; at voxel v the pair of v and its neighbour before it along
        z, y, x.
    mask_logits : Tensor
        (1, 1 + N, z, y, x), logits of the last stage: the background, then one channel a query;
        a softmax over the channels gives their shares. Queries of components come first, in the
        order of the components' first voxels; then the learned ones.
    earlier_masks : tuple of Tensor
        As `mask_logits`: before the first stage and after it. Empty if not asked for.
    queries : Tensor
        (1, N, C), the queries after the last stage.
    features : Tensor
        (1, C, z, y, x), features that kernels are multiplied with, not normalised.
    component_count : int
        How many of the queries come from components.
    """

    affinities: Tensor
    mask_logits: Tensor
    earlier_masks: tuple[Tensor, ...]
    queries: Tensor
    features: Tensor
    component_count: int
