"""Low-rank adaptation: a large weight stays as it is and learns a difference of few numbers.

Source: Hu et al. 2021, "LoRA", section 4.1: W + (alpha / rank) B A, B zero at first, so that
nothing changes before training. Here the difference is added to the weight itself, not to the
layer's output; that gives the same numbers, and the layer is called as before.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

_ATTENTION = "qkv"


class LowRankDifference(nn.Module):
    """A weight matrix plus a learned difference of low rank.

    Parameters
    ----------
    shape : tuple of int
        Of the weight, (rows, columns).
    rank : int
        Of the difference.
    alpha : float
        Its strength; divided by the rank, so that ranks can be compared.
    generator : Generator
        Fills A.
    """

    def __init__(
        self, shape: tuple[int, int], rank: int, alpha: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        rows, columns = shape
        values = torch.randn((rank, columns), generator=generator) / math.sqrt(columns)
        self.down = nn.Parameter(values)
        self.up = nn.Parameter(torch.zeros(rows, rank))
        self.scale = alpha / rank

    def forward(self, weight: Tensor) -> Tensor:
        """Return the changed weight."""
        return weight + self.scale * (self.up @ self.down)


def attention_layers(encoder: nn.Module) -> list[nn.Linear]:
    """Return the layers of an encoder that make queries, keys and values; none if it has none."""
    return [
        module
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Linear) and name.rpartition(".")[2] == _ATTENTION
    ]


def add_lora(encoder: nn.Module, rank: int, alpha: float, seed: int = 0) -> None:
    """Give every attention layer of an encoder a difference to learn.

    Parameters
    ----------
    encoder : Module
        Changed in place: its weights go by other names until `merge_lora`.
    rank, alpha : int, float
        As `LowRankDifference`.
    seed : int
        Of the first values.
    """
    generator = torch.Generator().manual_seed(seed)
    for layer in attention_layers(encoder):
        shape = (layer.weight.shape[0], layer.weight.shape[1])
        difference = LowRankDifference(shape, rank, alpha, generator).to(layer.weight)
        parametrize.register_parametrization(layer, "weight", difference)


def merge_lora(encoder: nn.Module) -> None:
    """Put the differences into the weights, which get their old names back."""
    for layer in attention_layers(encoder):
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
