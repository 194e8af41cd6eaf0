"""How queries of AGQ change in a stage.

Sources: the updater is that of K-Net (Zhang et al., NeurIPS 2021, section 3.2), in which gates
decide between what was gathered and the old kernel; then attention among the queries and a
two-layer perceptron, each added and normalised after (Vaswani et al., NIPS 2017, section 3); AGQ
(Chen et al.), methods, stages. The names of the tensors are those of the published checkpoint.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

_HEADS: Final = 8
_EXPANSION: Final = 4


class Updater(nn.Module):
    """Mixes a query with the features gathered under its mask."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dynamic_layer = nn.Linear(width, 2 * width)
        self.input_layer = nn.Linear(width, 2 * width)
        self.input_gate = nn.Linear(width, width)
        self.update_gate = nn.Linear(width, width)
        self.norm_in = nn.LayerNorm(width)
        self.norm_out = nn.LayerNorm(width)
        self.input_norm_in = nn.LayerNorm(width)
        self.input_norm_out = nn.LayerNorm(width)
        self.fc_layer = nn.Linear(width, width)
        self.fc_norm = nn.LayerNorm(width)

    def forward(self, gathered: Tensor, queries: Tensor) -> Tensor:
        """Return the new queries (N, C) of sums of features and old queries, (N, C) each."""
        new_in, new_out = self.dynamic_layer(gathered).chunk(2, dim=-1)
        old_in, old_out = self.input_layer(queries).chunk(2, dim=-1)
        both = old_in * new_in
        of_old = torch.sigmoid(self.input_norm_in(self.input_gate(both)))
        of_new = torch.sigmoid(self.norm_in(self.update_gate(both)))
        mixed = of_new * self.norm_out(new_out) + of_old * self.input_norm_out(old_out)
        return functional.relu(self.fc_norm(self.fc_layer(mixed)))


class _Attention(nn.Module):
    """Every query looks at every query."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_attn = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(-1, (_HEADS, -1)).transpose(0, 1)
            for part in self.c_attn(x).chunk(3, dim=-1)
        )
        seen = functional.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.c_proj(seen.transpose(0, 1).flatten(1))
        return out


class _Perceptron(nn.Module):
    """Two layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, _EXPANSION * width)
        self.c_proj = nn.Linear(_EXPANSION * width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.c_proj(functional.gelu(self.c_fc(x)))
        return out


class Interactor(nn.Module):
    """Lets queries know of each other."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = _Attention(width)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = _Perceptron(width)

    def forward(self, x: Tensor) -> Tensor:
        """Return queries (N, C) of queries (N, C)."""
        x = self.ln_1(x + self.attn(x))
        out: Tensor = self.ln_2(x + self.mlp(x))
        return out
